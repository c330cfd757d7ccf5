"""Clients that read when a test says so, byte by byte if need be, and close as rudely as it likes.

No stream reader stands between the test and the socket: what is not asked for stays in the kernel.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import msgspec

from tests.fakes import http
from tests.fakes.exchange import linger_none

READ_BYTES = 65_536
TIMEOUT_S = 30.0  # a guard against hanging tests, never what a test waits for

# Two line ends in a row, of any kind; atomic, or CR LF alone would count as two.
_EVENT_END = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")
_LINE_END = re.compile(r"\r\n|\r|\n")


class Truncated(Exception):
    """The connection ended before the message was complete."""


@dataclass(frozen=True)
class ServerEvent:
    """One SSE event. `comments` are those that came before or within it; `data` is None for comments alone."""

    raw: bytes
    data: str | None
    event: str = "message"
    id: str | None = None
    comments: tuple[str, ...] = ()

    @property
    def json(self) -> Any:
        """The data as JSON."""
        return msgspec.json.decode(self.data or "")


class RawClient:
    """One HTTP/1.1 connection.

        client = await RawClient.open(port, rcvbuf=4096)
        await client.request("POST", "/v1/chat/completions", json={…})
        assert await client.response() == 200

    Attributes:
        status, headers: of the last answer, once `response` has read it.
        bytes_read: bytes taken from the socket so far.
        truncated: the peer closed the connection before the body was complete.
    """

    def __init__(self, sock: socket.socket, host: str) -> None:
        self.sock = sock
        self.status = 0
        self.headers = http.Headers([])
        self.bytes_read = 0
        self.truncated = False
        self._host = host
        self._wire = bytearray()  # as received, not yet taken by the body
        self._text = bytearray()  # of the body, not yet taken by the caller
        self._searched = 0
        self._skip_lf = False
        self._body: http.Body | None = None
        self._eof = False

    @classmethod
    async def open(cls, port: int, host: str = "127.0.0.1", *, rcvbuf: int | None = None) -> Self:
        """Connect. `rcvbuf`: SO_RCVBUF, set before connecting, since the window is agreed on then."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if rcvbuf is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            async with asyncio.timeout(TIMEOUT_S):
                await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except BaseException:
            sock.close()
            raise
        return cls(sock, f"{host}:{port}")

    async def send(self, data: bytes) -> None:
        """Put bytes on the wire as they are."""
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        body: bytes | None = None,
    ) -> None:
        """Send a request and return without reading anything.

        Args:
            headers: added to, or in place of, `host`, `content-type` and `content-length`.
            json: encoded as the body; `body` goes out as it is.
        """
        lines = {"host": self._host}
        if json is not None:
            body = msgspec.json.encode(json)
            lines["content-type"] = "application/json"
        if body is not None:
            lines["content-length"] = str(len(body))
        lines |= {name.lower(): value for name, value in (headers or {}).items()}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await self.send(f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode("latin-1") + (body or b""))

    async def response(self) -> int:
        """Read the status line and the headers; returns the status.

        Raises:
            Truncated: the connection ended before they came.
        """
        self._text.clear()
        self._searched, self._skip_lf, self.truncated = 0, False, False
        while True:
            head = http.take_head(self._wire)
            if head is not None and not head[0].startswith("HTTP/1.1 1"):
                break
            if head is None and not await self._receive():
                raise Truncated(f"the connection ended after {bytes(self._wire)!r}")
        self.status = int(head[0].split(" ", 2)[1])
        self.headers = head[1]
        self._body = http.Body(self.headers, until_close=True)
        if self.status in (204, 304):
            self._body.complete = True
        return self.status

    async def read_some(self) -> bytes:
        """The next bytes of the body, at least one; b"" at its end (see `complete` and `truncated`)."""
        if not self._text:
            await self._more_text()
        data = bytes(self._text)
        self._text.clear()
        self._searched = 0
        return data

    async def read_body(self) -> bytes:
        """The rest of the body.

        Raises:
            Truncated: the connection ended before the body was complete.
        """
        while await self._more_text():
            pass
        if self.truncated:
            raise Truncated(f"the body ended after {bytes(self._text[-200:])!r}")
        return await self.read_some()

    async def read_until(self, marker: bytes) -> bytes:
        """The body up to and with `marker`, which need not be the end of an event.

        Raises:
            Truncated: the body ended without it.
        """
        while (end := self._text.find(marker)) < 0:
            if not await self._more_text():
                raise Truncated(f"no {marker!r} in {bytes(self._text[-200:])!r}")
        self._searched = 0
        return self._take(end + len(marker))

    async def next_event(self) -> ServerEvent | None:
        """The next SSE event, comments included; None at the end of the body.

        What stands after the last empty line when the body ends is dropped, as the specification says.
        """
        while True:
            # The LF of a CR LF that was cut belongs to the event before; it stays in front of this one's bytes.
            lone_lf = self._skip_lf and self._text.startswith(b"\n")
            # From three bytes back: the line ends may have been cut.
            found = _EVENT_END.search(self._text, max(self._searched - 3, int(lone_lf)))
            if found is not None:
                self._searched = 0
                raw = self._take(found.end())
                self._skip_lf = raw.endswith(b"\r") and not self._text
                return _parse(raw)
            self._searched = len(self._text)
            if not await self._more_text():
                return None

    async def next_frame(self) -> str | None:
        """The data of the next event that has any; None at the end of the body."""
        while (event := await self.next_event()) is not None:
            if event.data is not None:
                return event.data
        return None

    async def read_stream(self) -> list[str]:
        """The data of all events to the end of the body."""
        payloads = []
        while (data := await self.next_frame()) is not None:
            payloads.append(data)
        return payloads

    async def at_eof(self) -> bool:
        """Wait for the peer's FIN or RST, throwing away what comes before."""
        while await self._receive():
            self._wire.clear()
        return True

    @property
    def complete(self) -> bool:
        """The body was read to a proper end."""
        return self._body is not None and self._body.complete and not self.truncated

    def abort(self) -> None:
        """Close with RST."""
        if self.sock.fileno() >= 0:
            linger_none(self.sock)
            self.sock.close()

    def close(self) -> None:
        """Close (the kernel sends RST instead of FIN if bytes were left unread)."""
        self.sock.close()

    def half_close(self) -> None:
        """Send FIN and keep reading."""
        self.sock.shutdown(socket.SHUT_WR)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Within

    def _take(self, count: int) -> bytes:
        data = bytes(self._text[:count])
        del self._text[:count]
        return data

    async def _more_text(self) -> bool:
        """Add at least one byte of the body to `_text`; False at its end."""
        if self._body is None:
            raise AssertionError("read the response first")
        while True:
            data = self._body.take(self._wire)
            if data:
                self._text += data
                return True
            if self._body.complete:
                return False
            if not await self._receive():
                if self._body.until_close:
                    self._body.complete = True
                else:
                    self.truncated = True
                return False

    async def _receive(self) -> bool:
        """Read once from the socket; False when the peer has closed it (a reset counts as a close)."""
        if self._eof:
            return False
        try:
            async with asyncio.timeout(TIMEOUT_S):
                data = await asyncio.get_running_loop().sock_recv(self.sock, READ_BYTES)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        self._eof = not data
        self.bytes_read += len(data)
        self._wire += data
        return bool(data)


