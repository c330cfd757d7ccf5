"""The little HTTP/1.1 that a client of the Runtime API needs: requests out, whole answers in.

Source: RFC 9112, sections 2, 4, 6 and 7.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass

HEAD_BYTES_MAX = 64 * 1024  # Go's server, which we speak to, would take 1 MiB; its own heads are under 8 KiB
BODY_BYTES_MAX = 32 * 1024 * 1024  # an event has at most 6 MiB on Lambda; emulators let more through
NOT_SENT_BYTES_LOW = 16 * 1024  # what the kernel may hold unsent before a write waits; its own default hides seconds


class BrokenAnswer(OSError):
    """The other side does not speak HTTP, or closed in the middle of an answer."""


class NoAnswer(OSError):
    """The connection was closed before the first byte of an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    keep: bool
    """Whether the connection may be used again."""


async def connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which a write leaves at once, and waits where the other side does not read.

    Raises: OSError: nobody listens.
    """
    reader, writer = await asyncio.open_connection(host, port, limit=HEAD_BYTES_MAX)
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT_BYTES_LOW)
    return reader, writer


def request_head(method: str, path: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """Request line and headers, with the empty line after them."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body. `data` is not empty: a chunk of no bytes would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Iterable[tuple[str, str]] = ()) -> bytes:
    """The end of a chunked body."""
    return "".join(["0\r\n", *(f"{name}: {value}\r\n" for name, value in trailers), "\r\n"]).encode("latin-1")


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """One whole answer; interim ones (1xx) are skipped.

    Raises:
        NoAnswer: closed before it began.
        BrokenAnswer: it is not HTTP, too large, or cut off.
        OSError: the connection broke.
    """
    status = 100
    while 100 <= status < 200:
        status, headers = _head(await _read_head(reader))
    try:
        body, keep = await _read_body(reader, headers)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise BrokenAnswer(f"The body of an answer is broken or cut off: {error}.") from error
    return Answer(status, headers, body, keep and headers.get("connection", "").lower() != "close")


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            raise NoAnswer("The connection was closed without an answer.") from error
        raise BrokenAnswer("The head of an answer is cut off.") from error
    except asyncio.LimitOverrunError as error:
        raise BrokenAnswer(f"The head of an answer is longer than {HEAD_BYTES_MAX} bytes.") from error


def _head(raw: bytes) -> tuple[int, dict[str, str]]:
    status_line, *lines = raw.decode("latin-1").split("\r\n")
    version, _, rest = status_line.partition(" ")
    if not version.startswith("HTTP/1.") or not (rest[:3].isascii() and rest[:3].isdigit()):
        raise BrokenAnswer(f"This is no HTTP/1.1 answer: {status_line[:80]!r}.")
    headers: dict[str, str] = {}
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return int(rest[:3]), headers


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> tuple[bytes, bool]:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return await _read_chunks(reader), True
    if "content-length" in headers:
        return await reader.readexactly(_bounded(int(headers["content-length"]))), True
    return await _read_to_the_end(reader), False


async def _read_to_the_end(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    total = 0
    while part := await reader.read(HEAD_BYTES_MAX):
        total = _bounded(total + len(part))
        parts.append(part)
    return b"".join(parts)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    total = 0
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        total = _bounded(total + size)
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return b"".join(parts)


def _bounded(size: int) -> int:
    if not 0 <= size <= BODY_BYTES_MAX:
        raise ValueError(f"{size} bytes are more than {BODY_BYTES_MAX}")
    return size
