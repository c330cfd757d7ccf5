"""The one list of metrics, against what it stands for."""

from __future__ import annotations

import re
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from rillgate.domain.ends import End
from rillgate.telemetry.logs import RequestRecord
from rillgate.telemetry.metric_list import (
    CLOUDWATCH_BASIC,
    CLOUDWATCH_SPLITS,
    LOOP_LAG,
    METRICS,
    QUEUE_BYTES,
    STREAMS_MAX,
)
from rillgate.telemetry.metrics import Metrics

OURS: Final = ("llm_", "gen_ai_")
SHOWN_BEFORE: Final = {
    "llm_tokens": {"provider", "model", "kind"},
    "llm_token_latency_seconds": {"provider", "model"},
    "llm_time_to_first_token_seconds": {"provider", "model"},
    "llm_active_streams": set[str](),
    "llm_streams": {"provider", "end"},
    "llm_budget_denials": {"reason"},
    "llm_unaccounted_requests": set(),
    "llm_settle_failures": set(),
    "llm_budget_warnings": {"scope", "percent"},
    "llm_holds_captured": set(),
    "llm_workers": set(),
}


def test_metric_list_is_what_metrics_shows() -> None:
    """Every entry with a name is on the page, and no other metric of ours."""
    body, _ = Metrics().render()
    shown = {family.name: family for family in text_string_to_metric_families(body.decode())}
    listed = {metric.name: metric for metric in METRICS}
    assert listed.keys() == {name for name in shown if name.startswith(OURS)}
    for name, metric in listed.items():
        assert (shown[name].type, shown[name].documentation) == (metric.kind, metric.text)


def test_metric_list_names_each_metric_once() -> None:
    """One name means one thing, on the page and in CloudWatch."""
    pages = [metric.name for metric in METRICS]
    clouds = [each.name for metric in METRICS for each in metric.cloudwatch]
    assert len(set(pages)) == len(pages)
    assert len(set(clouds)) == len(clouds)


def test_metric_list_has_a_basic_set_for_cloudwatch_that_is_free() -> None:
    """Ten custom metrics an account are free; a deployment with nothing else in the account pays for none."""
    sent = {each for metric in METRICS for each in metric.cloudwatch}
    assert len(CLOUDWATCH_BASIC) <= 10
    assert set(CLOUDWATCH_BASIC) <= sent
    assert {each for split in CLOUDWATCH_SPLITS for each in split.metrics} <= set(CLOUDWATCH_BASIC)


def test_metric_list_names_keep_to_the_rules_of_prometheus() -> None:
    """No name ends as the format itself makes names end, and times are in seconds."""
    for metric in METRICS:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_ms"))
        assert metric.text.endswith(".")
        assert bool(metric.bounds) is (metric.kind == "histogram")
        assert list(metric.bounds) == sorted(set(metric.bounds))
        assert metric.over == "sum" or metric.kind == "gauge"


def test_metric_list_keeps_the_names_that_dashboards_were_built_on() -> None:
    """A name that was once shown never goes, nor do its labels."""
    now = {metric.name: set(metric.labels) for metric in METRICS}
    for name, labels in SHOWN_BEFORE.items():
        assert labels <= now[name]


def test_metric_list_values_fit_their_labels() -> None:
    """Whatever is counted has a value for each label of its metric, and everything in the list is counted."""
    metrics = Metrics(providers={"lab": "bedrock"})
    metrics.watch(QUEUE_BYTES, lambda: 1)
    metrics.watch(STREAMS_MAX, lambda: 1)
    metrics.watch(LOOP_LAG, lambda: 1)
    stream = metrics.for_stream("lab", "m")
    stream.first_token(0.1)
    stream.gap(0.01)
    stream.ended(End.FINISHED, 1, 1)
    metrics.request(
        RequestRecord(
            request_id="req_1",
            method="POST",
            route="/chat",
            end=End.FINISHED,
            provider="lab",
            routed_model="m",
            duration_ms=1.0,
            cost_usd=1.0,
        )
    )
    metrics.budget_denied("insufficient_quota")
    metrics.budget_warning("team", 80)
    assert {metric for metric, labels, _ in metrics.values() if len(labels) == len(metric.labels)} == set(METRICS)
    assert {metric for metric, labels, _ in metrics.values() if len(labels) != len(metric.labels)} == set()
