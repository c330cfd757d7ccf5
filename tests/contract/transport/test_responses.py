"""How a response may be framed, cut, broken and ended."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from tests.contract.transport.carriers import Carrier, body_of
from tests.contract.transport.peers import OK, Line, Peer, answering, answering_once

pytestmark = pytest.mark.anyio

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n6;name=value\r\n world\r\n0\r\nX-Trailer: t\r\n\r\n"
)
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

KEPT = {
    "sized": (OK, 200, b"ok"),
    "chunked": (CHUNKED, 200, b"hello world"),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", 304, b""),
    "without reason": (b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "interim": (CONTINUE + EARLY_HINTS + OK, 200, b"ok"),
    "error": (b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno", 500, b"no"),
    "spaces": (b"HTTP/1.1 200 OK\r\nContent-Length:   2  \r\nX:\r\n\r\nok", 200, b"ok"),
    "spaced chunk size": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nok\r\n0\r\n\r\n", 200, b"ok"),
    "HTTP/1.0 kept": (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
}
CLOSED = {
    "close": (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "until close": (b"HTTP/1.1 200 OK\r\n\r\nhello", 200, b"hello"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", 200, b"hello"),
    "chunked and close": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + CHUNKED[17:], 200, b"hello world"),
}
TRUNCATED = {
    "sized": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "inside a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello",
    "before the last line": CHUNKED[:-2],
}
BROKEN = {
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "an interim response alone": CONTINUE,
    "a head without end": b"HTTP/1.1 200 OK\r\n" + b"X-Filler: %b\r\n" % (b"x" * 1000) * 150,
    "a line without end": b"HTTP/1.1 200 OK\r\nX-Filler: " + b"x" * 150_000,
}


@pytest.mark.parametrize("case", KEPT)
async def test_response_that_ends_by_itself_leaves_its_connection_open(carrier: Carrier, kind: str, case: str) -> None:
    """Three requests get the same answer over one connection."""
    sent, status, body = KEPT[case]
    async with Peer(answering(sent)) as peer:
        for _ in range(3):
            assert await carrier.fetch(peer.url) == (status, body)
        # httpcore keeps no connection to a server of HTTP/1.0.
        assert len(peer.lines) == (3 if kind == "pool" and case == "HTTP/1.0 kept" else 1)
        assert carrier.busy == 0


@pytest.mark.parametrize("case", CLOSED)
async def test_response_that_ends_its_connection_is_whole(carrier: Carrier, case: str) -> None:
    """The next request gets another connection."""
    sent, status, body = CLOSED[case]
    async with Peer(answering_once(sent)) as peer:
        for _ in range(2):
            assert await carrier.fetch(peer.url) == (status, body)
        assert len(peer.lines) == 2


@pytest.mark.parametrize("case", [*KEPT, *CLOSED])
async def test_response_byte_by_byte_is_the_same(carrier: Carrier, case: str) -> None:
    """No cut changes anything."""
    sent, status, body = (KEPT | CLOSED)[case]

    async def play(line: Line) -> None:
        await line.asked()
        await line.dribble(sent)

    async with Peer(play) as peer:
        assert await carrier.fetch(peer.url) == (status, body)


@pytest.mark.parametrize("case", TRUNCATED)
async def test_response_that_breaks_off_is_an_error_after_what_came(carrier: Carrier, case: str) -> None:
    """A body that says how long it is and ends early is no answer; its beginning is delivered."""
    async with Peer(answering_once(TRUNCATED[case])) as peer:
        response = await carrier.open(peer.url)
        received = bytearray()

        async def take() -> None:
            async for chunk in response.aiter_raw():
                received.extend(chunk)

        with pytest.raises(httpx2.RemoteProtocolError):
            await take()
        assert bytes(received) in (b"half", b"hello", b"hello world")
        await response.aclose()
        assert carrier.busy == 0


@pytest.mark.parametrize("case", BROKEN)
async def test_response_that_is_none_is_a_protocol_error(carrier: Carrier, kind: str, case: str) -> None:
    """What is not a response, or has no end to its head, is refused, and the slot is free again."""
    async with Peer(answering_once(BROKEN[case])) as peer:
        if case == "another protocol" and kind == "pool":
            return  # httpcore hands such a connection over
        with pytest.raises(httpx2.RemoteProtocolError):
            await carrier.open(peer.url)
        assert carrier.busy == 0


async def test_response_reset_in_the_middle_is_a_read_error(carrier: Carrier) -> None:
    """A reset is no end, also where the close would end the body."""
    rest = asyncio.Event()

    async def play(line: Line) -> None:
        await line.asked()
        await line.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await rest.wait()
        line.reset()

    async with Peer(play) as peer:
        response = await carrier.open(peer.url)
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"hello"
        rest.set()
        with pytest.raises(httpx2.ReadError):
            await anext(chunks)
        await chunks.aclose()
        await response.aclose()
        assert carrier.busy == 0


async def test_response_to_head_has_no_body(carrier: Carrier) -> None:
    """Whatever its length says; the connection stays."""
    async with Peer(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")) as peer:
        for _ in range(2):
            assert await carrier.fetch(peer.url, "HEAD") == (200, b"")
        assert len(peer.lines) == 1


async def test_response_headers_come_as_they_were(carrier: Carrier) -> None:
    """Order and repetitions are kept, names are found in any case, trailers and interim headers are not among them."""
    head = b"HTTP/1.1 200 OK\r\nB: 1\r\na: 2\r\nb: 3\r\n" + CHUNKED[17:]
    async with Peer(answering(EARLY_HINTS + head)) as peer:
        response = await carrier.open(peer.url)
        await body_of(response)
        assert [name for name, _ in response.headers.raw] == [b"B", b"a", b"b", b"Transfer-Encoding"]
        assert response.headers["B"] == "1, 3"
        assert response.extensions["http_version"] == b"HTTP/1.1"
        assert response.extensions["reason_phrase"] == b"OK"
        await response.aclose()


async def test_response_that_nobody_reads_stops_its_sender(carrier: Carrier) -> None:
    """Most of a large body stays where it came from; all of it comes when it is read."""
    size = 32 * 1024 * 1024
    sent = 0

    async def play(line: Line) -> None:
        nonlocal sent
        await line.asked()
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            await line.send(bytes(65536))
            sent += 65536
        await line.gone()

    async with Peer(play) as peer:
        response = await carrier.open(peer.url)
        before = -1
        while before != sent:
            before = sent
            for _ in range(200):
                await asyncio.sleep(0)
        assert sent < size / 2
        assert len(await body_of(response)) == size
        await response.aclose()


async def test_response_with_a_second_one_behind_it_is_not_mixed_up(carrier: Carrier, kind: str) -> None:
    """What nobody asked for is no answer to the next request. httpcore takes it for one."""

    async def play(line: Line) -> None:
        await line.asked()
        await line.send(OK if line.number else OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await line.gone()

    async with Peer(play) as peer:
        assert await carrier.fetch(peer.url) == (200, b"ok")
        assert await carrier.fetch(peer.url) == (200, b"evil" if kind == "pool" else b"ok")
        assert len(peer.lines) == (1 if kind == "pool" else 2)


async def test_response_slower_than_its_read_timeout_is_a_timeout(carrier: Carrier) -> None:
    """Where a read timeout is set, it holds for the head and for each piece of the body."""

    async def play(line: Line) -> None:
        await line.asked()
        if line.number:
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok")
        await line.gone()

    async with Peer(play) as peer:
        with pytest.raises(httpx2.ReadTimeout):
            await carrier.open(peer.url, read=0.01)
        response = await carrier.open(peer.url, read=0.05)
        with pytest.raises(httpx2.ReadTimeout):
            await body_of(response)
        await response.aclose()
        assert carrier.busy == 0
