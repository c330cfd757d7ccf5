"""CloudWatch's metrics of a function, as lines in its log: one for each request, and one for each rare event.

Powertools writes them (embedded metric format). `EphemeralMetrics`, made for each line: `Metrics` is one for the whole
process and would mix the numbers of requests that run side by side. What is in them is `metric_list`; one dimension,
the service, so that clients cannot make metrics, which are billed one by one.

Source: CloudWatch user guide, "Embedded metric format specification", read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Iterator

from aws_lambda_powertools.metrics import EphemeralMetrics

from rillgate.telemetry import metric_list as names
from rillgate.telemetry.logs import RequestRecord, is_trouble
from rillgate.telemetry.metric_list import NAMESPACE, CloudWatchMetric


class EmfMetrics:
    """Writes to standard output, where Lambda takes a function's log from.

    Args:
        service: the value of the one dimension; such as the stack's name.
    """

    def __init__(self, service: str) -> None:
        self._service = service

    def request(self, record: RequestRecord) -> None:
        """The metrics of a request that is over."""
        line = self._line()
        line.add_metadata("request_id", record.request_id)  # from a point in a graph to the log
        for metric, value in _of(record):
            line.add_metric(metric.name, metric.unit, value)
        line.flush_metrics()

    def count(self, metric: CloudWatchMetric) -> None:
        """One more of something, at once."""
        line = self._line()
        line.add_metric(metric.name, metric.unit, 1)
        line.flush_metrics()

    def _line(self) -> EphemeralMetrics:
        return EphemeralMetrics(namespace=NAMESPACE, service=self._service)


def _of(record: RequestRecord) -> Iterator[tuple[CloudWatchMetric, float]]:
    """What is known about a request, without sums of nothing."""
    yield names.REQUESTS, 1
    if is_trouble(record):
        yield names.FAILURES, 1
    if record.ttft_ms is not None:
        yield names.FIRST_TOKEN_MS, round(record.ttft_ms, 3)
    for metric, value in (
        (names.INPUT_TOKENS, record.input_tokens),
        (names.OUTPUT_TOKENS, record.output_tokens),
        (names.SPEND_USD, record.cost_usd),
    ):
        if value:
            yield metric, value
