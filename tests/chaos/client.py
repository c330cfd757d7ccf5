"""A client over a bare socket: it asks, misbehaves as it is told, and checks every byte that it gets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from tests.chaos.answers import CUT_NOTICE, ChatStream, MessagesStream, Stream, Wrong, error_code, whole_words
from tests.chaos.plan import MODEL, Plan
from tests.fakes import http
from tests.fakes.exchange import linger_none

PATHS: Final = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "plain": "/chat/stream"}
READ_BYTES: Final = 65_536
CANCEL: Final = "/v1/requests/{}/cancel"


@dataclass(frozen=True)
class Ask:
    """One request.

    Attributes:
        dialect: the key of one of `PATHS`.
        model: "provider/model" or a route's name.
        stream: whether a stream is asked for.
        cap: the most tokens; None leaves it to the gateway.
    """

    plan: Plan
    dialect: str = "chat"
    model: str = f"openai/{MODEL}"
    stream: bool = True
    cap: int | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The body."""
        if self.dialect == "plain":
            cap = {} if self.cap is None else {"max_tokens": self.cap}
            return {"prompt": self.plan.prompt, "model": self.model, **cap}
        cap = {"max_tokens": self.cap or max(64, 2 * self.plan.words)}
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": self.plan.prompt}],
            "stream": self.stream,
            **cap,
        }

    def request(self, headers: Mapping[str, str]) -> bytes:
        """All of its bytes."""
        body = msgspec.json.encode(self.fields)
        lines = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(body)), **headers}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {PATHS[self.dialect]} HTTP/1.1\r\n{text}\r\n".encode() + body

    def answer(self) -> Stream:
        """What reads its stream."""
        if self.dialect == "messages":
            return MessagesStream(self.plan)
        return ChatStream(self.plan, notice=CUT_NOTICE if self.dialect == "plain" else "")


@dataclass
class Got:
    """What came of a request.

    Attributes:
        outcome: for a table: "stop", "error upstream_truncated", "502 upstream_error", "left".
        words: how many came.
        request_id: as the gateway named it.
    """

    ask: Ask
    status: int = 0
    outcome: str = "left"
    words: int = 0
    request_id: str = ""
    headers: http.Headers = field(default_factory=lambda: http.Headers([]))


class _Reading:
    """One answer's body while it comes."""

    def __init__(self, got: Got, body: http.Body) -> None:
        self.got = got
        self.taken = 0
        self._body = body
        self._whole = bytearray()
        streamed = got.status == 200 and got.headers.get("content-type", "").startswith("text/event-stream")
        self._stream = got.ask.answer() if streamed else None

    def take(self, wire: bytearray) -> bool:
        """What has come; True where that is all.

        Raises: Wrong
        """
        data = self._body.take(wire)
        self.taken += len(data)
        if self._stream is not None:
            self._stream.feed(data)
            self.got.words = self._stream.words
        else:
            self._whole += data
        if self._body.complete:
            self._end()
        return self._body.complete

    def _end(self) -> None:
        got, messages = self.got, self.got.ask.dialect == "messages"
        if self._stream is not None:
            self._stream.finished()
            got.outcome = self._stream.outcome
        elif got.status != 200:
            got.outcome = f"{got.status} {error_code(messages, got.status, bytes(self._whole))}"
        elif got.ask.stream:
            raise Wrong("a whole answer where a stream was asked for")
        else:
            got.words = whole_words(messages, got.ask.plan, bytes(self._whole))
            got.outcome = "whole"


class ChaosClient:
    """One connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._wire = bytearray()
        self._reading: _Reading | None = None

    @classmethod
    async def open(cls, port: int, *, rcvbuf: int | None = None) -> ChaosClient:
        """Connect to this machine."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        if rcvbuf is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    async def send(self, data: bytes) -> None:
        """Put bytes on the wire."""
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def head(self, got: Got) -> http.Body:
        """The answer's head, into `got`; what takes its body.

        Raises: Wrong: the connection ended without one.
        """
        while True:
            found = http.take_head(self._wire)
            if found is not None and not found[0].startswith("HTTP/1.1 1"):
                break
            if found is None and not await self._receive():
                raise Wrong(f"the connection ended without an answer: {bytes(self._wire)!r}")
        got.status, got.headers = int(found[0].split(" ")[1]), found[1]
        got.request_id = got.headers.get("x-request-id", "")
        return http.Body(got.headers, until_close=True)

    async def read(self, got: Got, *, bytes_max: int | None = None, pause_s: float = 0.0) -> bool:
        """One answer, to its end; False where more than `bytes_max` of the body came first: `finish` reads on.

        Args: pause_s: between two reads.
        Raises: Wrong
        """
        self._reading = _Reading(got, await self.head(got))
        return await self._go_on(self._reading, bytes_max, pause_s)

    async def finish(self, got: Got, *, pause_s: float = 0.0) -> None:
        """The rest of an answer whose beginning was read.

        Raises: Wrong
        """
        assert self._reading is not None
        assert self._reading.got is got
        await self._go_on(self._reading, None, pause_s)

    async def _go_on(self, reading: _Reading, bytes_max: int | None, pause_s: float) -> bool:
        while not reading.take(self._wire):
            if bytes_max is not None and reading.taken > bytes_max:
                return False
            if pause_s:
                await asyncio.sleep(pause_s)
            if not await self._receive():
                raise Wrong(f"the body ended before its end, after {reading.got.words} words")
        return True

    def reset(self) -> None:
        """RST."""
        if self.sock.fileno() >= 0:
            linger_none(self.sock)
            self.sock.close()

    def close(self) -> None:
        """FIN, or RST where bytes were left unread."""
        self.sock.close()

    def half_close(self) -> None:
        """FIN, and the other direction stays open."""
        self.sock.shutdown(socket.SHUT_WR)

    async def _receive(self) -> bool:
        try:
            data = await asyncio.get_running_loop().sock_recv(self.sock, READ_BYTES)
        except (ConnectionResetError, BrokenPipeError):
            return False
        self._wire += data
        return bool(data)


async def asked(port: int, ask: Ask, **headers: str) -> Got:
    """One request on a connection of its own, read to its end.

    Raises: Wrong: its answer breaks a promise.
    """
    got = Got(ask)
    client = await ChaosClient.open(port)
    try:
        await client.send(ask.request({"connection": "close", **headers}))
        await client.read(got)
    finally:
        client.close()
    return got
