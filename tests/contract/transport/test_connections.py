"""Which connections are opened, kept, shared and given up."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httpx2
import pytest

from tests.contract.transport import carriers
from tests.contract.transport.carriers import Carrier, body_of
from tests.contract.transport.peers import OK, Line, Peer, answer_all

pytestmark = pytest.mark.anyio


async def _open_and_stall(line: Line) -> None:
    await line.asked()
    await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
    await line.gone()


async def test_connections_of_many_requests_are_reused(kind: str) -> None:
    """400 requests, 40 at a time: as good as no connection more than run at once."""
    carrier = carriers.make(kind, connections_max=100)
    gate = asyncio.Semaphore(40)

    async def ask(url: str) -> None:
        async with gate:
            assert await carrier.fetch(url) == (200, b"ok")

    async with Peer(answer_all) as peer:
        await asyncio.gather(*[ask(peer.url) for _ in range(400)])
        assert len(peer.lines) <= 60
    await carrier.transport.aclose()


async def test_connections_are_bounded_and_shared_in_turn(kind: str) -> None:
    """Fifty requests pass through three connections."""
    carrier = carriers.make(kind, connections_max=3)
    async with Peer(answer_all) as peer:
        answers = await asyncio.gather(*[carrier.fetch(peer.url) for _ in range(50)])
        assert answers == [(200, b"ok")] * 50
        assert len(peer.lines) == 3
    await carrier.transport.aclose()


async def test_connections_all_taken_is_a_pool_timeout(kind: str) -> None:
    """Whoever waits in vain leaves no trace; the next gets what becomes free."""
    carrier = carriers.make(kind, connections_max=1)

    async def play(line: Line) -> None:
        await (_open_and_stall(line) if line.number == 0 else answer_all(line))

    async with Peer(play) as peer:
        stream = await carrier.open(peer.url)
        with pytest.raises(httpx2.PoolTimeout):
            await carrier.fetch(peer.url, pool=0.01)
        waiting = asyncio.ensure_future(carrier.fetch(peer.url))
        await asyncio.sleep(0)
        await stream.aclose()
        assert await waiting == (200, b"ok")
    await carrier.transport.aclose()


async def test_connection_of_a_response_left_early_is_closed(carrier: Carrier) -> None:
    """That is what cancels a provider."""
    async with Peer(_open_and_stall) as peer:
        response = await carrier.open(peer.url)
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"ok"
        await chunks.aclose()
        await response.aclose()
        await peer.lines[0].closed.wait()
        assert carrier.busy == 0


async def test_connection_closed_while_it_is_idle_is_not_used_again(carrier: Carrier) -> None:
    """The next request gets a new one and does not fail."""

    async def play(line: Line) -> None:
        await line.asked()
        await line.send(OK)

    async with Peer(play) as peer:
        assert await carrier.fetch(peer.url) == (200, b"ok")
        await peer.lines[0].closed.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        assert await carrier.fetch(peer.url) == (200, b"ok")
        assert len(peer.lines) == 2


async def test_connection_refused_is_a_connect_error(carrier: Carrier) -> None:
    """Nobody listens there."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(httpx2.ConnectError):
            await carrier.fetch(f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert carrier.busy == 0


async def test_connection_to_a_name_without_address_is_a_connect_error(carrier: Carrier) -> None:
    """`.invalid` never resolves (RFC 6761)."""
    with pytest.raises(httpx2.ConnectError):
        await carrier.fetch("http://nowhere.invalid")
    assert carrier.busy == 0


async def test_connection_that_does_not_come_about_is_a_connect_timeout(carrier: Carrier) -> None:
    """Here the TLS handshake is never answered."""
    async with Peer(Line.gone) as peer:
        with pytest.raises(httpx2.ConnectTimeout):
            await carrier.fetch(peer.url.replace("http://", "https://"), connect=0.2)
        async with asyncio.timeout(5):
            await peer.lines[0].closed.wait()
        assert carrier.busy == 0


async def test_connection_to_a_name_falls_back_to_the_address_that_answers(carrier: Carrier) -> None:
    """localhost may be ::1 first; the server listens on 127.0.0.1 only."""
    async with Peer(answer_all) as peer:
        assert await carrier.fetch(f"http://localhost:{peer.port}") == (200, b"ok")


async def test_connection_to_an_ipv6_address(carrier: Carrier) -> None:
    """With its brackets in the Host header."""
    try:
        peer = await Peer(answer_all, host="::1").__aenter__()
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with asyncio.TaskGroup():
        assert await carrier.fetch(peer.url) == (200, b"ok")
        assert peer.lines[0].asked_for[0].header(b"host") == f"[::1]:{peer.port}".encode()
        await carrier.transport.aclose()
        await peer.__aexit__()


async def test_connections_to_two_origins_are_two_pools(kind: str) -> None:
    """A full pool of one origin does not keep anybody from another; with httpcore each origin gets its own client."""
    carrier = carriers.make("fast", connections_max=1)
    async with Peer(_open_and_stall) as full, Peer(answer_all) as free:
        stream = await carrier.open(full.url)
        assert await carrier.fetch(free.url, pool=0.01) == (200, b"ok")
        await stream.aclose()
    await carrier.transport.aclose()


async def test_connections_are_all_closed_with_their_transport(
    kind: str, anyio_backend: tuple[str, dict[str, Any]]
) -> None:
    """Idle ones and those that carry a response, which breaks off."""
    carrier = carriers.make(kind)

    async def play(line: Line) -> None:
        await (_open_and_stall(line) if line.number == 0 else answer_all(line))

    async with Peer(play) as peer:
        response = await carrier.open(peer.url)
        await carrier.fetch(peer.url)
        await carrier.transport.aclose()
        with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
            await body_of(response)
        await response.aclose()
        for line in peer.lines:
            await line.closed.wait()
