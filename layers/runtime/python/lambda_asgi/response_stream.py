"""One streamed POST of a response: each piece is one chunk and leaves at once; a slow reader holds the writer up.

The head of the request and the first chunk wait for the loop's next turn, no longer, so that a body that follows at
once travels in the same segment.

The platform says that it has given up by closing the connection or by answering before the end. Either way, and when
a write takes longer than `stall_s`, the stream is broken: `on_broken` is called once and each send raises OSError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from lambda_asgi.clock import Clock
from lambda_asgi.http1 import Answer, chunk, last_chunk, read_answer

WRITE_BYTES_HIGH = 8 * 1024  # unsent bytes above which a send waits; more would only hide a slow reader
WRITE_BYTES_LOW = 2 * 1024


class StreamBroken(OSError):
    """The response cannot be delivered any more."""


class ResponseStream:
    """Made by `RuntimeApi.stream`; ends with `end`, then `answer`.

    Attributes:
        broken: why nothing can be sent any more; "" while all is well.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        head: bytes,
        first: bytes,
        *,
        clock: Clock,
        stall_s: float,
        on_broken: Callable[[], None],
    ) -> None:
        self.broken = ""
        self._writer = writer
        self._clock = clock
        self._stall_s = stall_s
        self._on_broken = on_broken
        self._waiting = head + chunk(first)
        self._ended = False
        writer.transport.set_write_buffer_limits(high=WRITE_BYTES_HIGH, low=WRITE_BYTES_LOW)
        self._answer = asyncio.create_task(read_answer(reader))
        self._answer.add_done_callback(self._answered)
        asyncio.get_running_loop().call_soon(self._flush)

    async def send(self, data: bytes) -> None:
        """One chunk; returns when there is room for more. Nothing is sent for no bytes.

        Raises:
            StreamBroken: it cannot be delivered.
        """
        if data:
            self._check()
            await self._write(chunk(data))

    async def end(self, trailers: Iterable[tuple[str, str]] = ()) -> None:
        """The end of the body. The client has everything then, whatever runs on here; a second end changes nothing.

        Raises:
            StreamBroken: it cannot be delivered.
        """
        self._check()
        if self._ended:
            return
        self._ended = True
        await self._write(last_chunk(trailers))

    async def answer(self) -> Answer | None:
        """What the Runtime API says to all of it, None where it said nothing. Closes the connection."""
        try:
            return await asyncio.shield(self._answer)
        except OSError:
            return None
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Drop the connection, in the middle if it must be."""
        self._ended = True
        self._answer.cancel()
        self._writer.transport.abort()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass  # it had broken before

    def break_off(self, why: str) -> None:
        """Nothing can be sent any more; who waits in `send` is let go."""
        if not self.broken:
            self.broken = why
            self._writer.transport.abort()
            self._on_broken()

    # Within

    async def _write(self, data: bytes) -> None:
        self._waiting += data
        self._flush()
        watch = self._clock.call_later(self._stall_s, self._stalled) if self._stall_s else None
        try:
            await self._writer.drain()
        except OSError as error:
            self.break_off(f"the connection broke: {error}")
        finally:
            if watch is not None:
                watch.cancel()
        self._check()

    def _flush(self) -> None:
        if self._waiting and not self._writer.transport.is_closing():
            self._writer.write(self._waiting)
            self._waiting = b""

    def _check(self) -> None:
        if self.broken:
            raise StreamBroken(f"The response cannot be delivered: {self.broken}.")

    def _stalled(self) -> None:
        self.break_off(f"nothing was read for {self._stall_s:g} s")

    def _answered(self, task: asyncio.Task[Answer]) -> None:
        error = None if task.cancelled() else task.exception()
        if not self._ended and not task.cancelled():
            self.break_off(f"the connection broke: {error}" if error else f"answered {task.result().status} too early")
