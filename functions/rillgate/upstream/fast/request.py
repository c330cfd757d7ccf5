"""A request as it goes over the wire.

Source: RFC 9112, sections 3, 5 and 7.1; RFC 9110, section 5.6.2, for what a name may be.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from functools import lru_cache

import httpx2

_REQUEST_LINE = lru_cache(256)(re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [!-~]+ HTTP/1\.1\r\n").fullmatch)
_NAME = lru_cache(256)(re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch)


def encode(request: httpx2.Request) -> tuple[bytes, bytes | AsyncIterable[bytes]]:
    """The head, and the body: bytes where it is known whole, otherwise pieces, framed as the headers say.

    Raises:
        httpx2.LocalProtocolError: a header that cannot be sent.
    """
    head = encode_head(request.method.encode("ascii", "replace"), request.url.raw_path, request.headers.raw)
    stream = request.stream
    if isinstance(stream, httpx2.ByteStream):
        return head, b"".join(stream)
    if not isinstance(stream, httpx2.AsyncByteStream):
        raise httpx2.LocalProtocolError("The request's body can only be read by blocking.")
    chunked = request.headers.get("transfer-encoding", "").lower() == "chunked"
    return head, _chunked(stream) if chunked else stream


def encode_head(method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Request line, headers, empty line.

    Raises:
        httpx2.LocalProtocolError: something of it cannot be sent.
    """
    lines = [b"%b %b HTTP/1.1\r\n" % (method, target), *[b"%b: %b\r\n" % header for header in headers], b"\r\n"]
    head = b"".join(lines)
    sound = _REQUEST_LINE(lines[0]) is not None and all(_NAME(name) for name, _ in headers)
    # No value has a line of its own to smuggle in.
    if not sound or head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\x00" in head:
        raise httpx2.LocalProtocolError("The request's method, path or headers have characters that cannot be sent.")
    return head


async def _chunked(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
