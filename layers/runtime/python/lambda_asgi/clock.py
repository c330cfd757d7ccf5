"""Time as an argument. Deadlines are wall-clock times: Lambda gives them so, and a freeze stops the monotonic clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Handle(Protocol):
    """A pending call."""

    def cancel(self) -> None:
        """Forget the call; harmless when it has run."""


class Clock(Protocol):
    """Wall-clock time and calls to come."""

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Handle:
        """Run `callback` once, `delay_s` seconds from now; at once (in the loop's next turn) when that is past."""


class LoopClock:
    """The real one. An environment is frozen only between invocations, so within one the loop's timers hold."""

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return time.time()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Handle:
        """On the running event loop."""
        return asyncio.get_running_loop().call_later(max(0.0, delay_s), callback)