def _parse(raw: bytes) -> ServerEvent:
    """One event from its bytes, the empty line included."""
    data: list[str] = []
    comments: list[str] = []
    name, event_id = "message", None
    for line in _LINE_END.split(raw.decode()):
        field_name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line.startswith(":"):
            comments.append(value)
        elif field_name == "data":
            data.append(value)
        elif field_name == "event":
            name = value
        elif field_name == "id":
            event_id = value
    return ServerEvent(raw, "\n".join(data) if data else None, name, event_id, tuple(comments))


async def open_chat(
    port: int, *, rcvbuf: int | None = None, path: str = "/v1/chat/completions", **body: Any
) -> RawClient:
    """Connect and send a streaming chat request with a short prompt; nothing is read. `body` adds to its fields."""
    client = await RawClient.open(port, rcvbuf=rcvbuf)
    request = {"model": "fake-model", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    await client.request("POST", path, json=request | body)
    return client


@dataclass
class Answer:
    """What the payloads of a Chat Completions stream say, added up. See `collect`.

    Attributes:
        texts, finishes: by choice.
        usage: the last usage object; error: the error object, if one came.
        done: `[DONE]` came; `after_done`: payloads that came after it.
        tools: by choice and index, with "id", "name" and "arguments".
        chunks: frames with text.
        rillgate: the gateway's own field, if a frame had one.
    """

    texts: dict[int, str] = field(default_factory=dict)
    finishes: dict[int, str] = field(default_factory=dict)
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    done: bool = False
    after_done: int = 0
    tools: dict[tuple[int, int], dict[str, str]] = field(default_factory=dict)
    chunks: int = 0
    rillgate: dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """Text of the first choice."""
        return self.texts.get(0, "")

    @property
    def finish(self) -> str | None:
        """Finish reason of the first choice."""
        return self.finishes.get(0)


def collect(payloads: Iterable[str]) -> Answer:
    """Add up the payloads of a Chat Completions stream (`RawClient.read_stream`)."""
    answer = Answer()
    for payload in payloads:
        if answer.done:
            answer.after_done += 1
        if payload == "[DONE]":
            answer.done = True
            continue
        frame = msgspec.json.decode(payload)
        if "error" in frame:
            answer.error = frame["error"]
        answer.usage = frame.get("usage") or answer.usage
        answer.rillgate = frame.get("rillgate") or answer.rillgate
        for choice in frame.get("choices", ()):
            _add_choice(answer, choice)
    return answer


def _add_choice(answer: Answer, choice: dict[str, Any]) -> None:
    index: int = choice["index"]
    delta = choice.get("delta") or {}
    if delta.get("content"):
        answer.texts[index] = answer.texts.get(index, "") + delta["content"]
        answer.chunks += 1
    for fragment in delta.get("tool_calls") or ():
        call = answer.tools.setdefault((index, fragment["index"]), {"id": "", "name": "", "arguments": ""})
        function = fragment.get("function") or {}
        call["id"] += fragment.get("id") or ""
        call["name"] += function.get("name") or ""
        call["arguments"] += function.get("arguments") or ""
    if choice.get("finish_reason"):
        answer.finishes[index] = choice["finish_reason"]
