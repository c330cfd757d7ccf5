"""How long the event loop keeps its timers waiting: what every stream of the process feels.

A timer each second, and how much later than it was set for it ran. The worst of the last half to whole minute is shown,
so that a scrape each 15 or 30 seconds misses none. Not on Lambda, where the process is frozen between requests.
"""

from __future__ import annotations

from typing import Final

from rillgate.domain.ports import Clock, TimerHandle

PERIOD_S: Final = 1.0
WINDOW_TICKS: Final = 30  # two windows are looked at: the one that is over, and the one that runs


class LoopLag:
    """Watches the loop that it is started on.

    Args: clock: whose timers are watched.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._handle: TimerHandle | None = None
        self._due_s = 0.0
        self._ticks = 0
        self._before_s = 0.0
        self._worst_s = 0.0

    def start(self) -> None:
        """Begin; needs a running loop."""
        self._due_s = self._clock.now() + PERIOD_S
        self._handle = self._clock.call_later(PERIOD_S, self._tick)

    def close(self) -> None:
        """Leave nothing pending."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def worst_s(self) -> float:
        """The longest delay of the last half to whole minute, in seconds. May be asked from another thread."""
        return max(self._before_s, self._worst_s)

    def _tick(self) -> None:
        self._worst_s = max(self._worst_s, self._clock.now() - self._due_s)
        self._ticks += 1
        if self._ticks == WINDOW_TICKS:
            self._before_s, self._worst_s, self._ticks = self._worst_s, 0.0, 0
        self.start()
