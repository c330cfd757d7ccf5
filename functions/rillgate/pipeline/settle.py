"""What happens however a request ends: its times, its tokens and its end go to metrics, journal and ledger, once.

The journal and the metrics are closed at once; nothing can come between. The ledger is told by a task that its
request's cancellation does not reach, and that has a deadline of its own.
"""

from __future__ import annotations

import asyncio

import msgspec

from rillgate.delivery.writer import BUFFER_BYTES_LOW
from rillgate.domain.ends import End
from rillgate.domain.limits import Amounts
from rillgate.domain.ports import Clock
from rillgate.domain.usage import Usage
from rillgate.pipeline.admit import Admitted
from rillgate.pipeline.answer_run import AnswerRun
from rillgate.pipeline.call import Call, Services, Upstream
from rillgate.pipeline.charge import Outcome, amounts_of, usage_of, with_failed
from rillgate.pipeline.extension import Extension
from rillgate.pipeline.hold import SETTLE_S, record_of, settle_hold
from rillgate.pipeline.journal import Journal
from rillgate.pipeline.run import Failed, Run
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
        target = self._call.first.target
        self.metrics = self._metrics.for_stream(target.provider, target.model)

    def asks(self, upstream: Upstream) -> None:
        """This one is asked now: what comes belongs to it."""
        if self.metrics is not None:
            self.metrics.move(upstream.target.provider, upstream.target.model)

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
    extension.guard = None  # they hold each other
    usage = usage_of(outcome, admitted.prompt_tokens)
    _close_journal(run, call.journal, services.clock.now(), usage)
    charge = Charge(run.upstream, outcome, usage, tuple(run.failed), admitted)
    _charge(call, charge)
    if timing.metrics is not None:
        counted = outcome.usage or Usage()
        timing.metrics.ended(end, input_tokens=counted.input_tokens, output_tokens=counted.output_tokens)
    if not admitted.grant.accounted:
        return None
    return services.streams.outlive(_settle(call, services, end, charge, extension))


class Charge(msgspec.Struct, frozen=True):
    """What a request is charged for: the attempt that answered, or was the last, and those before it."""

    upstream: Upstream
    outcome: Outcome
    usage: Usage | None
    failed: tuple[Failed, ...]
    admitted: Admitted

    def amounts(self) -> tuple[Amounts, Amounts]:
        """All of it, and the part that attempts before the last one may have cost."""
        grant = self.admitted.grant
        last = self._amounts_of(self.upstream, self.outcome, self.usage)
        failed = [
            self._amounts_of(before.upstream, before.outcome, usage_of(before.outcome, self.admitted.prompt_tokens))
            for before in self.failed
        ]
        charged = with_failed(last, failed, grant)
        return charged, Amounts(charged.tokens - last.tokens, charged.cost_nanos - last.cost_nanos)

    def _amounts_of(self, upstream: Upstream, outcome: Outcome, usage: Usage | None) -> Amounts:
        return amounts_of(
            usage,
            outcome,
            self.admitted.grant,
            bills_after_cancel=upstream.provider.bills_after_cancel,
            price=upstream.price,
            price_of=upstream.price_of,
        )


async def _settle(call: Call, services: Services, end: End, charge: Charge, extension: Extension) -> None:
    await extension.answered(SETTLE_S)  # it changes the hold
    grant = charge.admitted.grant
    amounts, failed = _charge(call, charge)
    record = record_of(call, grant, end, charge.usage, amounts, upstream=charge.upstream, failed=failed)
    await settle_hold(services, call.journal.request_id, grant, amounts, record)


def _charge(call: Call, charge: Charge) -> tuple[Amounts, Amounts]:
    """What is charged, which the journal says too."""
    amounts, failed = charge.amounts()
    grant, journal = charge.admitted.grant, call.journal
    journal.scopes = tuple(grant.holds) or None
    journal.cost_nanos = None if call.price is None else amounts.cost_nanos
    journal.unaccounted = not grant.accounted
    return amounts, failed


def _close_journal(run: Run, journal: Journal, now_s: float, usage: Usage | None) -> None:
    journal.over_s = now_s
    journal.end = run.end
    journal.usage = usage
    journal.provider, journal.routed_model = run.upstream.target.provider, run.upstream.target.model
    journal.attempts = run.attempts if run.attempts > 1 else None
    if run.error is not None:
        journal.failed(run.error)
    if isinstance(run, StreamRun):
        stats = run.writer.stats
        journal.chunks = run.content_frames
        journal.bytes_sent = stats.bytes_sent
        journal.stall_s = stats.stall_s
        journal.pause_s = stats.pause_s
        if stats.buffer_bytes_peak > BUFFER_BYTES_LOW:
            journal.queue_bytes_peak = stats.buffer_bytes_peak
    elif isinstance(run, AnswerRun):
        journal.bytes_sent = run.bytes_sent
