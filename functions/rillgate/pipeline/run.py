"""What a stream and a whole answer have in common while they are served: attempts, one task group, many ways to end.

Everything that can end a request calls `stop` with its cause; the first cause wins. `stop` awaits nothing, so it
can be called from a timer, from the disconnect watch and from the process's shutdown alike.

An attempt that fails before the client has got anything of an answer may be followed by another one, at the same or at
another upstream: `attempts` says which. Nothing follows the first event that was passed on.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from msgspec.structs import replace

from rillgate.delivery.responses import Headers, send_error
from rillgate.delivery.writer import Send
from rillgate.domain.ends import End
from rillgate.domain.errors import ClientError, RillgateError, forget_frames
from rillgate.domain.ports import Clock
from rillgate.domain.request import UpstreamRequest
from rillgate.pipeline.attempts import Attempts
from rillgate.pipeline.call import Call, Services, Upstream
from rillgate.pipeline.charge import Outcome
from rillgate.pipeline.ended import error_of
from rillgate.pipeline.model_apis import helps_nothing
from rillgate.telemetry.ids import new_span_id
from rillgate.telemetry.logs import log_event, log_exception
from rillgate.upstream.exchange import UpstreamResponse

UPSTREAM_HEADER = b"x-rillgate-upstream"


class Failed(msgspec.Struct, frozen=True):
    """An attempt that another one followed."""

    upstream: Upstream
    outcome: Outcome


class Run(ABC):
    """One request while it is served.

    Args:
        cap: in tokens, what is asked for upstream at most.
        headers: of the response; the upstream that answers is added to them.

    Attributes:
        upstream: who is asked now, or was asked last.
        failed: attempts before that.
    """

    def __init__(self, call: Call, services: Services, send: Send, *, cap: int, headers: Headers) -> None:
        self._call = call
        self._services = services
        self._send = send
        self._headers = headers
        self._cap_max = self._cap = cap
        self._attempts = Attempts(
            call.upstreams,
            retries=call.retries,
            cooldowns=services.cooldowns,
            clock=services.clock,
            jitter=services.jitter,
            request_id=call.journal.request_id,
            metrics=services.metrics,
        )
        self._reached = False
        self._work: asyncio.Task[None] | None = None
        self._stopped: End | None = None
        self._failure: RillgateError | None = None
        self.upstream = call.first
        self.failed: list[Failed] = []

    @property
    @abstractmethod
    def end(self) -> End:
        """How it ended."""

    @property
    def error(self) -> RillgateError | None:
        """What the client was told, where it was told of a failure."""
        return self._failure

    @property
    @abstractmethod
    def outcome(self) -> Outcome:
        """What became of the last attempt upstream."""

    @property
    def attempts(self) -> int:
        """How many there were."""
        return self._attempts.number

    @property
    def queue_bytes(self) -> int:
        """What waits for the client to read."""
        return 0

    @abstractmethod
    def stop(self, end: End) -> bool:
        """End it for this cause, unless it is over or ending already."""

    @abstractmethod
    async def _serve(self) -> None:
        """Serve it; errors that can still have a status of their own are left in `_failure`."""

    @abstractmethod
    async def _attempt(self) -> None:
        """Ask `upstream`.

        Raises: anything, as long as nothing of an answer was passed on; another attempt may follow then.
        """

    async def run(self) -> None:
        """Serve the call to its end, whatever that is. Raises nothing but cancellation."""
        try:
            await self._serve()
            if self._failure is not None:
                await send_error(self._send, self._call.dialect, self._failure)
        except asyncio.CancelledError:
            self._stopped = self._stopped or End.CANCELLED
            raise
        finally:
            for error in (self.error, self._failure, self._attempts.refusal):
                forget_frames(error)  # we keep them, and their frames keep us

    async def _ask(self) -> None:
        """Attempt after attempt, until one answers or none is left.

        Raises: RillgateError: the last word of those that failed.
        """
        attempts, clock = self._attempts, self._services.clock
        while True:
            self.upstream = attempts.begin()
            self._cap = self._first_cap()
            failure = await self._try_apis()
            if failure is None:
                if self.error is None:
                    attempts.succeeded(self.upstream)
                return
            wait_s = attempts.after(self.upstream, failure, self._call.journal.upstream_span_id)
            if wait_s is None:
                raise attempts.last_word(failure)
            self.failed.append(Failed(self.upstream, self.outcome))
            if wait_s:
                await _sleep(clock, wait_s)

    async def _try_apis(self) -> RillgateError | None:
        """One attempt, by whichever of the provider's APIs takes the request; what it failed with."""
        first, apis = self.upstream, self._services.model_apis
        begins = first.otherwise is not None and apis.begins_with_other(first.target, self._call.request)
        other = first.by_other_api() if begins else None
        if other is not None:
            self.upstream = other
            failure = await self._try_caps()
            if not isinstance(failure, ClientError):
                return failure
            self.upstream = first  # it cannot be said there: the provider's own refusal says why not here
        refusal = await self._try_caps()
        wanted = None if refusal is None or other is not None else apis.wanted(refusal)
        other = None if wanted is None else first.by_other_api()
        if wanted is None or other is None:
            return refusal
        self.upstream = other
        failure = await self._try_caps()
        if failure is not None and helps_nothing(failure):
            self.upstream = first
            return refusal
        apis.remember(first.target, wanted)
        self._learned("model_api_learned", wanted.value)
        return failure

    async def _try_caps(self) -> RillgateError | None:
        """One attempt, asked once more where only our cap was refused; what it failed with."""
        failure = await self._try()
        if failure is not None and self._asks_for_less(failure):
            failure = await self._try()
        return failure

    async def _try(self) -> RillgateError | None:
        """One call; what it failed with, while another may still follow."""
        self._reached = False
        try:
            await self._attempt()
        except Exception as error:
            return self._mapped(error)
        return None

    def _first_cap(self) -> int:
        """What is asked for at first: a client's own wish as it is, else what this model is known to do."""
        if self._call.request.output_tokens_asked is not None:
            return self._cap_max
        return self._services.model_caps.of(self.upstream.target, self._cap_max)

    def _asks_for_less(self, failure: RillgateError) -> bool:
        """Whether it failed only since our cap is more than this model can do, and can be asked again."""
        if self._call.request.output_tokens_asked is not None:
            return False
        lower = self._services.model_caps.learn(self.upstream.target, failure, self._cap)
        if lower is None:
            return False
        self._cap = lower
        self._learned("model_cap_learned", lower)
        return True

    def _learned(self, event: str, learned: str | int) -> None:
        """Say in the log what a refusal has taught, since the client never hears of it."""
        log_event(event, request_id=self._call.journal.request_id, upstream=self.upstream.name, learned=learned)

    @asynccontextmanager
    async def _response(self, outgoing: UpstreamRequest) -> AsyncIterator[UpstreamResponse]:
        """The provider's response. From its first byte on the request counts as made, until an error status undoes it.

        Raises: as `Location.endpoint` and `Exchange.open`.
        """
        upstream = self.upstream
        endpoint = await upstream.location.endpoint()
        outgoing = self._traced(outgoing)
        async with self._services.exchange.open(
            upstream.target.provider,
            endpoint,
            outgoing,
            connect_s=upstream.target.timeouts.connect_s,
            on_sending=self._sending,
        ) as response:
            if response.status >= 300:
                self._reached = False
            yield response

    def _traced(self, outgoing: UpstreamRequest) -> UpstreamRequest:
        """The request with its place in the trace, each call a span of its own, where this provider may know of it."""
        journal = self._call.journal
        if journal.trace is None or not self.upstream.traced:
            journal.upstream_span_id = None
            return outgoing
        journal.upstream_span_id = span_id = new_span_id()
        return replace(outgoing, headers=(*outgoing.headers, *journal.trace.headers(span_id)))

    def _sending(self) -> None:
        self._reached = True

    def _answering(self) -> None:
        """This upstream's answer begins: the response's headers say whose it is, if they are still to be sent."""
        name = self.upstream.name.encode("ascii", "backslashreplace")
        self._headers.append((UPSTREAM_HEADER, b"%s; attempt=%d" % (name, self.attempts)))

    def _stop_for(self, end: End) -> None:
        self.stop(end)

    def _error_of(self, end: End) -> RillgateError:
        return error_of(end, self.upstream.target.provider)

    def _mapped(self, error: Exception) -> RillgateError:
        """An error for the client; what is not ours to explain is logged and called internal."""
        if isinstance(error, RillgateError):
            return error
        log_exception("request_failed", error, request_id=self._call.journal.request_id)
        return RillgateError("The gateway failed to handle this request; its log says more.", code="internal_error")


async def _sleep(clock: Clock, seconds: float) -> None:
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = clock.call_later(seconds, lambda: None if over.done() else over.set_result(None))
    try:
        await over
    finally:
        timer.cancel()
