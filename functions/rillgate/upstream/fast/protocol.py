"""One connection to a provider, between the event loop and the response that is arriving on it.

Reading goes into one buffer that all connections of a transport share: what a read brings is parsed before the next
read, so a connection holds nothing by itself. `Body` decides when reading stops.

Source: asyncio's `BufferedProtocol`; ADR 0009 for the size of a read.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterable, Callable
from typing import Protocol, cast

import httpx2

READ_BYTES = 4 * 1024  # what a stopped stream holds; larger reads cost a thousand silent clients their 100 MB
WRITE_BYTES = 64 * 1024  # a larger request goes out in pieces of this size, so that an early answer can stop it


class Receiver(Protocol):
    """Whoever takes what comes: one response."""

    @property
    def answered(self) -> bool:
        """Whether the final head has come: sending more of the request has no sense."""

    def feed(self, data: memoryview) -> None:
        """Bytes as they came; valid during the call only."""

    def lost(self, error: Exception | None) -> None:
        """The connection is gone: closed by the peer, or broken by `error`."""


class Connection(asyncio.BufferedProtocol):
    """Carries one request after the other.

    Attributes:
        gone: nothing more comes or goes.
        sent: the whole request was handed to the socket.
        on_idle_end: called when the connection ends while no response is expected on it.
        idle_since: the loop's time at which the pool got it back.
    """

    transport: asyncio.Transport  # from `connection_made` on, which precedes all else

    def __init__(self, buffer: memoryview, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.gone = False
        self.sent = False
        self.idle_since = 0.0
        self.on_idle_end: Callable[[Connection], None] | None = None
        self._buffer = buffer
        self._receiver: Receiver | None = None
        self._error: Exception | None = None
        self._reading = True
        self._writing_blocked = False
        self._sender: asyncio.Future[None] | None = None

    # A request's way out

    def begin(self, receiver: Receiver) -> None:
        """A request is about to be sent; `receiver` takes what comes from now on."""
        self.sent = False
        self._receiver = receiver
        if self.gone:
            receiver.lost(self._error)

    async def send(self, head: bytes, body: bytes | AsyncIterable[bytes], timeout_s: float | None) -> None:
        """Send a request, until it is out, answered, or the connection is gone: the response says which.

        Args:
            body: all of it, or pieces that are framed already.
            timeout_s: how long the peer may take nothing.

        Raises:
            httpx2.WriteTimeout: it took nothing for so long.
        """
        if isinstance(body, bytes):
            if len(body) < WRITE_BYTES:
                await self._write(head + body, timeout_s)
            else:
                await self._write(head, timeout_s)
                pieces = memoryview(body)
                for at in range(0, len(body), WRITE_BYTES):
                    if not await self._write(pieces[at : at + WRITE_BYTES], timeout_s):
                        return
        else:
            await self._write(head, timeout_s)
            async for piece in body:
                if not await self._write(piece, timeout_s):
                    return
        self.sent = True

    async def _write(self, data: bytes | memoryview, timeout_s: float | None) -> bool:
        """Whether there is any sense in sending more."""
        if not self._alive or self._receiver is None or self._receiver.answered:
            return False
        self._put(data)
        if self._writing_blocked:
            self._sender = self.loop.create_future()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._sender
            except TimeoutError as error:
                raise httpx2.WriteTimeout("The peer took no more of the request.") from error
            finally:
                self._sender = None
        return True

    def _put(self, data: bytes | memoryview) -> None:
        self.transport.write(data)

    def wake_sender(self) -> None:
        """There is room, or no more sense in waiting for it."""
        if self._sender is not None and not self._sender.done():
            self._sender.set_result(None)

    # Between two requests

    def end(self) -> None:
        """The response is over. Reading goes on, which is how an idle connection learns that its peer is gone."""
        self._receiver = None
        self.wake_sender()
        self.resume()

    @property
    def idle_and_whole(self) -> bool:
        """Whether the next request may go out: the last one did, to its last byte."""
        return self.sent and self._alive and not self.transport.get_write_buffer_size()

    @property
    def stale(self) -> bool:
        """Whether an idle connection has something to read, which can only be its end: the loop may not know yet."""
        if not self._alive:
            return True
        sock = self.transport.get_extra_info("socket")
        if sock is None or not hasattr(select, "poll"):
            return False
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def abort(self) -> None:
        """Close at once; nothing unsent is worth waiting for."""
        self.gone = True
        self._receiver = None
        self.on_idle_end = None
        self.wake_sender()
        if hasattr(self, "transport"):
            self.transport.abort()

    # Backpressure

    def pause(self) -> None:
        """Leave what comes with the kernel, where it stops the peer."""
        if self._reading:
            self._reading = False
            if self._alive:
                self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if not self._reading:
            self._reading = True
            if self._alive:
                self.transport.resume_reading()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._receiver is None:
            self._over(None)  # nobody asked for anything
            self.transport.abort()
        else:
            self._receiver.feed(self._buffer[:nbytes])

    def eof_received(self) -> None:
        self._over(None)
        self.transport.abort()  # a close would wait until what is unsent is sent

    def connection_lost(self, exc: Exception | None) -> None:
        self._over(exc)

    def pause_writing(self) -> None:
        self._writing_blocked = True

    def resume_writing(self) -> None:
        self._writing_blocked = False
        self.wake_sender()

    @property
    def _alive(self) -> bool:
        """uvloop's transports raise when they are touched between their end and `connection_lost`."""
        return not self.gone and not self.transport.is_closing()

    def _over(self, error: Exception | None) -> None:
        if self.gone:
            return
        self.gone = True
        self._error = error
        receiver, self._receiver = self._receiver, None
        self.wake_sender()
        if receiver is not None:
            receiver.lost(error)
        elif self.on_idle_end is not None:
            self.on_idle_end(self)
