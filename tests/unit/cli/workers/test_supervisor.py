"""Who is started, replaced and ended, with processes that do as the test says."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import anyio
import msgspec
import pytest

from rillgate.cli.workers.messages import (
    Cancel,
    Cancelled,
    Counted,
    Drain,
    EndNow,
    Ready,
    Scrape,
    Total,
)
from rillgate.cli.workers.supervisor import BACKOFF_MAX_S, BACKOFF_MIN_S, STEADY_S, Supervisor, Worker, how_it_ended
from rillgate.telemetry.snapshot import Count, Snapshot
from tests.fakes.clock import FakeClock

pytestmark = pytest.mark.anyio

PATIENCE_S = 40.0


def counted(streams: int, active: int = 0) -> Snapshot:
    """What a worker has counted."""
    return Snapshot((Count("llm_streams", ("lab", "finished"), streams), Count("llm_active_streams", (), active)))


class Process:
    """A worker's process."""

    def __init__(self, life: int, number: int) -> None:
        self.life = life
        self.number = number
        self.pid = 1000 + life
        self.told: list[msgspec.Struct] = []
        self.killed = False
        self.serves: set[str] = set()
        self.counted: Snapshot | None = None
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def tell(self, message: msgspec.Struct) -> None:
        self.told.append(message)

    def kill(self) -> None:
        self.killed = True
        self.end(-signal.SIGKILL)

    async def ended(self) -> int:
        return await self._code

    def end(self, code: int) -> None:
        """It ends now, unless it has."""
        if not self._code.done():
            self._code.set_result(code)

    def cancel(self, request_id: str, owner: str) -> asyncio.Future[bool | None]:
        return _answer(request_id in self.serves)

    def count(self) -> asyncio.Future[Snapshot | None]:
        return _answer(self.counted)


def _answer(value: Any) -> asyncio.Future[Any]:
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    answer.set_result(value)
    return answer


class Story:
    """A supervisor, its workers and what it has said.

    Attributes:
        hired: every process there was.
        fails: how many of the next processes cannot be started.
        slow: what every start waits for.
    """

    def __init__(self, workers: int = 2) -> None:
        self.clock = FakeClock()
        self.hired: list[Process] = []
        self.said: list[str] = []
        self.ready_ones: list[int] = []
        self.stopped = 0
        self.fails = 0
        self.slow: asyncio.Event | None = None
        self.supervisor = Supervisor(workers, self._hire, self.clock, patience_s=PATIENCE_S, say=self.said.append)
        self.supervisor.on_ready.append(lambda worker: self.ready_ones.append(worker.life))
        self.supervisor.on_stop.append(self._count_stop)
        self.running = asyncio.get_running_loop().create_task(self.supervisor.run())

    async def begun(self) -> Story:
        """All of the first are ready."""
        await self.settled()
        for process in self.hired:
            self.supervisor.heard(process, Ready())
        return self

    async def settled(self) -> None:
        """Wait until nothing happens any more, and nothing follows of what has just happened either."""
        for _ in range(4):
            await anyio.wait_all_tasks_blocked()

    async def dies(self, process: Process, code: int) -> None:
        """A process ends, and what follows of that happens."""
        process.end(code)
        await self.settled()

    async def code(self) -> int:
        """The exit code, when it has come to that; nothing is pending then."""
        await self.settled()
        assert self.running.done()
        assert self.clock.pending == 0
        return self.running.result()

    async def over(self) -> int:
        """Bring it to its end."""
        self.supervisor.stop()
        for process in self.hired:
            process.end(0)
        return await self.code()

    async def _hire(self, life: int, number: int) -> Worker:
        if self.slow is not None:
            await self.slow.wait()
        if self.fails:
            self.fails -= 1
            raise OSError(12, "Cannot allocate memory")
        self.hired.append(Process(life, number))
        return self.hired[-1]

    def _count_stop(self) -> None:
        self.stopped += 1


async def test_supervisor_starts_one_for_each_place_and_tells_who_is_ready() -> None:
    """Each has a place of its own and a life of its own."""
    story = await Story(3).begun()
    assert [(process.number, process.life) for process in story.hired] == [(1, 1), (2, 2), (3, 3)]
    assert story.ready_ones == [1, 2, 3]
    assert await story.over() == 0
    assert story.said == []


async def test_worker_that_dies_after_a_while_is_replaced_at_once() -> None:
    """In its place, as another life; one line says so."""
    story = await Story().begun()
    story.clock.advance(STEADY_S)
    await story.dies(story.hired[1], -signal.SIGKILL)
    story.clock.advance(0)
    await story.settled()
    assert [(process.number, process.life) for process in story.hired] == [(1, 1), (2, 2), (2, 3)]
    assert story.said == ["Worker 2 (pid 1002) was ended by SIGKILL; another takes its place."]
    assert await story.over() == 0


