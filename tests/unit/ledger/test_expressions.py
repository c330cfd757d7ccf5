"""The writes of a hold's life, each applied to an item by `Write.apply`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.budget.limit_text import parse_limits
from rillgate.domain.limits import NOTHING, Amounts, Budget
from rillgate.ledger.expressions import (
    CAPTURED_MAX,
    PRUNED_MAX,
    HoldWrites,
    Terms,
    announce,
    capture,
    charge_late,
    difference,
)
from rillgate.ledger.items import Hold, hold_name
from rillgate.ledger.keys import scope_key
from rillgate.ledger.writes import EMPTY, ConditionFailed, Item, Write
from tests.unit.ledger.ledger_support import without_zeros

AT_S = 1_795_000_000  # 2026-11-18 11:06:40: day 20775, month 682, minute 29916666
HOLD = Hold(AT_S + 90, 0, 300, 7_000, AT_S)
GROWN = Hold(AT_S + 90, 1, 500, 9_000, AT_S)
ID = "AAAAAAAAAAAAAAAA"
NAME = hold_name(ID)
WINDOWS = ("d20775", "M682", "T")
COUNTED: Item = {
    f"{meter}{window}": value for window in WINDOWS for meter, value in zip("tcr", (300, 7_000, 1), strict=True)
}
HELD: Item = {**COUNTED, NAME: HOLD.value, "n": 1, "v": 1}


def budget(*limits: str, version: int = 1, streams_max: int | None = None) -> Budget:
    """A budget as it was read."""
    return Budget(version, parse_limits(limits)[0], streams_max)


def writes(*limits: str, version: int = 1, streams_max: int | None = None) -> HoldWrites:
    """The writes of the hold under such a budget."""
    return HoldWrites("team:core", budget(*limits, version=version, streams_max=streams_max), ID)


def authorize(of: HoldWrites, terms: Terms | None = None) -> Write:
    """Hold `HOLD`."""
    return of.authorize(HOLD, terms or Terms(), "all")


def is_refused(write: Write, item: Item) -> bool:
    """Whether a condition stands in the way."""
    try:
        write.apply(item)
    except ConditionFailed:
        return True
    return False


def settled(actual: Amounts, now_s: float = AT_S + 5, *, item: Item = HELD, hold: Hold = HOLD) -> dict[str, int | str]:
    """The item after `actual` was charged in place of the hold."""
    return writes().settle(hold, actual, now_s, EMPTY).apply(item)


# authorize ------------------------------------------------------------------------------------------------------------


def test_authorize_on_nothing_makes_the_whole_item() -> None:
    """Every meter is counted by day, month and in total, whatever is limited; the hold, one live, the version."""
    write = authorize(writes())
    assert write.key == scope_key("team:core")
    assert write.returns == "all"
    assert write.apply(EMPTY) == HELD


def test_authorize_of_what_costs_nothing_begins_no_counter_for_it() -> None:
    """A free or unpriced request leaves no zero behind, since items are paid by size."""
    after = writes().authorize(Hold(AT_S + 90, 0, 300, 0, AT_S), Terms(), "all").apply(EMPTY)
    assert not [name for name in after if name.startswith("c")]


def test_authorize_counts_minutes_where_they_are_limited() -> None:
    """The minute's counter exists for the meters that have such a limit, and for no other."""
    after = authorize(writes("tokens/minute=9000", "requests/minute=9")).apply(EMPTY)
    assert {name: value for name, value in after.items() if name[1:2] == "m"} == {"tm29916666": 300, "rm29916666": 1}


def test_authorize_that_was_done_is_refused_by_its_own_hold() -> None:
    """A repeat holds nothing twice."""
    assert is_refused(authorize(writes()), HELD)


@pytest.mark.parametrize(
    ("item", "refused"),
    [({"b": "unpaid"}, True), ({"b": ""}, True), ({"v": 3}, True), ({"v": 2}, False), ({"v": 1}, False)],
)
def test_authorize_in_blocked_or_changed_scope_is_refused(item: Item, refused: bool) -> None:
    """Nothing is admitted where somebody blocked the scope or gave it a newer budget than the one that was read."""
    assert is_refused(authorize(writes(version=2)), item) is refused


@pytest.mark.parametrize(
    ("limit", "counter"),
    [
        ("tokens/minute=1000", "tm29916666"),
        ("tokens/day=1000", "td20775"),
        ("tokens/month=1000", "tM682"),
        ("tokens/total=1000", "tT"),
    ],
)
def test_authorize_at_limit_is_admitted_to_the_last_token(limit: str, counter: str) -> None:
    """700 and 300 are 1,000; 701 and 300 are one too many. Another window's counter does not count."""
    write = authorize(writes(limit))
    assert not is_refused(write, {counter: 700})
    assert is_refused(write, {counter: 701})
    assert not is_refused(write, {"td20774": 1_000, "tM681": 1_000, "tm29916665": 1_000, "cT": 10**9})


