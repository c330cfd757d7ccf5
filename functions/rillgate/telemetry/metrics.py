"""Every metric of the gateway, kept in plain counters; `prometheus` renders them.

The list of metrics is `metric_list`. Streams report through a `StreamMetrics`, made once for each stream, so that a
token costs one call. The counters are our own behind prometheus_client's collector interface: its
`Histogram.observe` was measured at 1.0 to 1.4 µs under two locks, ours at 0.2 in the same run, and everything here
is counted on one event loop, where no lock is needed. What renders them is imported when it is asked for: a function
on Lambda never is, and goes without the package.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING

from rillgate.domain.ends import End
from rillgate.telemetry import metric_list
from rillgate.telemetry.metric_list import CloudWatchMetric, Metric

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

MODELS_MAX = 200  # clients choose model names, so the number of time series needs a bound; the rest is OTHER_MODEL
MODEL_CHARS_MAX = 200
OTHER_MODEL = "other"
STORE_FAILED = "budget_unavailable"  # the reason of a refusal that no budget is to blame for

# Seconds. From a fast provider's millisecond to a stream that pauses: most models send a token each 5 to 50 ms.
TOKEN_GAP_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Seconds. Up to 300, which a reasoning model or a cold local one may take.
FIRST_TOKEN_BOUNDS_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)


class Histogram:
    """Counts of values by upper bound; a value that equals a bound belongs to it (`le`)."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts, as the exposition format wants them: [("0.001", 3.0), …, ("+Inf", 9.0)]."""
        cumulative = 0
        pairs = []
        for bound, count in zip((*self._bounds, inf), self.counts, strict=True):
            cumulative += count
            pairs.append(("+Inf" if bound == inf else str(bound), float(cumulative)))
        return pairs


class _Series:
    """What is kept for one provider and one model label."""

    __slots__ = ("first_token", "gap", "input_tokens", "output_tokens")

    def __init__(self) -> None:
        self.first_token = Histogram(FIRST_TOKEN_BOUNDS_S)
        self.gap = Histogram(TOKEN_GAP_BOUNDS_S)
        self.input_tokens = 0
        self.output_tokens = 0


class StreamMetrics:
    """The metrics of one stream, from `Metrics.for_stream` to `ended`. Call `ended` exactly when the stream is over.

    Attributes:
        gap: call with the seconds between two content chunks. After `first_token` it is the histogram's own bound
            method, so fetch it from here at each use, or after the first token.
    """

    __slots__ = ("_ended", "_metrics", "_model", "_provider", "_series", "gap")

    gap: Callable[[float], None]

    def __init__(self, metrics: Metrics, provider: str, model: str) -> None:
        self._metrics = metrics
        self._provider = provider
        self._model = model
        self._series: _Series | None = None
        self._ended = False
        self.gap = self._first_gap

    def move(self, provider: str, model: str) -> None:
        """Another upstream is asked, before anything has come from the one before."""
        self._provider, self._model, self._series = provider, model, None
        self.gap = self._first_gap

    def first_token(self, seconds: float) -> None:
        """The first content chunk came, `seconds` after the request."""
        self._resolve().first_token.observe(seconds)

    def ended(self, end: End, input_tokens: int | None = None, output_tokens: int | None = None) -> None:
        """The stream is over; only the first call counts. Unknown token counts are None and add nothing."""
        if self._ended:
            return
        self._ended = True
        self.gap = _nothing  # else it may be our own method
        self._metrics.stream_over(self._provider, end)
        if input_tokens or output_tokens:
            series = self._resolve()
            series.input_tokens += input_tokens or 0
            series.output_tokens += output_tokens or 0

    def _first_gap(self, seconds: float) -> None:
        self._resolve().gap.observe(seconds)

    def _resolve(self) -> _Series:
        # Only now, not when the stream began: a made-up name that its provider refuses takes no label from others.
        if self._series is None:
            self._series = self._metrics.series(self._provider, self._model)
            self.gap = self._series.gap.observe
        return self._series