async def test_worker_that_ends_unasked_is_replaced_too() -> None:
    """Exit code 0 is no reason to be one fewer."""
    story = await Story().begun()
    story.clock.advance(STEADY_S)
    await story.dies(story.hired[0], 0)
    story.clock.advance(0)
    await story.settled()
    assert story.said == ["Worker 1 (pid 1001) ended with exit code 0; another takes its place."]
    assert len(story.hired) == 3
    assert await story.over() == 0


async def test_worker_that_dies_again_and_again_is_replaced_later_and_later() -> None:
    """Twice as late each time up to a bound, whether it was ready or not; a steady one makes it forgotten."""
    story = await Story(1).begun()
    delays = []
    for ready in (True, False, False, True, False, False, False, False):
        await story.dies(story.hired[-1], 3)
        assert story.clock.next_due is not None
        delays.append(story.clock.next_due)
        story.clock.advance(story.clock.next_due - 0.001)
        await story.settled()
        hired = len(story.hired)
        story.clock.advance(0.001)
        await story.settled()
        assert len(story.hired) == hired + 1
        if ready:
            story.supervisor.heard(story.hired[-1], Ready())
    assert delays == [0.5, 1, 2, 4, 8, 16, BACKOFF_MAX_S, BACKOFF_MAX_S]
    assert story.said[-1].endswith(f"another takes its place in {BACKOFF_MAX_S:g} s.")
    story.supervisor.heard(story.hired[-1], Ready())
    story.clock.advance(STEADY_S)
    await story.dies(story.hired[-1], 3)
    story.clock.advance(0)
    await story.settled()
    await story.dies(story.hired[-1], 3)
    assert story.clock.next_due == BACKOFF_MIN_S
    assert await story.over() == 0


@pytest.mark.parametrize(("code", "expected"), [(3, 3), (2, 2), (0, 1)])
async def test_worker_that_never_was_ready_ends_everything(code: int, expected: int) -> None:
    """The others drain, nobody is replaced, and the exit code is its own where that says that something failed."""
    story = Story()
    await story.settled()
    story.supervisor.heard(story.hired[1], Ready())
    await story.dies(story.hired[0], code)
    assert story.said == [f"Worker 1 (pid 1001) {how_it_ended(code)} before it was ready; the gateway ends."]
    assert story.hired[1].told == [Drain()]
    assert story.stopped == 1
    story.hired[1].end(0)
    assert await story.code() == expected
    assert len(story.hired) == 2


async def test_worker_killed_before_it_was_ready_ends_everything_only_where_no_other_is() -> None:
    """What was killed from outside says nothing about the next, as long as others show that starting works."""
    story = Story()
    await story.settled()
    story.supervisor.heard(story.hired[1], Ready())
    await story.dies(story.hired[0], -signal.SIGKILL)
    assert story.said == ["Worker 1 (pid 1001) was ended by SIGKILL; another takes its place in 0.5 s."]
    assert await story.over() == 0
    story = Story(1)
    await story.settled()
    await story.dies(story.hired[0], -signal.SIGSEGV)
    assert story.said == ["Worker 1 (pid 1001) was ended by SIGSEGV before it was ready; the gateway ends."]
    assert await story.code() == 1


async def test_process_that_cannot_be_started_at_first_ends_everything() -> None:
    """As one that ends before it is ready."""
    story = Story()
    story.fails = 1
    await story.settled()
    assert story.said == ["Worker 1 cannot be started (Cannot allocate memory) before it was ready; the gateway ends."]
    story.hired[0].end(0)
    assert await story.code() == 1


async def test_process_that_cannot_be_started_later_is_tried_again() -> None:
    """A machine that is short of memory for a moment is no reason to end."""
    story = await Story(1).begun()
    story.fails = 1
    await story.dies(story.hired[0], -signal.SIGKILL)
    story.clock.advance(BACKOFF_MIN_S)
    await story.settled()
    assert story.said[-1] == "Worker 1 cannot be started (Cannot allocate memory); another takes its place in 1 s."
    story.clock.advance(1)
    await story.settled()
    assert len(story.hired) == 2
    assert await story.over() == 0


async def test_signals_drain_then_end_then_kill() -> None:
    """Each worker hears of each, and connections are refused from the first on."""
    story = await Story().begun()
    story.supervisor.stop()
    assert [process.told for process in story.hired] == [[Drain()]] * 2
    assert story.stopped == 1
    story.supervisor.stop()
    assert all(EndNow() in process.told for process in story.hired)
    assert not any(process.killed for process in story.hired)
    story.supervisor.stop()
    assert all(process.killed for process in story.hired)
    assert story.stopped == 1
    assert await story.code() == 1


