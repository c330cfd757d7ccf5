"""What a refused write means, read from the item that refused it. Pure."""

from __future__ import annotations

import msgspec

from rillgate.domain.limits import Budget
from rillgate.ledger.items import BLOCKED, LIVE, VERSION, hold_name, number
from rillgate.ledger.writes import Item


class Done(msgspec.Struct, frozen=True):
    """It was done before: an earlier attempt's reply was lost."""


class Taken(msgspec.Struct, frozen=True):
    """Another hold has this id, or this hold has another value."""

    value: str


class Blocked(msgspec.Struct, frozen=True):
    """The scope is blocked."""

    reason: str


class Stale(msgspec.Struct, frozen=True):
    """The budget was changed since it was read."""


class Busy(msgspec.Struct, frozen=True):
    """As many holds are live as may be."""


class Short(msgspec.Struct, frozen=True):
    """A limit has too little left for so large a hold."""


Refusal = Done | Taken | Blocked | Stale | Busy | Short


def why_not_authorized(item: Item, budget: Budget, hold_id: str, value: str) -> Refusal:
    """Why a hold was not authorized. Our own hold comes first: whatever else changed since, it was admitted."""
    found = item.get(hold_name(hold_id))
    if found is not None:
        return Done() if found == value else Taken(str(found))
    if BLOCKED in item:
        return Blocked(str(item[BLOCKED]))
    if number(item, VERSION) > budget.version:
        return Stale()
    if budget.streams_max is not None and number(item, LIVE) >= budget.streams_max:
        return Busy()
    return Short()


def why_not_extended(item: Item, budget: Budget, hold_id: str, before: str, after: str) -> Refusal | None:
    """Why a hold was not extended; None where it is gone."""
    found = item.get(hold_name(hold_id))
    if found is None:
        return None
    if found == after:
        return Done()
    if found != before:
        return Taken(str(found))
    if BLOCKED in item:
        return Blocked(str(item[BLOCKED]))
    return Stale() if number(item, VERSION) > budget.version else Short()
