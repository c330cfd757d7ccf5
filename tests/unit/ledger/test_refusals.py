"""What a client is told when a limit stands in its way."""

from __future__ import annotations

import pytest

from rillgate.domain.errors import BudgetError
from rillgate.domain.limits import Limit, Meter, Window
from rillgate.domain.spending import Level
from rillgate.ledger.refusals import blocked, too_large, too_many_streams, unpriced, used_up

NOW_S = 1_795_000_000.5  # 2026-11-18 11:06:40
MIDNIGHT_S = 1_795_046_400


def level(meter: Meter, window: Window, resets_s: int | None, amount: int = 1_000, committed: int = 990) -> Level:
    """A limit that is nearly full."""
    return Level("team:core", Limit(meter, window, amount), committed, resets_s)


def told(error: BudgetError) -> tuple[int, str, str | None, float | None, bool | None]:
    """What decides about a client's next attempt."""
    return error.status, error.kind, error.code, error.retry_after_s, error.should_retry


def test_used_up_day_is_a_quota_that_is_not_retried() -> None:
    """429 insufficient_quota and `x-should-retry: false`, no Retry-After that a client would sleep through; the reset
    stands in a header of ours."""
    day = level(Meter.TOKENS, Window.DAY, MIDNIGHT_S)
    error = used_up(day, 94, [day], NOW_S)
    assert told(error) == (429, "insufficient_quota", "insufficient_quota", None, False)
    assert error.scope == "team:core"
    assert error.headers == {
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "10",
        "x-ratelimit-reset-tokens": "12h53m19.5s",
        "x-rillgate-reset": "2026-11-19T00:00:00Z",
        "x-rillgate-scope": "team:core",
    }
    for part in (
        "'team:core'",
        "too little left",
        "990 tokens of 1,000 tokens",
        "94 tokens at least",
        "this day (UTC)",
    ):
        assert part in error.message


@pytest.mark.parametrize(("left_s", "retry_after_s"), [(60, 60), (59.5, 60), (0.5, 1), (0, 1), (60.5, None)])
def test_used_up_window_that_ends_within_a_minute_names_when(left_s: float, retry_after_s: int | None) -> None:
    """A reset that is near is worth a Retry-After of whole seconds, at least one; a far one is not."""
    month = level(Meter.COST, Window.MONTH, MIDNIGHT_S)
    assert used_up(month, 94, [month], MIDNIGHT_S - left_s).retry_after_s == retry_after_s


def test_used_up_total_has_no_reset() -> None:
    """Nothing comes back, and nothing says so."""
    total = level(Meter.COST, Window.TOTAL, None, 25 * 10**9, 25 * 10**9)
    error = used_up(total, 94, [total], NOW_S)
    assert told(error) == (429, "insufficient_quota", "insufficient_quota", None, False)
    assert "x-rillgate-reset" not in error.headers
    assert error.headers["x-rillgate-remaining-usd"] == "0"
    assert "$25.00 of $25.00" in error.message
    assert "in total" in error.message
    assert "not renewed" in error.message


def test_used_up_quota_with_status_403_is_otherwise_the_same() -> None:
    """Clients that expect 403 for a quota get it; a rate stays 429."""
    day = level(Meter.TOKENS, Window.DAY, MIDNIGHT_S)
    assert told(used_up(day, 94, [day], NOW_S, quota_status=403)) == (
        403,
        "insufficient_quota",
        "insufficient_quota",
        None,
        False,
    )
    minute = level(Meter.TOKENS, Window.MINUTE, MIDNIGHT_S)
    assert used_up(minute, 94, [minute], MIDNIGHT_S - 9, quota_status=403).status == 429


