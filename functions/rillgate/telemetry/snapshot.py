"""What one process has counted, as a value that can be sent, and the sum over processes that come and go.

    Metrics ──snapshot_of──► Snapshot ──JSON──► Totals.told ─┐
    another process's        Snapshot ──JSON──► Totals.told ─┴─ total() ──► Snapshot ──► prometheus.render_values

A process that has gone leaves its counters behind, as it told them last; its gauges go with it. So no counter of
`total()` is ever lower than one that an earlier `total()` gave.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from rillgate.telemetry.metric_list import METRICS, Metric
from rillgate.telemetry.metrics import MODELS_MAX, OTHER_MODEL, Metrics
from rillgate.telemetry.series import Histogram

MODEL_LABELS = ("model", "gen_ai_request_model")

_BY_NAME = {metric.name: metric for metric in METRICS}
# Where among a metric's labels the provider and the model stand, in each that has both.
_PAIR_AT = {
    metric.name: (metric.labels.index("provider"), metric.labels.index(label))
    for metric in METRICS
    for label in MODEL_LABELS
    if label in metric.labels
}

Series = tuple[str, tuple[str, ...]]
"""A metric's name and the values of its labels."""


class Count(msgspec.Struct, frozen=True, array_like=True):
    """A counter or a gauge: the metric's name, the values of its labels, the number."""

    name: str
    labels: tuple[str, ...]
    value: float


class Spread(msgspec.Struct, frozen=True, array_like=True):
    """A histogram: as `Count`, with the count of each bucket by itself, and the sum of all values."""

    name: str
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    total: float


class Snapshot(msgspec.Struct, frozen=True):
    """Everything that was counted, at one moment."""

    counts: tuple[Count, ...] = ()
    spreads: tuple[Spread, ...] = ()

    def values(self) -> Iterator[tuple[Metric, tuple[str, ...], float | Histogram]]:
        """As `Metrics.values`."""
        for count in self.counts:
            yield _BY_NAME[count.name], count.labels, count.value
        for spread in self.spreads:
            metric = _BY_NAME[spread.name]
            histogram = Histogram(metric.bounds)
            histogram.counts, histogram.total = list(spread.counts), spread.total
            yield metric, spread.labels, histogram


def snapshot_of(metrics: Metrics) -> Snapshot:
    """What a process has counted so far."""
    counts, spreads = [], []
    for metric, labels, value in metrics.values():
        if isinstance(value, Histogram):
            spreads.append(Spread(metric.name, labels, tuple(value.counts), value.total))
        else:
            counts.append(Count(metric.name, labels, value))
    return Snapshot(tuple(counts), tuple(spreads))


class Totals:
    """The sum over processes.

    Args:
        models_max: how many pairs of provider and model get time series of their own, over all processes. Who is among
            them stays among them: the bound moves no count from one series to another that was shown before.
    """

    def __init__(self, models_max: int = MODELS_MAX) -> None:
        self._models_max = models_max
        self._known: set[tuple[str, str]] = set()
        self._living: dict[int, Snapshot] = {}
        self._gone = _Sum()

    def told(self, who: int, snapshot: Snapshot) -> None:
        """What a living process has counted since it began.

        Args: who: a number that no other process has or had.
        """
        self._living[who] = self._within_bound(snapshot)

    def gone(self, who: int) -> None:
        """It lives no more; what it told last is kept, without its gauges."""
        last = self._living.pop(who, None)
        if last is not None:
            counters = tuple(count for count in last.counts if _BY_NAME[count.name].kind != "gauge")
            self._gone.add(Snapshot(counters, last.spreads))

    def total(self) -> Snapshot:
        """All of it."""
        whole = _Sum()
        for snapshot in (self._gone.snapshot(), *self._living.values()):
            whole.add(snapshot)
        return whole.snapshot()

    def _within_bound(self, snapshot: Snapshot) -> Snapshot:
        bounded = _Sum()
        bounded.add(
            Snapshot(
                tuple(Count(each.name, self._labels(each.name, each.labels), each.value) for each in snapshot.counts),
                tuple(
                    Spread(each.name, self._labels(each.name, each.labels), each.counts, each.total)
                    for each in snapshot.spreads
                ),
            )
        )
        return bounded.snapshot()

    def _labels(self, name: str, labels: tuple[str, ...]) -> tuple[str, ...]:
        if name not in _PAIR_AT:
            return labels
        provider_at, model_at = _PAIR_AT[name]
        pair = (labels[provider_at], labels[model_at])
        if pair[1] in ("", OTHER_MODEL) or pair in self._known:
            return labels
        if len(self._known) >= self._models_max:
            return (*labels[:model_at], OTHER_MODEL, *labels[model_at + 1 :])
        self._known.add(pair)
        return labels


class _Sum:
    """Puts snapshots together, series by series: their sum, or of some gauges the largest."""

    def __init__(self) -> None:
        self._counts: dict[Series, float] = {}
        self._spreads: dict[Series, tuple[tuple[int, ...], float]] = {}

    def add(self, snapshot: Snapshot) -> None:
        for count in snapshot.counts:
            series = (count.name, count.labels)
            before = self._counts.get(series)
            if before is None:
                self._counts[series] = count.value
            elif _BY_NAME[count.name].over == "max":
                self._counts[series] = max(before, count.value)
            else:
                self._counts[series] = before + count.value
        for spread in snapshot.spreads:
            series = (spread.name, spread.labels)
            counts, total = self._spreads.get(series, ((0,) * len(spread.counts), 0.0))
            added = tuple(one + other for one, other in zip(counts, spread.counts, strict=True))
            self._spreads[series] = (added, total + spread.total)

    def snapshot(self) -> Snapshot:
        return Snapshot(
            tuple(Count(*series, value) for series, value in self._counts.items()),
            tuple(Spread(*series, *values) for series, values in self._spreads.items()),
        )