def test_authorize_at_money_and_request_limits_is_admitted_to_the_last_unit() -> None:
    """Every meter is held to its own limits, all of them together."""
    write = authorize(writes("usd/day=0.00001", "requests/day=5"))
    assert not is_refused(write, {"cd20775": 3_000, "rd20775": 4})
    assert is_refused(write, {"cd20775": 3_001, "rd20775": 4})
    assert is_refused(write, {"cd20775": 3_000, "rd20775": 5})


def test_authorize_on_terms_of_plenty_needs_four_times_as_much() -> None:
    """The hold, and three times as much left after it; requests are counted one by one even so."""
    write = authorize(writes("tokens/day=2000", "requests/day=5"), Terms(plenty=True))
    assert not is_refused(write, {"td20775": 800, "rd20775": 4})
    assert is_refused(write, {"td20775": 801, "rd20775": 4})


def test_authorize_on_terms_of_being_alone_needs_no_live_hold() -> None:
    """A limit too narrow for plenty is asked for whole only by who has nobody to share it with."""
    write = authorize(writes("tokens/day=1000"), Terms(alone=True))
    assert not is_refused(write, {"n": 0, "td20775": 700})
    assert is_refused(write, {"n": 1})


def test_authorize_with_bound_on_streams_counts_live_holds() -> None:
    """The fourth of four is admitted, the fifth is not."""
    write = authorize(writes(streams_max=4))
    assert not is_refused(write, {"n": 3})
    assert is_refused(write, {"n": 4})


def test_authorize_above_a_whole_limit_is_no_write_at_all() -> None:
    """A counter that nobody began would let it pass, so it must not be asked."""
    with pytest.raises(ValueError, match="can never fit"):
        authorize(writes("tokens/day=299"))
    with pytest.raises(ValueError, match="can never fit"):
        authorize(writes("tokens/day=1199"), Terms(plenty=True))


# extend ---------------------------------------------------------------------------------------------------------------


def test_extend_of_hold_adds_the_difference() -> None:
    """Counters rise by what the next value holds more; no further request, no further live hold."""
    after = writes().extend(HOLD, GROWN, AT_S + 9).apply(HELD)
    expected = {**HELD, NAME: GROWN.value}
    for window in WINDOWS:
        expected |= {f"t{window}": 500, f"c{window}": 9_000}
    assert after == expected


def test_extend_that_was_done_or_lost_its_hold_is_refused() -> None:
    """It stands on the exact value before: neither a repeat nor a hold that was captured is extended."""
    write = writes().extend(HOLD, GROWN, AT_S + 9)
    assert is_refused(write, write.apply(HELD))
    assert is_refused(write, COUNTED)


@pytest.mark.parametrize(
    ("more", "refused"),
    [({"td20775": 800}, False), ({"td20775": 801}, True), ({"b": "unpaid"}, True), ({"v": 2}, True), ({"n": 9}, False)],
)
def test_extend_is_admitted_under_the_terms_of_its_scope(more: Item, refused: bool) -> None:
    """Limits, block and version count for what is held more; the number of streams was settled at its start."""
    write = writes("tokens/day=1000", streams_max=2).extend(HOLD, GROWN, AT_S + 9)
    assert is_refused(write, {**HELD, **more}) is refused


@pytest.mark.parametrize("more", [{"td20775": 9_999}, {"b": "unpaid"}, {"v": 2}])
def test_extend_by_less_is_never_refused(more: Item) -> None:
    """What is given back is taken back, whatever became of the scope meanwhile."""
    write = writes("tokens/day=1000").extend(GROWN, HOLD, AT_S + 9)
    assert write.apply({**HELD, NAME: GROWN.value, **more})[NAME] == HOLD.value


def test_extend_after_midnight_is_charged_to_the_day_of_the_start() -> None:
    """Day and month are those in which the stream began; the new day's limit is not asked."""
    write = writes("tokens/day=1000").extend(HOLD, GROWN, AT_S + 60_000)
    after = write.apply({**HELD, "td20776": 1_000})
    assert (after["td20775"], after["td20776"]) == (500, 1_000)
    assert is_refused(write, {**HELD, "td20775": 801})


