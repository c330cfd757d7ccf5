"""The production clock."""

from __future__ import annotations

import asyncio
import time

import pytest

from rillgate.domain.ports import Clock
from rillgate.domain.timer import Timer
from rillgate.telemetry.clock import LoopClock


def test_clock_without_loop_tells_time() -> None:
    """It may be made and read before a loop runs; only timers need one."""
    clock: Clock = LoopClock()
    before = time.monotonic()
    assert before <= clock.now() <= time.monotonic()
    before = time.time()
    assert before <= clock.wall() <= time.time()
    with pytest.raises(RuntimeError):
        clock.call_later(0.0, lambda: None)


@pytest.mark.anyio
async def test_clock_in_one_turn_of_the_loop_still_moves() -> None:
    """Time passes within a callback, in steps below a millisecond: fairness by elapsed time depends on it."""
    clock = LoopClock()
    readings = {clock.now() for _ in range(1000)}
    assert len(readings) > 100
    assert max(readings) - min(readings) < 1.0


@pytest.mark.anyio
async def test_clock_call_runs_on_the_loop_not_before_its_time() -> None:
    """A timer on this clock expires, and never early by the clock's own reading, though the loop's is coarser."""
    clock = LoopClock()
    expired: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    timer = Timer(clock, 0.0105, lambda: expired.set_result(clock.now()))
    start = clock.now()
    timer.restart()
    assert await expired - start >= 0.0105


@pytest.mark.anyio
async def test_clock_cancelled_call_does_not_run() -> None:
    """The handle forgets the call."""
    clock = LoopClock()
    ran: list[str] = []
    clock.call_later(0.0, lambda: ran.append("cancelled")).cancel()
    done = asyncio.Event()
    clock.call_later(0.0, done.set)
    await done.wait()
    assert ran == []
