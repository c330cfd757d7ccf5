"""The HTTP client of `doctor` and `chat`: blocking, one connection for each request, and the time of everything."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from types import TracebackType
from typing import Any, Self
from urllib.parse import SplitResult

TIMEOUT_S = 60.0  # of silence; a heartbeat comes sooner
READ_BYTES = 65_536
BODY_BYTES_MAX = 1 << 20
CHAT = "/v1/chat/completions"

UNREACHABLE = (OSError, HTTPException)
"""What a network that fails, TLS included, raises here."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `headers` are in order, names in lower case; `waited_s` until its status line."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    waited_s: float

    def header(self, name: str) -> str:
        """The first header of this name; "" where there is none."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def json(self) -> Any:
        """The body, or None where it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def said(self) -> str:
        """The error's code and message, for people."""
        body = self.json
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict):
            return f"{self.status} {self.body[:200].decode(errors='replace')!r}"
        return f"{self.status} {error.get('code') or error.get('type')}: {error.get('message')}"


@dataclass(frozen=True, slots=True)
class Tls:
    """Of the first connection. `days_left` of the certificate."""

    version: str
    days_left: int


class Remote:
    """A gateway, seen from the outside.

    Args:
        url: of it, checked: http or https, with a host.
        key: sent as Bearer; None for none.
        now_s: seconds since 1970.
        clock: seconds, for durations.
    """

    def __init__(
        self,
        url: SplitResult,
        key: str | None,
        *,
        now_s: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self.key = key
        self._now_s = now_s
        self._clock = clock

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, *, keyed: bool = True
    ) -> Answer:
        """One request and its whole answer.

        Raises: `UNREACHABLE`.
        """
        with Stream(self._connection(), self._clock) as stream:
            stream.send(method, self._path(path), body, {**self._credential(keyed), **(headers or {})})
            return Answer(stream.status, stream.headers, stream.read(), stream.headers_s)

    def chat(self, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Stream:
        """A streaming request, sent; its status line has come.

        Raises: `UNREACHABLE`.
        """
        stream = Stream(self._connection(), self._clock)
        try:
            stream.send("POST", self._path(CHAT), body, {**self._credential(True), **(headers or {})})
        except BaseException:
            stream.close()
            raise
        return stream

    def tls(self) -> Tls | None:
        """How its connections are protected; None where they are not.

        Raises: `UNREACHABLE`: a certificate that is not trusted, too.
        """
        if self.url.scheme != "https":
            return None
        connection = self._connection()
        try:
            connection.connect()
            sock = connection.sock
            if not isinstance(sock, ssl.SSLSocket):
                return None
            until = (sock.getpeercert() or {}).get("notAfter")
            left_s = ssl.cert_time_to_seconds(str(until)) - self._now_s() if until else 0.0
            return Tls(sock.version() or "TLS", int(left_s // 86_400))
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        kind = HTTPSConnection if self.url.scheme == "https" else HTTPConnection
        return kind(self.url.hostname or "", self.url.port, timeout=TIMEOUT_S)

    def _path(self, path: str) -> str:
        return self.url.path.rstrip("/") + path

    def _credential(self, keyed: bool) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"} if keyed and self.key else {}


class Stream:
    """One request on a connection of its own, closed at the end of the block whatever is still to come.

    Attributes:
        status, headers, headers_s: of the answer, and how long they took.
        finish_reason: of a stream whose pieces were read to the end.
    """

    status = 0
    headers_s = 0.0
    finish_reason: str | None = None
    headers: list[tuple[str, str]]
    _response: HTTPResponse

    def __init__(self, connection: HTTPConnection, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock
        self._sent_s = 0.0

    def send(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> None:
        """Send the request and read the answer's head."""
        data = None if body is None else json.dumps(body).encode()
        content = {} if body is None else {"content-type": "application/json"}
        self._sent_s = self._clock()
        self._connection.request(method, path, data, {**content, **headers})
        self._response = self._connection.getresponse()
        self.headers_s = self._clock() - self._sent_s
        self.status = self._response.status
        self.headers = [(name.lower(), value) for name, value in self._response.getheaders()]

    def header(self, name: str) -> str:
        """The first header of this name; "" where there is none."""
        return next((value for key, value in self.headers if key == name), "")

    def read(self) -> bytes:
        """The whole body, up to its bound."""
        return self._response.read(BODY_BYTES_MAX)

    def events(self) -> Iterator[tuple[float, str]]:
        """The data of each event, and when it came: seconds since the request was sent."""
        rest = b""
        while data := self._response.read1(READ_BYTES):
            at_s = self._clock() - self._sent_s
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line.startswith(b"data:"):
                    yield at_s, line[5:].strip().decode(errors="replace")

    def pieces(self) -> Iterator[float]:
        """When each event with content came; the end of the stream ends it.

        Raises: StreamFailed: an error in the stream, or an end without [DONE].
        """
        for at_s, data in self.events():
            if data == "[DONE]":
                return
            event = _decoded(data)
            match event:
                case {"choices": [{"finish_reason": str(reason)}, *_]}:
                    self.finish_reason = reason
            match event:
                case {"error": {"message": message}}:
                    raise StreamFailed(str(message))
                case {"choices": [{"delta": {"content": str(text)}}, *_]} if text:
                    yield at_s
                case {"choices": [{"delta": {"reasoning_content": str(text)}}, *_]} if text:
                    yield at_s
        raise StreamFailed("it ended without [DONE]")

    def close(self) -> None:
        """Close the connection."""
        response = getattr(self, "_response", None)
        if response is not None:
            response.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class StreamFailed(Exception):
    """A stream that did not end well."""


def _decoded(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
