"""What goes out by our own transport says the same as what httpx2 would have sent."""

from __future__ import annotations

import httpx2
import pytest

from rillgate.upstream.fast.request import encode, encode_head
from rillgate.upstream.fast.transport import Call, FastTransport, Origin
from rillgate.upstream.sending import Headers, Outgoing, send


class StoppedError(Exception):
    """Far enough."""


class Transport(FastTransport):
    """Keeps the call instead of making it."""

    def __init__(self) -> None:
        self.call: Call | None = None

    async def send(self, call: Call) -> None:  # type: ignore[override] # it never answers
        self.call = call
        raise StoppedError


async def sent(method: str, url: str, headers: list[tuple[str, str]], body: bytes) -> tuple[bytes, object]:
    """Head and body as ours would send them."""
    transport = Transport()
    with pytest.raises(StoppedError):
        await send(transport, Outgoing(method, url, headers, body, 1.0, 1.0, None))
    assert transport.call is not None
    return transport.call._head, transport.call._content


def by_httpx2(method: str, url: str, headers: list[tuple[str, str]], body: bytes) -> tuple[bytes, object]:
    """The same by httpx2's own request."""
    request = httpx2.Request(method, url, headers=headers, content=body or None)
    request.headers.setdefault("accept", "*/*")
    return encode(request)


def lines(head: bytes) -> tuple[bytes, list[bytes]]:
    """The request line, and the headers in any order, their names in any case: neither means anything."""
    first, *rest = head.split(b"\r\n")
    named = [line.partition(b": ") for line in rest if line]
    return first, sorted(name.lower() + b": " + value for name, _, value in named)


@pytest.mark.parametrize(
    ("method", "url", "headers", "body"),
    [
        ("POST", "http://127.0.0.1:9/v1/chat/completions", [("authorization", "Bearer x")], b"{}"),
        ("POST", "https://example.test/a%20b/c:d?alt=sse&x=%2F", [("accept", "text/event-stream")], b"x" * 70_000),
        ("POST", "https://example.test:8443/", [], b""),
        ("GET", "http://[::1]:8000/models", [("user-agent", "rillgate")], b""),
        ("GET", "https://example.test/models", [("Host", "other.test")], b""),
        ("PUT", "http://169.254.169.254/latest/api/token", [("x-ttl", "60")], b""),
    ],
)
@pytest.mark.anyio
async def test_as_httpx2_would(method: str, url: str, headers: list[tuple[str, str]], body: bytes) -> None:
    ours, content = await sent(method, url, headers, body)
    theirs, their_content = by_httpx2(method, url, headers, body)
    assert lines(ours) == lines(theirs)
    assert content == their_content


@pytest.mark.anyio
async def test_a_header_that_would_smuggle_is_refused() -> None:
    with pytest.raises(httpx2.LocalProtocolError):
        await send(Transport(), Outgoing("GET", "http://x.test/", [("a", "b\r\nc: d")], b"", 1.0, 1.0, None))


def test_an_address_that_is_not_http() -> None:
    with pytest.raises(httpx2.UnsupportedProtocol):
        Origin.of(httpx2.URL("ftp://x.test/"))


def test_a_head_needs_a_sound_method() -> None:
    with pytest.raises(httpx2.LocalProtocolError):
        encode_head(b"G ET", b"/", [])


def test_headers_of_an_answer() -> None:
    headers = Headers([(b"Content-Type", b"text/plain"), (b"Vary", b"a"), (b"vary", b"b"), (b"X-Name", b"caf\xe9")])
    assert headers["content-type"] == headers["CONTENT-TYPE"] == headers.get("Content-Type") == "text/plain"
    assert headers["vary"] == "a, b"
    assert headers["x-name"] == "café"
    assert headers.get("nothing") is None
    assert headers.get("nothing", "else") == "else"
    assert list(headers) == ["content-type", "vary", "x-name"]
    assert len(headers) == 3
    assert "VARY" in headers
