"""Serves a stream: a pump that reads from the provider, a writer that owns the wire, a watch on the client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rillgate.delivery.outlet import Outlet
from rillgate.delivery.responses import Headers
from rillgate.delivery.writer import Send, StreamWriter
from rillgate.domain.ends import End
from rillgate.domain.errors import RillgateError
from rillgate.domain.ports import Encoder
from rillgate.domain.request import UpstreamRequest
from rillgate.pipeline.call import Call, Services, Upstream
from rillgate.pipeline.charge import Outcome
from rillgate.pipeline.pump import Pump
from rillgate.pipeline.relay import Relay
from rillgate.pipeline.run import Run
from rillgate.telemetry.logs import log_exception


class StreamRun(Run):
    """Serves a stream.

    Args:
        encoder: writes the client's dialect before any upstream has answered: what stands first, what keeps the
            connection alive, errors.
        build: an upstream's request.
        relay_of: what happens to every chunk of an upstream's; a new one for each attempt.
        outlet: what the server offers.
    """

    def __init__(
        self,
        call: Call,
        services: Services,
        send: Send,
        *,
        cap: int,
        headers: Headers,
        encoder: Encoder,
        build: Callable[[Upstream, int], UpstreamRequest],
        relay_of: Callable[[Upstream], Relay],
        outlet: Outlet,
    ) -> None:
        super().__init__(call, services, send, cap=cap, headers=headers)
        timeouts = call.first.target.timeouts
        self._encoder = encoder
        self._build = build
        self._relay_of = relay_of
        self._release = outlet.release
        self._relay: Relay | None = None
        self._pump: Pump | None = None
        self._told: RillgateError | None = None
        self._patience: asyncio.Timeout | None = None
        self._writing: asyncio.Task[None] | None = None
        self.writer = StreamWriter(
            send,
            clock=services.clock,
            headers=headers,
            opening=encoder.open(),
            heartbeat=encoder.heartbeat(),
            heartbeat_s=timeouts.heartbeat_s,
            stall_s=timeouts.stall_s,
            on_stall=lambda: self._stop_for(End.STALLED),
            straight=outlet.straight,
        )

    @property
    def end(self) -> End:
        """The cause that stopped it, unless the answer was whole by then; else how the provider's side ended."""
        if self._stopped is not None and not self._was_whole:
            return self._stopped
        return (self._relay.end if self._relay is not None else None) or End.UPSTREAM_ERROR

    @property
    def outcome(self) -> Outcome:
        """Known as soon as the provider has sent anything."""
        relay = self._relay
        if relay is None:
            return Outcome(reached=self._reached, usage=None, reported=None, finished=False)
        return Outcome(
            reached=self._reached,
            usage=relay.usage() if relay.frames else None,
            reported=relay.reported,
            finished=relay.upstream_done,
        )

    @property
    def _complete(self) -> bool:
        """Whether the provider's side is over, and no other attempt may follow."""
        return self._told is not None or (self._passed_on and self._relay is not None and self._relay.end is not None)

    @property
    def _passed_on(self) -> bool:
        """Whether the client has got anything of this attempt."""
        return self._pump is not None and self._pump.passed_on

    @property
    def _was_whole(self) -> bool:
        """Whether our own stop found a complete answer, whose [DONE] alone was missing, and a client that listens."""
        whole = self._relay is not None and self._relay.end in (End.FINISHED, End.BUDGET)
        return whole and self._stopped not in (End.CLIENT_GONE, End.STALLED)

    @property
    def error(self) -> RillgateError | None:
        """In-band or as a response."""
        return self._told or (self._relay.error if self._relay is not None else None)

    @property
    def queue_bytes(self) -> int:
        """What waits for the client to read."""
        return self.writer.queued

    @property
    def content_frames(self) -> int:
        """Chunks with content that came from the provider."""
        return 0 if self._relay is None else self._relay.content_frames

    def stop(self, end: End) -> bool:
        """End it: the provider's connection is closed, the client gets an error in-band or as a response.

        Once the provider's side is complete only the client can still end it, by leaving or by taking nothing.
        """
        complete = self._complete
        if self._stopped or self.writer.finished or (complete and end not in (End.CLIENT_GONE, End.STALLED)):
            return False
        self._stopped = end
        if self._pump is not None:
            self._pump.halt()
        if self._work is not None:
            self._work.cancel()
        if end is End.CLIENT_GONE:
            if self._writing is not None:
                self._writing.cancel()
            return True
        if not complete:
            self._end_with(self._error_of(end), end)
        self.writer.close()
        if end is End.STALLED:
            self._unblock()
        return True

    async def _serve(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._writing = group.create_task(self._write())
                self._work = group.create_task(self._read())
        finally:
            self._writing = self._work = None  # what ended them has a traceback, and that has us

    async def _read(self) -> None:
        self.writer.watch_silence()
        try:
            await self._ask()
        except Exception as error:
            self._end_with(self._mapped(error), End.UPSTREAM_ERROR)
        finally:
            if self._pump is not None:
                self._pump.close()
            self.writer.close()

    async def _attempt(self) -> None:
        upstream = self.upstream
        self._relay = self._pump = None
        outgoing = self._build(upstream, self._cap)
        relay = self._relay = self._relay_of(upstream)
        timeouts = upstream.target.timeouts
        pump = self._pump = Pump(
            relay,
            self.writer,
            self._services.clock,
            on_first=self._answering,
            on_expiry=self._silent,
            first_token_s=timeouts.first_token_s,
            idle_s=timeouts.idle_s,
        )
        pump.start()
        try:
            async with asyncio.timeout(None) as self._patience, self._response(outgoing) as response:
                await pump.run(response, upstream.provider, self._call.request)
        except Exception as error:
            silent = self._patience is not None and self._patience.expired()
            mapped = self._error_of(End.IDLE) if silent else self._mapped(error)
            if not pump.passed_on:
                raise mapped from (None if mapped is error else error)
            if relay.end is None:
                self._say(relay.fail(End.IDLE if silent else End.UPSTREAM_ERROR, mapped), mapped)
        finally:
            pump.close()
            self._patience = None
        if relay.error is not None and not pump.passed_on:
            raise relay.error

    def _silent(self) -> None:
        """The provider sent nothing for too long: the attempt is over where another one may follow, else the stream."""
        passed_on = self._pump is not None and self._pump.passed_on
        if passed_on or self._patience is None or not self._attempts.may_follow(self._error_of(End.IDLE)):
            self.stop(End.IDLE)
        else:
            self._patience.reschedule(asyncio.get_running_loop().time())

    async def _write(self) -> None:
        try:
            await self.writer.run()
        except OSError:  # how ASGI 2.4 says that the client is gone
            self.stop(End.CLIENT_GONE)
        except Exception as error:
            log_exception("send_failed", error, request_id=self._call.journal.request_id)
            self.stop(End.CLIENT_GONE)

    def _end_with(self, error: RillgateError, end: End) -> None:
        """The last word of the stream, from our side."""
        if self._relay is not None and self._passed_on:
            if self._relay.end is None:
                self._say(self._relay.stop(end, error), error)
        else:
            self._told = error
            self._say(self._encoder.error(error), error)

    def _say(self, in_band: bytes, error: RillgateError) -> None:
        """An error: in-band after the first byte, as a response before it."""
        if self.writer.started:
            self.writer.put(in_band)
        else:
            self._failure = error

    def _unblock(self) -> None:
        """Let the blocked writer finish, or give it up where the server offers no way."""
        if self._release is not None:
            self._release()
        elif self._writing is not None:
            self._writing.cancel()
