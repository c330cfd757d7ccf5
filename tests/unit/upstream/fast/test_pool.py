"""Slots: who gets them, who gives them back, and what becomes of idle connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from rillgate.upstream.fast.pool import Pool
from rillgate.upstream.fast.protocol import Connection
from tests.unit.upstream.fast.wires import FakeTransport

pytestmark = pytest.mark.anyio


def connected(pool: Pool) -> Connection:
    """A connection that has carried a request."""
    connection = Connection(memoryview(bytearray(100)), asyncio.get_running_loop())
    connection.connection_made(FakeTransport(connection))
    connection.sent = True
    pool.opened(connection)
    return connection


def aborted(connection: Connection) -> bool:
    """Whether it was closed from here."""
    transport = connection.transport
    assert isinstance(transport, FakeTransport)
    return transport.aborted


@asynccontextmanager
async def pool_of(connections_max: int = 2, keepalive_s: float = 30) -> AsyncIterator[Pool]:
    pool = Pool(connections_max=connections_max, keepalive_s=keepalive_s)
    yield pool
    pool.close()


async def test_pool_gives_the_warmest_connection_first() -> None:
    """The others may grow old and be closed."""
    async with pool_of() as pool:
        assert (await pool.acquire(1), await pool.acquire(1)) == (None, None)
        cold, warm = connected(pool), connected(pool)
        pool.give_back(cold, reusable=True)
        pool.give_back(warm, reusable=True)
        assert (pool.slots, pool.idle) == (2, 2)
        assert await pool.acquire(1) is warm
        assert await pool.acquire(1) is cold


async def test_pool_full_serves_in_turn() -> None:
    """Who waits first is served first, with the connection or with the right to open one."""
    async with pool_of(1) as pool:
        await pool.acquire(1)
        waiting = [asyncio.ensure_future(pool.acquire(1)) for _ in range(2)]
        await asyncio.sleep(0)
        connection = connected(pool)
        pool.give_back(connection, reusable=True)
        assert await waiting[0] is connection
        pool.give_back(connection, reusable=False)
        assert await waiting[1] is None
        assert aborted(connection)
        assert pool.slots == 1
        pool.give_back(None, reusable=False)
        assert pool.slots == 0


@pytest.mark.parametrize("reusable", [True, False])
async def test_pool_slot_given_to_somebody_who_was_cancelled_goes_on(reusable: bool) -> None:
    """In the same turn of the loop: given, then cancelled."""
    async with pool_of(1) as pool:
        await pool.acquire(1)
        first, second = (asyncio.ensure_future(pool.acquire(1)) for _ in range(2))
        await asyncio.sleep(0)
        connection = connected(pool)
        pool.give_back(connection, reusable=reusable)
        first.cancel()
        assert await second is (connection if reusable else None)
        assert first.cancelled()
        assert pool.slots == 1


async def test_pool_timeout_leaves_the_queue() -> None:
    """What becomes free later is nobody's who has left."""
    async with pool_of(1) as pool:
        await pool.acquire(1)
        with pytest.raises(httpx2.PoolTimeout):
            await pool.acquire(0.001)
        assert not pool._waiting
        connection = connected(pool)
        pool.give_back(connection, reusable=True)
        assert (pool.slots, pool.idle) == (1, 1)


async def test_pool_connection_that_ends_while_idle_is_forgotten() -> None:
    """Its slot is free at once."""
    async with pool_of(1) as pool:
        await pool.acquire(1)
        connection = connected(pool)
        pool.give_back(connection, reusable=True)
        connection.eof_received()
        assert (pool.slots, pool.idle) == (0, 0)
        assert await pool.acquire(1) is None


async def test_pool_connection_with_bytes_that_nobody_asked_for_is_closed() -> None:
    """They would be taken for the next answer."""
    async with pool_of(1) as pool:
        await pool.acquire(1)
        connection = connected(pool)
        pool.give_back(connection, reusable=True)
        connection.buffer_updated(10)
        assert (pool.slots, aborted(connection)) == (0, True)


async def test_pool_connection_that_has_something_to_read_is_stale() -> None:
    """Its end may be with the kernel before the loop knows of it: after a freeze, or in a busy turn."""
    ours, theirs = socket.socketpair()
    async with pool_of(1) as pool:
        await pool.acquire(1)
        connection = connected(pool)
        transport = connection.transport
        assert isinstance(transport, FakeTransport)
        transport._extra["socket"] = ours  # type: ignore[attr-defined]
        pool.give_back(connection, reusable=True)
        assert await pool.acquire(1) is connection
        pool.give_back(connection, reusable=True)
        theirs.close()
        assert await pool.acquire(1) is None
        assert (pool.slots, aborted(connection)) == (1, True)
    ours.close()


async def test_pool_idle_connections_are_closed_when_their_time_is_over() -> None:
    """Without any request that asks for them."""
    async with pool_of(2, keepalive_s=0.01) as pool:
        for _ in range(2):
            await pool.acquire(1)
        for connection in (connected(pool), connected(pool)):
            pool.give_back(connection, reusable=True)
        while pool.slots:
            await asyncio.sleep(0)
        assert aborted(connection)


async def test_pool_closed_closes_what_is_idle_and_what_is_leased() -> None:
    """Whoever waits, or has just connected, is told; nothing new begins."""
    pool = Pool(connections_max=2, keepalive_s=30)
    await pool.acquire(1)
    await pool.acquire(1)
    leased, idle = connected(pool), connected(pool)
    waiting = asyncio.ensure_future(pool.acquire(1))
    await asyncio.sleep(0)
    pool.close()
    assert aborted(leased)
    with pytest.raises(httpx2.ConnectError):
        await waiting
    with pytest.raises(httpx2.ConnectError):
        await pool.acquire(1)
    with pytest.raises(httpx2.ConnectError):
        connected(pool)
    pool.give_back(idle, reusable=True)
    pool.give_back(leased, reusable=False)
    assert (pool.slots, aborted(idle)) == (0, True)
