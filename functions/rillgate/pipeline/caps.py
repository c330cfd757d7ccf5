"""What a client is told of its cap: in the field `rillgate` where it was stopped there, and in headers. Pure."""

from __future__ import annotations

from rillgate.budget.headers import level_headers, rfc3339
from rillgate.domain.ports import Report
from rillgate.domain.request import ChatRequest
from rillgate.domain.spending import Grant


def cut_report(grant: Grant) -> Report:
    """Whose limit a cut at the cap is: that of the scope that lowered the cap, else the request's own.

    Shape: {"stop": "budget", "scope": "team:core", "reset": "2026-11-22T00:00:00Z"}; no reset for a total.
    """
    return lowered_report(grant) or {"stop": "budget", "scope": "request"}


def length_report(grant: Grant) -> Report:
    """What is said where the provider itself stopped at its cap: nothing, unless a budget had lowered that."""
    return lowered_report(grant) if grant.ask.strict else {}


def lowered_report(grant: Grant) -> Report:
    """Which scope lowered the cap, and until when; empty where none did."""
    if grant.lowered_by is None or grant.output_tokens >= grant.ask.output_tokens:
        return {}
    report = {"stop": "budget", "scope": grant.lowered_by}
    if grant.lowered_until_s is not None:
        report["reset"] = rfc3339(grant.lowered_until_s)
    return report


def answer_headers(request: ChatRequest, grant: Grant, upstream_cap: int, now_s: float) -> dict[str, str]:
    """The budgets' levels, and the cap where it is lower than what was asked for.

    A client that named none is told only of a cap that a budget lowered: our default is no wish of its own.
    """
    headers = level_headers(grant.levels, now_s)
    asked = request.output_tokens_asked
    if upstream_cap < (grant.ask.output_tokens if asked is None else asked):
        headers["x-rillgate-output-tokens-max"] = str(upstream_cap)
    return headers
