"""Metrics as lines in a function's log: what CloudWatch will make of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from rillgate.domain.ends import End
from rillgate.telemetry import metric_list
from rillgate.telemetry.emf import MODELS_MAX, EmfMetrics
from rillgate.telemetry.logs import RequestRecord
from rillgate.telemetry.metric_list import CLOUDWATCH_BASIC, METRICS
from rillgate.telemetry.metrics import Metrics

SCHEMA: Final = Path(__file__).with_name("emf_schema.json")
UNITS = {each.name: each.unit for metric in METRICS for each in metric.cloudwatch}


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """All lines so far."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def values(line: dict[str, Any]) -> dict[str, float]:
    """What one line says, after a look at its form."""
    directive = line["_aws"]["CloudWatchMetrics"][0]
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
            duration_ms=72.34567,
            input_tokens=11,
            output_tokens=7,
            cached_input_tokens=5,
            cache_write_tokens=3,
            reasoning_tokens=2,
            stall_s=0.0204,
            pause_s=1.5,
            queue_bytes_peak=900,
            ledger_ms=3.14159,
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
        "RequestDuration": 72.346,
        "TimePerOutputToken": 10,
        "CachedInputTokens": 5,
        "CacheWriteTokens": 3,
        "ReasoningTokens": 2,
        "StallTime": 20,
        "PauseTime": 1500,
        "QueuePeak": 900,
        "LedgerLatency": 3.142,
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
    metrics.failed_over("lab")
    metrics.retried("lab")
    metrics.cools_down("lab")
    metrics.budget_warning("team", 80)
    assert [values(line) for line in written(capsys)] == [
        {metric_list.DENIALS.name: 1},
        {metric_list.LEDGER_FAILURES.name: 1},
        {metric_list.LEDGER_FAILURES.name: 1},
        {metric_list.SETTLE_FAILURES.name: 1},
        {metric_list.HOLDS_CAPTURED.name: 1},
        {metric_list.FAILOVER_COUNT.name: 1},
        {metric_list.RETRY_COUNT.name: 1},
        {metric_list.COOLDOWN_COUNT.name: 1},
        {metric_list.WARNING_COUNT.name: 1},
    ]


FULL = {
    "status": 502,
    "end": End.FINISHED,
    "provider": "lab",
    "routed_model": "m",
    "dialect": "messages",
    "ttft_ms": 1.0,
    "duration_ms": 9.0,
    "input_tokens": 1,
    "output_tokens": 5,
    "cached_input_tokens": 1,
    "cache_write_tokens": 1,
    "reasoning_tokens": 1,
    "cost_usd": 1.0,
    "stall_s": 1.0,
    "pause_s": 1.0,
    "queue_bytes_peak": 1,
    "ledger_ms": 1.0,
}


def everything(emf: EmfMetrics) -> None:
    """Write all that can be written."""
    emf.request(record(**FULL))
    metrics = Metrics()
    metrics.tell = emf.count
    metrics.budget_denied("insufficient_quota")
    metrics.budget_warning("team", 80)
    metrics.unaccounted()
    metrics.settle_failed()
    metrics.hold_captured()
    metrics.failed_over("lab")
    metrics.retried("lab")
    metrics.cools_down("lab")


def test_emf_writes_every_metric_that_cloudwatch_is_promised(capsys: pytest.CaptureFixture[str]) -> None:
    """No alarm and no dashboard stands on a metric that nothing writes."""
    everything(EmfMetrics("prod"))
    assert {name for line in written(capsys) for name in values(line)} == UNITS.keys()


def test_emf_basic_is_what_is_free(capsys: pytest.CaptureFixture[str]) -> None:
    """Ten metrics, one dimension, and no line that would have none of them."""
    everything(EmfMetrics("prod", basic=True))
    lines = written(capsys)
    assert {name for line in lines for name in values(line)} == {each.name for each in CLOUDWATCH_BASIC}
    assert all(len(line["_aws"]["CloudWatchMetrics"]) == 1 for line in lines)
    assert "model" not in lines[0]


def test_emf_lines_keep_to_the_schema_of_the_format(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What CloudWatch cannot read it drops without a word."""
    everything(EmfMetrics("prod"))
    everything(EmfMetrics("prod", basic=True))
    EmfMetrics("prod").request(record(status=404))
    files = []
    for number, line in enumerate(written(capsys)):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps(line))
        for directive in line["_aws"]["CloudWatchMetrics"]:
            targets = [*directive["Dimensions"][0], *(each["Name"] for each in directive["Metrics"])]
            assert all(line.get(target) for target in targets), "each is a member of the root, and none is empty"
    broken = tmp_path / "broken.json"
    broken.write_text(files[0].read_text().replace('"Milliseconds"', '"Lightyears"'))
    check = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(SCHEMA)]
    assert subprocess.run([*check, *files], check=False, capture_output=True).returncode == 0
    assert subprocess.run([*check, broken], check=False, capture_output=True).returncode == 1


def splits(line: dict[str, Any]) -> dict[tuple[str, ...], set[str]]:
    """The metrics that stand under further dimensions, by the values of those."""
    found = {}
    for directive in line["_aws"]["CloudWatchMetrics"][1:]:
        (dimensions,) = directive["Dimensions"]
        assert dimensions[0] == "service"
        found[tuple(line[name] for name in dimensions[1:])] = {each["Name"] for each in directive["Metrics"]}
    return found


def test_emf_of_a_request_is_split_by_model_end_and_route(capsys: pytest.CaptureFixture[str]) -> None:
    """What it took by provider and model; how many by end, and by route and dialect."""
    EmfMetrics("prod").request(record(**FULL))
    (line,) = written(capsys)
    assert splits(line) == {
        ("lab", "m"): {
            *("Requests", "FailedRequests", "TimeToFirstToken", "InputTokens", "OutputTokens", "SpendUsd"),
        },
        ("finished",): {"Requests"},
        ("/v1/chat/completions", "messages"): {"Requests"},
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": 401}, {("none", "none"), ("refused",), ("/v1/chat/completions", "none")}),
        ({"status": 200}, {("none", "none"), ("answered",), ("/v1/chat/completions", "none")}),
        (
            {"provider": "lab", "routed_model": "made-up", "status": 404, "end": End.UPSTREAM_ERROR},
            {("lab", "other"), ("upstream_error",), ("/v1/chat/completions", "none")},
        ),
        (
            {"provider": "lab", "routed_model": "caf\u00e9 sk-abcdefabcdefabcdef", "output_tokens": 1},
            {("lab", "[masked 26 479a1a1172d2e343]"), ("refused",), ("/v1/chat/completions", "none")},
        ),
    ],
)
def test_emf_dimensions_have_values_that_cloudwatch_takes(
    capsys: pytest.CaptureFixture[str], fields: dict[str, Any], expected: set[tuple[str, ...]]
) -> None:
    """ASCII and not empty, and no key; a name that no provider answers to is nobody's dimension."""
    EmfMetrics("prod").request(record(**fields))
    (line,) = written(capsys)
    assert splits(line).keys() == expected


def test_emf_models_past_the_bound_become_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Each would be billed; who has a dimension keeps it."""
    emf = EmfMetrics("prod")
    for number in [*range(MODELS_MAX + 3), 0]:
        emf.request(record(**{**FULL, "routed_model": f"m{number}"}))
    shown = [line["model"] for line in written(capsys)]
    assert shown == [*(f"m{number}" for number in range(MODELS_MAX)), "other", "other", "other", "m0"]
