"""Metrics, read back with prometheus_client's own parser."""

from __future__ import annotations

import math
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families

from rillgate.domain.ends import End
from rillgate.telemetry.logs import RequestRecord
from rillgate.telemetry.metric_list import QUEUE_BYTES, TOKEN_GAP_BOUNDS_S
from rillgate.telemetry.metrics import Metrics
from rillgate.telemetry.series import Histogram

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(metrics: Metrics) -> Samples:
    """Every sample of the rendered text by name and labels; a sample that comes twice is an error."""
    body, _ = metrics.render()
    samples: Samples = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples
            samples[key] = sample.value
    return samples


def value(samples: Samples, name: str, **labels: str) -> float:
    """One sample."""
    return samples[name, frozenset(labels.items())]


def models(samples: Samples) -> set[str]:
    """All values of the label `model`, whatever the metric calls it."""
    called = ("model", "gen_ai_request_model")
    return {value for _, labels in samples for name, value in labels if name in called}


def test_metrics_of_a_stream_are_rendered_by_provider_and_model() -> None:
    """One stream leaves its tokens, its times and its end, and is active only while it lasts."""
    metrics = Metrics()
    stream = metrics.for_stream("lab", "m1")
    assert value(scrape(metrics), "llm_active_streams") == 1
    stream.first_token(0.3)
    for gap in (0.004, 0.02, 99.0):
        stream.gap(gap)
    stream.ended(End.FINISHED, 11, 7)
    samples = scrape(metrics)
    assert value(samples, "llm_active_streams") == 0
    assert value(samples, "llm_streams_total", provider="lab", end="finished") == 1
    assert value(samples, "llm_tokens_total", provider="lab", model="m1", kind="input") == 11
    assert value(samples, "llm_tokens_total", provider="lab", model="m1", kind="output") == 7
    latency = "llm_token_latency_seconds"
    assert value(samples, f"{latency}_count", provider="lab", model="m1") == 3
    assert value(samples, f"{latency}_sum", provider="lab", model="m1") == pytest.approx(99.024)
    for bound, count in {"0.0025": 0, "0.005": 1, "0.01": 1, "0.02": 2, "10.0": 2, "+Inf": 3}.items():
        assert value(samples, f"{latency}_bucket", provider="lab", model="m1", le=bound) == count
    first = "llm_time_to_first_token_seconds"
    assert value(samples, f"{first}_count", provider="lab", model="m1") == 1
    assert value(samples, f"{first}_bucket", provider="lab", model="m1", le="0.25") == 0
    assert value(samples, f"{first}_bucket", provider="lab", model="m1", le="0.5") == 1


def test_metrics_families_have_their_types_and_help() -> None:
    """Names and types are what dashboards are built on; before any stream all are there already."""
    body, content_type = Metrics().render()
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    types = {name: family.type for name, family in families.items() if name.startswith(("llm_", "gen_ai_"))}
    assert types == {
        "llm_requests": "counter",
        "llm_streams": "counter",
        "llm_active_streams": "gauge",
        "llm_active_streams_max": "gauge",
        "llm_time_to_first_token_seconds": "histogram",
        "gen_ai_server_time_to_first_token_seconds": "histogram",
        "llm_token_latency_seconds": "histogram",
        "gen_ai_server_time_per_output_token_seconds": "histogram",
        "gen_ai_server_request_duration_seconds": "histogram",
        "llm_tokens": "counter",
        "gen_ai_client_token_usage": "histogram",
        "gen_ai_client_inference_usage_cache_read_input_tokens": "counter",
        "gen_ai_client_inference_usage_cache_write_input_tokens": "counter",
        "gen_ai_client_inference_usage_reasoning_output_tokens": "counter",
        "llm_cost_usd": "counter",
        "llm_queue_bytes": "gauge",
        "llm_stall_seconds": "counter",
        "llm_pause_seconds": "counter",
        "llm_failovers": "counter",
        "llm_retries": "counter",
        "llm_cooldowns": "counter",
        "llm_ledger_duration_seconds": "histogram",
        "llm_budget_denials": "counter",
        "llm_budget_warnings": "counter",
        "llm_unaccounted_requests": "counter",
        "llm_settle_failures": "counter",
        "llm_holds_captured": "counter",
        "llm_loop_lag_seconds": "gauge",
        "llm_workers": "gauge",
    }
    assert all(family.documentation for family in families.values())
    assert "python_info" in families
    assert "python_gc_collections" in families
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"


