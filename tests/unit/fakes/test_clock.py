"""The clock that only tests move."""

from __future__ import annotations

import pytest

from rillgate.domain.ports import Clock
from rillgate.domain.timer import Timer
from tests.fakes.clock import FakeClock


def test_clock_advanced_runs_due_calls_in_order_at_their_own_time() -> None:
    """Each call sees the moment it was due, earlier ones first, equal ones as they were scheduled."""
    clock = FakeClock(now=10.0)
    seen: list[tuple[str, float]] = []
    for name, delay in (("late", 3.0), ("early", 1.0), ("second early", 1.0), ("not yet", 3.1)):
        clock.call_later(delay, lambda name=name: seen.append((name, clock.now())))  # type: ignore[misc]
    clock.advance(3.0)
    assert seen == [("early", 11.0), ("second early", 11.0), ("late", 13.0)]
    assert clock.now() == 13.0
    assert clock.pending == 1
    assert clock.next_due == pytest.approx(0.1)


def test_clock_advanced_runs_calls_scheduled_by_calls() -> None:
    """What a call schedules within the span runs in the same advance, what lies beyond it does not."""
    clock = FakeClock(now=0.0)
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(clock.now())
        clock.call_later(1.0, tick)

    clock.call_later(1.0, tick)
    clock.advance(3.5)
    assert ticks == [1.0, 2.0, 3.0]
    assert clock.pending == 1


def test_clock_cancelled_call_never_runs() -> None:
    """A cancelled call is not pending and does not run, even when cancelled by another call of the same moment."""
    clock = FakeClock()
    ran: list[str] = []
    second = clock.call_later(1.0, lambda: ran.append("never"))
    clock.call_later(0.5, second.cancel)
    assert clock.pending == 2
    clock.advance(2.0)
    assert ran == []
    assert clock.pending == 0
    assert clock.next_due is None


def test_clock_advanced_moves_wall_time_alike() -> None:
    """Both times move by the same span."""
    clock = FakeClock(now=5.0, wall=100.0)
    clock.advance(2.5)
    assert (clock.now(), clock.wall()) == (7.5, 102.5)


def test_clock_advanced_backwards_is_refused() -> None:
    """Time does not go back."""
    with pytest.raises(ValueError, match="back"):
        FakeClock().advance(-1.0)


def test_clock_serves_timer_as_domain_port() -> None:
    """It is a `domain.ports.Clock`: a restarted timer expires one full duration after the restart."""
    clock = FakeClock()
    port: Clock = clock
    expired: list[float] = []
    start = clock.now()
    timer = Timer(port, 10.0, lambda: expired.append(clock.now() - start))
    timer.restart()
    clock.advance(6.0)
    timer.restart()
    clock.advance(9.0)
    assert expired == []
    clock.advance(1.0)
    assert expired == [16.0]
    assert clock.pending == 0
