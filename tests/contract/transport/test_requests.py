"""How a request goes out, and what stops it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.contract.transport.carriers import Carrier, body_of
from tests.contract.transport.peers import OK, Line, Peer, answer_all

pytestmark = pytest.mark.anyio


async def test_request_goes_out_as_it_is(carrier: Carrier) -> None:
    """Method, target, headers in order, and a body that is exactly as long as it says."""
    async with Peer(answer_all) as peer:
        await carrier.fetch(
            peer.url + "/a%20b?c=d", "POST", content=b'{"x":1}', headers=[("X-One", "1"), ("x-two", "2")]
        )
        (asked,) = peer.lines[0].asked_for
        assert asked.line == b"POST /a%20b?c=d HTTP/1.1"
        assert asked.header(b"host") == f"127.0.0.1:{peer.port}".encode()
        assert asked.head.index(b"X-One: 1\r\n") < asked.head.index(b"x-two: 2\r\n")
        assert asked.body == b'{"x":1}'


async def test_request_with_a_large_body_arrives_whole(carrier: Carrier) -> None:
    """More than the sockets hold."""
    body = bytes(range(256)) * 40_000
    async with Peer(answer_all) as peer:
        assert await carrier.fetch(peer.url, "POST", content=body) == (200, b"ok")
        assert peer.lines[0].asked_for[0].body == body


async def test_request_in_pieces_is_chunked(carrier: Carrier) -> None:
    """A body whose length is not known goes out as it comes."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"hello"
        yield b""
        yield b" world"

    async with Peer(answer_all) as peer:
        assert await carrier.fetch(peer.url, "POST", content=pieces()) == (200, b"ok")
        assert peer.lines[0].asked_for[0].body == b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"


async def test_request_whose_body_fails_leaves_nothing(carrier: Carrier) -> None:
    """The error is the caller's own; the half request is closed and its slot free."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"hello"
        raise LookupError

    async with Peer(answer_all) as peer:
        with pytest.raises(LookupError):
            await carrier.fetch(peer.url, "POST", content=pieces())
        await (await peer.line()).closed.wait()
        assert carrier.busy == 0


@pytest.mark.parametrize(
    "header", [("x-evil", "a\r\nx-more: b"), ("x-evil", "a\nb"), ("x evil", "a"), ("x-evil:", "a"), ("x-evil", "a\x00")]
)
async def test_request_header_with_a_line_of_its_own_is_refused(carrier: Carrier, header: tuple[str, str]) -> None:
    """Before anything is sent."""
    async with Peer(answer_all) as peer:
        with pytest.raises(httpx2.LocalProtocolError):
            await carrier.fetch(peer.url, headers=[header])
        assert carrier.busy == 0
        assert await carrier.fetch(peer.url) == (200, b"ok")
        assert [asked.header(b"x-more") for line in peer.lines for asked in line.asked_for] == [None]


async def test_request_answered_before_it_is_all_there_gets_its_answer(carrier: Carrier) -> None:
    """A server may say no at the sight of the head; the rest goes out as far as it is taken."""

    async def play(line: Line) -> None:
        await line.head()
        await line.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await line.gone()

    async with Peer(play) as peer:
        assert await carrier.fetch(peer.url, "POST", content=bytes(10_000_000)) == (413, b"no")


async def test_request_that_nobody_takes_is_a_write_timeout(carrier: Carrier) -> None:
    """And its slot is free again."""
    stopped = asyncio.Event()

    async def play(line: Line) -> None:
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await stopped.wait()

    async with Peer(play) as peer:
        with pytest.raises(httpx2.WriteTimeout):
            await carrier.fetch(peer.url, "POST", content=bytes(50_000_000), write=0.05)
        assert carrier.busy == 0
        stopped.set()


async def test_request_is_told_of_when_its_first_byte_goes_out(carrier: Carrier) -> None:
    """Once for each request, on a new connection and on a kept one, when there is a connection."""
    told: list[int] = []
    async with Peer(answer_all) as peer:

        async def trace(event: str, info: dict[str, Any]) -> None:
            if event.endswith("send_request_headers.started"):
                told.append(sum(len(line.asked_for) for line in peer.lines))

        for _ in range(2):
            await carrier.fetch(peer.url, trace=trace)
        assert told == [0, 1]


async def test_request_to_a_server_that_is_quick_to_close_gets_its_answer(carrier: Carrier) -> None:
    """The answer counts, although the request was not taken whole."""

    async def play(line: Line) -> None:
        await line.head()
        await line.send(OK)
        line.writer.write_eof()
        await line.gone()

    async with Peer(play) as peer:
        response = await carrier.open(peer.url, "POST", content=bytes(300_000))
        assert await body_of(response) == b"ok"
        await response.aclose()
