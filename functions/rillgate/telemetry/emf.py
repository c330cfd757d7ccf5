"""CloudWatch's metrics of a function, as lines in its log: one for each request, and one for each rare event.

Powertools writes them (embedded metric format). `EphemeralMetrics`, made for each line: `Metrics` is one for the whole
process and would mix the numbers of requests that run side by side. What is in them is `metric_list`.

Each combination of a metric and its dimensions is billed. Every metric has the dimension service; some stand under
others beside it once more (`CLOUDWATCH_SPLITS`), whose values are few: ends, routes and dialects are ours, providers
are configured, and models are shown that have answered in this process, up to `MODELS_MAX`.

Source: CloudWatch user guide, "Embedded metric format specification", read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from aws_lambda_powertools.metrics import EphemeralMetrics

from rillgate.telemetry import metric_list as names
from rillgate.telemetry.logs import RequestRecord, is_trouble
from rillgate.telemetry.metric_list import CLOUDWATCH_BASIC, CLOUDWATCH_SPLITS, DIMENSION, NAMESPACE, CloudWatchMetric
from rillgate.telemetry.metrics import OTHER_MODEL, how_it_ended
from rillgate.telemetry.redaction import redacted, shown_name
from rillgate.telemetry.series import ms_for_each_token

MODELS_MAX: Final = 20  # pairs of provider and model in one process; the rest is OTHER_MODEL
NONE: Final = "none"  # of a dimension that does not apply: CloudWatch takes no empty one


class EmfMetrics:
    """Writes to standard output, where Lambda takes a function's log from.

    Args:
        service: the value of the dimension that all have; such as the stack's name.
        basic: no more than the ten metrics that an account has free, and no second dimension.
    """

    def __init__(self, service: str, *, basic: bool = False) -> None:
        self._service = service
        self._basic = basic
        self._models: set[tuple[str, str]] = set()

    def request(self, record: RequestRecord) -> None:
        """The metrics of a request that is over."""
        line = _Line(self._service)
        line.add_metadata("request_id", record.request_id)  # from a point in a graph to the log
        for metric, value in _of(record):
            if self._takes(metric):
                line.add_metric(metric.name, metric.unit, value)
        if not self._basic:
            line.split(self._dimensions(record))
        line.flush_metrics()

    def count(self, metric: CloudWatchMetric) -> None:
        """One more of something, at once."""
        if not self._takes(metric):
            return
        line = _Line(self._service)
        line.add_metric(metric.name, metric.unit, 1)
        line.flush_metrics()

    def _takes(self, metric: CloudWatchMetric) -> bool:
        return not self._basic or metric in CLOUDWATCH_BASIC

    def _dimensions(self, record: RequestRecord) -> dict[str, str]:
        """All that `CLOUDWATCH_SPLITS` name, with their values."""
        provider = record.provider or NONE
        return {
            "provider": provider,
            "model": self._model(provider, record),
            "end": how_it_ended(record),
            "route": record.route,
            "dialect": record.dialect or NONE,
        }

    def _model(self, provider: str, record: RequestRecord) -> str:
        """The model that was asked, where it has answered: a made-up name takes no dimension from others."""
        if record.routed_model is None:
            return NONE
        shown = str(redacted(shown_name(record.routed_model))).encode("ascii", "backslashreplace").decode().strip()
        pair = (provider, shown)
        if pair not in self._models:
            if not shown or len(self._models) >= MODELS_MAX or not record.output_tokens:
                return OTHER_MODEL
            self._models.add(pair)
        return shown


class _Line(EphemeralMetrics):
    """One line: all its metrics under the service, and some once more under further dimensions."""

    def __init__(self, service: str) -> None:
        super().__init__(namespace=NAMESPACE, service=service)
        self._dimensions: Mapping[str, str] = {}

    def split(self, dimensions: Mapping[str, str]) -> None:
        """Say it by these, too."""
        self._dimensions = dimensions

    def serialize_metric_set(self, *args: Any, **kwargs: Any) -> Any:
        """What Powertools makes of it, with a directive for each split: its own would split every metric."""
        document: dict[str, Any] = {**super().serialize_metric_set(*args, **kwargs)}
        if self._dimensions:
            directives = document["_aws"]["CloudWatchMetrics"]
            units = {each["Name"]: each for each in directives[0]["Metrics"]}
            for split in CLOUDWATCH_SPLITS:
                metrics = [units[metric.name] for metric in split.metrics if metric.name in units]
                dimensions = [DIMENSION, *split.dimensions]
                directives.append({"Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics})
            document |= self._dimensions
        return document


def _of(record: RequestRecord) -> Iterator[tuple[CloudWatchMetric, float]]:
    """What is known about a request, without sums of nothing."""
    yield names.REQUESTS, 1
    if is_trouble(record):
        yield names.FAILURES, 1
    ttft_ms, duration_ms, output_tokens = record.ttft_ms, record.duration_ms, record.output_tokens
    if ttft_ms is not None:
        yield names.FIRST_TOKEN_MS, round(ttft_ms, 3)
    if record.end is not None and duration_ms is not None:
        yield names.DURATION_MS, round(duration_ms, 3)
    per_token_ms = ms_for_each_token(record)
    if per_token_ms is not None:
        yield names.OUTPUT_TOKEN_MS, round(per_token_ms, 3)
    if record.ledger_ms is not None:
        yield names.LEDGER_MS, round(record.ledger_ms, 3)
    for metric, value in (
        (names.INPUT_TOKENS, record.input_tokens),
        (names.OUTPUT_TOKENS, output_tokens),
        (names.CACHED_TOKENS, record.cached_input_tokens),
        (names.CACHE_WRITE_TOKENS, record.cache_write_tokens),
        (names.REASONING_TOKENS, record.reasoning_tokens),
        (names.SPEND_USD, record.cost_usd),
        (names.QUEUE_PEAK_BYTES, record.queue_bytes_peak),
        (names.STALL_MS, round((record.stall_s or 0.0) * 1000)),
        (names.PAUSE_MS, round((record.pause_s or 0.0) * 1000)),
    ):
        if value:
            yield metric, value