def test_metrics_of_budgets_count_denials_by_reason_and_failures_of_the_ledger() -> None:
    """What an operator is alerted by: who is refused and why, and what was not accounted."""
    metrics = Metrics()
    for reason in ("insufficient_quota", "rate_limit_exceeded", "insufficient_quota"):
        metrics.budget_denied(reason)
    metrics.unaccounted()
    metrics.settle_failed()
    metrics.settle_failed()
    samples = scrape(metrics)
    assert value(samples, "llm_budget_denials_total", reason="insufficient_quota") == 2
    assert value(samples, "llm_budget_denials_total", reason="rate_limit_exceeded") == 1
    assert value(samples, "llm_unaccounted_requests_total") == 1
    assert value(samples, "llm_settle_failures_total") == 2


def test_metrics_of_budgets_count_warnings_by_kind_of_scope_and_captured_holds() -> None:
    """A mark is counted under what kind of scope passed it."""
    metrics = Metrics()
    for kind, percent in (("team", 80), ("team", 80), ("key", 95)):
        metrics.budget_warning(kind, percent)
    metrics.hold_captured()
    samples = scrape(metrics)
    assert value(samples, "llm_budget_warnings_total", scope="team", percent="80") == 2
    assert value(samples, "llm_budget_warnings_total", scope="key", percent="95") == 1
    assert value(samples, "llm_holds_captured_total") == 1


def record(**fields: Any) -> RequestRecord:
    """A request of the provider "lab" that came whole; `fields` are added or replace its own."""
    given = {
        "request_id": "req_1",
        "method": "POST",
        "route": "/v1/chat/completions",
        "status": 200,
        "end": End.FINISHED,
        "provider": "lab",
        "routed_model": "m",
        "dialect": "chat_completions",
        **fields,
    }
    return RequestRecord(**given)


def served(metrics: Metrics, **fields: Any) -> None:
    """A stream that answered with text, and what its record says."""
    stream = metrics.for_stream(fields.get("provider", "lab"), fields.get("routed_model", "m"))
    stream.first_token(0.1)
    stream.ended(fields.get("end", End.FINISHED), 1, 1)
    metrics.request(record(**fields))


GEN_AI = {
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "aws.bedrock",
    "gen_ai_request_model": "m",
    "provider": "lab",
}


def test_metrics_of_a_record_go_by_the_names_of_the_conventions() -> None:
    """Durations, tokens of a request, and the parts of them that the price or the quality depends on."""
    metrics = Metrics(providers={"lab": "bedrock"})
    served(
        metrics,
        ttft_ms=100.0,
        duration_ms=1100.0,
        input_tokens=300,
        output_tokens=101,
        cached_input_tokens=200,
        cache_write_tokens=50,
        reasoning_tokens=40,
        cost_usd=0.25,
        stall_s=0.5,
        pause_s=2.0,
    )
    samples = scrape(metrics)
    first = "gen_ai_server_time_to_first_token_seconds"
    assert value(samples, f"{first}_count", **GEN_AI) == 1
    each = "gen_ai_server_time_per_output_token_seconds"
    assert value(samples, f"{each}_sum", **GEN_AI) == pytest.approx(0.01)
    assert value(samples, "gen_ai_server_request_duration_seconds_sum", **GEN_AI, error_type="") == pytest.approx(1.1)
    usage = "gen_ai_client_token_usage"
    assert value(samples, f"{usage}_sum", **GEN_AI, gen_ai_token_type="input") == 300
    assert value(samples, f"{usage}_sum", **GEN_AI, gen_ai_token_type="output") == 101
    assert value(samples, f"{usage}_bucket", **GEN_AI, gen_ai_token_type="output", le="64.0") == 0
    assert value(samples, f"{usage}_bucket", **GEN_AI, gen_ai_token_type="output", le="256.0") == 1
    for part, count in {"cache_read_input": 200, "cache_write_input": 50, "reasoning_output": 40}.items():
        name = f"gen_ai_client_inference_usage_{part}_tokens_total"
        assert value(samples, name, **GEN_AI, gen_ai_token_modality="unknown") == count
    assert value(samples, "llm_cost_usd_total", provider="lab", model="m") == 0.25
    assert value(samples, "llm_stall_seconds_total", provider="lab") == 0.5
    assert value(samples, "llm_pause_seconds_total", provider="lab") == 2