@pytest.mark.parametrize(
    ("meter", "kind"), [(Meter.TOKENS, "tokens"), (Meter.REQUESTS, "requests"), (Meter.COST, "cost")]
)
def test_used_up_minute_is_a_rate_that_is_worth_a_wait(meter: Meter, kind: str) -> None:
    """429 rate_limit_exceeded with the seconds to the next minute, rounded up, and nothing against a retry."""
    minute = level(meter, Window.MINUTE, MIDNIGHT_S)
    error = used_up(minute, 94, [minute], MIDNIGHT_S - 8.3)
    assert told(error) == (429, kind, "rate_limit_exceeded", 9, None)
    assert "Try again in 9 s" in error.message
    assert "x-rillgate-reset" not in error.headers


def test_used_up_minute_at_its_very_end_waits_a_second() -> None:
    """Never Retry-After: 0."""
    minute = level(Meter.TOKENS, Window.MINUTE, MIDNIGHT_S)
    assert used_up(minute, 94, [minute], MIDNIGHT_S).retry_after_s == 1


def test_used_up_headers_are_of_all_levels_of_the_scope() -> None:
    """The limit that refused is not the only one a client wants to know of."""
    day = level(Meter.TOKENS, Window.DAY, MIDNIGHT_S)
    requests = level(Meter.REQUESTS, Window.DAY, MIDNIGHT_S, 60, 20)
    headers = used_up(day, 94, [day, requests], NOW_S).headers
    assert (headers["x-ratelimit-remaining-tokens"], headers["x-ratelimit-remaining-requests"]) == ("10", "40")


def test_too_large_request_names_limit_and_need_and_is_not_retried() -> None:
    """It would never pass: rate_limit_exceeded, as providers say it, and `x-should-retry: false`."""
    error = too_large(level(Meter.TOKENS, Window.DAY, MIDNIGHT_S), 1_500, NOW_S)
    assert told(error) == (429, "tokens", "rate_limit_exceeded", None, False)
    assert error.scope == "team:core"
    for part in ("tokens/day=1000", "1,500 tokens", "'team:core'"):
        assert part in error.message


def test_too_many_streams_are_worth_a_wait_of_a_second() -> None:
    """Another stream may end any moment."""
    error = too_many_streams("key:a1", 4)
    assert told(error) == (429, "concurrency", "rate_limit_exceeded", 1, None)
    assert "4 requests" in error.message
    assert error.scope == "key:a1"


@pytest.mark.parametrize(("reason", "shown"), [("unpaid", "unpaid"), ("", "no reason was given")])
def test_blocked_scope_is_403_with_its_reason(reason: str, shown: str) -> None:
    """Only an operator changes that, so nobody tries again."""
    error = blocked("user:ada", reason)
    assert told(error) == (403, "permission_error", "permission_denied", None, False)
    assert shown in error.message
    assert error.scope == "user:ada"


def test_unpriced_request_says_why_it_has_no_price() -> None:
    """A mistake of the request or the configuration, not a matter of time."""
    error = unpriced("team:core", "model 'x' is not in the table")
    assert told(error) == (400, "invalid_request_error", "price_unknown", None, False)
    assert "model 'x' is not in the table" in error.message
    assert error.scope == "team:core"


def test_refusal_names_the_scope_that_refuses_in_its_header() -> None:
    """Another limit may be tighter; what a client must know is which one stood in its way. Names are escaped."""
    tight = Level("team:core", Limit(Meter.TOKENS, Window.TOTAL, 1_000_000), 999_999, None)
    refusing = Level("user:ada\n", Limit(Meter.TOKENS, Window.DAY, 1_000), 600, MIDNIGHT_S)
    assert used_up(refusing, 500, [tight, refusing], NOW_S).headers["x-rillgate-scope"] == "user:ada\\n"
    assert blocked("team:core", "").headers["x-rillgate-scope"] == "team:core"
    assert too_many_streams("team:core", 4).headers["x-rillgate-scope"] == "team:core"
    assert too_large(refusing, 5_000, NOW_S).headers["x-rillgate-scope"] == "user:ada\\n"