def test_extend_in_later_minute_is_a_matter_of_that_minute() -> None:
    """A rate is what is held in a minute: the new one is asked and counted, the old one stays as it was."""
    write = writes("tokens/minute=1000").extend(HOLD, GROWN, AT_S + 60)
    item: Item = {**HELD, "tm29916666": 1_000, "tm29916667": 800}
    after = write.apply(item)
    assert (after["tm29916666"], after["tm29916667"]) == (1_000, 1_000)
    assert is_refused(write, {**item, "tm29916667": 801})


@pytest.mark.parametrize(("later_s", "minutes"), [(19, {"tm29916666": 400}), (20, {"tm29916666": 600})])
def test_extend_by_less_gives_back_to_a_minute_only_while_it_lasts(later_s: float, minutes: dict[str, int]) -> None:
    """What was held in a minute that is over was held; the new minute gets nothing back that it never counted."""
    item: Item = {**HELD, NAME: GROWN.value, "tm29916666": 600}
    after = writes("tokens/minute=1000").extend(GROWN, HOLD, AT_S + later_s).apply(item)
    assert {name: value for name, value in after.items() if name.startswith("tm")} == minutes


# settle ---------------------------------------------------------------------------------------------------------------


def test_settle_with_nothing_takes_everything_back() -> None:
    """A void is the inverse of an authorize."""
    assert without_zeros(settled(NOTHING)) == {"v": 1}


def test_settle_with_less_charges_exactly_that() -> None:
    """Each counter says what was taken, the hold is gone, nobody is live."""
    after = settled(Amounts(120, 2_000, 1))
    charged = {
        f"{meter}{window}": value for window in WINDOWS for meter, value in zip("tcr", (120, 2_000, 1), strict=True)
    }
    assert without_zeros(after) == {**charged, "v": 1}


def test_settle_above_the_hold_is_never_refused() -> None:
    """There is no limit to the truth, whatever the budget says and whoever blocked the scope."""
    write = writes("tokens/day=300").settle(HOLD, Amounts(900, 7_000, 1), AT_S + 5, EMPTY)
    assert write.apply({**HELD, "b": "unpaid", "v": 9})["td20775"] == 900


@pytest.mark.parametrize("item", [COUNTED, {**HELD, NAME: GROWN.value}, EMPTY])
def test_settle_of_other_hold_is_refused(item: Item) -> None:
    """Who does not know the hold's exact value charges nothing: settling twice is settling once."""
    assert is_refused(writes().settle(HOLD, NOTHING, AT_S + 5, EMPTY), item)


def test_settle_after_midnight_is_charged_to_the_day_of_the_start() -> None:
    """The next day's counters stay as they are."""
    after = settled(Amounts(120, 2_000, 1), AT_S + 60_000, item={**HELD, "td20776": 5})
    assert (after["td20775"], after["td20776"]) == (120, 5)


@pytest.mark.parametrize(
    ("hold", "taken", "later_s", "minutes"),
    [
        (HOLD, 120, 19, {"tm29916666": 420}),  # 600, of which 180 come back
        (HOLD, 400, 19, {"tm29916666": 700}),
        (HOLD, 120, 20, {"tm29916666": 600}),  # the minute is over: nothing comes back
        (HOLD, 400, 20, {"tm29916666": 600, "tm29916667": 100}),  # what goes beyond the hold counts now
        (Hold(AT_S + 90, 1, 300, 7_000, AT_S), 120, 19, {"tm29916666": 600}),  # held in who knows which minutes
    ],
)
def test_settle_gives_back_to_a_minute_only_while_it_lasts(
    hold: Hold, taken: int, later_s: float, minutes: dict[str, int]
) -> None:
    """A rate that is over is over; what was taken beyond the hold belongs to the minute in which that is known."""
    item: Item = {**HELD, NAME: hold.value, "tm29916666": 600}
    of = writes("tokens/minute=1000")
    after = of.settle(hold, Amounts(taken, 7_000, 1), AT_S + later_s, EMPTY).apply(item)
    assert {name: value for name, value in after.items() if name.startswith("tm")} == minutes


def test_settle_takes_away_counters_that_are_long_over() -> None:
    """Old windows go in the same write, some at a time, and never one that this very write charges."""
    old = {f"td{number}": 1 for number in range(20_700, 20_720)}
    seen = {**old, "wtd20700": 50, "td20774": 1, "tM681": 1, "tT": 9}
    after = writes().settle(HOLD, NOTHING, AT_S + 5, seen).apply({**HELD, **seen, "tT": 309})
    gone = seen.keys() - after.keys()
    assert len(gone) == PRUNED_MAX
    assert gone <= {*old, "wtd20700"}


