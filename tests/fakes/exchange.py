"""One request that the fake provider received, and the means to answer it. Scripts work on this."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from tests.fakes import http

if TYPE_CHECKING:
    from tests.fakes.provider import Connection, FakeProvider

WRITE_BYTES_MAX = 65_536  # a larger write goes out in pieces, each awaiting room, so that bytes_sent tells the truth
WRITES_PER_TURN = 16  # a script that never waits must not hold up the gateway under test, which shares its loop
CREATED = 1_795_000_000


class PeerGone(Exception):
    """The client's connection is closed; nothing more can be sent. Ends a script silently."""


class Step(Protocol):
    """One line of a script."""

    async def run(self, exchange: Exchange) -> None: ...


Script = Iterable[Step] | Callable[["Exchange"], Awaitable[None]]
"""A list of steps, or a coroutine function. A script that returns early has its body ended properly."""


class Exchange:
    """One request and its answer.

    Attributes:
        number: place among the chat requests (or among all others), from 0.
        method, path, query, headers, body: the request as it came; `path` without the query.
        json: the body as JSON, {} when it is none.
        connection: where it came in; several exchanges may share it one after the other.
        chunks_sent: frames with content (text, tool fragments, other deltas) given to the socket.
        bytes_sent: bytes given to the socket, framing included; stands still while the client does not read.
        done: set when the script is over, however.
        outcome: "running"; "finished" when the script came to its end; "peer gone"; "closed" when the fake was
            closed under it; "failed" when it raised.
        newline: what ends a line of SSE from here on.
        usage_null: whether frames say `usage: null` to a request that wants usage.
        events_sent: events so far, for APIs that number them.
        split: length of the HTTP chunks that body bytes are cut into from here on; 0 leaves them whole.
    """

    def __init__(
        self, fake: FakeProvider, connection: Connection, *, number: int, first: str, headers: http.Headers, body: bytes
    ) -> None:
        self.fake = fake
        self.connection = connection
        self.number = number
        self.method, target, _ = first.split(" ", 2)
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.body = body
        self.json: dict[str, Any] = self._object(body)
        self.chunks_sent = 0
        self.bytes_sent = 0
        self.done = asyncio.Event()
        self.outcome = "running"
        self.newline = "\n"
        self.usage_null = True
        self.events_sent = 0
        self.split = 0
        self.id = f"chatcmpl-{number}"
        self.model: str = str(self.json.get("model", ""))
        self._head_sent = False
        self._framing = "chunked"
        self._over = False
        self._together: bytearray | None = None
        self._writes = 0
        self._permits = 0
        self._permit: asyncio.Future[None] | None = None
        self._watchers: list[tuple[int, asyncio.Future[None]]] = []

    # What the request asked for

    @property
    def wants_stream(self) -> bool:
        """The request says `stream: true`."""
        return self.json.get("stream") is True

    @property
    def wants_usage(self) -> bool:
        """The request says `stream_options.include_usage: true`."""
        options = self.json.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    # What tests await

    @property
    def closed(self) -> asyncio.Event:
        """Set when the connection of this request is closed by either side; `connection.how` says which."""
        return self.connection.closed

    async def reached(self, chunks: int) -> None:
        """Wait until `chunks_sent` is at least `chunks`."""
        if self.chunks_sent < chunks:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watchers.append((chunks, future))
            await future

    async def stands_still(self, rounds: int = 200) -> int:
        """Wait until the socket takes nothing more, for so many turns of the event loop; returns `bytes_sent`.

        For a client (the gateway) in the same event loop: it has had all those turns to read. The script must have
        more to send than the client takes, or this never returns.

        Raises:
            PeerGone: the connection was closed meanwhile.
        """
        quiet, last = 0, -1
        while quiet < rounds:
            await self.connection.until_paused()
            await asyncio.sleep(0)
            quiet = quiet + 1 if self.bytes_sent == last and self.connection.paused else 0
            last = self.bytes_sent
        return last

    def allow(self, count: int = 1) -> None:
        """Let this exchange pass `count` of its pauses, now or later."""
        self._permits += count
        self._wake()

    # What scripts call

    async def head(
        self,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        *,
        framing: str = "chunked",
        length: int | None = None,
    ) -> None:
        """Send the status line and the headers.

        Args:
            headers: added to, or in place of, `content-type: text/event-stream`.
            framing: "chunked"; "length", with `length`; "close", where the close of the connection ends the body.
        """
        lines = {"content-type": "text/event-stream", "x-request-id": f"fake-{self.number}"}
        lines |= {name.lower(): value for name, value in (headers or {}).items()}
        if framing == "chunked":
            lines["transfer-encoding"] = "chunked"
        elif framing == "length":
            lines["content-length"] = str(length or 0)
        else:
            lines["connection"] = "close"
        self._framing = framing
        self._head_sent = True
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await self.raw(f"HTTP/1.1 {status} Fake\r\n{text}\r\n".encode("latin-1"))

    async def send(self, data: bytes, *, chunks: int = 0) -> None:
        """Send bytes of the body; `chunks` of content are counted when they are with the socket."""
        if not self._head_sent:
            await self.head()
        if self._together is not None:
            self._together += data
            self._count(chunks)
            return
        if not self.split:
            await self._send_piece(data)
        else:
            for start in range(0, len(data), self.split):
                await self._send_piece(data[start : start + self.split])
                await asyncio.sleep(0)  # so that a reader in this loop sees the cut
        self._count(chunks)

    async def frame(self, payload: object, *, event: str | None = None, chunks: int = 0) -> None:
        """Send one SSE event: a JSON value, or a string as it is, under the exchange's line ending."""
        text = payload if isinstance(payload, str) else msgspec.json.encode(payload).decode()
        name = f"event: {event}{self.newline}" if event else ""
        await self.send(f"{name}data: {text}{self.newline}{self.newline}".encode(), chunks=chunks)

    def envelope(self, choices: list[Any], **more: Any) -> dict[str, Any]:
        """A chat.completion.chunk around `choices`, with this exchange's id and model."""
        envelope = {"id": self.id, "object": "chat.completion.chunk", "created": CREATED, "model": self.model}
        return envelope | {"choices": choices} | more

    async def delta(
        self, delta: dict[str, Any], *, choice: int = 0, finish: str | None = None, chunks: int = 1, **more: Any
    ) -> None:
        """Send one choice's delta as a frame; `usage: null` beside it when the request asked for usage."""
        if self.wants_usage and self.usage_null:
            more.setdefault("usage", None)
        choices = [{"index": choice, "delta": delta, "finish_reason": finish}]
        await self.frame(self.envelope(choices, **more), chunks=chunks)

    async def text(self, text: str, *, choice: int = 0) -> None:
        """Send one frame with a piece of text."""
        await self.delta({"content": text}, choice=choice)

    async def done_marker(self) -> None:
        """Send `data: [DONE]`."""
        await self.frame("[DONE]")

    async def answer_json(self, payload: object, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole JSON answer, with its length."""
        body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
        more = {"content-type": "application/json"} | dict(headers or {})
        await self.head(status, more, framing="length", length=len(body))
        await self.raw(body)
        self._over = True

    async def end_body(self) -> None:
        """End the body as its framing says: the last chunk, or the close of the connection."""
        if self._over:
            return
        self._over = True
        if self._framing == "chunked":
            await self.raw(http.LAST_CHUNK)
        elif self._framing == "close":
            self.connection.close()

    async def together(self, work: Callable[[], Awaitable[None]]) -> None:
        """Send what `work` sends as one write (one HTTP chunk, unless `split` cuts it)."""
        if not self._head_sent:
            await self.head()
        self._together = bytearray()
        await work()
        data, self._together = bytes(self._together), None
        if data:
            await self.send(data)

    async def raw(self, data: bytes) -> None:
        """Put bytes on the wire as they are, waiting for room.

        Raises:
            PeerGone: the client is no longer there.
        """
        for start in range(0, len(data), WRITE_BYTES_MAX):
            await self.connection.writable()
            piece = data[start : start + WRITE_BYTES_MAX]
            self.connection.write(piece)
            self.bytes_sent += len(piece)
            self._writes += 1
            if self._writes % WRITES_PER_TURN == 0:
                await asyncio.sleep(0)

    async def pause(self) -> None:
        """Wait for one permit of `allow` (of this exchange or of the fake)."""
        if self._permits == 0 and self.fake.take_permit():
            return
        while self._permits == 0:
            self._permit = asyncio.get_running_loop().create_future()
            await self._permit
        self._permits -= 1

    async def stall(self) -> None:
        """Wait until the client goes or the fake is closed."""
        await asyncio.get_running_loop().create_future()

    def reset(self) -> None:
        """Close the connection with RST: what is under way is lost."""
        self._over = True
        self.connection.reset()

    def close(self) -> None:
        """Close the connection after what was sent, without ending the body."""
        self._over = True
        self.connection.close()

    def half_close(self) -> None:
        """Send FIN and keep the other direction open; the body is not ended."""
        self._over = True
        self.connection.half_close()

    # Within

    async def run(self, script: Script) -> None:
        """Play a script to its end."""
        if callable(script):
            await script(self)
        else:
            for step in script:
                await step.run(self)
        if self._over:
            return
        if not self._head_sent:
            raise AssertionError(f"the script for request {self.number} sent nothing")
        await self.end_body()

    async def _send_piece(self, data: bytes) -> None:
        if data:  # an empty chunk would end the body
            await self.raw(http.chunk(data) if self._framing == "chunked" else data)

    def _count(self, chunks: int) -> None:
        if not chunks:
            return
        self.chunks_sent += chunks
        self.fake.chunks_sent += chunks
        if self._watchers:
            for target, future in self._watchers:
                if self.chunks_sent >= target and not future.done():
                    future.set_result(None)
            self._watchers = [each for each in self._watchers if not each[1].done()]

    @property
    def paused(self) -> bool:
        """The script waits in `pause`."""
        return self._permit is not None and not self._permit.done()

    def _wake(self) -> None:
        if self._permit is not None and not self._permit.done():
            self._permit.set_result(None)

    @staticmethod
    def _object(body: bytes) -> dict[str, Any]:
        try:
            value = msgspec.json.decode(body) if body else {}
        except msgspec.DecodeError:
            return {}
        return value if isinstance(value, dict) else {}


def linger_none(sock: socket.socket) -> None:
    """Make the next close of `sock` a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