REQUEST = {"route": "/v1/chat/completions", "dialect": "chat_completions", "provider": "lab"}


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        ({}, {"model": "m", "end": "finished", "status": "200"}),
        ({"end": End.DEADLINE}, {"model": "m", "end": "deadline", "status": "200"}),
        ({"end": End.CLIENT_GONE, "status": None}, {"model": "m", "end": "client_gone", "status": ""}),
        ({"end": None, "status": 429}, {"model": "m", "end": "refused", "status": "429"}),
        (
            {"routed_model": "made-up", "end": None, "status": 404},
            {"model": "other", "end": "refused", "status": "404"},
        ),
        (
            {"routed_model": "made-up", "end": End.UPSTREAM_ERROR, "status": 404},
            {"model": "other", "end": "upstream_error", "status": "404"},
        ),
        (
            {"provider": None, "routed_model": None, "dialect": None, "end": None, "status": 401},
            {"provider": "", "model": "", "dialect": "", "end": "refused", "status": "401"},
        ),
        (
            {"provider": None, "routed_model": None, "dialect": None, "end": None, "route": "/v1/models"},
            {"provider": "", "model": "", "dialect": "", "end": "answered", "status": "200", "route": "/v1/models"},
        ),
        (
            {"end": None, "status": None},
            {"model": "m", "end": "refused", "status": ""},
        ),
    ],
)
def test_metrics_count_requests_by_what_became_of_them(fields: dict[str, Any], labels: dict[str, str]) -> None:
    """Every one is in there once; a name that no provider answers to has no label of its own."""
    metrics = Metrics()
    stream = metrics.for_stream("lab", "m")
    stream.first_token(0.1)
    metrics.request(record(**fields))
    samples = scrape(metrics)
    assert value(samples, "llm_requests_total", **{**REQUEST, **labels}) == 1
    assert sum(count for (name, _), count in samples.items() if name == "llm_requests_total") == 1


def test_metrics_of_a_request_that_failed_keep_its_time_apart() -> None:
    """A minute that ended in an error is not how long answers take; nor does it say how fast tokens come."""
    metrics = Metrics()
    served(metrics, ttft_ms=1.0, duration_ms=60_000.0, output_tokens=9, end=End.TRUNCATED)
    metrics.request(record(routed_model="never", duration_ms=5.0, end=End.UPSTREAM_ERROR, status=502))
    samples = scrape(metrics)
    labels = {**GEN_AI, "gen_ai_provider_name": "lab"}
    duration = "gen_ai_server_request_duration_seconds_count"
    assert value(samples, duration, **labels, error_type="truncated") == 1
    other = {**labels, "gen_ai_request_model": "other"}
    assert value(samples, duration, **other, error_type="upstream_error") == 1
    assert value(samples, duration, **labels, error_type="") == 0
    assert value(samples, "gen_ai_server_time_per_output_token_seconds_count", **labels) == 0
    assert models(samples) == {"m", "other"}


def test_metrics_of_a_whole_answer_have_no_time_for_each_token() -> None:
    """Nobody saw its first token."""
    metrics = Metrics()
    metrics.for_stream("lab", "m").ended(End.FINISHED, 3, 9)
    metrics.request(record(duration_ms=900.0, input_tokens=3, output_tokens=9))
    samples = scrape(metrics)
    labels = {**GEN_AI, "gen_ai_provider_name": "lab"}
    assert value(samples, "gen_ai_server_time_per_output_token_seconds_count", **labels) == 0
    assert value(samples, "gen_ai_client_token_usage_sum", **labels, gen_ai_token_type="output") == 9


def test_metrics_of_configured_providers_are_there_before_anything_happens() -> None:
    """What has not happened yet is 0: a rate over a series that appears with its first count misses that one."""
    samples = scrape(Metrics(providers={"lab": "openai"}))
    for name in ("llm_failovers", "llm_retries", "llm_cooldowns", "llm_stall_seconds", "llm_pause_seconds"):
        assert value(samples, f"{name}_total", provider="lab") == 0
    for operation in ("authorize", "extend", "settle"):
        assert value(samples, "llm_ledger_duration_seconds_count", operation=operation) == 0


def test_metrics_of_failover_and_ledger_are_counted() -> None:
    """Each under whose fault it is, and what it was."""
    metrics = Metrics()
    for count in (metrics.failed_over, metrics.retried, metrics.cools_down):
        count("lab")
    metrics.failed_over("lab")
    metrics.ledger("settle", 0.004)
    metrics.ledger("settle", 0.3)
    samples = scrape(metrics)
    assert value(samples, "llm_failovers_total", provider="lab") == 2
    assert value(samples, "llm_retries_total", provider="lab") == 1
    assert value(samples, "llm_cooldowns_total", provider="lab") == 1
    ledger = "llm_ledger_duration_seconds"
    assert value(samples, f"{ledger}_sum", operation="settle") == pytest.approx(0.304)
    assert value(samples, f"{ledger}_bucket", operation="settle", le="0.005") == 1


def test_metrics_gauges_are_asked_when_they_are_shown() -> None:
    """Nothing is counted on the way of a chunk."""
    metrics = Metrics()
    waiting = [5.0, 7.0]
    metrics.watch(QUEUE_BYTES, waiting.pop)
    assert [value(scrape(metrics), "llm_queue_bytes") for _ in range(2)] == [7, 5]


