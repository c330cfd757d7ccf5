"""Budgets and keys as the control plane's JSON has them, and as rows of its tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rillgate.budget.limit_text import DOLLAR, amount_text, limit_text
from rillgate.cli.output import Cell, time_text
from rillgate.domain.limits import Budget, Limit, Meter
from rillgate.domain.principal import VirtualKey
from rillgate.domain.spending import Level
from rillgate.ledger.admin_budgets import ScopeState
from rillgate.ledger.admin_keys import KeyEntry

LEVEL_HEADERS = ("SCOPE", "LIMIT", "COMMITTED", "LEFT", "RESETS")


def state_object(state: ScopeState, now_s: float) -> dict[str, Any]:
    """A scope: its limits and how full they are. Dollars are numbers with decimals.

    Shape: {"scope": "team:core", "version": 3, "limits": [{"meter": "tokens", "window": "day", "limit": 100000,
           "used": 1200, "remaining": 98800, "resets_at": "2026-11-22T00:00:00Z"}], "streams_max": 4, …}
    """
    return {
        "scope": state.scope,
        "version": state.budget.version,
        "limits": [_level_object(level) for level in state.levels],
        "streams_max": state.budget.streams_max,
        "live_holds": len(state.holds),
        "expired_holds": state.expired(now_s),
        "blocked": state.budget.blocked,
        "warn_percents": list(state.budget.warn_percents),
    }


def key_object(entry: KeyEntry, now_s: float) -> dict[str, Any]:
    """A key without anything secret."""
    key = entry.key
    return {
        "key_id": key.key_id,
        "name": key.name,
        "state": entry.state(now_s),
        "user": key.user,
        "team": key.team,
        "models": list(key.models),
        "tags": dict(key.tags),
        "limits": limit_texts(entry.budget),
        "warn_percents": list(entry.budget.warn_percents),
        "created_at": time_text(key.created_s),
        "expires_at": time_text(key.expires_s),
        "revoked_at": time_text(key.revoked_s),
        "previous_valid_until": time_text(previous_until_s(key, now_s)),
    }


def previous_until_s(key: VirtualKey, now_s: float) -> int | None:
    """How long the secret before the last rotation is still accepted; None when it is not."""
    until_s = key.previous_until_s
    return until_s if until_s is not None and until_s > now_s and key.revoked_s is None else None


def limit_texts(budget: Budget) -> list[str]:
    """The limits as `--limit` takes them."""
    streams = [] if budget.streams_max is None else [f"streams={budget.streams_max}"]
    return [limit_text(limit) for limit in budget.limits] + streams


def level_rows(state: ScopeState) -> Iterator[tuple[Cell, ...]]:
    """Rows under `LEVEL_HEADERS`: one for each limit, at least one for the scope."""
    for level in state.levels:
        meter = level.limit.meter
        left = amount_text(meter, level.remaining)
        committed = amount_text(meter, level.committed)
        yield state.scope, limit_text(level.limit), committed, left, time_text(level.resets_s) or "never"
    if (streams_max := state.budget.streams_max) is not None:
        live = len(state.holds)
        yield state.scope, f"streams={streams_max}", f"{live} live", f"{max(0, streams_max - live)} streams", None
    elif not state.levels:
        yield state.scope, "no limits", f"{len(state.holds)} live", None, None


def state_notes(state: ScopeState, now_s: float) -> Iterator[str]:
    """What the rows do not say: a block, warning marks, and holds."""
    if state.budget.blocked is not None:
        yield f"{state.scope} is BLOCKED: {state.budget.blocked or 'no reason was given'}"
    if state.budget.warn_percents:
        yield f"{state.scope} warns at {', '.join(f'{mark} %' for mark in state.budget.warn_percents)} of each limit"
    expired = state.expired(now_s)
    if live := len(state.holds) - expired:
        yield f"{state.scope}: requests under way: {live}; what they hold is part of COMMITTED"
    if expired:
        yield f"{state.scope}: holds that expired unsettled: {expired}; the scope's next request captures them as spent"


def _level_object(level: Level) -> dict[str, Any]:
    return {
        "meter": level.limit.meter.value,
        "window": level.limit.window.value,
        "limit": _amount(level.limit, level.limit.amount),
        "used": _amount(level.limit, level.committed),
        "remaining": _amount(level.limit, level.remaining),
        "resets_at": time_text(level.resets_s),
    }


def _amount(limit: Limit, amount: int) -> int | float:
    return amount / DOLLAR if limit.meter is Meter.COST else amount
