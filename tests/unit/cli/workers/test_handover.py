"""Connections that one process accepts and another serves; here both are this one."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import pytest

from rillgate.app.listen import listen
from rillgate.cli.workers.handover import Door, Handover

pytestmark = pytest.mark.anyio

GUARD_S = 30.0  # against hanging tests, never what a test waits for


class Greeting(asyncio.Protocol):
    """Says "hi", and tells when its connection is over."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        opened = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._pair.open.append(opened)
        opened.write(b"hi")

    def connection_lost(self, exc: Exception | None) -> None:
        self._pair.door.lost()


@dataclass
class Pair:
    """Both ends."""

    listening: socket.socket
    handover: Handover
    door: Door
    open: list[asyncio.Transport] = field(default_factory=list)
    ended: list[bool] = field(default_factory=list)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client, accepted and handed over."""
        reader, writer = await asyncio.open_connection(*self.listening.getsockname())
        self.listening.setblocking(True)
        accepted, _ = self.listening.accept()
        with accepted:
            assert self.handover.give(accepted)
        return reader, writer

    async def busy(self, count: int) -> None:
        """Wait until so many connections are counted."""
        async with asyncio.timeout(GUARD_S):
            while self.handover.busy != count:
                await asyncio.sleep(0)


@asynccontextmanager
async def handing_over() -> AsyncIterator[Pair]:
    """Both ends on a listening socket as the gateway makes it."""
    listening, _ = listen("127.0.0.1", 0, stall_s=30)
    ended: list[bool] = []
    one, other = socket.socketpair()
    with listening, one, other:
        pair = Pair(listening, Handover(one, lambda: ended.append(True)), Door(other), ended=ended)
        pair.door.open(lambda: Greeting(pair))
        try:
            yield pair
        finally:
            pair.door.close()
            pair.handover.close()
            for transport in pair.open:
                transport.abort()
            await asyncio.sleep(0)


async def test_connection_handed_over_is_served_and_counted_until_it_is_closed() -> None:
    """On either loop; with what the listening socket gave it, and without Nagle's algorithm."""
    async with handing_over() as pair:
        async with asyncio.timeout(GUARD_S):
            clients = [await pair.connect() for _ in range(3)]
            assert pair.handover.busy == 3
            for reader, _ in clients:
                assert await reader.readexactly(2) == b"hi"
            raw = pair.open[0].get_extra_info("socket")
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 16_384
            assert raw.getpeername() == clients[0][1].get_extra_info("sockname")
            assert not os.get_inheritable(raw.fileno())
            for _, writer in clients[:2]:
                writer.close()
                await writer.wait_closed()
            await pair.busy(1)
            clients[2][1].close()
            await clients[2][1].wait_closed()
            await pair.busy(0)


async def test_door_closed_serves_what_was_handed_over_and_refuses_more() -> None:
    """A connection that was accepted is never dropped by an orderly end; afterwards the next worker is asked."""
    async with handing_over() as pair, asyncio.timeout(GUARD_S):
        reader, writer = await pair.connect()  # it lies in the pipe: nothing has run since
        pair.door.close()
        assert await reader.readexactly(2) == b"hi"
        with socket.socket() as another:
            assert not pair.handover.give(another)
        assert pair.handover.busy == 1
        writer.close()
        await writer.wait_closed()
        await pair.busy(0)


async def test_handover_to_a_worker_that_died_ends() -> None:
    """It is told once, and gives nothing any more."""
    one, other = socket.socketpair()
    ended: list[bool] = []
    handover = Handover(one, lambda: ended.append(True))
    other.close()
    async with asyncio.timeout(GUARD_S):
        while not ended:
            await asyncio.sleep(0)
    with socket.socket() as connection:
        assert not handover.give(connection)
    handover.close()
    assert ended == [True]


async def test_handover_to_a_worker_that_takes_nothing_is_full_at_some_time() -> None:
    """Then it says so at once, instead of waiting."""
    one, other = socket.socketpair()
    with other, socket.socket() as connection:
        handover = Handover(one, lambda: None)
        given = 0
        while handover.give(connection):
            given += 1
            assert given < 100_000
        assert handover.busy == given > 0
        handover.close()
