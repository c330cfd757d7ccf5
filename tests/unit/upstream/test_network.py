"""The sockets under httpcore's pool: what they hold, when they pause, and TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpcore2
import pytest
import trustme

from rillgate.upstream.network import READ_BYTES, NetworkBackend

pytestmark = pytest.mark.anyio


class Peer:
    """The other end of one connection."""

    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.connected.set()


@asynccontextmanager
async def peer(context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Peer, int]]:
    """A server on a free port that hands over its first connection."""
    other = Peer()
    server = await asyncio.start_server(other.accept, "127.0.0.1", 0, ssl=context)
    try:
        yield other, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if other.connected.is_set():
            other.writer.transport.abort()
        await server.wait_closed()


async def test_network_reader_that_waits_gets_what_comes() -> None:
    """Bytes go both ways, and the end is an empty read."""
    async with peer() as (other, port):
        stream = await NetworkBackend().connect_tcp("127.0.0.1", port, timeout=5)
        await stream.write(b"ping", timeout=5)
        await other.connected.wait()
        assert await other.reader.readexactly(4) == b"ping"
        assert not stream.get_extra_info("is_readable")
        other.writer.write(b"pong")
        assert await stream.read(65536, timeout=5) == b"pong"
        other.writer.close()
        assert await stream.read(65536, timeout=5) == b""
        assert stream.get_extra_info("is_readable")
        await stream.aclose()


async def test_network_nobody_reads_holds_two_reads_and_loses_nothing() -> None:
    """While nobody takes, the socket is not read; what was sent comes out whole and in order."""
    sent = bytes(range(256)) * 4096
    async with peer() as (other, port):
        stream = await NetworkBackend().connect_tcp("127.0.0.1", port, timeout=5)
        await other.connected.wait()
        other.writer.write(sent)
        while not stream.get_extra_info("is_readable"):
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        first = await stream.read(len(sent), timeout=5)
        assert len(first) <= 2 * READ_BYTES
        received = bytearray(first)
        while len(received) < len(sent):
            received += await stream.read(100_000, timeout=5)
        assert bytes(received) == sent
        await stream.aclose()


async def test_network_read_asks_for_less_than_there_is_keeps_the_rest() -> None:
    """A read is bounded by its caller."""
    async with peer() as (other, port):
        stream = await NetworkBackend().connect_tcp("127.0.0.1", port, timeout=5)
        await other.connected.wait()
        other.writer.write(b"abcdef")
        assert await stream.read(2, timeout=5) == b"ab"
        assert await stream.read(100, timeout=5) == b"cdef"
        await stream.aclose()


async def test_network_reset_by_the_peer_is_a_read_error() -> None:
    """A broken connection is no end of file."""
    async with peer() as (other, port):
        stream = await NetworkBackend().connect_tcp("127.0.0.1", port, timeout=5)
        await other.connected.wait()
        linger_at_once = struct.pack("ii", 1, 0)
        other.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_at_once)
        other.writer.transport.abort()
        with pytest.raises(httpcore2.ReadError):
            await stream.read(100, timeout=5)
        await stream.aclose()


async def test_network_read_times_out() -> None:
    """A read timeout is httpcore's."""
    async with peer() as (_, port):
        stream = await NetworkBackend().connect_tcp("127.0.0.1", port, timeout=5)
        with pytest.raises(httpcore2.ReadTimeout):
            await stream.read(100, timeout=0.001)
        await stream.aclose()


async def test_network_write_waits_for_a_peer_that_does_not_read() -> None:
    """A body is not piled up here."""
    async with peer() as (_, port):
        stream = await NetworkBackend().connect_tcp("127.0.0.1", port, timeout=5)
        with pytest.raises(httpcore2.WriteTimeout):
            await stream.write(b"x" * 50_000_000, timeout=0.05)
        await stream.aclose()


async def test_network_name_with_two_addresses_falls_back() -> None:
    """localhost may be ::1 first; the server listens on 127.0.0.1 only."""
    async with peer() as (_, port):
        stream = await NetworkBackend().connect_tcp("localhost", port, timeout=5)
        await stream.aclose()


@pytest.mark.parametrize("name", ["provider.test", "other.test"])
async def test_network_tls_holds_for_the_right_name_only(name: str) -> None:
    """A certificate is checked against the name that was asked for."""
    authority = trustme.CA()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("provider.test").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with peer(serving) as (other, port):
        stream = await NetworkBackend().connect_tcp("127.0.0.1", port, timeout=5)
        if name == "other.test":
            with pytest.raises(httpcore2.ConnectError, match=r"other\.test"):
                await stream.start_tls(trusting, name, timeout=5)
            return
        stream = await stream.start_tls(trusting, name, timeout=5)
        assert stream.get_extra_info("ssl_object") is not None
        await stream.write(b"ping", timeout=5)
        await other.connected.wait()
        assert await other.reader.readexactly(4) == b"ping"
        sent = b"y" * 300_000
        other.writer.write(sent)
        received = bytearray()
        while len(received) < len(sent):
            received += await stream.read(65536, timeout=5)
        assert bytes(received) == sent
        await stream.aclose()
