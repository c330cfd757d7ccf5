"""Cancellation, at any moment: every slot is free again, no task and no descriptor is left."""

from __future__ import annotations

import asyncio
import os
import random
import ssl

import pytest
import trustme

from tests.contract.transport import carriers
from tests.contract.transport.carriers import Carrier, body_of
from tests.contract.transport.peers import OK, Line, Peer

pytestmark = pytest.mark.anyio

CONNECTIONS = 10
AT_ONCE = 25  # more than there are connections: some wait for one
TURNS_MAX = 40  # an undisturbed request takes about 20


def _sockets() -> int:
    """uvloop opens descriptors of its own when it first needs them; they are no sockets."""
    return sum(_target(number).startswith("socket:") for number in os.listdir("/proc/self/fd"))


def _target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""  # the one that listed them


async def _settled(carrier: Carrier) -> None:
    for _ in range(1000):
        if carrier.busy == 0:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{carrier.busy} slots are still taken")


async def _moods(line: Line) -> None:
    """Answers at once, in pieces, or breaks off, as the connection's number and its requests decide."""
    moods = random.Random(line.number)
    while True:
        await line.asked()
        mood = moods.randrange(5)
        if mood == 0:
            await line.dribble(OK)
        elif mood == 1:
            await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(moods.randrange(20)):
                await line.send(b"2\r\nok\r\n")
                await asyncio.sleep(0)
            await line.send(b"0\r\n\r\n")
        elif mood == 2:
            await line.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok")
            return
        else:
            await line.send(OK)


async def _cancel_at_random(
    kind: str, count: int, *, context: ssl.SSLContext | None = None, trusting: ssl.SSLContext | None = None
) -> None:
    chance = random.Random(count)
    tasks_before, sockets_before = len(asyncio.all_tasks()), _sockets()
    carrier = carriers.make(kind, connections_max=CONNECTIONS, context=trusting)

    async def ask(url: str) -> None:
        body = bytes(chance.choice((0, 10, 200_000)))
        response = await carrier.open(url, "POST", content=body)
        try:
            await body_of(response)
        finally:
            await response.aclose()

    async def ask_and_cancel(url: str) -> None:
        task = asyncio.ensure_future(ask(url))
        for _ in range(chance.randrange(TURNS_MAX)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    async with Peer(_moods, context=context) as peer:
        for _ in range(count // AT_ONCE):
            await asyncio.gather(*[ask_and_cancel(peer.url) for _ in range(AT_ONCE)])
            assert carrier.busy <= CONNECTIONS
        await _settled(carrier)
        # Every slot is there: as many streams as connections get through at once.
        responses = [await carrier.open(peer.url, pool=1) for _ in range(CONNECTIONS)]
        for response in responses:
            await body_of(response)
            await response.aclose()
        await _settled(carrier)
        await carrier.transport.aclose()
    for _ in range(100):
        if len(asyncio.all_tasks()) <= tasks_before and _sockets() <= sockets_before:
            break
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) <= tasks_before
    assert _sockets() <= sockets_before


async def test_cancelled_at_random_leaves_every_slot(kind: str) -> None:
    """Some hundred requests, cancelled while they wait, connect, send, and read."""
    await _cancel_at_random(kind, 500)


async def test_cancelled_at_random_while_encrypted_leaves_every_slot(kind: str) -> None:
    """Handshakes among it."""
    authority = trustme.CA()
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    await _cancel_at_random(kind, 200, context=serving, trusting=trusting)


@pytest.mark.slow
async def test_cancelled_ten_thousand_times_leaves_every_slot(kind: str) -> None:
    """The same, for as long as it takes a lost slot in ten thousand to show."""
    await _cancel_at_random(kind, 10_000)


async def test_cancelled_while_waiting_for_the_head_closes_the_connection(carrier: Carrier) -> None:
    """The provider is told by the close."""

    async def play(line: Line) -> None:
        await line.asked()
        await line.gone()

    async with Peer(play) as peer:
        task = asyncio.ensure_future(carrier.fetch(peer.url))
        line = await peer.line()
        while not line.asked_for:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await line.closed.wait()
        assert task.cancelled()
        assert carrier.busy == 0


async def test_cancelled_while_waiting_for_a_slot_that_comes_in_the_same_turn(kind: str) -> None:
    """Whoever was given a slot and is cancelled before it can take it passes it on."""
    carrier = carriers.make(kind, connections_max=1)

    async def play(line: Line) -> None:
        await line.asked()
        await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        await line.gone()

    async with Peer(play) as peer:
        first = await carrier.open(peer.url)
        waiting = [asyncio.ensure_future(carrier.open(peer.url)) for _ in range(3)]
        for _ in range(5):
            await asyncio.sleep(0)
        await first.aclose()
        waiting[0].cancel()
        second = await waiting[1]
        waiting[2].cancel()
        await asyncio.wait(waiting)
        await second.aclose()
        if not waiting[0].cancelled():
            await waiting[0].result().aclose()
        assert carrier.busy == 0
    await carrier.transport.aclose()
