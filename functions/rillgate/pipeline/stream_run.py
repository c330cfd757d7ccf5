"""Serves a stream: a pump that reads from the provider, a writer that owns the wire, a watch on the client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rillgate.delivery.responses import Headers
from rillgate.delivery.writer import Send, StreamWriter
from rillgate.domain.ends import End
from rillgate.domain.errors import RillgateError
from rillgate.domain.request import UpstreamRequest
from rillgate.pipeline.call import Call, Services
from rillgate.pipeline.charge import Outcome
from rillgate.pipeline.pump import Pump
from rillgate.pipeline.relay import Relay
from rillgate.pipeline.run import Run
from rillgate.telemetry.logs import log_exception


class StreamRun(Run):
    """Serves a stream: a pump that reads from the provider, a writer that owns the wire, a watch on the client.

    Args:
        relay: what happens to every chunk.
        headers: of the response.
        opening, heartbeat: the dialect's.
        release: makes the server take the last bytes of a stalled stream without waiting; None where it cannot.
    """

    def __init__(
        self,
        call: Call,
        services: Services,
        send: Send,
        *,
        outgoing: UpstreamRequest,
        relay: Relay,
        headers: Headers,
        opening: bytes,
        heartbeat: bytes,
        release: Callable[[], None] | None,
    ) -> None:
        super().__init__(call, services, send, outgoing)
        timeouts = call.target.timeouts
        self._relay = relay
        self._release = release
        self._writing: asyncio.Task[None] | None = None
        self.writer = StreamWriter(
            send,
            clock=services.clock,
            headers=headers,
            opening=opening,
            heartbeat=heartbeat,
            heartbeat_s=timeouts.heartbeat_s,
            stall_s=timeouts.stall_s,
            on_stall=lambda: self._stop_for(End.STALLED),
        )
        self._pump = Pump(
            relay,
            self.writer,
            services.clock,
            on_expiry=lambda: self._stop_for(End.IDLE),
            first_token_s=call.target.timeouts.first_token_s,
            idle_s=timeouts.idle_s,
        )

    @property
    def end(self) -> End:
        """The cause that stopped it, unless the answer was whole by then; else how the provider's side ended."""
        if self._stopped is not None and not self._was_whole:
            return self._stopped
        return self._relay.end or End.UPSTREAM_ERROR

    @property
    def outcome(self) -> Outcome:
        """Known as soon as the provider has sent anything."""
        relay = self._relay
        return Outcome(
            reached=self._reached,
            usage=relay.usage() if relay.frames else None,
            reported=relay.reported,
            finished=relay.upstream_done,
        )

    @property
    def _was_whole(self) -> bool:
        """Whether our own stop found a complete answer, whose [DONE] alone was missing, and a client that listens."""
        whole = self._relay.end in (End.FINISHED, End.BUDGET)
        return whole and self._stopped not in (End.CLIENT_GONE, End.STALLED)

    @property
    def error(self) -> RillgateError | None:
        """In-band or as a response."""
        return self._failure or self._relay.error

    @property
    def content_frames(self) -> int:
        """Chunks with content that came from the provider."""
        return self._relay.content_frames

    def stop(self, end: End) -> bool:
        """End it: the provider's connection is closed, the client gets an error in-band or as a response.

        Once the provider's side is complete only the client can still end it, by leaving or by taking nothing.
        """
        complete = self._relay.end is not None
        if self._stopped or self.writer.finished or (complete and end not in (End.CLIENT_GONE, End.STALLED)):
            return False
        self._stopped = end
        if self._work is not None:
            self._work.cancel()
        if end is End.CLIENT_GONE:
            if self._writing is not None:
                self._writing.cancel()
            return True
        if not complete:
            error = self._error_of(end)
            self._say(self._relay.stop(end, error), error)
        self.writer.close()
        if end is End.STALLED:
            self._unblock()
        return True

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._writing = group.create_task(self._write())
            self._work = group.create_task(self._read())

    async def _read(self) -> None:
        self._pump.start()
        self.writer.watch_silence()
        try:
            async with self._response() as response:
                await self._pump.run(response, self._call.provider)
        except Exception as error:
            mapped = self._mapped(error)
            if self._relay.end is None:
                self._say(self._relay.fail(End.UPSTREAM_ERROR, mapped), mapped)
        finally:
            if self._relay.error is not None and not self.writer.started:
                self._failure = self._relay.error
            self._pump.close()
            self.writer.close()

    async def _write(self) -> None:
        try:
            await self.writer.run()
        except OSError:  # how ASGI 2.4 says that the client is gone
            self.stop(End.CLIENT_GONE)
        except Exception as error:
            log_exception("send_failed", error, request_id=self._call.journal.request_id)
            self.stop(End.CLIENT_GONE)

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
