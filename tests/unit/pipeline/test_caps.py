"""What clients are told of their caps."""

from __future__ import annotations

import pytest

from rillgate.domain.request import ChatRequest
from rillgate.domain.spending import Ask, Grant
from rillgate.pipeline.caps import answer_headers, cut_report, length_report

REQUEST = {"stop": "budget", "scope": "request"}
TEAM = {"stop": "budget", "scope": "team:core"}
CAP_HEADER = "x-rillgate-output-tokens-max"


def grant(output_tokens: int, by: str | None = None, until_s: int | None = None, *, strict: bool = True) -> Grant:
    """A grant for a request that asked for 100 tokens."""
    ask = Ask("h", ("global",), 10, 100, 1, None, 60, strict=strict)
    return Grant(ask, output_tokens, 0, 60, lowered_by=by, lowered_until_s=until_s)


def test_report_names_the_scope_that_lowered_the_cap_and_its_reset() -> None:
    """For a cut of ours and for a provider that keeps to the cap alike."""
    for report in (cut_report, length_report):
        assert report(grant(50, "team:core")) == TEAM
        assert report(grant(50, "team:core", 0)) == {**TEAM, "reset": "1970-01-01T00:00:00Z"}


def test_report_of_a_whole_cap_is_the_requests_own() -> None:
    """A cut there is the client's limit; a provider that stops there says nothing of budgets."""
    assert cut_report(grant(100)) == REQUEST
    assert length_report(grant(100)) == {}
    assert cut_report(grant(100, "team:core")) == REQUEST


def test_report_of_a_slice_is_never_the_providers() -> None:
    """In elastic mode the provider's cap is the client's own."""
    assert length_report(grant(50, "team:core", strict=False)) == {}
    assert cut_report(grant(50, "team:core", strict=False)) == TEAM
    assert cut_report(grant(50, strict=False)) == REQUEST


@pytest.mark.parametrize(
    ("asked", "cap", "told"),
    [
        (100, 100, None),
        (100, 50, "50"),
        (200, 100, "100"),  # limits.output_tokens_max
        (None, 100, None),
        (None, 50, "50"),
    ],
)
def test_cap_header_where_the_cap_is_lower_than_what_was_asked_or_a_budget_lowered_it(
    asked: int | None, cap: int, told: str | None
) -> None:
    """Our default cap alone is no news."""
    request = ChatRequest(fields={}, model=None, stream=True, output_tokens_asked=asked)
    assert answer_headers(request, grant(cap, "team:core"), cap, 0).get(CAP_HEADER) == told