async def test_signal_ends_with_0_when_all_workers_did() -> None:
    """Those that a signal to all reached before they could handle it, too; a failure is 1."""
    for codes, expected in (((0, 0), 0), ((0, -signal.SIGTERM), 0), ((0, -signal.SIGINT), 0), ((0, 1), 1)):
        story = await Story().begun()
        story.supervisor.stop()
        for process, code in zip(story.hired, codes, strict=True):
            assert not story.running.done()
            await story.dies(process, code)
        assert await story.code() == expected


async def test_worker_that_does_not_end_is_killed_after_the_whole_patience() -> None:
    """And said to have been."""
    story = await Story().begun()
    story.supervisor.stop()
    await story.dies(story.hired[0], 0)
    story.clock.advance(PATIENCE_S - 0.001)
    assert [process.killed for process in story.hired] == [False, False]
    story.clock.advance(0.001)
    assert [process.killed for process in story.hired] == [False, True]
    assert await story.code() == 1
    assert story.said == ["Worker 2 (pid 1002) was ended by SIGKILL."]


async def test_signal_while_a_place_is_empty_leaves_it_so() -> None:
    """Nobody is started to be ended at once."""
    story = await Story().begun()
    await story.dies(story.hired[0], 3)
    story.supervisor.stop()
    story.hired[1].end(0)
    assert await story.code() == 0
    assert len(story.hired) == 2


async def test_signal_while_a_process_is_being_started_reaches_it() -> None:
    """It drains as soon as it is there, and is waited for."""
    story = Story()
    story.slow = asyncio.Event()
    await story.settled()
    story.supervisor.stop()
    await story.settled()
    assert story.hired == []
    story.slow.set()
    await story.settled()
    assert [process.told for process in story.hired] == [[Drain()]] * 2
    for process in story.hired:
        process.end(0)
    assert await story.code() == 0


async def test_signal_before_anything_was_started_starts_nothing() -> None:
    """It may come while the embedded model is being started."""
    story = Story()
    story.supervisor.stop()
    assert await story.code() == 0
    assert story.hired == []


async def test_cancel_is_put_to_all_others() -> None:
    """Whoever asked gets one answer under its own number."""
    story = await Story(3).begun()
    asker, other, third = story.hired
    third.serves = {"req_1"}
    asker.serves = {"req_2"}  # it has looked already
    for number, request_id, found in ((7, "req_1", True), (8, "req_2", False), (9, "req_3", False)):
        story.supervisor.heard(asker, Cancel(number, request_id, "key:a"))
        await story.settled()
        assert asker.told[-1] == Cancelled(number, found)
    assert other.told == third.told == []
    assert await story.over() == 0


def sums(told: list[msgspec.Struct]) -> dict[str, float]:
    """The last total that a worker was told."""
    total = told[-1]
    assert isinstance(total, Total)
    return {count.name: count.value for count in total.snapshot.counts}


async def test_scrape_adds_up_the_living_and_the_dead() -> None:
    """Those who answer, as they are now; who does not answer and who died, as they told last."""
    story = await Story(3).begun()
    asker, silent, dead = story.hired
    story.supervisor.heard(silent, Counted(counted(10, active=2)))
    story.supervisor.heard(dead, Counted(counted(100, active=5)))
    dead.counted = counted(101, active=5)
    story.supervisor.heard(asker, Scrape(1, counted(1, active=1)))
    await story.settled()
    assert sums(asker.told) == {"llm_streams": 112, "llm_active_streams": 8}
    await story.dies(dead, -signal.SIGKILL)
    story.supervisor.heard(asker, Scrape(2, counted(2)))
    await story.settled()
    assert sums(asker.told) == {"llm_streams": 113, "llm_active_streams": 2}
    assert await story.over() == 0


async def test_worker_that_only_starts_is_not_asked() -> None:
    """It has counted nothing, serves nothing, and is not among those that do."""
    story = Story()
    await story.settled()
    asker, starting = story.hired
    starting.counted, starting.serves = counted(5), {"req_1"}
    story.supervisor.heard(asker, Ready())
    story.supervisor.heard(asker, Scrape(1, counted(1)))
    await story.settled()
    assert sums(asker.told) == {"llm_streams": 1, "llm_active_streams": 0}
    story.supervisor.heard(asker, Cancel(2, "req_1", "key:a"))
    await story.settled()
    assert asker.told[-1] == Cancelled(2, False)
    assert await story.over() == 0


@pytest.mark.parametrize(
    ("code", "said"),
    [(0, "ended with exit code 0"), (-9, "was ended by SIGKILL"), (-63, "was ended by signal 63")],
)
def test_exit_codes_are_said_in_words(code: int, said: str) -> None:
    """Signals by their names, where they have one."""
    assert how_it_ended(code) == said
