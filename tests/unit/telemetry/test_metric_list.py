"""The one list of metrics, against what it stands for."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from rillgate.telemetry.metric_list import METRICS
from rillgate.telemetry.metrics import Metrics


def test_metric_list_is_what_metrics_shows() -> None:
    """Every entry with a name is on the page, and no other metric of ours."""
    body, _ = Metrics().render()
    shown = {family.name: family for family in text_string_to_metric_families(body.decode())}
    listed = {metric.name: metric for metric in METRICS if metric.name}
    assert listed.keys() == {name for name in shown if name.startswith("llm_")}
    for name, metric in listed.items():
        assert (shown[name].type, shown[name].documentation) == (metric.kind, metric.text)


def test_metric_list_names_each_metric_once() -> None:
    """One name means one thing, on the page and in CloudWatch."""
    pages = [metric.name for metric in METRICS if metric.name]
    clouds = [each.name for metric in METRICS for each in metric.cloudwatch]
    assert len(set(pages)) == len(pages)
    assert len(set(clouds)) == len(clouds)


def test_metric_list_sends_cloudwatch_no_more_than_is_free() -> None:
    """Ten custom metrics an account are free; a deployment with nothing else in the account pays for none."""
    assert sum(len(metric.cloudwatch) for metric in METRICS) <= 10


def test_metric_list_values_fit_their_labels() -> None:
    """Whatever is counted has a value for each label of its metric."""
    metrics = Metrics()
    stream = metrics.for_stream("lab", "m")
    stream.first_token(0.1)
    stream.gap(0.01)
    metrics.budget_denied("insufficient_quota")
    metrics.budget_warning("team", 80)
    seen = {metric.name for metric, labels, _ in metrics.values() if len(labels) == len(metric.labels)}
    assert {metric.name for metric, _, _ in metrics.values()} == seen
    assert len(seen) >= 8