def test_metrics_streams_of_one_model_share_their_series() -> None:
    """Two streams add up; different providers and ends stay apart."""
    metrics = Metrics()
    one, two, other = (metrics.for_stream(provider, "m") for provider in ("a", "a", "b"))
    for stream, end in ((one, End.FINISHED), (two, End.CLIENT_GONE), (other, End.FINISHED)):
        stream.first_token(0.1)
        stream.gap(0.01)
        stream.ended(end, None, 5)
    samples = scrape(metrics)
    assert value(samples, "llm_tokens_total", provider="a", model="m", kind="output") == 10
    assert value(samples, "llm_tokens_total", provider="a", model="m", kind="input") == 0
    assert value(samples, "llm_token_latency_seconds_count", provider="a", model="m") == 2
    assert value(samples, "llm_token_latency_seconds_count", provider="b", model="m") == 1
    assert value(samples, "llm_streams_total", provider="a", end="client_gone") == 1
    assert value(samples, "llm_streams_total", provider="b", end="finished") == 1


def test_metrics_stream_ended_twice_counts_once() -> None:
    """Only the first end counts: the gauge never goes below what is active."""
    metrics = Metrics()
    stream = metrics.for_stream("a", "m")
    stream.ended(End.STALLED, 1, 1)
    stream.ended(End.FINISHED, 1, 1)
    samples = scrape(metrics)
    assert metrics.active_streams == 0
    assert value(samples, "llm_streams_total", provider="a", end="stalled") == 1
    assert ("llm_streams_total", frozenset({("provider", "a"), ("end", "finished")})) not in samples
    assert value(samples, "llm_tokens_total", provider="a", model="m", kind="output") == 1


def test_metrics_models_past_the_bound_become_other() -> None:
    """Clients choose names, so names are bounded; nothing is lost, and a known model keeps its series."""
    metrics = Metrics(models_max=3)
    for number in range(10):
        stream = metrics.for_stream("a", f"m{number}")
        stream.first_token(0.1)
        stream.ended(End.FINISHED, 1, 1)
    again = metrics.for_stream("a", "m0")
    again.first_token(0.1)
    again.ended(End.FINISHED, 1, 1)
    samples = scrape(metrics)
    assert models(samples) == {"m0", "m1", "m2", "other"}
    assert value(samples, "llm_tokens_total", provider="a", model="other", kind="output") == 7
    assert value(samples, "llm_tokens_total", provider="a", model="m0", kind="output") == 2


def test_metrics_model_that_never_answered_takes_no_series() -> None:
    """A made-up name that its provider refuses leaves its end, and no label."""
    metrics = Metrics()
    metrics.for_stream("a", "made-up").ended(End.UPSTREAM_ERROR)
    samples = scrape(metrics)
    assert models(samples) == set()
    assert value(samples, "llm_streams_total", provider="a", end="upstream_error") == 1


def test_metrics_odd_model_name_is_cut_and_escaped() -> None:
    """A name with quotes, line ends and great length cannot break the text nor fill it."""
    name = 'a"b\\c\n' + "x" * 10_000
    metrics = Metrics()
    stream = metrics.for_stream("a", name)
    stream.first_token(0.1)
    stream.ended(End.FINISHED)
    assert models(scrape(metrics)) == {name[:200]}


def test_metrics_gap_fetched_before_the_first_token_still_counts() -> None:
    """A caller that keeps `gap` from the start loses nothing."""
    metrics = Metrics()
    stream = metrics.for_stream("a", "m")
    gap = stream.gap
    gap(0.01)
    stream.first_token(0.1)
    gap(0.01)
    stream.gap(0.01)
    assert value(scrape(metrics), "llm_token_latency_seconds_count", provider="a", model="m") == 3


def test_metrics_with_given_registry_share_it_and_not_the_default() -> None:
    """Several registries live side by side, and a given one keeps what others put there."""
    registry = CollectorRegistry()
    Gauge("mine", "Something else.", registry=registry).set(4)
    metrics = Metrics(registry)
    Metrics()
    samples = scrape(metrics)
    assert value(samples, "mine") == 4
    assert value(samples, "llm_active_streams") == 0


def test_histogram_value_on_a_bound_belongs_to_it() -> None:
    """Bounds are inclusive, and every value is in exactly one bucket."""
    histogram = Histogram(TOKEN_GAP_BOUNDS_S)
    for bound in TOKEN_GAP_BOUNDS_S:
        histogram.observe(bound)
        histogram.observe(math.nextafter(bound, math.inf))
    assert histogram.counts == [1, *[2] * (len(TOKEN_GAP_BOUNDS_S) - 1), 1]
    assert histogram.buckets()[-1] == ("+Inf", 2.0 * len(TOKEN_GAP_BOUNDS_S))
