"""Headers of error responses, which steer the official SDKs."""

from __future__ import annotations

import pytest

from rillgate.delivery.responses import error_headers
from rillgate.domain.errors import BudgetError, BudgetUnavailable, RillgateError


def headers_of(error: RillgateError) -> dict[str, str]:
    """By name; none may come twice."""
    pairs = error_headers(error)
    named = {name.decode(): value.decode() for name, value in pairs}
    assert len(named) == len(pairs)
    return named


def test_error_headers_of_a_rate_limit_say_when_in_seconds_and_milliseconds() -> None:
    """Whole seconds are rounded up; the SDKs prefer milliseconds, which may be fewer."""
    assert headers_of(BudgetError("m", scope="s", retry_after_s=1.25)) == {
        "retry-after": "2",
        "retry-after-ms": "1250",
    }


def test_error_headers_of_other_statuses_have_seconds_only() -> None:
    """As for any server that is busy."""
    assert headers_of(BudgetUnavailable("m", retry_after_s=1)) == {"retry-after": "1"}


@pytest.mark.parametrize(("wish", "value"), [(True, "true"), (False, "false")])
def test_error_headers_carry_the_errors_own_and_whether_to_retry(wish: bool, value: str) -> None:
    """What the ledger knows of the limits comes along."""
    error = BudgetError("m", scope="s", should_retry=wish, headers={"x-rillgate-scope": "key:a1"})
    assert headers_of(error) == {"x-rillgate-scope": "key:a1", "x-should-retry": value}


def test_error_headers_of_any_script_are_ascii() -> None:
    """A header that could not be written would turn a refusal into a fault of ours."""
    assert headers_of(RillgateError("m", headers={"x-rillgate-scope": "user:Ада"}))["x-rillgate-scope"].isascii()


def test_error_headers_of_a_plain_error_are_none() -> None:
    """Nothing to say."""
    assert headers_of(RillgateError("m")) == {}
