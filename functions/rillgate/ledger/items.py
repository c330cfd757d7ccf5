"""What stands in a scope's item: counters named after their windows, outstanding holds, and a few marks.

    td20778, cM682, rT, tm29920800   committed tokens, nano-dollars, requests: of a day, a month, in total, of a minute
    h<hold id>                       an outstanding hold
    n, v, b                          live holds; version of the budget; why it is blocked
    wtd20778                         the highest warning mark of that counter that was announced

A counter is settled and held together. Its name carries its window, so a new window needs no write: it is an attribute
that nobody began. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import msgspec

from rillgate.budget.windows import window_end_s, window_number
from rillgate.domain.limits import Amounts, Limit, Meter, Window
from rillgate.domain.spending import Level
from rillgate.ledger.writes import Item

LIVE = "n"
VERSION = "v"
BLOCKED = "b"
HOLD = "h"
WARNED = "w"

METER_LETTERS = {Meter.TOKENS: "t", Meter.COST: "c", Meter.REQUESTS: "r"}
WINDOW_LETTERS = {Window.MINUTE: "m", Window.DAY: "d", Window.MONTH: "M", Window.TOTAL: "T"}
ALWAYS = (Window.DAY, Window.MONTH, Window.TOTAL)  # counted in every scope, so that a new limit finds what was spent

# How many windows a counter outlives its own: the longest hold is a day, and settles into the windows of its start.
_KEPT_WINDOWS = {Window.MINUTE: 2, Window.DAY: 4, Window.MONTH: 2}

_COUNTER = re.compile(r"([tcr])(?:([mdM])([0-9]+)|(T))")
_METERS = {letter: meter for meter, letter in METER_LETTERS.items()}
_WINDOWS = {letter: window for window, letter in WINDOW_LETTERS.items()}
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_NAMES_MAX = 4096  # names of counters that are kept made, or read: every request writes the same few


class Counter(msgspec.Struct, frozen=True):
    """One counter of an item. `number` is its window's; 0 for a total."""

    meter: Meter
    window: Window
    number: int

    @property
    def name(self) -> str:
        """The attribute."""
        return _name(self.meter, self.window, self.number)

    def is_over(self, now_s: float) -> bool:
        """Whether no live hold can settle into it any more."""
        kept = _KEPT_WINDOWS.get(self.window)
        return kept is not None and self.number < window_number(self.window, now_s) - kept


def counter(meter: Meter, window: Window, at_s: float) -> str:
    """The name of the counter at `at_s`."""
    return _name(meter, window, window_number(window, at_s))


@lru_cache(_NAMES_MAX)
def _name(meter: Meter, window: Window, number: int) -> str:
    return METER_LETTERS[meter] + WINDOW_LETTERS[window] + ("" if window is Window.TOTAL else str(number))


@lru_cache(_NAMES_MAX)
def read_counter(name: str) -> Counter | None:
    """The counter that an attribute is; None for any other attribute."""
    match = _COUNTER.fullmatch(name)
    if match is None:
        return None
    return Counter(_METERS[match[1]], _WINDOWS[match[2] or match[4]], int(match[3] or 0))


def over(item: Item, now_s: float) -> list[str]:
    """Counters, and marks of counters, whose windows are long over.

    The clock alone does not say so: one that is days ahead for a moment would have what was spent today forgotten. So
    as many later windows must have been counted in as a window is kept.
    """
    found = [(name, each) for name in item if (each := read_counter(name.removeprefix(WARNED))) is not None]
    if not any(each.is_over(now_s) for _, each in found):  # nearly always, and at every settle
        return []
    later = {(each.meter, each.window): set[int]() for _, each in found}
    for name, each in found:
        if not name.startswith(WARNED):
            later[each.meter, each.window].add(each.number)
    return [
        name
        for name, each in found
        if each.is_over(now_s)
        and sum(number > each.number for number in later[each.meter, each.window]) >= _KEPT_WINDOWS[each.window]
    ]


class Hold(msgspec.Struct, frozen=True):
    """An outstanding hold as its attribute says it.

    Attributes:
        expires_s: seconds since 1970.
        generation: counts up with every change of the hold, so that no two values of one hold are equal.
        tokens, cost_nanos: what is held, beside one request.
        started_s: seconds since 1970; its windows follow from it.
    """

    expires_s: int
    generation: int
    tokens: int
    cost_nanos: int
    started_s: int

    @property
    def amounts(self) -> Amounts:
        """What is held."""
        return Amounts(self.tokens, self.cost_nanos, 1)

    def with_more(self, more: Amounts) -> Hold:
        """The hold after its next change; less is a negative amount."""
        tokens, cost_nanos = self.tokens + more.tokens, self.cost_nanos + more.cost_nanos
        return Hold(self.expires_s, self.generation + 1, tokens, cost_nanos, self.started_s)

    @property
    def value(self) -> str:
        """`expires.generation.tokens.cost.start`, each in base 36: some 30 bytes, since items are paid by size."""
        numbers = (self.expires_s, self.generation, self.tokens, self.cost_nanos, self.started_s)
        return ".".join(map(_base36, numbers))


def read_hold(value: str | int) -> Hold:
    """A hold from its value.

    Raises: ValueError: it is none.
    """
    numbers = [int(part, 36) for part in str(value).split(".")]
    if len(numbers) != 5:
        raise ValueError(f"{value!r} is no hold")
    return Hold(*numbers)


def expired(item: Item, before_s: float) -> Iterator[tuple[str, Hold]]:
    """Holds that expired before this moment, as (hold id, hold). The others cost next to nothing: they are many."""
    for name, value in item.items():
        if name[0] == HOLD and int(str(value).partition(".")[0], 36) < before_s:
            yield name[1:], read_hold(value)


def hold_name(hold_id: str) -> str:
    """The attribute of a hold."""
    return HOLD + hold_id


def holds(item: Item) -> Iterator[tuple[str, str, Hold]]:
    """All outstanding holds as (hold id, value, hold)."""
    for name, value in item.items():
        if name[0] == HOLD:
            yield name[1:], str(value), read_hold(value)


def number(item: Item, name: str) -> int:
    """A counter; 0 where nobody began it."""
    value = item.get(name, 0)
    return value if isinstance(value, int) else 0


def level(scope: str, limit: Limit, item: Item, now_s: float) -> Level:
    """How full a limit is."""
    committed = number(item, counter(limit.meter, limit.window, now_s))
    return Level(scope, limit, committed, window_end_s(limit.window, now_s))


@lru_cache(_NAMES_MAX)  # times and usual amounts come again and again
def _base36(value: int) -> str:
    if value < 36:
        return _DIGITS[value]
    high, low = divmod(value, 36)
    return _base36(high) + _DIGITS[low]
