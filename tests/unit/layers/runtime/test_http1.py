"""Answers of the Runtime API, however they are cut and framed."""

from __future__ import annotations

import asyncio

import pytest

from lambda_asgi.http1 import Answer, BrokenAnswer, NoAnswer, chunk, last_chunk, read_answer

pytestmark = pytest.mark.anyio

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b: c\r\n\r\n"
    b"3\r\nabc\r\nA;x=1\r\n0123456789\r\n0\r\nT: 1\r\n\r\n"
)


async def answer_to(raw: bytes, *, piece: int = 1_000_000) -> tuple[Answer, bytes]:
    """What is read from these bytes in pieces, and what is left of them."""
    reader = asyncio.StreamReader()

    async def feed() -> None:
        for at in range(0, len(raw), piece):
            reader.feed_data(raw[at : at + piece])
            await asyncio.sleep(0)
        reader.feed_eof()

    task = asyncio.create_task(feed())
    try:
        return await read_answer(reader), await reader.read()
    finally:
        await task


@pytest.mark.parametrize("piece", [1, 7, 1_000_000])
@pytest.mark.parametrize(
    ("raw", "status", "body", "keep"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc", True),
        (b"HTTP/1.1 202\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 202, b"", False),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 No\r\ncontent-length: 1\r\n\r\nx", 403, b"x", True),
        (CHUNKED, 200, b"abc0123456789", True),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, b"until the end", False),
    ],
)
async def test_answer_is_read_whole_however_it_is_framed(
    raw: bytes, status: int, body: bytes, keep: bool, piece: int
) -> None:
    """By length, in chunks, until the close; cut anywhere."""
    answer, rest = await answer_to(raw, piece=piece)
    assert (answer.status, answer.body, answer.keep, rest) == (status, body, keep, b"")


async def test_answer_leaves_what_follows_it() -> None:
    """A kept connection has the next answer behind it."""
    for raw in (CHUNKED, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"):
        assert (await answer_to(raw + b"HTTP/1.1"))[1] == b"HTTP/1.1"


async def test_connection_that_closes_without_a_byte_gave_no_answer() -> None:
    """It may have been idle for too long: asking again is right."""
    with pytest.raises(NoAnswer):
        await answer_to(b"")


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"x" * 70_000,
    ],
)
async def test_answer_that_is_broken_is_one_error(raw: bytes) -> None:
    """Cut off, too large, or not HTTP."""
    with pytest.raises((BrokenAnswer, NoAnswer)):
        await answer_to(raw)


def test_chunks_are_framed_as_http_wants_them() -> None:
    """Sizes in hexadecimal; trailers before the last empty line."""
    assert chunk(b"x" * 16) == b"10\r\n" + b"x" * 16 + b"\r\n"
    assert last_chunk() == b"0\r\n\r\n"
    assert last_chunk([("A", "b")]) == b"0\r\nA: b\r\n\r\n"
