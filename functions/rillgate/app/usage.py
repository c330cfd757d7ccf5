"""`GET /v1/usage`: a caller's own limits, what is left of them, and when their windows end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rillgate.budget.headers import rfc3339
from rillgate.domain.limits import GLOBAL, Limit, Meter
from rillgate.domain.principal import Principal
from rillgate.domain.spending import Level

NANOS = 1_000_000_000  # of a dollar


def own_scopes(principal: Principal) -> list[str]:
    """The scopes that a caller may look at.

    A ticket sees its user's and not its key's, which others share; whoever needs no key is the operator's own machine
    and sees what everybody spends.
    """
    if principal.ticket_id is not None:
        named = [("ticket", principal.ticket_id), ("user", principal.user)]
    elif principal.key_id is not None:
        named = [("key", principal.key_id), ("user", principal.user), ("team", principal.team)]
    else:
        return [GLOBAL]
    return [f"{kind}:{name}" for kind, name in named if name is not None]


def usage_object(principal: Principal, levels: Sequence[Level]) -> dict[str, Any]:
    """The answer: every scope of the caller, those without limits included.

    Shape: {"object": "usage", "scopes": [{"scope": "key:a1", "limits": [{"meter": "tokens", "window": "day",
           "limit": 100000, "used": 1200, "remaining": 98800, "resets_at": "2026-11-22T00:00:00Z"}]}]}; `used` has what
           running requests hold in it, dollars are numbers with decimals. A ticket's own limits travel in it, and
           what is used of them is null.
    """
    scopes = []
    for scope in own_scopes(principal):
        limits = [_level_object(level) for level in levels if level.scope == scope]
        if principal.ticket_budget is not None and scope == f"ticket:{principal.ticket_id}" and not limits:
            limits = list(_unused(principal.ticket_budget.limits))
        scopes.append({"scope": scope, "limits": limits})
    return {"object": "usage", "scopes": scopes}


def _level_object(level: Level) -> dict[str, Any]:
    return {
        **_limit_object(level.limit),
        "used": _amount(level.limit, level.committed),
        "remaining": _amount(level.limit, level.remaining),
        "resets_at": None if level.resets_s is None else rfc3339(level.resets_s),
    }


def _unused(limits: Iterable[Limit]) -> Iterable[dict[str, Any]]:
    for limit in limits:
        yield {**_limit_object(limit), "used": None, "remaining": None, "resets_at": None}


def _limit_object(limit: Limit) -> dict[str, Any]:
    return {"meter": limit.meter.value, "window": limit.window.value, "limit": _amount(limit, limit.amount)}


def _amount(limit: Limit, amount: int) -> int | float:
    return amount / NANOS if limit.meter is Meter.COST else amount
