"""Messages over a socketpair."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from rillgate.app.embedded_shared import ModelNews
from rillgate.cli.workers.channel import Channel, decoder
from rillgate.cli.workers.messages import Cancel, Cancelled, Count, Drain, EndNow, Ready, ToSupervisor, ToWorker

pytestmark = pytest.mark.anyio

GUARD_S = 30.0  # against hanging tests, never what a test waits for


class Side:
    """One side and what it has heard."""

    def __init__(self, kinds: Any) -> None:
        self.heard: list[Any] = []
        self.ended = asyncio.Event()
        self._told = asyncio.Event()
        self.channel: Channel[Any] = Channel(decoder(kinds), self._hear, self.ended.set)

    def _hear(self, message: Any) -> None:
        self.heard.append(message)
        self._told.set()

    async def hears(self, count: int) -> list[Any]:
        """The first so many messages."""
        async with asyncio.timeout(GUARD_S):
            while len(self.heard) < count:
                self._told.clear()
                await self._told.wait()
        return self.heard[:count]


async def pair() -> tuple[Side, Side]:
    """Supervisor and worker."""
    one, other = socket.socketpair()
    supervisor, worker = Side(ToSupervisor), Side(ToWorker)
    await supervisor.channel.open(one)
    await worker.channel.open(other)
    return supervisor, worker


async def over(*sides: Side) -> None:
    """Wait until all have ended."""
    async with asyncio.timeout(GUARD_S):
        for side in sides:
            await side.ended.wait()


async def test_channel_brings_messages_whole_and_in_order() -> None:
    """Each of its kind, however the bytes were cut; a newline in a value is none on the wire."""
    supervisor, worker = await pair()
    said = [
        Drain(),
        Count(3),
        Cancel(4, "a\nb", "key:ä"),
        ModelNews("http://x", (("a", "b"),)),
        Cancelled(5, True),
        EndNow(),
    ]
    for message in said:
        supervisor.channel.send(message)
    supervisor.channel.send(Cancel(6, "x" * 300_000, ""))
    assert await worker.hears(7) == [*said, Cancel(6, "x" * 300_000, "")]
    worker.channel.send(Ready())
    assert await supervisor.hears(1) == [Ready()]
    supervisor.channel.close()
    await over(supervisor, worker)


async def test_channel_closed_says_what_was_still_to_be_said() -> None:
    """A last word arrives, then the end does; what is said to somebody who has gone is in vain."""
    supervisor, worker = await pair()
    worker.channel.send(Cancelled(1, False))
    worker.channel.close()
    await over(supervisor, worker)
    assert supervisor.heard == [Cancelled(1, False)]
    worker.channel.send(Ready())
    supervisor.channel.send(Drain())


async def test_channel_that_carries_something_else_ends() -> None:
    """Whoever talks like that is not ours."""
    one, other = socket.socketpair()
    side = Side(ToWorker)
    await side.channel.open(one)
    with other:
        other.sendall(b'{"type":"drain"}\n{"type":"no such thing"}\n')
        await over(side)
    assert side.heard == [Drain()]
