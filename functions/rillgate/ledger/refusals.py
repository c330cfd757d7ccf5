"""What a client is told when a limit stands in its way, one error for each case. Pure.

Statuses, codes and headers are those that the official SDKs were measured with: `x-should-retry: false` ends their
retries, and a long `Retry-After` would make one of them sleep for as long.
Source: reference on the ledger, section 8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rillgate.budget.headers import level_headers, rfc3339
from rillgate.budget.limit_text import amount_text, limit_text
from rillgate.domain.errors import BudgetError
from rillgate.domain.limits import Meter, Window
from rillgate.domain.spending import Level

SOON_S = 60  # a window that ends within so many seconds is worth waiting for


def used_up(level: Level, levels: Sequence[Level], now_s: float, quota_status: int) -> BudgetError:
    """The limit has no room now: a rate that the next minute renews, or a quota that is used up."""
    if level.limit.window is Window.MINUTE:
        return _too_fast(level, levels, now_s)
    wait_s = None if level.resets_s is None else level.resets_s - now_s
    soon = wait_s is not None and wait_s <= SOON_S
    headers = level_headers(levels, now_s)
    if level.resets_s is not None:
        headers["x-rillgate-reset"] = rfc3339(level.resets_s)
    return BudgetError(
        f"The budget of {level.scope!r} is used up: {_committed(level)}. {_renewal(level)}",
        scope=level.scope,
        status=quota_status,
        retry_after_s=max(1, math.ceil(wait_s)) if wait_s is not None and soon else None,
        should_retry=False,
        headers=headers,
    )


def _too_fast(level: Level, levels: Sequence[Level], now_s: float) -> BudgetError:
    wait_s = max(1, math.ceil((level.resets_s or now_s) - now_s))
    return BudgetError(
        f"The rate of {level.scope!r} is reached: {_committed(level)}; try again in {wait_s} s.",
        scope=level.scope,
        kind={Meter.TOKENS: "tokens", Meter.COST: "cost", Meter.REQUESTS: "requests"}[level.limit.meter],
        code="rate_limit_exceeded",
        retry_after_s=wait_s,
        headers=level_headers(levels, now_s),
    )


def too_large(level: Level, requested: int, levels: Sequence[Level], now_s: float) -> BudgetError:
    """The request could not pass this limit even alone."""
    asked = amount_text(level.limit.meter, requested)
    return BudgetError(
        f"This request is too large for the limit {limit_text(level.limit)} of {level.scope!r}: it needs {asked} at "
        "least. Send a shorter prompt, or have the limit raised.",
        scope=level.scope,
        kind=level.limit.meter.value,
        code="rate_limit_exceeded",
        should_retry=False,
        headers=level_headers(levels, now_s),
    )


def too_many_streams(scope: str, streams_max: int) -> BudgetError:
    """All streams that the scope may have at once are running."""
    return BudgetError(
        f"{scope!r} may have {streams_max} requests running at once, and all are; try again when one has ended.",
        scope=scope,
        kind="concurrency",
        code="rate_limit_exceeded",
        retry_after_s=1,
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


def _committed(level: Level) -> str:
    meter = level.limit.meter
    of = "in total" if level.limit.window is Window.TOTAL else f"this {level.limit.window.value} (UTC)"
    return f"{amount_text(meter, level.committed)} of {amount_text(meter, level.limit.amount)} are spent or held {of}"


def _renewal(level: Level) -> str:
    if level.resets_s is None:
        return "It is not renewed; have the limit raised."
    return f"It is renewed at {rfc3339(level.resets_s)}."
