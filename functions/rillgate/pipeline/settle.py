"""What happens however a request ends: its times, its tokens and its end go to metrics and journal, exactly once."""

from __future__ import annotations

from rillgate.domain.ports import Clock
from rillgate.pipeline.answer_run import AnswerRun
from rillgate.pipeline.call import Call
from rillgate.pipeline.journal import Journal
from rillgate.pipeline.run import Run
from rillgate.pipeline.stream_run import StreamRun
from rillgate.telemetry.metrics import Metrics, StreamMetrics


class Timing:
    """When content came: time to the first, and the gaps between the others."""

    def __init__(self, clock: Clock, metrics: Metrics, call: Call) -> None:
        self._clock = clock
        self._metrics = metrics
        self._call = call
        self._last_s: float | None = None
        self.metrics: StreamMetrics | None = None

    def begin(self) -> None:
        """The request is taken in: it is active from here on."""
        self.metrics = self._metrics.for_stream(self._call.target.provider, self._call.target.model)

    def content(self) -> None:
        """A frame with content came."""
        now = self._clock.now()
        if self.metrics is None:
            return
        if self._last_s is None:
            journal = self._call.journal
            journal.first_content_s = now
            self.metrics.first_token(now - journal.began_s)
        else:
            self.metrics.gap(now - self._last_s)
        self._last_s = now


def settle(run: Run, journal: Journal, timing: Timing) -> None:
    """Close the books of one request. Awaits nothing, so no cancellation can come between."""
    usage = run.usage
    journal.end = run.end
    journal.usage = usage
    if run.error is not None:
        journal.failed(run.error)
    if isinstance(run, StreamRun):
        stats = run.writer.stats
        journal.chunks = run.content_frames
        journal.bytes_sent = stats.bytes_sent
        journal.stall_s = stats.stall_s
        journal.pause_s = stats.pause_s
    elif isinstance(run, AnswerRun):
        journal.bytes_sent = run.bytes_sent
    if timing.metrics is not None:
        timing.metrics.ended(
            run.end,
            input_tokens=usage.input_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
        )
