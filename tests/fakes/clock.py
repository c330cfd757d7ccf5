"""A clock that only moves when a test says so."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class FakeTimerHandle:
    """A pending call of a `FakeClock`."""

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback = callback
        self.cancelled = False
        self.ran = False

    def cancel(self) -> None:
        """Forget the call; harmless when it has run."""
        self.cancelled = True


class FakeClock:
    """`domain.ports.Clock` moved by hand.

    Args:
        now: monotonic seconds at the start.
        wall: seconds since 1970-01-01 UTC at the start.
    """

    def __init__(self, now: float = 1_000.0, wall: float = 1_795_000_000.0) -> None:
        self._now = now
        self._wall_offset = wall - now
        self._heap: list[tuple[float, int, FakeTimerHandle]] = []
        self._order = count()

    def now(self) -> float:
        """Monotonic seconds."""
        return self._now

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC; moves with `now()`."""
        return self._now + self._wall_offset

    def step(self, seconds: float) -> None:
        """Set the time of day, as an operator or NTP does: forwards or back, and `now()` knows nothing of it."""
        self._wall_offset += seconds

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> FakeTimerHandle:
        """Run `callback` when the clock has been advanced by `delay_s`; at once in the next `advance` for 0 or less."""
        handle = FakeTimerHandle(self._now + max(delay_s, 0.0), callback)
        heapq.heappush(self._heap, (handle.due, next(self._order), handle))
        return handle

    @property
    def pending(self) -> int:
        """Calls that are still to come."""
        return sum(1 for _, _, handle in self._heap if not handle.cancelled)

    @property
    def next_due(self) -> float | None:
        """Seconds from now to the next call; None when there is none."""
        due = [handle.due for _, _, handle in self._heap if not handle.cancelled]
        return min(due) - self._now if due else None

    def advance(self, seconds: float) -> None:
        """Move time on, running what becomes due, in order of time and then of `call_later`.

        Each callback sees its own time as now; what it schedules within the span runs too. Tasks that a callback
        wakes run when the test awaits something (`anyio.wait_all_tasks_blocked()`).
        """
        if seconds < 0:
            raise ValueError("time does not go back")
        target = self._now + seconds
        while self._heap and self._heap[0][0] <= target:
            due, _, handle = heapq.heappop(self._heap)
            if handle.cancelled:
                continue
            self._now = max(self._now, due)
            handle.ran = True
            handle.callback()
        self._now = target
