"""What happens however a request ends: its times, its tokens and its end go to metrics, journal and ledger, once.

The journal and the metrics are closed at once; nothing can come between. The ledger is told by a task that its
request's cancellation does not reach, and that has a deadline of its own.
"""

from __future__ import annotations

import asyncio

from rillgate.domain.ends import End
from rillgate.domain.limits import Amounts
from rillgate.domain.ports import Clock
from rillgate.domain.spending import Grant
from rillgate.domain.usage import Usage
from rillgate.pipeline.admit import Admitted
from rillgate.pipeline.answer_run import AnswerRun
from rillgate.pipeline.call import Call, Services
from rillgate.pipeline.charge import Outcome, amounts_of, usage_of
from rillgate.pipeline.extension import Extension
from rillgate.pipeline.hold import SETTLE_S, record_of, settle_hold
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


def settle(
    run: Run, call: Call, services: Services, admitted: Admitted, *, timing: Timing, extension: Extension
) -> asyncio.Task[None] | None:
    """Close the books of one request. Gives the task that tells the ledger; None where that knows nothing of it."""
    outcome, end = run.outcome, run.end
    usage = usage_of(outcome, admitted.prompt_tokens)
    _close_journal(run, call.journal, services.clock.now(), usage)
    _charge(call, admitted.grant, outcome, usage)
    if timing.metrics is not None:
        counted = outcome.usage or Usage()
        timing.metrics.ended(end, input_tokens=counted.input_tokens, output_tokens=counted.output_tokens)
    if not admitted.grant.accounted:
        return None
    return services.streams.outlive(
        _settle(call, services, admitted.grant, end, outcome, usage=usage, extension=extension)
    )


async def _settle(
    call: Call,
    services: Services,
    grant: Grant,
    end: End,
    outcome: Outcome,
    *,
    usage: Usage | None,
    extension: Extension,
) -> None:
    await extension.answered(SETTLE_S)  # it changes the hold
    amounts = _charge(call, grant, outcome, usage)
    record = record_of(call, grant, end, usage, amounts)
    await settle_hold(services, call.journal.request_id, grant, amounts, record)


def _charge(call: Call, grant: Grant, outcome: Outcome, usage: Usage | None) -> Amounts:
    """What is charged, which the journal says too."""
    amounts = amounts_of(
        usage,
        outcome,
        grant,
        bills_after_cancel=call.provider.bills_after_cancel,
        price_of=call.price_of,
    )
    journal = call.journal
    journal.scopes = tuple(grant.holds) or None
    journal.cost_nanos = None if call.price is None else amounts.cost_nanos
    journal.unaccounted = not grant.accounted
    return amounts


def _close_journal(run: Run, journal: Journal, now_s: float, usage: Usage | None) -> None:
    journal.over_s = now_s
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
