"""The production clock behind `domain.ports.Clock`: the machine's monotonic time and the running loop's timers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from rillgate.domain.ports import TimerHandle


class LoopClock:
    """Time of this process. May be made before a loop runs; `call_later` needs a running one.

    `now()` is `time.monotonic()`, which is what asyncio's own `loop.time()` returns. uvloop's counts whole
    milliseconds: too coarse for the gap between two tokens of a fast provider. Since the two differ by less than a
    millisecond, a timer may run that much before `now()` says so; `domain.timer.Timer` looks and waits for the rest.
    """

    __slots__ = ()

    now = staticmethod(time.monotonic)  # itself, not a method around it: a chunk asks nine times

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return time.time()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> TimerHandle:
        """Run `callback` once, `delay_s` seconds from now, on the running event loop.

        Raises:
            RuntimeError: no loop runs in this thread.
        """
        return asyncio.get_running_loop().call_later(delay_s, callback)
