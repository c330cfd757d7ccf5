"""Encrypted connections: whom they trust, what they say and offer."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
import trustme

from tests.contract.transport import carriers
from tests.contract.transport.carriers import Carrier, body_of
from tests.contract.transport.peers import Line, Peer, Play, answer_all

pytestmark = pytest.mark.anyio

AUTHORITY = trustme.CA()


def serving(name: str = "localhost", *, authority: trustme.CA = AUTHORITY, days: int = 30) -> ssl.SSLContext:
    """A server's context with a certificate for `name` that ends in so many days."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    now = datetime.now(UTC)
    authority.issue_cert(
        name, not_before=now - timedelta(days=60), not_after=now + timedelta(days=days)
    ).configure_cert(context)
    return context


@asynccontextmanager
async def encrypted(kind: str, context: ssl.SSLContext, play: Play = answer_all) -> AsyncIterator[tuple[Carrier, Peer]]:
    """A transport that trusts `AUTHORITY`, and a server."""
    trusting = ssl.create_default_context()
    AUTHORITY.configure_trust(trusting)
    carrier = carriers.make(kind, context=trusting)
    async with Peer(play, context=context) as peer:
        try:
            yield carrier, peer
        finally:
            await carrier.transport.aclose()


async def test_tls_connection_is_kept_like_any_other(kind: str) -> None:
    """Three requests, one handshake."""
    async with encrypted(kind, serving()) as (carrier, peer):
        for _ in range(3):
            assert await carrier.fetch(peer.url) == (200, b"ok")
        assert len(peer.lines) == 1


@pytest.mark.parametrize(
    ("case", "context"),
    [
        ("another name", serving("other.test")),
        ("expired", serving(days=-1)),
        ("another authority", serving(authority=trustme.CA())),
    ],
)
async def test_tls_certificate_that_does_not_hold_is_refused(kind: str, case: str, context: ssl.SSLContext) -> None:
    """Before a byte of the request goes out."""
    async with encrypted(kind, context) as (carrier, peer):
        with pytest.raises(httpx2.ConnectError):
            await carrier.fetch(peer.url, "POST", content=b"secret")
        assert carrier.busy == 0
        assert all(not line.asked_for for line in peer.lines)


async def test_tls_names_the_server_and_offers_http_1_1_alone(kind: str) -> None:
    """SNI is the URL's name; where a server could speak HTTP/2 too, HTTP/1.1 is agreed on."""
    names: list[str | None] = []
    context = serving()
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.sni_callback = lambda _, name, __: names.append(name)
    async with encrypted(kind, context) as (carrier, peer):
        await carrier.fetch(peer.url)
        agreed = peer.lines[0].writer.get_extra_info("ssl_object").selected_alpn_protocol()
        assert (names, agreed) == (["localhost"], "http/1.1")


async def test_tls_large_answer_comes_whole_and_in_order(kind: str) -> None:
    """Many records, many reads."""
    body = bytes(range(256)) * 20_000

    async def play(line: Line) -> None:
        await line.asked()
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await line.gone()

    async with encrypted(kind, serving(), play) as (carrier, peer):
        response = await carrier.open(peer.url)
        assert await body_of(response) == body
        await response.aclose()


@pytest.mark.parametrize("size", [1, 218, 4095, 4096, 4097, 16_384, 16_385])
async def test_tls_records_of_any_size_come_whole_and_in_order(kind: str, size: int) -> None:
    """Many records may wait behind one read, and one record be longer than a read."""
    pieces = [bytes([number % 251]) * size for number in range(300)]

    async def play(line: Line) -> None:
        await line.asked()
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (300 * size))
        for piece in pieces:
            line.writer.write(piece)
        await line.gone()

    async with encrypted(kind, serving(), play) as (carrier, peer):
        response = await carrier.open(peer.url)
        assert await body_of(response) == b"".join(pieces)
        await response.aclose()


async def test_tls_large_request_arrives_whole(kind: str) -> None:
    """Many records the other way."""
    body = bytes(range(256)) * 10_000
    async with encrypted(kind, serving()) as (carrier, peer):
        assert await carrier.fetch(peer.url, "POST", content=body) == (200, b"ok")
        assert peer.lines[0].asked_for[0].body == body


async def test_tls_body_that_nobody_reads_stops_its_sender(kind: str) -> None:
    """Decrypting stops with reading."""
    size, sent = 32 * 1024 * 1024, 0

    async def play(line: Line) -> None:
        nonlocal sent
        await line.asked()
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            await line.send(bytes(65536))
            sent += 65536
        await line.gone()

    async with encrypted(kind, serving(), play) as (carrier, peer):
        response = await carrier.open(peer.url)
        before = -1
        while before != sent:
            before = sent
            for _ in range(200):
                await asyncio.sleep(0)
        assert sent < size / 2
        assert len(await body_of(response)) == size
        await response.aclose()


async def test_tls_body_that_breaks_off_is_an_error(kind: str) -> None:
    """As without encryption."""

    async def play(line: Line) -> None:
        await line.asked()
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    async with encrypted(kind, serving(), play) as (carrier, peer):
        response = await carrier.open(peer.url)
        with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
            await body_of(response)
        await response.aclose()
        assert carrier.busy == 0


async def test_tls_peer_that_speaks_none_is_a_connect_error(carrier: Carrier) -> None:
    """A plain server behind an https URL."""

    async def play(line: Line) -> None:
        await line.reader.read(100)
        await line.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await line.gone()

    async with Peer(play) as peer:
        with pytest.raises(httpx2.ConnectError):
            await carrier.fetch(peer.url.replace("http://", "https://"))
        assert carrier.busy == 0
