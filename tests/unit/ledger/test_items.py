"""What stands in a scope's item."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.domain.limits import Amounts, Limit, Meter, Window
from rillgate.domain.spending import Level
from rillgate.ledger.items import (
    ALWAYS,
    Counter,
    Hold,
    counter,
    hold_name,
    holds,
    level,
    number,
    over,
    read_counter,
    read_hold,
)
from rillgate.ledger.writes import Item
from tests.unit.ledger.ledger_support import new_id

AT_S = 1_795_000_000  # 2026-11-18 11:06:40: day 20775, month 682, minute 29916666
LONGEST_S = 86_400 + 30  # a day is the longest deadline of a stream

numbers = st.integers(0, 10**15)
holds_ = st.builds(Hold, numbers, st.integers(0, 99), numbers, numbers, numbers)
meters = st.sampled_from(Meter)
windows = st.sampled_from(Window)


@pytest.mark.parametrize(
    ("meter", "window", "name"),
    [
        (Meter.TOKENS, Window.DAY, "td20775"),
        (Meter.COST, Window.MONTH, "cM682"),
        (Meter.REQUESTS, Window.TOTAL, "rT"),
        (Meter.TOKENS, Window.MINUTE, "tm29916666"),
    ],
)
def test_counter_at_moment_is_named_after_its_window(meter: Meter, window: Window, name: str) -> None:
    """Meter, window and the window's number; a total has none."""
    assert counter(meter, window, AT_S) == name


@given(meters, windows, st.integers(0, 4 * 10**9))
def test_counter_read_from_its_name_is_the_same(meter: Meter, window: Window, at_s: int) -> None:
    """A name says all that there is to a counter."""
    name = counter(meter, window, at_s)
    found = read_counter(name)
    assert found is not None
    assert (found.meter, found.window, found.name) == (meter, window, name)


def test_counter_names_of_all_meters_and_windows_differ() -> None:
    """No two counters share an attribute."""
    assert len({counter(meter, window, AT_S) for meter in Meter for window in Window}) == 12


@pytest.mark.parametrize("name", ["n", "v", "b", "x", "htd20775", "wtd20775", "td", "tT1", "td-1", "xd1", "tdx", ""])
def test_counter_read_from_other_attribute_is_none(name: str) -> None:
    """Marks, holds and whatever else stands there are no counters."""
    assert read_counter(name) is None


@pytest.mark.parametrize(
    ("window", "kept", "gone"),
    [(Window.MINUTE, 29_916_664, 29_916_663), (Window.DAY, 20_771, 20_770), (Window.MONTH, 680, 679)],
)
def test_over_of_counter_and_its_mark_comes_some_windows_later(window: Window, kept: int, gone: int) -> None:
    """Counters outlive their windows by as much as a hold may last, and their marks with them."""
    for name in (Counter(Meter.COST, window, kept).name, Counter(Meter.COST, window, gone + 5).name):
        assert over({name: 1, f"w{name}": 50}, AT_S) == []
    name = Counter(Meter.COST, window, gone).name
    later = {Counter(Meter.COST, window, gone + more).name: 1 for more in range(1, 5)}
    assert over({name: 1, f"w{name}": 50, **later}, AT_S) == [name, f"w{name}"]


@pytest.mark.parametrize("window", [Window.MINUTE, Window.DAY, Window.MONTH])
def test_over_never_takes_what_a_clock_that_was_ahead_for_a_moment_calls_old(window: Window) -> None:
    """Its one window may stand there, and its mark, and other meters' windows: today's spending is not forgotten."""
    now, ahead = Counter(Meter.TOKENS, window, 30_000), Counter(Meter.TOKENS, window, 30_100)
    others = {Counter(Meter.REQUESTS, window, 30_000 + more).name: 1 for more in range(9)}
    item = {now.name: 7, f"w{now.name}": 50, ahead.name: 1, f"w{ahead.name}": 50, **others}
    assert now.name not in over(item, 9 * 10**10)


