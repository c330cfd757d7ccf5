"""The timer that streams move on at every event."""

from __future__ import annotations

from rillgate.domain.timer import Timer
from tests.fakes.clock import FakeClock


def test_timer_restarted_before_its_deadline_expires_after_the_last_restart() -> None:
    """A deadline counts from the last restart, once."""
    clock, expired = FakeClock(), list[float]()
    timer = Timer(clock, 10, lambda: expired.append(clock.now()))
    timer.restart()
    clock.advance(8)
    timer.restart()
    clock.advance(9)
    assert expired == []
    clock.advance(1)
    assert expired == [clock.now()]
    clock.advance(100)
    assert len(expired) == 1


def test_timer_stopped_and_restarted_counts_from_the_restart() -> None:
    """Time in which it was stopped does not count."""
    clock, expired = FakeClock(), list[float]()
    timer = Timer(clock, 10, lambda: expired.append(clock.now()))
    timer.restart()
    clock.advance(9)
    timer.stop()
    clock.advance(50)
    assert expired == []
    timer.restart()
    clock.advance(9)
    assert expired == []
    clock.advance(1)
    assert len(expired) == 1


def test_timer_of_zero_seconds_never_expires() -> None:
    """0 is the configuration's word for none."""
    clock, expired = FakeClock(), list[float]()
    timer = Timer(clock, 0, lambda: expired.append(clock.now()))
    timer.restart()
    clock.advance(1e9)
    assert expired == []
    assert clock.pending == 0


def test_timer_restarted_a_thousand_times_keeps_one_pending_call() -> None:
    """Moving the deadline does not touch the loop's heap."""
    clock = FakeClock()
    timer = Timer(clock, 10, lambda: None)
    for _ in range(1000):
        timer.restart()
    assert clock.pending == 1
    timer.close()
    assert clock.pending == 0
