"""The writes of a hold's life: authorize, extend, settle, capture. Pure: what is to be written, and under which terms.

Every write is safe to repeat: it names the hold's exact value, before or after, so a copy of it that comes late finds
that value gone and changes nothing. There is one exception, upwards only: a copy of an authorize that comes after its
own settle makes the hold anew; it then expires and is captured.
Source: reference on folded holds, sections 5 to 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from rillgate.budget.holds import headroom
from rillgate.domain.limits import Amounts, Budget, Meter, Window
from rillgate.ledger.items import ALWAYS, BLOCKED, LIVE, VERSION, WARNED, Hold, counter, hold_name, over
from rillgate.ledger.keys import scope_key
from rillgate.ledger.writes import Absent, Add, AtMost, Change, Condition, Equal, Item, Put, Remove, Returns, Write

CAPTURED_MAX = 8  # holds in one write
PRUNED_MAX = 12  # counters in one write


class Terms(msgspec.Struct, frozen=True):
    """Under which terms a hold is admitted.

    Attributes:
        plenty: three times as much must be left.
        alone: no other hold may be live.
    """

    plenty: bool = False
    alone: bool = False


class HoldWrites(msgspec.Struct, frozen=True):
    """The writes of one hold in one scope, under the scope's budget as it was read."""

    scope: str
    budget: Budget
    hold_id: str

    @property
    def _name(self) -> str:
        return hold_name(self.hold_id)

    def authorize(self, hold: Hold, terms: Terms, returns: Returns) -> Write:
        """Hold `hold` if nothing stands in its way."""
        amounts, start_s = hold.amounts, hold.started_s
        return Write(
            scope_key(self.scope),
            conditions=(
                Absent(self._name),  # this is not a copy of a write that was done
                *_open(self.budget),
                *_room(self.budget, amounts, start_s, plenty=terms.plenty),
                *_room_for_one(self.budget, terms),
            ),
            changes=(
                *_add(amounts, ALWAYS, start_s),
                *_add_minute(self.budget, amounts, start_s),
                Put(self._name, hold.value),
                Add(LIVE, 1),
                Put(VERSION, self.budget.version),
            ),
            returns=returns,
        )

    def extend(self, before: Hold, after: Hold, now_s: float) -> Write:
        """Turn one value of the hold into the next, holding more, or less: less is never refused."""
        more = difference(after.amounts, before.amounts)
        grows = more.tokens > 0 or more.cost_nanos > 0
        room = (*_open(self.budget), *_room(self.budget, more, before.started_s, minute_s=now_s)) if grows else ()
        in_minute = grows or _same_minute(before, now_s)
        return Write(
            scope_key(self.scope),
            conditions=(Equal(self._name, before.value), *room),
            changes=(
                *_add(more, ALWAYS, before.started_s),
                *(_add_minute(self.budget, more, now_s) if in_minute else ()),
                Put(self._name, after.value),
            ),
            returns="changed",
        )

    def settle(self, hold: Hold, actual: Amounts, now_s: float, seen: Item, returns: Returns = "changed") -> Write:
        """Charge `actual` in place of what is held. There is no limit to check: the truth is always recorded.

        Args: seen: the item as it was seen last, to take away counters whose windows are long over.
        """
        delta = difference(actual, hold.amounts)
        charged = [*_add(delta, ALWAYS, hold.started_s), *_settle_minute(self.budget, hold, delta, now_s)]
        names = {change.name for change in charged}
        old = [name for name in over(seen, now_s) if name not in names]
        return Write(
            scope_key(self.scope),
            conditions=(Equal(self._name, hold.value),),
            changes=(*charged, Remove(self._name), Add(LIVE, -1), *map(Remove, old[:PRUNED_MAX])),
            returns=returns,
        )


def charge_late(scope: str, hold: Hold, actual: Amounts) -> Write | None:
    """What was taken beyond a hold that was captured meanwhile; None for nothing. Repeated, it errs upwards."""
    delta = difference(actual, hold.amounts)
    more = Amounts(max(0, delta.tokens), max(0, delta.cost_nanos), 0)
    changes = _add(more, ALWAYS, hold.started_s)
    return Write(scope_key(scope), changes=tuple(changes)) if changes else None


def capture(scope: str, expired: Mapping[str, Hold]) -> Write:
    """Take away holds that expired; what they held stays counted. `expired` is by hold id, at most `CAPTURED_MAX`."""
    return Write(
        scope_key(scope),
        conditions=tuple(Equal(hold_name(hold_id), hold.value) for hold_id, hold in expired.items()),
        changes=(*(Remove(hold_name(hold_id)) for hold_id in expired), Add(LIVE, -len(expired))),
        returns="all",
    )


def announce(scope: str, counter_name: str, percent: int) -> Write:
    """Claim the announcement of a warning mark, once for each counter and mark."""
    name = WARNED + counter_name
    return Write(scope_key(scope), conditions=(AtMost(name, percent - 1),), changes=(Put(name, percent),))


def difference(after: Amounts, before: Amounts) -> Amounts:
    """What is to be added to `before` to have `after`."""
    return Amounts(after.tokens - before.tokens, after.cost_nanos - before.cost_nanos, after.requests - before.requests)


def _open(budget: Budget) -> tuple[Condition, ...]:
    """Nobody blocked the scope, and nobody changed its budget since it was read."""
    return Absent(BLOCKED), AtMost(VERSION, budget.version)


def _room(
    budget: Budget, amounts: Amounts, at_s: float, *, plenty: bool = False, minute_s: float | None = None
) -> list[Condition]:
    """Every limit has room.

    Raises: ValueError: one never can have; a counter that nobody began would pass even so.
    """
    minute_s = at_s if minute_s is None else minute_s
    conditions: list[Condition] = []
    for limit in budget.limits:
        need = headroom(limit, amounts, plenty=plenty)
        if need > limit.amount:
            raise ValueError(f"{need} can never fit into {limit}")
        if need > 0:
            moment = minute_s if limit.window is Window.MINUTE else at_s
            conditions.append(AtMost(counter(limit.meter, limit.window, moment), limit.amount - need))
    return conditions


def _room_for_one(budget: Budget, terms: Terms) -> list[Condition]:
    """There is room for one more live hold."""
    others = [] if budget.streams_max is None else [budget.streams_max - 1]
    return [AtMost(LIVE, bound) for bound in ([0] if terms.alone else others)]


def _add(amounts: Amounts, windows: Iterable[Window], at_s: float) -> list[Change]:
    return [
        Add(counter(meter, window, at_s), amounts.of(meter))
        for window in windows
        for meter in Meter
        if amounts.of(meter)
    ]


def _add_minute(budget: Budget, amounts: Amounts, at_s: float) -> list[Change]:
    """Minutes are rates: counted where there is such a limit, in the minute in which something is held."""
    meters = [limit.meter for limit in budget.limits if limit.window is Window.MINUTE]
    return [Add(counter(meter, Window.MINUTE, at_s), amounts.of(meter)) for meter in meters if amounts.of(meter)]


def _settle_minute(budget: Budget, hold: Hold, delta: Amounts, now_s: float) -> list[Change]:
    """A minute gets something back only while it lasts; what was taken beyond the hold counts now."""
    if hold.generation == 0 and _same_minute(hold, now_s):
        return _add_minute(budget, delta, now_s)
    beyond = Amounts(max(0, delta.tokens), max(0, delta.cost_nanos), max(0, delta.requests))
    return _add_minute(budget, beyond, now_s)


def _same_minute(hold: Hold, now_s: float) -> bool:
    return hold.started_s // 60 == now_s // 60
