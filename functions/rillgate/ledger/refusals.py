"""What a client is told when a limit stands in its way, one error for each case. Pure.

Statuses, codes and headers are those that the official SDKs were measured with: `x-should-retry: false` ends their
retries, and a long `Retry-After` would make one of them sleep for as long.
Source: reference on the ledger, section 8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rillgate.budget.headers import header_value, level_headers, rfc3339
from rillgate.budget.limit_text import amount_text, limit_text
from rillgate.domain.errors import BudgetError
from rillgate.domain.limits import Meter, Window
from rillgate.domain.spending import Level

SCOPE = "x-rillgate-scope"
SOON_S = 60  # a window that ends within so many seconds is worth waiting for

_KINDS = {Meter.TOKENS: "tokens", Meter.COST: "cost", Meter.REQUESTS: "requests"}


def used_up(
    level: Level, needed: int, levels: Sequence[Level], now_s: float, *, quota_status: int = 429
) -> BudgetError:
    """The limit has too little left now: of a rate that the next minute renews, or of a quota.

    Args: needed: the least that the request would take, in the limit's unit.
    """
    if level.limit.window is Window.MINUTE:
        return _too_fast(level, needed, levels, now_s)
    wait_s = None if level.resets_s is None else level.resets_s - now_s
    soon = wait_s is not None and wait_s <= SOON_S
    headers = _headers(level, levels, now_s)
    if level.resets_s is not None:
        headers["x-rillgate-reset"] = rfc3339(level.resets_s)
    return BudgetError(
        f"The budget of {level.scope!r} {_rest(level, needed)} {_renewal(level)}",
        scope=level.scope,
        status=quota_status,
        retry_after_s=max(1, math.ceil(wait_s)) if wait_s is not None and soon else None,
        should_retry=False,
        headers=headers,
    )


def _too_fast(level: Level, needed: int, levels: Sequence[Level], now_s: float) -> BudgetError:
    wait_s = max(1, math.ceil((level.resets_s or now_s) - now_s))
    return BudgetError(
        f"The rate of {level.scope!r} {_rest(level, needed)} Try again in {wait_s} s.",
        scope=level.scope,
        kind=_KINDS[level.limit.meter],
        code="rate_limit_exceeded",
        retry_after_s=wait_s,
        headers=_headers(level, levels, now_s),
    )


def too_large(level: Level, needed: int, now_s: float) -> BudgetError:
    """The request could not pass this limit even alone."""
    return BudgetError(
        f"This request is too large for the limit {limit_text(level.limit)} of {level.scope!r}: it needs "
        f"{amount_text(level.limit.meter, needed)} at least. Send a shorter prompt, or have the limit raised.",
        scope=level.scope,
        kind=_KINDS[level.limit.meter],
        code="rate_limit_exceeded",
        should_retry=False,
        headers={SCOPE: header_value(level.scope)},
    )


def too_many_streams(scope: str, streams_max: int) -> BudgetError:
    """All streams that the scope may have at once are running."""
    return BudgetError(
        f"{scope!r} may have {streams_max} requests running at once, and all are; try again when one has ended.",
        scope=scope,
        kind="concurrency",
        code="rate_limit_exceeded",
        retry_after_s=1,
        headers={SCOPE: header_value(scope)},
    )


def blocked(scope: str, reason: str) -> BudgetError:
    """An operator blocked the scope."""
    return BudgetError(
        f"{scope!r} is blocked: {reason or 'no reason was given'}. Only the operator can unblock it.",
        scope=scope,
        status=403,
        kind="permission_error",
        code="permission_denied",
        should_retry=False,
        headers={SCOPE: header_value(scope)},
    )


def unpriced(scope: str, problem: str) -> BudgetError:
    """There is a limit in money, and nobody knows what this would cost."""
    return BudgetError(
        f"{scope!r} has a limit in money, and this request cannot be held to it: {problem}.",
        scope=scope,
        status=400,
        kind="invalid_request_error",
        code="price_unknown",
        should_retry=False,
    )


def _headers(refusing: Level, levels: Sequence[Level], now_s: float) -> dict[str, str]:
    """How full the scope's limits are; the scope is the one that refuses, however tight others are."""
    return {**level_headers(levels, now_s), SCOPE: header_value(refusing.scope)}


def _rest(level: Level, needed: int) -> str:
    meter = level.limit.meter
    of = "in total" if level.limit.window is Window.TOTAL else f"this {level.limit.window.value} (UTC)"
    spent = f"{amount_text(meter, level.committed)} of {amount_text(meter, level.limit.amount)} are spent or held {of}"
    if not level.remaining:
        return f"is used up: {spent}."
    return f"has too little left: {spent}, and this request needs {amount_text(meter, needed)} at least."


def _renewal(level: Level) -> str:
    if level.resets_s is None:
        return "It is not renewed; have the limit raised."
    return f"It is renewed at {rfc3339(level.resets_s)}."
