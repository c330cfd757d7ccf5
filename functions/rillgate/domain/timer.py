"""A deadline that is moved on at every event without touching the event loop's heap.

Streams move their deadlines thousands of times and miss them almost never. So one call of the clock stays
pending, and only when it fires does the timer look whether its deadline has moved, and re-arms for the rest.
"""

from __future__ import annotations

from collections.abc import Callable

from rillgate.domain.ports import Clock, TimerHandle


class Timer:
    """Calls `on_expiry` once when `duration_s` has passed since the last `restart()` without a `stop()`.

    A duration of 0 means never. All durations of one timer are equal, so a pending call is never too late.
    """

    __slots__ = ("_clock", "_deadline", "_duration_s", "_handle", "_on_expiry")

    def __init__(self, clock: Clock, duration_s: float, on_expiry: Callable[[], None]) -> None:
        self._clock = clock
        self._duration_s = duration_s
        self._on_expiry = on_expiry
        self._deadline: float | None = None
        self._handle: TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether a deadline is set."""
        return self._deadline is not None

    def restart(self) -> None:
        """Set the deadline to `duration_s` from now, whether or not one was set."""
        if not self._duration_s:
            return
        self._deadline = self._clock.now() + self._duration_s
        if self._handle is None:
            self._handle = self._clock.call_later(self._duration_s, self._fire)

    def stop(self) -> None:
        """Take the deadline away; a pending call finds none and does nothing."""
        self._deadline = None

    def close(self) -> None:
        """Stop for good: leave nothing pending in the clock, and let go of whoever was to be told.

        Most often that is who owns the timer, so a stream would be left to the collector of cycles, with all it has.
        """
        self._deadline = None
        self._on_expiry = _nothing
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        if self._deadline is None:
            return
        rest = self._deadline - self._clock.now()
        if rest > 0:
            self._handle = self._clock.call_later(rest, self._fire)
            return
        self._deadline = None
        self._on_expiry()


def _nothing() -> None:
    """Nobody is told any more."""