def test_over_of_totals_marks_and_holds_never_comes() -> None:
    """What belongs to no window stays for ever."""
    assert over({"tT": 1, "wtT": 50, "n": 1, "v": 0, "b": "", "htd1": "0.0.0.0.0"}, 9 * 10**9) == []


@given(meters, st.sampled_from(ALWAYS), st.integers(0, 4 * 10**9), st.integers(0, LONGEST_S))
def test_over_never_takes_a_counter_that_a_live_hold_settles_into(
    meter: Meter, window: Window, started_s: int, age_s: int
) -> None:
    """As long as the longest hold may live, and a day beyond, the counters of its start are kept."""
    name = counter(meter, window, started_s)
    assert over({name: 1}, started_s + age_s + 86_400) == []


@given(holds_)
def test_hold_read_from_its_value_is_the_same(hold: Hold) -> None:
    """Whoever captures a hold knows what it holds and which windows it is in."""
    assert read_hold(hold.value) == hold


def test_hold_value_is_short() -> None:
    """Items are paid by size: a hold of a day's largest request is some 30 bytes."""
    hold = Hold(AT_S + 930, 3, 128_000, 4_000_000_000, AT_S)
    assert len(hold.value) <= 32
    assert hold.amounts == Amounts(128_000, 4_000_000_000, 1)


@given(holds_, st.integers(1, 9))
def test_hold_values_of_two_generations_differ(hold: Hold, later: int) -> None:
    """An extension by nothing still changes the value, so a copy of it that comes late finds another."""
    after = Hold(hold.expires_s, hold.generation + later, hold.tokens, hold.cost_nanos, hold.started_s)
    assert after.value != hold.value


def test_hold_with_more_is_its_next_generation() -> None:
    """Less is a negative amount; its windows and its end stay."""
    hold = Hold(AT_S + 930, 3, 100, 50, AT_S)
    assert hold.with_more(Amounts(7, 2)) == Hold(AT_S + 930, 4, 107, 52, AT_S)
    assert hold.with_more(Amounts(-100, -50)).amounts == Amounts(0, 0, 1)


@pytest.mark.parametrize("value", ["", "1.2.3.4", "1.2.3.4.5.6", "1.2.-.4.5", 5])
def test_hold_read_from_other_value_is_refused(value: str | int) -> None:
    """Something else under a hold's name is a mistake that must not pass as a hold."""
    with pytest.raises(ValueError, match=r"is no hold|invalid literal"):
        read_hold(value)


def test_holds_of_item_are_found_by_their_names() -> None:
    """Ids come without the prefix, values as they stand there; nothing else is taken for a hold."""
    one, two, id_one, id_two = Hold(1, 0, 2, 3, 4), Hold(5, 1, 6, 7, 8), new_id(), "h" * 16
    item: Item = {hold_name(id_one): one.value, "tT": 8, "n": 2, "v": 1, "b": "unpaid", hold_name(id_two): two.value}
    assert list(holds(item)) == [(id_one, one.value, one), (id_two, two.value, two)]


def test_number_of_what_nobody_began_is_zero() -> None:
    """A window needs no write to begin."""
    assert number({"n": 3}, "n") == 3
    assert number({"b": "text"}, "b") == 0
    assert number({}, "tT") == 0


def test_level_of_limit_is_the_counter_of_the_moment() -> None:
    """What is settled and held in the window at that moment, and when it ends; other windows do not count."""
    limit = Limit(Meter.TOKENS, Window.DAY, 1_000)
    item = {"td20775": 700, "td20774": 900, "tT": 1_600, "cd20775": 5}
    assert level("key:a", limit, item, AT_S) == Level("key:a", limit, 700, 20_776 * 86_400)
    assert level("key:a", limit, {}, AT_S).remaining == 1_000
    assert level("key:a", limit, {"td20775": 1_200}, AT_S).remaining == 0
    assert level("key:a", Limit(Meter.TOKENS, Window.TOTAL, 5), item, AT_S).resets_s is None
