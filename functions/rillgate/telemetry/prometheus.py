"""The counters of `metrics`, rendered for Prometheus. Imported when `/metrics` is first asked for.

Source: Prometheus text exposition format 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from rillgate.telemetry.metric_list import METRICS, Metric
from rillgate.telemetry.metrics import Metrics
from rillgate.telemetry.series import Histogram

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

_FAMILIES: dict[str, type[Family]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


class Counted(Protocol):
    """Numbers to be shown: `Metrics` of this process, or the `Snapshot` that is the sum over several."""

    def values(self) -> Iterator[tuple[Metric, tuple[str, ...], float | Histogram]]:
        """The metric, the values of its labels, and the number or the histogram."""


class _Collector(Collector):
    """What was counted, in prometheus_client's terms."""

    def __init__(self, counted: Counted) -> None:
        self._counted = counted

    def collect(self) -> Iterable[Family]:
        """All families of the list, those without samples too."""
        families = {metric: _family(metric) for metric in METRICS}
        for metric, labels, value in self._counted.values():
            family = families[metric]
            if isinstance(family, HistogramMetricFamily) and isinstance(value, Histogram):
                family.add_metric(labels, value.buckets(), value.total)
            elif not isinstance(family, HistogramMetricFamily) and not isinstance(value, Histogram):
                family.add_metric(labels, value)
        return families.values()


def register(metrics: Metrics, registry: CollectorRegistry | None) -> CollectorRegistry:
    """`registry`, or a new one, with what `metrics` counts and what is known about the process."""
    registry = registry if registry is not None else CollectorRegistry()
    registry.register(_Collector(metrics))
    ProcessCollector(registry=registry)  # process_…: memory, processor time, open files
    PlatformCollector(registry=registry)  # python_info
    GCCollector(registry=registry)  # python_gc_…
    return registry


def render(registry: CollectorRegistry) -> tuple[bytes, str]:
    """The text and its content type."""
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


def render_values(counted: Counted) -> tuple[bytes, str]:
    """The text of these numbers alone, and its content type: process_… and python_… would be those of one process."""
    registry = CollectorRegistry()
    registry.register(_Collector(counted))
    return render(registry)


def _family(metric: Metric) -> Family:
    return _FAMILIES[metric.kind](metric.name, metric.text, labels=metric.labels)
