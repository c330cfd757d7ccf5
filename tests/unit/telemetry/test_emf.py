"""Metrics as lines in a function's log: what CloudWatch will make of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rillgate.domain.ends import End
from rillgate.telemetry import metric_list
from rillgate.telemetry.emf import EmfMetrics
from rillgate.telemetry.logs import RequestRecord
from rillgate.telemetry.metric_list import METRICS
from rillgate.telemetry.metrics import Metrics

UNITS = {each.name: each.unit for metric in METRICS for each in metric.cloudwatch}


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """All lines so far."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def values(line: dict[str, Any]) -> dict[str, float]:
    """What one line says, after a look at its form."""
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Rillgate"
    assert directive["Dimensions"] == [["service"]]
    assert {each["Name"]: each["Unit"] for each in directive["Metrics"]}.items() <= UNITS.items()
    found = {}
    for each in directive["Metrics"]:
        (found[each["Name"]],) = line[each["Name"]]
    return found


def record(**fields: Any) -> RequestRecord:
    """A record with its required fields."""
    return RequestRecord(**{"request_id": "req_1", "method": "POST", "route": "/v1/chat/completions", **fields})


def test_emf_of_a_request_is_one_line_with_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    """Times, tokens and cost, under the service, with the id that finds the log line."""
    EmfMetrics("prod").request(
        record(
            status=200,
            end=End.FINISHED,
            provider="lab",
            model="anything a client likes",
            ttft_ms=12.34567,
            input_tokens=11,
            output_tokens=7,
            cost_usd=0.25,
        )
    )
    (line,) = written(capsys)
    assert values(line) == {
        "Requests": 1,
        "TimeToFirstToken": 12.346,
        "InputTokens": 11,
        "OutputTokens": 7,
        "SpendUsd": 0.25,
    }
    assert (line["service"], line["request_id"]) == ("prod", "req_1")
    assert "anything a client likes" not in json.dumps(line)


@pytest.mark.parametrize(
    ("fields", "failed"),
    [
        ({"status": 200, "end": End.FINISHED}, False),
        ({"status": 200, "end": End.BUDGET}, False),
        ({"status": 429}, False),
        ({"status": 200, "end": End.DEADLINE}, True),
        ({"status": 200, "end": End.TRUNCATED}, True),
        ({"status": 503}, True),
    ],
)
def test_emf_counts_failures_that_somebody_should_look_at(
    capsys: pytest.CaptureFixture[str], fields: dict[str, Any], failed: bool
) -> None:
    """The same ones whose log line is a warning; Lambda itself counts none of them as an error."""
    EmfMetrics("prod").request(record(**fields))
    (line,) = written(capsys)
    assert ("FailedRequests" in values(line)) is failed


def test_emf_sends_no_sums_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A metric that is never written is never billed."""
    EmfMetrics("prod").request(record(status=404, input_tokens=0, cost_usd=0.0))
    (line,) = written(capsys)
    assert values(line) == {"Requests": 1}


def test_emf_of_requests_side_by_side_are_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of one request is left for the next."""
    metrics = EmfMetrics("prod")
    metrics.request(record(ttft_ms=1.0, input_tokens=5))
    metrics.request(record(request_id="req_2"))
    first, second = written(capsys)
    assert values(first)["InputTokens"] == 5
    assert values(second) == {"Requests": 1}


def test_emf_of_events_beside_requests_is_told_by_the_counters(capsys: pytest.CaptureFixture[str]) -> None:
    """What no request's record says leaves a line at once; a store that failed is no budget's refusal."""
    metrics = Metrics()
    metrics.tell = EmfMetrics("prod").count
    metrics.budget_denied("insufficient_quota")
    metrics.budget_denied("budget_unavailable")
    metrics.unaccounted()
    metrics.settle_failed()
    metrics.hold_captured()
    assert [values(line) for line in written(capsys)] == [
        {metric_list.DENIALS.name: 1},
        {metric_list.LEDGER_FAILURES.name: 1},
        {metric_list.LEDGER_FAILURES.name: 1},
        {metric_list.SETTLE_FAILURES.name: 1},
        {metric_list.HOLDS_CAPTURED.name: 1},
    ]


def test_emf_writes_every_metric_that_cloudwatch_is_promised(capsys: pytest.CaptureFixture[str]) -> None:
    """No alarm stands on a metric that nothing writes."""
    emf = EmfMetrics("prod")
    emf.request(record(status=500, ttft_ms=1.0, input_tokens=1, output_tokens=1, cost_usd=1.0))
    metrics = Metrics()
    metrics.tell = emf.count
    metrics.budget_denied("insufficient_quota")
    metrics.unaccounted()
    metrics.settle_failed()
    metrics.hold_captured()
    assert {name for line in written(capsys) for name in values(line)} == UNITS.keys()
