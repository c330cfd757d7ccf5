"""The two ways to serve a call, as one task group each: a stream, or one whole answer.

Everything that can end a request calls `stop` with its cause; the first cause wins. `stop` awaits nothing, so it
can be called from a timer, from the disconnect watch and from the process's shutdown alike.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from rillgate.delivery.responses import Headers, send_error, send_json
from rillgate.delivery.writer import Send, StreamWriter
from rillgate.domain.ends import End
from rillgate.domain.errors import RillgateError
from rillgate.domain.request import UpstreamRequest
from rillgate.domain.timer import Timer
from rillgate.domain.usage import Usage
from rillgate.pipeline.call import Call, Services
from rillgate.pipeline.ended import error_of
from rillgate.pipeline.pump import Pump
from rillgate.pipeline.relay import Relay
from rillgate.telemetry.logs import log_exception

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Run(ABC):
    """One request while it is served."""

    def __init__(self, call: Call, services: Services, receive: Receive, send: Send) -> None:
        self._call = call
        self._services = services
        self._receive = receive
        self._send = send
        self._total = Timer(services.clock, call.total_s, lambda: self._stop_for(End.DEADLINE))
        self._work: asyncio.Task[None] | None = None
        self._stopped: End | None = None
        self._failure: RillgateError | None = None

    @property
    def request_id(self) -> str:
        """Ours."""
        return self._call.journal.request_id

    @property
    def client_request_id(self) -> str | None:
        """The client's own, where it sent one."""
        return self._call.journal.client_request_id

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
    def usage(self) -> Usage | None:
        """Tokens, the provider's or ours; None when nothing reached a model."""

    @abstractmethod
    def stop(self, end: End) -> bool:
        """End it for this cause, unless it is over or ending already."""

    @abstractmethod
    async def _serve(self) -> None:
        """Serve it; errors that can still have a status of their own are left in `_failure`."""

    async def run(self) -> None:
        """Serve the call to its end, whatever that is. Raises nothing but cancellation."""
        self._total.restart()
        try:
            await self._serve()
            if self._failure is not None:
                await send_error(self._send, self._call.dialect, self._failure)
        except asyncio.CancelledError:
            self._stopped = self._stopped or End.CANCELLED
            raise
        finally:
            self._total.close()

    async def _watch_client(self) -> None:
        """Nobody else reads `receive`: a second reader would eat the one message that says the client is gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.stop(End.CLIENT_GONE)

    def _stop_for(self, end: End) -> None:
        self.stop(end)

    def _error_of(self, end: End) -> RillgateError:
        return error_of(end, self._call.target.provider)

    def _mapped(self, error: Exception) -> RillgateError:
        """An error for the client; what is not ours to explain is logged and called internal."""
        if isinstance(error, RillgateError):
            return error
        log_exception("request_failed", error, request_id=self.request_id)
        return RillgateError("The gateway failed to handle this request; its log says more.", code="internal_error")


class StreamRun(Run):
    """Serves a stream: a pump that reads from the provider, a writer that owns the wire, a watch on the client.

    Args:
        outgoing: the provider's request.
        relay: what happens to every chunk.
        headers: of the response.
        opening, heartbeat: the dialect's.
        release: makes the server take the last bytes of a stalled stream without waiting; None where it cannot.
    """

    def __init__(
        self,
        call: Call,
        services: Services,
        receive: Receive,
        send: Send,
        *,
        outgoing: UpstreamRequest,
        relay: Relay,
        headers: Headers,
        opening: bytes,
        heartbeat: bytes,
        release: Callable[[], None] | None,
    ) -> None:
        super().__init__(call, services, receive, send)
        timeouts = call.target.timeouts
        self._outgoing = outgoing
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
        """The cause that stopped it, else how the provider's side ended."""
        return self._stopped or self._relay.end or End.UPSTREAM_ERROR

    @property
    def usage(self) -> Usage | None:
        """Known as soon as the provider has sent anything."""
        return self._relay.usage() if self._relay.frames else None

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
            self._say(self._relay.fail(end, error), error)
        self.writer.close()
        if end is End.STALLED:
            self._unblock()
        return True

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._writing = group.create_task(self._write())
            self._work = group.create_task(self._read())
            watch = group.create_task(self._watch_client())
            await asyncio.wait((self._work, self._writing))
            watch.cancel()

    async def _read(self) -> None:
        self._pump.start()
        self.writer.watch_silence()
        call = self._call
        try:
            endpoint = await call.location.endpoint()
            connect_s = call.target.timeouts.connect_s
            exchange = self._services.exchange
            async with exchange.open(call.target.provider, endpoint, self._outgoing, connect_s=connect_s) as response:
                await self._pump.run(response, call.provider)
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
            log_exception("send_failed", error, request_id=self.request_id)
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


class AnswerRun(Run):
    """Serves one whole answer: the provider's body, unchanged unless usage must be added.

    Args:
        outgoing: the provider's request.
        headers: of the response.
        count: the usage of an answer's body, our own count where the provider gives none.
    """

    def __init__(
        self,
        call: Call,
        services: Services,
        receive: Receive,
        send: Send,
        *,
        outgoing: UpstreamRequest,
        headers: Headers,
        count: Callable[[bytes], Usage],
    ) -> None:
        super().__init__(call, services, receive, send)
        self._outgoing = outgoing
        self._headers = headers
        self._count = count
        self._starting = Timer(services.clock, call.target.timeouts.first_token_s, lambda: self._stop_for(End.IDLE))
        self._usage: Usage | None = None
        self._body: bytes | None = None

    @property
    def end(self) -> End:
        """The cause that stopped it, else whether there was an answer."""
        if self._stopped is not None:
            return self._stopped
        return End.FINISHED if self._body is not None else End.UPSTREAM_ERROR

    @property
    def usage(self) -> Usage | None:
        """Known when the answer is there."""
        return self._usage

    @property
    def bytes_sent(self) -> int:
        """Of the body."""
        return len(self._body or b"")

    def stop(self, end: End) -> bool:
        """End it: the provider's connection is closed, the client gets an error."""
        if self._stopped or self._body is not None or self._failure is not None:
            return False
        self._stopped = end
        if end is not End.CLIENT_GONE:
            self._failure = self._error_of(end)
        if self._work is not None:
            self._work.cancel()
        return True

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._work = group.create_task(self._fetch())
            watch = group.create_task(self._watch_client())
            await asyncio.wait((self._work,))
            watch.cancel()
        if self._body is not None:
            await send_json(self._send, 200, self._body, self._headers)

    async def _fetch(self) -> None:
        call = self._call
        try:
            self._starting.restart()  # a model that is still starting
            endpoint = await call.location.endpoint()
            self._starting.stop()
            exchange = self._services.exchange
            connect_s = call.target.timeouts.connect_s
            async with exchange.open(call.target.provider, endpoint, self._outgoing, connect_s=connect_s) as response:
                if response.status >= 300:
                    raise call.provider.error(response.status, response.headers, await response.read_error())
                body = await response.read()
            self._usage = self._count(body)
            ours = self._usage if self._usage.estimated else None
            self._body = call.dialect.answer(body, ours, {"estimated": True} if ours else {})
        except Exception as error:
            self._failure = self._mapped(error)
        finally:
            self._starting.close()
