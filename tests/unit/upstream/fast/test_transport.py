"""What the fast transport alone does: the second try, the early answer, what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from rillgate.upstream.fast import transport as fast
from rillgate.upstream.fast.body import Body
from tests.contract.transport import carriers
from tests.contract.transport.carriers import Carrier
from tests.contract.transport.peers import OK, Line, Peer, Play, answer_all

pytestmark = pytest.mark.anyio


@pytest.fixture
async def carrier(anyio_backend: tuple[str, dict[str, Any]]) -> AsyncIterator[Carrier]:
    """A fast transport."""
    made = carriers.make("fast", connections_max=2)
    yield made
    await made.transport.aclose()


def once_then(end: Play) -> Play:
    """The first connection answers one request and meets the next one with `end`; others answer."""

    async def play(line: Line) -> None:
        if line.number:
            await answer_all(line)
        await line.asked()
        await line.send(OK)
        await end(line)

    return play


async def _close_at_a_request(line: Line) -> None:
    await line.asked()


async def _reset_at_a_request(line: Line) -> None:
    await line.asked()
    line.reset()


async def _break_off_an_answer(line: Line) -> None:
    await line.asked()
    await line.send(b"HTTP/1.1 2")


@pytest.mark.parametrize("end", [_close_at_a_request, _reset_at_a_request])
async def test_transport_kept_connection_that_was_dead_is_replaced_once(carrier: Carrier, end: Play) -> None:
    """The request goes out again on a new connection, and is told of once."""
    told: list[str] = []

    async def trace(event: str, info: dict[str, Any]) -> None:
        told.append(event)

    async with Peer(once_then(end)) as peer:
        await carrier.fetch(peer.url)
        assert await carrier.fetch(peer.url, "POST", content=b"x", trace=trace) == (200, b"ok")
        assert told == [fast.SENDING]
        assert [len(line.asked_for) for line in peer.lines] == [2, 1]
        assert carrier.busy == 0


async def test_transport_dead_twice_is_an_error(carrier: Carrier) -> None:
    """One second try, no third."""

    async def play(line: Line) -> None:
        await line.asked()
        if line.number == 0:
            await line.send(OK)
            await line.asked()

    async with Peer(play) as peer:
        await carrier.fetch(peer.url)
        with pytest.raises(httpx2.RemoteProtocolError):
            await carrier.fetch(peer.url)
        assert len(peer.lines) == 2
        assert carrier.busy == 0


async def test_transport_new_connection_that_ends_is_not_tried_again(carrier: Carrier) -> None:
    """A provider that closes on us has been asked."""
    async with Peer(_close_at_a_request) as peer:
        with pytest.raises(httpx2.RemoteProtocolError):
            await carrier.fetch(peer.url)
        assert len(peer.lines) == 1


async def test_transport_that_has_got_a_byte_does_not_ask_again(carrier: Carrier) -> None:
    """Then the provider has worked on it."""
    async with Peer(once_then(_break_off_an_answer)) as peer:
        await carrier.fetch(peer.url)
        with pytest.raises(httpx2.RemoteProtocolError):
            await carrier.fetch(peer.url, "POST", content=b"x")
        assert len(peer.lines) == 1


async def test_transport_end_that_comes_late_is_not_tried_again(
    carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that thinks for a while and then closes may have done what it was asked."""
    monkeypatch.setattr(fast, "STALE_WITHIN_S", 0.0)
    async with Peer(once_then(_close_at_a_request)) as peer:
        await carrier.fetch(peer.url)
        with pytest.raises(httpx2.RemoteProtocolError):
            await carrier.fetch(peer.url, "POST", content=b"x")
        assert len(peer.lines) == 1


async def test_transport_body_that_came_in_pieces_is_not_sent_again(carrier: Carrier) -> None:
    """There is no second time to read it."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"

    async with Peer(once_then(_close_at_a_request)) as peer:
        await carrier.fetch(peer.url)
        with pytest.raises(httpx2.RemoteProtocolError):
            await carrier.fetch(peer.url, "POST", content=pieces())
        assert len(peer.lines) == 1


async def test_transport_early_answer_stops_the_sending(carrier: Carrier) -> None:
    """The server takes nothing more, and its answer comes all the same; that connection is not used again."""
    done = asyncio.Event()

    async def play(line: Line) -> None:
        await line.head()
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await line.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await done.wait()

    async with Peer(play) as peer:
        assert await carrier.fetch(peer.url, "POST", content=bytes(50_000_000)) == (413, b"no")
        assert (carrier.busy, carrier.transport.idle) == (0, 0)  # type: ignore[attr-defined]
        done.set()


async def test_transport_early_answer_in_pieces_comes_while_nothing_is_taken(carrier: Carrier) -> None:
    """The first of it, before the rest is there."""
    done = asyncio.Event()

    async def play(line: Line) -> None:
        await line.head()
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        await done.wait()
        await line.send(b"fine")

    async with Peer(play) as peer:
        response = await carrier.open(peer.url, "POST", content=bytes(50_000_000), write=60)
        done.set()
        assert await carriers.body_of(response) == b"fine"
        await response.aclose()


async def test_transport_of_another_scheme_refuses(carrier: Carrier) -> None:
    """Neither http nor https."""
    with pytest.raises(httpx2.UnsupportedProtocol, match="ftp"):
        await carrier.fetch("ftp://127.0.0.1/")


async def test_transport_pushes_from_a_real_socket(carrier: Carrier) -> None:
    """The stream of a response is a `Body`; its connection is free when the last callback runs."""
    chunks: list[bytes] = []
    end: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    async def play(line: Line) -> None:
        await line.asked()
        await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(100):
            await line.send(b"3\r\n%03d\r\n" % number)
        await line.send(b"0\r\n\r\n")
        await line.gone()

    async with Peer(play) as peer:
        response = await carrier.open(peer.url)
        body = response.stream
        assert isinstance(body, Body)
        body.attach(chunks.append, end.set_result)
        assert await end is None
        assert b"".join(chunks) == b"".join(b"%03d" % number for number in range(100))
        assert carrier.busy == 0
