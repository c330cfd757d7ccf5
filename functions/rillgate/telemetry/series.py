"""What is counted in plain numbers: histograms, and everything that is kept for one model of a provider."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import inf
from typing import Final

from rillgate.domain.ends import End
from rillgate.telemetry import metric_list
from rillgate.telemetry.logs import RequestRecord

_FINISHED: Final = End.FINISHED  # compared by identity: an enum's hash and attributes are Python's own, and slow
_BUDGET: Final = End.BUDGET


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


class Series:
    """What is kept for one provider and one model label."""

    __slots__ = (
        *("cache_read", "cache_write", "duration", "first_token", "gap", "input_tokens", "output_tokens"),
        *("per_token", "reasoning", "usage_in", "usage_out"),
    )

    def __init__(self) -> None:
        self.first_token = Histogram(metric_list.FIRST_TOKEN.bounds)
        self.gap = Histogram(metric_list.TOKEN_LATENCY.bounds)
        self.duration = Histogram(metric_list.DURATION.bounds)
        self.per_token = Histogram(metric_list.PER_OUTPUT_TOKEN.bounds)
        self.usage_in = Histogram(metric_list.USAGE.bounds)
        self.usage_out = Histogram(metric_list.USAGE.bounds)
        self.input_tokens = 0
        self.output_tokens = 0
        self.cache_read = 0
        self.cache_write = 0
        self.reasoning = 0

    def whole(self, record: RequestRecord) -> None:
        """A request came to its end, and took so long."""
        if record.duration_ms is not None:
            self.duration.observe(record.duration_ms / 1000)
        if (per_token_ms := ms_for_each_token(record)) is not None:
            self.per_token.observe(per_token_ms / 1000)

    def over(self, record: RequestRecord) -> None:
        """A request is over, and used so much."""
        if record.input_tokens is not None:
            self.usage_in.observe(record.input_tokens)
        if record.output_tokens is not None:
            self.usage_out.observe(record.output_tokens)
        if record.cached_input_tokens:
            self.cache_read += record.cached_input_tokens
        if record.cache_write_tokens:
            self.cache_write += record.cache_write_tokens
        if record.reasoning_tokens:
            self.reasoning += record.reasoning_tokens


def is_whole(end: End | None) -> bool:
    """Whether an answer came to its end: to its own, or to its budget's."""
    return end is _FINISHED or end is _BUDGET


def ms_for_each_token(record: RequestRecord) -> float | None:
    """Milliseconds for each output token after the first; None for what was no stream, or did not come whole."""
    count, ttft_ms, duration_ms = record.output_tokens, record.ttft_ms, record.duration_ms
    if not count or count < 2 or ttft_ms is None or duration_ms is None or not is_whole(record.end):
        return None
    return (duration_ms - ttft_ms) / (count - 1)