def test_settle_of_hold_older_than_all_windows_names_no_attribute_twice() -> None:
    """A store refuses two changes of one attribute, so what is charged is not taken away too."""
    now_s = AT_S + 40 * 86_400
    write = writes().settle(HOLD, Amounts(120, 2_000, 1), now_s, COUNTED)
    names = [change.name for change in write.changes]
    assert len(names) == len(set(names))
    assert write.apply(HELD)["td20775"] == 120


# what remains ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("actual", [NOTHING, Amounts(300, 7_000, 1), Amounts(10, 7_000, 1)])
def test_charge_late_of_no_more_than_was_held_is_nothing(actual: Amounts) -> None:
    """A captured hold is not given back."""
    assert charge_late("team:core", HOLD, actual) is None


def test_charge_late_of_more_than_was_held_is_the_rest_of_each_meter() -> None:
    """What one meter took beyond the hold is not offset by another that took less."""
    write = charge_late("team:core", HOLD, Amounts(350, 6_000, 1))
    assert write is not None
    assert write.conditions == ()
    assert write.apply(COUNTED) == {**COUNTED, "td20775": 350, "tM682": 350, "tT": 350}


def test_capture_takes_the_holds_and_leaves_the_counters() -> None:
    """What they held counts as spent."""
    others = {f"B{number}": GROWN for number in range(CAPTURED_MAX - 1)}
    item = {**HELD, **{hold_name(each): hold.value for each, hold in others.items()}, "n": CAPTURED_MAX}
    assert capture("team:core", {ID: HOLD, **others}).apply(item) == {**COUNTED, "n": 0, "v": 1}


def test_capture_of_hold_that_changed_is_refused() -> None:
    """An extension or a settlement that was faster wins."""
    assert is_refused(capture("team:core", {ID: HOLD}), {**HELD, NAME: GROWN.value})
    assert is_refused(capture("team:core", {ID: HOLD}), COUNTED)


def test_announce_of_mark_is_done_once_and_never_downwards() -> None:
    """Of all who see a mark crossed one gets to say so; a higher mark stands for the lower ones."""
    write = announce("team:core", "td20775", 80)
    assert write.apply(COUNTED) == {**COUNTED, "wtd20775": 80}
    assert not is_refused(write, {"wtd20775": 50})
    assert is_refused(write, {"wtd20775": 80})
    assert is_refused(write, {"wtd20775": 95})


# any amounts ----------------------------------------------------------------------------------------------------------

some_amounts = st.builds(Amounts, st.integers(0, 10**9), st.integers(0, 10**15), st.just(1))
some_seconds = st.integers(0, 86_400)  # the longest hold is a day
some_limits = st.sets(st.sampled_from(["tokens/minute", "tokens/day", "usd/month", "requests/minute", "usd/total"]))


@given(st.tuples(some_amounts, some_amounts, some_amounts), some_limits, some_seconds, some_seconds)
def test_life_of_any_hold_leaves_exactly_what_was_charged(
    sizes: tuple[Amounts, Amounts, Amounts], limited: set[str], extended_s: int, settled_s: int
) -> None:
    """Authorized, extended and settled at any times, every day's, month's and total counter says what was taken."""
    held, grown, actual = sizes
    of = writes(*(f"{limit}={10**9}" for limit in sorted(limited)))
    before = Hold(AT_S + 90, 0, held.tokens, held.cost_nanos, AT_S)
    after = Hold(AT_S + 90, 1, grown.tokens, grown.cost_nanos, AT_S)
    item = of.authorize(before, Terms(), "changed").apply(EMPTY)
    item = of.extend(before, after, AT_S + extended_s).apply(item)
    item = of.settle(after, actual, AT_S + extended_s + settled_s, item).apply(item)
    total = {name: item.get(name, 0) for name in ("tT", "cT", "rT", "n")}
    assert total == {"tT": actual.tokens, "cT": actual.cost_nanos, "rT": 1, "n": 0}
    assert [item.get(f"{meter}d20775", 0) for meter in "tcr"] == [actual.tokens, actual.cost_nanos, 1]
    assert [item.get(f"{meter}M682", 0) for meter in "tcr"] == [actual.tokens, actual.cost_nanos, 1]
    assert not [name for name in item if name.startswith("h")]


@given(some_amounts, some_amounts)
def test_difference_of_amounts_makes_one_the_other(before: Amounts, after: Amounts) -> None:
    """Meter by meter, down as well as up."""
    delta = difference(after, before)
    assert before.tokens + delta.tokens == after.tokens
    assert before.cost_nanos + delta.cost_nanos == after.cost_nanos
    assert before.requests + delta.requests == after.requests
