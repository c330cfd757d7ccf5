"""The backpressure-aware writer: the one task that owns a stream's wire.

What the pipeline puts in is sent in order, nothing dropped and nothing reordered. While the client keeps up, and where
the server offers it (`straight`), a frame is written where it is put, and no task wakes up for it. The buffer is
bounded in bytes: above its high mark `writable()` waits until the client has taken it down to the low mark, so a client
that stops reading stops the reading from the provider. Frames are merged into one send only when the client is behind:
a client that keeps up gets each frame at once.

Two timers belong to the wire. The stall deadline runs while one `send` is blocked; it is the only sign of a
slow client that ASGI gives. The heartbeat runs while nothing is sent, whoever is silent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from rillgate.domain.ports import Clock
from rillgate.domain.timer import Timer

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BUFFER_BYTES_HIGH = 8 * 1024  # with it a thousand silent clients cost 90 MB; with 32 KiB 131 (docs/adr/0009)
BUFFER_BYTES_LOW = 2 * 1024
SEND_BYTES_MAX = 2 * 1024  # the transport holds what it was given whole; a larger frame is cut


class WriterStats(msgspec.Struct):
    """What one stream's wire saw. Times in seconds."""

    bytes_sent: int = 0
    sends: int = 0
    heartbeats: int = 0
    buffer_bytes_peak: int = 0
    stall_s: float = 0.0
    pause_s: float = 0.0


class StreamWriter:
    """Writes one streaming response over ASGI `send`.

    Args:
        send: ASGI's. It waits while the server's transport is above its own mark.
        clock: for both timers and the statistics.
        headers: of the response, sent with status 200 before the first byte.
        opening: bytes that stand before everything else.
        heartbeat: bytes that say that the stream is alive; must be harmless between any two frames.
        heartbeat_s: send one when nothing was sent for so long; 0 = never.
        stall_s: call `on_stall` when one send stays blocked for so long; 0 = never.
        straight: writes a part of the body at once, or says that it has to be sent; None where the server cannot.
    """

    def __init__(
        self,
        send: Send,
        *,
        clock: Clock,
        headers: list[tuple[bytes, bytes]],
        opening: bytes,
        heartbeat: bytes,
        heartbeat_s: float,
        stall_s: float,
        on_stall: Callable[[], None],
        straight: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._send = send
        self._straight = straight
        self._begun = False  # the status line was sent
        self._clock = clock
        self._headers = headers
        self._opening = opening
        self._heartbeat = heartbeat
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._closed = False
        self._sending = False
        self._work: asyncio.Future[None] | None = None  # what `run` waits for
        self._room: asyncio.Future[None] | None = None  # what `writable` waits for; events would cost a deque each
        self._heartbeats = Timer(clock, heartbeat_s, self._beat)
        self._stall = Timer(clock, stall_s, on_stall)
        self.started = False
        self.finished = False
        self.stats = WriterStats()

    def watch_silence(self) -> None:
        """Begin to count towards the first heartbeat, which also commits the status line."""
        self._heartbeats.restart()

    def put(self, data: bytes) -> None:
        """Take whole frames. The first ones commit the status line: from here on errors go in-band."""
        if (
            self._begun
            and not (self._queue or self._sending or self._closed)
            and len(data) <= SEND_BYTES_MAX
            and self._straight is not None
            and self._straight(data)
        ):
            self.stats.bytes_sent += len(data)
            self.stats.sends += 1
            self._heartbeats.restart()
            return
        if not self.started:
            self.started = True
            data = self._opening + data
        if len(data) <= SEND_BYTES_MAX:
            self._queue.append(data)
        else:
            self._queue.extend(data[at : at + SEND_BYTES_MAX] for at in range(0, len(data), SEND_BYTES_MAX))
        self._queued += len(data)
        self.stats.buffer_bytes_peak = max(self.stats.buffer_bytes_peak, self._queued)
        _wake(self._work)

    def close(self) -> None:
        """Nothing more will be put; `run` ends when all is sent."""
        self._closed = True
        _wake(self._work)

    @property
    def full(self) -> bool:
        """Whether the buffer is above its high mark and the provider should not be read from."""
        return self._queued > BUFFER_BYTES_HIGH

    @property
    def queued(self) -> int:
        """Bytes that were put and not sent."""
        return self._queued

    async def writable(self) -> None:
        """Wait until the buffer is below its low mark."""
        began = self._clock.now()
        try:
            while self._queued > BUFFER_BYTES_LOW:
                self._room = asyncio.get_running_loop().create_future()
                await self._room
        finally:
            self.stats.pause_s += self._clock.now() - began

    async def run(self) -> None:
        """Send until closed and empty. Cancelling it leaves the response as it is."""
        try:
            while not (self._closed and not self._queue):
                if not self._queue:
                    self._work = asyncio.get_running_loop().create_future()
                    await self._work
                    continue
                if self.stats.sends == 0:
                    await self._send_one({"type": "http.response.start", "status": 200, "headers": self._headers})
                    self._begun = True
                body = self._take()
                last = self._closed and not self._queue
                await self._send_one({"type": "http.response.body", "body": body, "more_body": not last})
                self.stats.bytes_sent += len(body)
                self._taken(len(body))  # until now it was held, so it counted
                if last:
                    self.finished = True
                    return
            if self.started:
                await self._send_one({"type": "http.response.body", "body": b"", "more_body": False})
            self.finished = True
        finally:
            self._heartbeats.close()
            self._stall.close()

    async def _send_one(self, message: MutableMapping[str, Any]) -> None:
        began = self._clock.now()
        self._sending = True
        self._stall.restart()
        try:
            await self._send(message)
        finally:
            self._sending = False
            self._stall.stop()
            self.stats.stall_s += self._clock.now() - began
        self.stats.sends += 1
        self._heartbeats.restart()

    def _take(self) -> bytes:
        """Everything queued up to one send, in order."""
        first = self._queue.popleft()
        size = len(first)
        if not self._queue:
            return first
        parts = [first]
        while self._queue and size + len(self._queue[0]) <= SEND_BYTES_MAX:
            part = self._queue.popleft()
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    def _taken(self, size: int) -> None:
        self._queued -= size
        if self._queued <= BUFFER_BYTES_LOW:
            _wake(self._room)

    def _beat(self) -> None:
        """Nothing was sent for heartbeat_s. While a send is blocked the client gets no more to read."""
        if self._closed:
            return
        if not self._sending and not self._queue:
            self.stats.heartbeats += 1
            self.put(self._heartbeat)
        self._heartbeats.restart()


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
