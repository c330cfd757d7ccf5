"""The event loop's lag, on a clock that tests move."""

from __future__ import annotations

from collections.abc import Callable

from rillgate.telemetry.loop_lag import PERIOD_S, WINDOW_TICKS, LoopLag
from tests.fakes.clock import FakeClock, FakeTimerHandle


class BusyClock(FakeClock):
    """Its timers run late by `late_s`."""

    late_s = 0.0

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> FakeTimerHandle:
        """As the loop does when something keeps it."""
        return super().call_later(delay_s + self.late_s, callback)


def late(lag: LoopLag, clock: BusyClock, seconds: float) -> None:
    """One tick that is late; then a punctual one is awaited."""
    clock.late_s = seconds
    clock.advance(PERIOD_S)  # the tick that was set before; the next one is late
    clock.late_s = 0.0
    clock.advance(PERIOD_S + seconds)


def test_loop_lag_is_the_worst_of_the_last_minute() -> None:
    """It is seen at every scrape of a minute, and forgotten after that."""
    clock = BusyClock()
    lag = LoopLag(clock)
    lag.start()
    clock.advance(5)
    assert lag.worst_s() == 0
    late(lag, clock, 0.25)
    late(lag, clock, 0.125)
    assert lag.worst_s() == 0.25
    clock.advance(PERIOD_S * WINDOW_TICKS)
    assert lag.worst_s() == 0.25
    clock.advance(PERIOD_S * WINDOW_TICKS)
    assert lag.worst_s() == 0


def test_loop_lag_leaves_no_timer() -> None:
    """Closed is closed, and closing what never began is nothing."""
    clock = BusyClock()
    lag = LoopLag(clock)
    lag.close()
    lag.start()
    lag.close()
    assert clock.pending == 0
