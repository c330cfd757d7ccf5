"""What answers say of budgets: which limit is the tightest, and how amounts and durations are spelled."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.budget.headers import go_duration, level_headers, rfc3339, usd
from rillgate.domain.limits import Limit, Meter, Window
from rillgate.domain.spending import Level

NOW_S = 1_795_000_000


def level(scope: str, meter: Meter, amount: int, committed: int, resets_s: int | None = NOW_S + 60) -> Level:
    """A limit and how full it is."""
    return Level(scope, Limit(meter, Window.DAY if resets_s else Window.TOTAL, amount), committed, resets_s)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-3, "0s"),
        (0.012, "12ms"),
        (0.0004, "1ms"),
        (0.9999, "1s"),
        (1, "1s"),
        (1.5, "1.5s"),
        (60, "1m0s"),
        (90.25, "1m30.25s"),
        (360, "6m0s"),
        (3600, "1h0m0s"),
        (83_100, "23h5m0s"),
        (2_678_400, "744h0m0s"),
    ],
)
def test_go_duration_is_spelled_as_go_does(seconds: float, text: str) -> None:
    """The SDKs' users parse what OpenAI sends; days do not exist there."""
    assert go_duration(seconds) == text


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (1_500_000_000, "1.5"),
        (25 * 10**9, "25"),
        (10, "0.00000001"),
        (-5 * 10**8, "-0.5"),
    ],
)
def test_usd_is_decimal_and_exact(nanos: int, text: str) -> None:
    """No digit is rounded away and none is made up."""
    assert usd(nanos) == text


@given(st.integers(-(10**18), 10**18))
def test_usd_of_any_amount_reads_back(nanos: int) -> None:
    """Whatever the amount."""
    assert Decimal(usd(nanos)) * 10**9 == nanos


def test_rfc3339_is_in_utc() -> None:
    """As reports and headers spell a reset."""
    assert rfc3339(0) == "1970-01-01T00:00:00Z"


def test_level_headers_are_those_of_the_tightest_limit_of_each_meter() -> None:
    """Least left by meter; and the scope whose limit is nearest to its end, by the part that is left."""
    headers = level_headers(
        [
            level("global", Meter.TOKENS, 1_000_000, 999_000, NOW_S + 360),  # 1,000 left, 0.1 %
            level("key:a1", Meter.TOKENS, 1_000, 500),  # 500 left, 50 %
            level("user:ada", Meter.REQUESTS, 60, 30, NOW_S + 1),
            level("team:core", Meter.COST, 10**9, 10**8),
            level("team:core", Meter.COST, 10**10, 0),
        ],
        NOW_S,
    )
    assert headers == {
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "500",
        "x-ratelimit-reset-tokens": "1m0s",
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "30",
        "x-ratelimit-reset-requests": "1s",
        "x-rillgate-remaining-usd": "0.9",
        "x-rillgate-scope": "global",
    }


def test_level_headers_of_a_total_have_no_reset() -> None:
    """It never comes back; among equals it is the tighter one."""
    headers = level_headers([level("a", Meter.TOKENS, 9, 4), level("b", Meter.TOKENS, 5, 0, None)], NOW_S)
    assert headers["x-ratelimit-limit-tokens"] == "5"
    assert "x-ratelimit-reset-tokens" not in headers


def test_level_headers_of_an_overdrawn_or_empty_limit_say_zero() -> None:
    """Usage may settle above a limit, and a limit may be none at all; nothing is negative, nothing divides by zero."""
    headers = level_headers([level("a", Meter.TOKENS, 10, 15), level("b", Meter.REQUESTS, 0, 0)], NOW_S)
    assert headers["x-ratelimit-remaining-tokens"] == "0"
    assert headers["x-ratelimit-remaining-requests"] == "0"


def test_level_headers_of_a_scope_with_any_name_are_one_plain_line() -> None:
    """Whoever names a user names no header."""
    headers = level_headers([level("user:Ада\r\nset-cookie: a", Meter.TOKENS, 10, 0)], NOW_S)
    value = headers["x-rillgate-scope"]
    assert value.isascii()
    assert value.isprintable()


def test_level_headers_without_levels_are_none() -> None:
    """No budget, nothing to say."""
    assert level_headers([], NOW_S) == {}
