"""Questions of one worker for all the others."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from rillgate.cli.workers.desk import Desk
from rillgate.telemetry.snapshot import Count, Snapshot

pytestmark = pytest.mark.anyio


class Worker:
    """Answers when a test says so."""

    def __init__(self, life: int) -> None:
        self.life = life
        self.asked: list[Any] = []
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def cancel(self, request_id: str, owner: str) -> asyncio.Future[Any]:
        self.asked.append((request_id, owner))
        return self.answer

    def count(self) -> asyncio.Future[Any]:
        self.asked.append("count")
        return self.answer


def counted(number: float) -> Snapshot:
    """So many captured holds."""
    return Snapshot((Count("llm_holds_captured", (), number),))


async def test_desk_asks_all_but_the_asker_and_waits_for_the_first_yes() -> None:
    """A slow worker delays no answer that is known."""
    workers = [Worker(life) for life in range(3)]
    desk = Desk(lambda: workers)
    answer = asyncio.ensure_future(desk.cancel(0, "req_1", "key:a"))
    await anyio.wait_all_tasks_blocked()
    assert [worker.asked for worker in workers] == [[], [("req_1", "key:a")], [("req_1", "key:a")]]
    workers[2].answer.set_result(True)
    assert await answer


async def test_desk_says_no_when_nobody_had_it_or_said_so() -> None:
    """Not before all have answered or are given up; alone there is nobody to ask."""
    workers = [Worker(life) for life in range(3)]
    desk = Desk(lambda: workers)
    answer = asyncio.ensure_future(desk.cancel(0, "req_1", "key:a"))
    workers[1].answer.set_result(False)
    await anyio.wait_all_tasks_blocked()
    assert not answer.done()
    workers[2].answer.set_result(None)
    assert not await answer
    assert not await Desk(lambda: workers[:1]).cancel(0, "req_1", "key:a")


async def test_desk_adds_nothing_of_a_worker_that_died_while_it_was_asked() -> None:
    """What it had told is counted once, as a dead one's."""
    workers = [Worker(1), Worker(2)]
    desk = Desk(lambda: workers)
    desk.totals.told(1, counted(1))
    desk.totals.told(2, counted(10))
    total = asyncio.ensure_future(desk.total(1))
    await anyio.wait_all_tasks_blocked()
    dead = workers.pop()
    desk.totals.gone(2)
    dead.answer.set_result(counted(11))
    assert (await total).counts == (Count("llm_holds_captured", (), 11.0),)