class Metrics:
    """All metrics of one process.

    Args:
        registry: where to register; a new one when None. The process-wide default is never used.
        models_max: how many pairs of provider and model get time series of their own.

    Attributes:
        tell: told at once of what no request's own record says; for a home where nobody scrapes.
    """

    def __init__(self, registry: CollectorRegistry | None = None, *, models_max: int = MODELS_MAX) -> None:
        self._registry = registry
        self._registered = False
        self.tell: Callable[[CloudWatchMetric], None] | None = None
        self._models_max = models_max
        self._series: dict[tuple[str, str], _Series] = {}
        self._active = 0
        self._ends: Counter[tuple[str, str]] = Counter()
        self._denials: Counter[str] = Counter()
        self._unaccounted = 0
        self._settle_failures = 0
        self._warnings: Counter[tuple[str, str]] = Counter()
        self._captured = 0

    @property
    def active_streams(self) -> int:
        """Streams begun and not ended."""
        return self._active

    def for_stream(self, provider: str, model: str) -> StreamMetrics:
        """A stream begins: it is active until `StreamMetrics.ended`.

        Args:
            provider: the configured provider's name.
            model: the routed model, as the provider is asked for it.
        """
        self._active += 1
        return StreamMetrics(self, provider, model)

    def stream_over(self, provider: str, end: End) -> None:
        """For `StreamMetrics.ended`: one active stream less, one end more."""
        self._active -= 1
        self._ends[provider, end.value] += 1

    def budget_denied(self, reason: str) -> None:
        """A request was refused by its budgets. `reason` is the error's code, one of few."""
        self._denials[reason] += 1
        self._told(metric_list.LEDGER_FAILURES if reason == STORE_FAILED else metric_list.DENIALS)

    def unaccounted(self) -> None:
        """A request is served although the ledger's store failed, and charged to nobody."""
        self._unaccounted += 1
        self._told(metric_list.LEDGER_FAILURES)

    def settle_failed(self) -> None:
        """A hold could not be settled; it is captured when it expires."""
        self._settle_failures += 1
        self._told(metric_list.SETTLE_FAILURES)

    def budget_warning(self, scope_kind: str, percent: int) -> None:
        """A scope passed a warning mark. Of the scope only its kind, such as "team": names would be without number."""
        self._warnings[scope_kind, str(percent)] += 1

    def hold_captured(self) -> None:
        """A hold whose process had died was captured here."""
        self._captured += 1
        self._told(metric_list.HOLDS_CAPTURED)

    def _told(self, metric: CloudWatchMetric) -> None:
        if self.tell is not None:
            self.tell(metric)

    def series(self, provider: str, model: str) -> _Series:
        """For `StreamMetrics`: the counters of a model, or of "other" when too many models have theirs already."""
        key = (provider, model[:MODEL_CHARS_MAX])
        if key not in self._series and len(self._series) >= self._models_max:
            key = (provider, OTHER_MODEL)  # one more for each provider, and providers are configured
        return self._series.setdefault(key, _Series())

    def values(self) -> Iterator[tuple[Metric, tuple[str, ...], float | Histogram]]:
        """Everything that was counted: the metric, the values of its labels, and the number or the histogram."""
        for (provider, model), series in list(self._series.items()):
            yield metric_list.TOKENS, (provider, model, "input"), series.input_tokens
            yield metric_list.TOKENS, (provider, model, "output"), series.output_tokens
            yield metric_list.TOKEN_LATENCY, (provider, model), series.gap
            yield metric_list.FIRST_TOKEN, (provider, model), series.first_token
        yield metric_list.ACTIVE_STREAMS, (), self._active
        for labels, count in list(self._ends.items()):
            yield metric_list.STREAMS, labels, count
        for reason, count in list(self._denials.items()):
            yield metric_list.BUDGET_DENIALS, (reason,), count
        yield metric_list.UNACCOUNTED, (), self._unaccounted
        yield metric_list.UNSETTLED, (), self._settle_failures
        for mark, count in list(self._warnings.items()):
            yield metric_list.BUDGET_WARNINGS, mark, count
        yield metric_list.CAPTURED, (), self._captured
        yield metric_list.WORKERS, (), 1  # this one; whoever adds several processes up gets their number

    def render(self) -> tuple[bytes, str]:
        """What `GET /metrics` answers: the body and its content type.

        May run in a thread beside the loop, and should: with 200 models it takes some 50 ms (570 KB).
        """
        from rillgate.telemetry.prometheus import render  # noqa: PLC0415 (see the head of this module)

        return render(self.registry)

    @property
    def registry(self) -> CollectorRegistry:
        """Where they are registered, which happens now if it has not."""
        from rillgate.telemetry.prometheus import register  # noqa: PLC0415

        if self._registry is None or not self._registered:
            self._registry = register(self, self._registry)
            self._registered = True
        return self._registry


def _nothing(seconds: float) -> None:
    """A stream that is over has no gaps."""
