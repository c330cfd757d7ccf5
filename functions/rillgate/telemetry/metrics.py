"""Every metric of the gateway, kept in plain counters; `prometheus` renders them.

The list of metrics is `metric_list`. Streams report through a `StreamMetrics`, made once for each stream, so that a
token costs one call; the rest of what is known about a request is taken from its record, once, when it is over. The
counters are our own behind prometheus_client's collector interface: its `Histogram.observe` was measured at 1.0 to
1.4 µs under two locks, ours at 0.2 in the same run, and everything here is counted on one event loop, where no lock is
needed. What renders them is imported when it is asked for: a function on Lambda never is, and goes without the package.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Literal

from rillgate.domain.ends import End
from rillgate.telemetry import metric_list
from rillgate.telemetry.logs import RequestRecord
from rillgate.telemetry.metric_list import CloudWatchMetric, Metric
from rillgate.telemetry.series import Histogram, Series, is_whole

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

MODELS_MAX = 200  # clients choose model names, so the number of time series needs a bound; the rest is OTHER_MODEL
MODEL_CHARS_MAX = 200
OTHER_MODEL = "other"
STORE_FAILED = "budget_unavailable"  # the reason of a refusal that no budget is to blame for

# What OpenTelemetry calls providers of a kind; the others are called by the kind itself.
PROVIDER_NAMES: Final = {
    "openai_responses": "openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "azure": "azure.ai.openai",
}
OPERATION: Final = "chat"
MODALITY: Final = "unknown"  # no provider's usage is broken down by it
OPERATIONS: Final = ("authorize", "extend", "settle")  # of the ledger


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
        self._series: Series | None = None
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

    def _resolve(self) -> Series:
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
        providers: the kind of each configured provider, by its name; their counters are shown from the beginning.

    Attributes:
        tell: told at once of what no request's own record says; for a home where nobody scrapes.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        models_max: int = MODELS_MAX,
        providers: Mapping[str, str] | None = None,
    ) -> None:
        self._registry = registry
        self._registered = False
        self.tell: Callable[[CloudWatchMetric], None] | None = None
        self._models_max = models_max
        self._series: dict[tuple[str, str], Series] = {}
        self._active = 0
        self._ends: Counter[tuple[str, str]] = Counter()
        self._denials: Counter[str] = Counter({STORE_FAILED: 0})  # an alert stands on it
        self._unaccounted = 0
        self._settle_failures = 0
        self._warnings: Counter[tuple[str, str]] = Counter()
        self._captured = 0
        self._providers = {name: PROVIDER_NAMES.get(kind, kind) for name, kind in (providers or {}).items()}
        self._requests: Counter[tuple[str, str, str, str | None, str, int | None]] = Counter()
        self._durations: dict[tuple[str, str, str], Histogram] = {}
        self._cost = defaultdict[tuple[str, str], float](float)
        none_yet = dict.fromkeys(self._providers, 0)
        self._stall_s = defaultdict[str, float](float, none_yet)
        self._pause_s = defaultdict[str, float](float, none_yet)
        self._failovers: Counter[str] = Counter(none_yet)
        self._retries: Counter[str] = Counter(none_yet)
        self._cooldowns: Counter[str] = Counter(none_yet)
        self._ledger = {operation: Histogram(metric_list.LEDGER_TIME.bounds) for operation in OPERATIONS}
        self._gauges: dict[Metric, Callable[[], float]] = {}

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

    def watch(self, gauge: Metric, read: Callable[[], float]) -> None:
        """Ask `read` for this gauge's value whenever it is shown, in whatever thread that is."""
        self._gauges[gauge] = read

    def request(self, record: RequestRecord) -> None:
        """A request is over, whatever became of it."""
        provider, end = record.provider or "", record.end
        model = (record.routed_model or "")[:MODEL_CHARS_MAX]
        series = self._series.get((provider, model))  # a model has one once it has answered
        if series is None and model:
            model = OTHER_MODEL
        how = how_it_ended(record)
        self._requests[record.route, provider, model, record.dialect, how, record.status] += 1
        if end is None:
            return
        if series is not None and is_whole(end):
            series.whole(record)
        elif record.duration_ms is not None:
            self._failed(provider, model, how).observe(record.duration_ms / 1000)
        if series is not None:
            series.over(record)
        if record.cost_usd:
            self._cost[provider, model] += record.cost_usd
        if record.stall_s:
            self._stall_s[provider] += record.stall_s
        if record.pause_s:
            self._pause_s[provider] += record.pause_s

    def _failed(self, provider: str, model: str, how: str) -> Histogram:
        """The durations of requests that did not come whole."""
        key = (provider, model, how)
        if key not in self._durations:
            self._durations[key] = Histogram(metric_list.DURATION.bounds)
        return self._durations[key]

    def failed_over(self, provider: str) -> None:
        """An attempt at an upstream of `provider` failed, and the next upstream is asked."""
        self._failovers[provider] += 1
        self._told(metric_list.FAILOVER_COUNT)

    def retried(self, provider: str) -> None:
        """An upstream of `provider` that failed is asked again."""
        self._retries[provider] += 1
        self._told(metric_list.RETRY_COUNT)

    def cools_down(self, provider: str) -> None:
        """An upstream of `provider` is left alone for a while."""
        self._cooldowns[provider] += 1
        self._told(metric_list.COOLDOWN_COUNT)

    def ledger(self, operation: Literal["authorize", "extend", "settle"], seconds: float) -> None:
        """The ledger has answered, or has failed."""
        self._ledger[operation].observe(seconds)

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
        self._told(metric_list.WARNING_COUNT)

    def hold_captured(self) -> None:
        """A hold whose process had died was captured here."""
        self._captured += 1
        self._told(metric_list.HOLDS_CAPTURED)

    def _told(self, metric: CloudWatchMetric) -> None:
        if self.tell is not None:
            self.tell(metric)

    def series(self, provider: str, model: str) -> Series:
        """For `StreamMetrics`: the counters of a model, or of "other" when too many models have theirs already."""
        key = (provider, model[:MODEL_CHARS_MAX])
        if key not in self._series and len(self._series) >= self._models_max:
            key = (provider, OTHER_MODEL)  # one more for each provider, and providers are configured
        return self._series.setdefault(key, Series())

    def values(self) -> Iterator[tuple[Metric, tuple[str, ...], float | Histogram]]:
        """Everything that was counted: the metric, the values of its labels, and the number or the histogram."""
        for (provider, model), series in list(self._series.items()):
            yield from self._values_of(provider, model, series)
        for (provider, model, error), duration in list(self._durations.items()):
            yield metric_list.DURATION, (*self._gen_ai(provider, model), error), duration
        for (route, provider, model, dialect, end, status), count in list(self._requests.items()):
            shown = "" if status is None else str(status)
            yield metric_list.REQUESTED, (route, provider, model, dialect or "", end, shown), count
        for labels, cost in list(self._cost.items()):
            yield metric_list.SPEND, labels, cost
        amounts: tuple[tuple[Metric, Mapping[str, float]], ...] = (
            (metric_list.STALL, self._stall_s),
            (metric_list.PAUSE, self._pause_s),
            (metric_list.FAILOVERS, self._failovers),
            (metric_list.RETRIES, self._retries),
            (metric_list.COOLDOWNS, self._cooldowns),
        )
        for metric, by_provider in amounts:
            for provider, amount in list(by_provider.items()):
                yield metric, (provider,), amount
        for operation, times in self._ledger.items():
            yield metric_list.LEDGER_TIME, (operation,), times
        yield metric_list.ACTIVE_STREAMS, (), self._active
        for gauge, read in self._gauges.items():
            yield gauge, (), read()
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

    def _values_of(
        self, provider: str, model: str, series: Series
    ) -> Iterator[tuple[Metric, tuple[str, ...], float | Histogram]]:
        labels = self._gen_ai(provider, model)
        yield metric_list.TOKENS, (provider, model, "input"), series.input_tokens
        yield metric_list.TOKENS, (provider, model, "output"), series.output_tokens
        yield metric_list.TOKEN_LATENCY, (provider, model), series.gap
        yield metric_list.FIRST_TOKEN, (provider, model), series.first_token
        yield metric_list.GEN_AI_FIRST_TOKEN, labels, series.first_token
        yield metric_list.PER_OUTPUT_TOKEN, labels, series.per_token
        yield metric_list.DURATION, (*labels, ""), series.duration
        yield metric_list.USAGE, (*labels, "input"), series.usage_in
        yield metric_list.USAGE, (*labels, "output"), series.usage_out
        yield metric_list.CACHE_READ, (*labels, MODALITY), series.cache_read
        yield metric_list.CACHE_WRITE, (*labels, MODALITY), series.cache_write
        yield metric_list.REASONING, (*labels, MODALITY), series.reasoning

    def _gen_ai(self, provider: str, model: str) -> tuple[str, str, str, str]:
        """The labels of OpenTelemetry's conventions, and ours."""
        return OPERATION, self._providers.get(provider, provider), model, provider

    def render(self) -> tuple[bytes, str]:
        """What `GET /metrics` answers: the body and its content type.

        May run in a thread beside the loop, and should: with 200 models it takes a quarter of a second (3.5 MB), with
        ten models 15 ms.
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


def how_it_ended(record: RequestRecord) -> str:
    """How a stream ended; of what never ran, whether it was "answered" or "refused"."""
    if record.end is not None:
        return record.end._value_  # `value` is a property in Python, and a third of a microsecond
    return "answered" if record.status is not None and record.status < 400 else "refused"
