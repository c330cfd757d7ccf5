"""A worker's end of the channel, with a supervisor that says what the test wants."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from rillgate.app.embedded_shared import ModelNews, SharedModel
from rillgate.cli.workers.channel import Channel, decoder
from rillgate.cli.workers.link import ANSWER_S, TELL_S, Link
from rillgate.cli.workers.messages import (
    Cancel,
    Cancelled,
    Count,
    Counted,
    Drain,
    EndNow,
    Ready,
    Scrape,
    ToSupervisor,
    Total,
)
from rillgate.domain.ends import End
from rillgate.domain.errors import CapacityError
from rillgate.pipeline.streams import Streams
from rillgate.telemetry.metrics import Metrics
from rillgate.telemetry.snapshot import Count as Counter
from rillgate.telemetry.snapshot import Snapshot, snapshot_of
from tests.fakes.clock import FakeClock

pytestmark = pytest.mark.anyio

GUARD_S = 30.0  # against hanging tests, never what a test waits for


class Server:
    """What goes down."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def drain_once(self) -> None:
        self.told.append("drain")

    def end_now(self) -> None:
        self.told.append("end")


class Running:
    """A request being served."""

    request_id = "req_1"
    client_request_id = None
    owner = "key:a"
    queue_bytes = 0

    def __init__(self) -> None:
        self.end: End | None = None

    def stop(self, end: End) -> bool:
        self.end = end
        return True


class Linked:
    """A link, what is around it, and the other end of its channel."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.model = SharedModel()
        self.server = Server()
        self.streams = Streams(10)
        self.metrics = Metrics()
        self.link = Link(self.clock, self.model)
        self.heard: asyncio.Queue[Any] = asyncio.Queue()
        self.supervisor: Channel[Any] = Channel(decoder(ToSupervisor), self.heard.put_nowait, lambda: None)

    async def hears(self) -> Any:
        """What the supervisor hears next."""
        return await asyncio.wait_for(self.heard.get(), GUARD_S)

    async def tell(self, *messages: Any) -> None:
        """The supervisor says something, and it is heard: the last of it is a question that the link answers."""
        for message in messages:
            self.supervisor.send(message)
        self.supervisor.send(Count(999))
        while not isinstance(heard := await self.hears(), Counted) or heard.number != 999:
            pass


@asynccontextmanager
async def linked() -> AsyncIterator[Linked]:
    """One."""
    one, other = socket.socketpair()
    found = Linked()
    await found.supervisor.open(one)
    await found.link.open(other, found.server, found.streams, found.metrics)
    try:
        yield found
    finally:
        await asyncio.wait_for(found.link.aclose(), GUARD_S)
        found.supervisor.close()
        await anyio.wait_all_tasks_blocked()
        assert found.clock.pending == 0


async def test_link_tells_what_was_counted_when_ready_every_few_seconds_and_at_the_end() -> None:
    """So a worker that is killed loses the counts of some seconds, and one that ends loses none."""
    async with linked() as t:
        t.link.ready()
        assert [await t.hears(), await t.hears()] == [Ready(), Counted(snapshot_of(t.metrics))]
        t.metrics.hold_captured()
        t.clock.advance(TELL_S - 0.01)
        assert t.heard.empty()
        for _ in range(2):
            t.clock.advance(TELL_S)
            assert await t.hears() == Counted(snapshot_of(t.metrics))
        t.metrics.hold_captured()
    assert await t.hears() == Counted(snapshot_of(t.metrics))


async def test_link_asks_the_others_to_cancel() -> None:
    """Their answer is the answer; none in time, or no supervisor any more, is no."""
    async with linked() as t:
        for found in (True, False):
            answer = asyncio.ensure_future(t.link.cancel("req_9", "key:b"))
            question = await t.hears()
            assert question == Cancel(question.number, "req_9", "key:b")
            t.supervisor.send(Cancelled(question.number, found))
            assert await answer is found
        late = asyncio.ensure_future(t.link.cancel("req_9", "key:b"))
        await t.hears()
        t.clock.advance(ANSWER_S)
        assert not await late
        waiting = asyncio.ensure_future(t.link.cancel("req_9", "key:b"))
        await t.hears()
        t.supervisor.close()
        assert not await waiting
        assert not await t.link.cancel("req_9", "key:b")


async def test_link_cancels_what_runs_here_for_the_others() -> None:
    """By the rules of this process: only its owner's request."""
    async with linked() as t:
        run = Running()
        t.streams.add(run)
        for owner, found in (("key:b", False), ("key:a", True)):
            t.supervisor.send(Cancel(3, "req_1", owner))
            assert await t.hears() == Cancelled(3, found)
        assert run.end is End.CANCELLED


async def test_link_shows_the_sum_of_all() -> None:
    """It says what this worker has counted, and shows what it is told; without a sum nothing is shown."""
    async with linked() as t:
        t.metrics.hold_captured()
        page = asyncio.ensure_future(t.link.metrics())
        question = await t.hears()
        assert question == Scrape(question.number, snapshot_of(t.metrics))
        t.supervisor.send(Total(question.number, Snapshot((Counter("llm_holds_captured", (), 41.0),))))
        body, content_type = await page
        assert b"llm_holds_captured_total 41.0" in body
        assert content_type.startswith("text/plain")
        late = asyncio.ensure_future(t.link.metrics())
        await t.hears()
        t.clock.advance(ANSWER_S)
        with pytest.raises(CapacityError):
            await late


async def test_link_says_what_was_counted_when_asked() -> None:
    """Under the number of the question."""
    async with linked() as t:
        t.metrics.hold_captured()
        t.supervisor.send(Count(5))
        assert await t.hears() == Counted(snapshot_of(t.metrics), 5)


async def test_link_passes_on_what_the_supervisor_wants() -> None:
    """The way down, and where the model answers."""
    async with linked() as t:
        await t.tell(ModelNews("http://127.0.0.1:9/v1", (("a", "b"),)), Drain(), EndNow())
        assert t.model.is_ready()
        assert t.server.told == ["drain", "end"]


async def test_link_whose_supervisor_has_gone_lets_its_worker_drain() -> None:
    """Whatever became of it: nothing is left behind."""
    async with linked() as t:
        t.supervisor.close()
        async with asyncio.timeout(GUARD_S):
            while not t.server.told:
                await asyncio.sleep(0)
        assert t.server.told == ["drain"]
