"""A response while it arrives: what the connection feeds, and what a consumer takes in either of two ways.

**Pull**: `async for chunk in body`. One wake-up gives everything that has come since the last one. A consumer that is
busy lets some come (`HELD_BYTES_MAX`), then reading stops until it takes.

**Push**: `attach(on_data, on_end)`. `on_data` is called straight from the read, in the event loop's callback, and must
not raise. `pause()` stops reading at once; little may still come and is kept for `resume()`. `on_end(error)` is called
once, after the last data; None means that the body was complete.

The ways may change at any time between two calls: `attach` first gives what is held, `detach` leaves the rest to pull.

The connection goes back to its pool in the very callback that reads the body's last byte; `aclose` before that closes
it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx2

from rillgate.upstream.fast.protocol import Connection
from rillgate.upstream.fast.reader import ResponseReader

HELD_BYTES_MAX = 2 * 1024  # above it, reading stops until it is taken; one read more may have come by then

OnData = Callable[[bytes], None]
OnEnd = Callable[[Exception | None], None]


class Body(httpx2.AsyncByteStream):
    """One response on `connection`.

    Args:
        to_head: it answers a HEAD request.
        read_s: how long a pull may wait for bytes; None = for ever, and no timer.
    """

    def __init__(self, connection: Connection, *, to_head: bool, read_s: float | None) -> None:
        self.reader = ResponseReader(to_head=to_head)
        self.touched = False  # whether any byte has come
        self.over = False
        self._parts = self.reader.parts
        self._connection = connection
        self._read_s = read_s
        self._held_bytes = 0  # as they came from the wire: an upper bound
        self._error: Exception | None = None
        self._reusable = False
        self._release: Callable[[bool], None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._on_data: OnData | None = None
        self._on_end: OnEnd | None = None
        self._paused = False

    # The head

    @property
    def answered(self) -> bool:
        """Whether the final response's head is there."""
        return self.reader.answered

    async def head(self) -> None:
        """Wait for the head.

        Raises:
            httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.ReadTimeout: there is none to come.
        """
        while not self.reader.answered:
            if self._error is not None:
                raise self._error
            await self._wait()

    def lease(self, release: Callable[[bool], None]) -> None:
        """This response owns its connection now; `release` is called once, with whether it may be used again."""
        if self.over:
            release(self._reusable)
        else:
            self._release = release

    # Pull

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        """All that has come.

        Raises:
            httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.ReadTimeout: no more will, and it was not all.
        """
        while not self._parts:
            if self.over:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            await self._wait()
        return self._take()

    async def aclose(self) -> None:
        """As `close`."""
        self.close()

    def close(self) -> None:
        """Take no more. The connection is closed, unless the body was complete."""
        self._on_data = self._on_end = None
        self._finish(httpx2.StreamClosed(), aborting=True)
        if self._error is not None:
            self._error = httpx2.StreamClosed()  # the one that ended it leads back here
        self._parts.clear()

    # Push

    def attach(self, on_data: OnData, on_end: OnEnd) -> None:
        """Push from now on; what is held is given at once, within this call.

        Raises:
            RuntimeError: somebody is waiting in a pull.
        """
        if self._waiter is not None:
            raise RuntimeError("This body is being read.")
        self._on_data, self._on_end = on_data, on_end
        self.resume()

    def detach(self) -> None:
        """Leave the rest to pull. Neither callback is called any more."""
        self._on_data = self._on_end = None
        self._paused = False
        if not self._parts:
            self._resume_reading()

    def pause(self) -> None:
        """Stop reading, and call nothing until `resume`."""
        self._paused = True
        if not self.over:
            self._connection.pause()

    def resume(self) -> None:
        """Read again; what is held is given at once, within this call."""
        self._paused = False
        self._deliver()
        if not self._paused and not self._parts:
            self._resume_reading()

    # What the connection calls

    def feed(self, data: memoryview) -> None:
        """Bytes as they came."""
        self.touched = True
        reader = self.reader
        answered = reader.answered
        try:
            reader.feed(data)
        except httpx2.RemoteProtocolError as error:
            self._finish(error, aborting=True)
            return
        if reader.complete:
            self._finish(None)
        elif self._parts:
            if self._on_data is None or self._paused:
                self._hold(len(data))
            else:
                self._push(self._on_data)
        elif reader.answered is not answered:
            self._wake()
        if reader.answered is not answered:
            self._connection.wake_sender()

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        if error is not None:
            broken = httpx2.ReadError(f"The connection broke: {error}")
            broken.__cause__ = error
            self.reader.forget()
            self._finish(broken, aborting=True)
            return
        try:
            self.reader.feed_eof()
        except httpx2.RemoteProtocolError as truncated:
            self._finish(truncated, aborting=True)
        else:
            self._finish(None)

    # Within

    def _finish(self, error: Exception | None, *, aborting: bool = False) -> None:
        """Nothing more comes: let the connection go, then say so to whoever listens."""
        if self.over:
            return
        self.over = True
        self._error = error
        connection = self._connection
        self._reusable = not aborting and self.reader.reusable and connection.idle_and_whole
        if aborting:
            self.reader.forget()
            connection.abort()
        else:
            connection.end()
        if self._release is not None:
            self._release(self._reusable)
            self._release = None
        self._deliver()

    def _deliver(self) -> None:
        """Give what is held, and the end when it has come, to whichever consumer there is."""
        if self._on_data is None:
            self._wake()
            return
        if self._parts and not self._paused:
            self._push(self._on_data)
        if self.over and not self._parts and not self._paused and self._on_end is not None:
            on_end = self._on_end
            self._on_data = self._on_end = None
            on_end(self._error)

    def _push(self, on_data: OnData) -> None:
        try:
            on_data(self._take())
        except Exception as error:  # of our own making: the stream ends, the loop and the pool stay whole
            if self.over:
                self._error = error
            self._finish(error, aborting=True)

    def _hold(self, size: int) -> None:
        self._held_bytes += size
        if self._waiter is not None:
            self._wake()
        elif self._held_bytes > HELD_BYTES_MAX:
            self._connection.pause()

    def _take(self) -> bytes:
        parts = self._parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        if self._held_bytes:
            self._held_bytes = 0
            if not self._paused:
                self._resume_reading()
        return data

    def _resume_reading(self) -> None:
        if not self.over:
            self._connection.resume()

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise RuntimeError("This body is being read.")
        self._waiter = self._connection.loop.create_future()
        try:
            if self._read_s is None:
                await self._waiter
            else:
                async with asyncio.timeout(self._read_s):
                    await self._waiter
        except TimeoutError as error:
            raise httpx2.ReadTimeout("The peer sent nothing in time.") from error
        finally:
            self._waiter = None

    def _wake(self) -> None:
        """Whoever waits runs in the next turn; for what comes until then nobody waits."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
