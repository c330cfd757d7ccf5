"""What should be written and could not be: holds that are still to be settled or voided.

A store that fails does so for everybody at once. So one task tries what has waited longest, alone and ever more seldom,
until the store answers; then the rest is done. What waits is bounded, in number and in time: a hold that is not
settled in the end is captured, as that of a process that died.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec

from rillgate.domain.ports import Clock
from rillgate.ledger.writes import StoreUnavailable

PAUSE_S_MIN = 1.0
PAUSE_S_MAX = 30.0
WAITING_MAX = 10_000  # a few hundred bytes each; of more the oldest are left to be captured


class _Due(msgspec.Struct, frozen=True):
    do: Callable[[], Awaitable[None]]
    over: Callable[[], None]
    until: float


class Arrears:
    """Writes that are owed.

    Args:
        clock: for pauses.
        sleep: waits by it.
        tell: called with `ledger_caught_up` and how many were done.
    """

    def __init__(
        self, clock: Clock, sleep: Callable[[Clock, float], Awaitable[None]], tell: Callable[..., None]
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._tell = tell
        self._due: deque[_Due] = deque()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._due)

    def add(self, do: Callable[[], Awaitable[None]], over: Callable[[], None], patience_s: float) -> None:
        """Owe something.

        Args:
            do: does it, once; StoreUnavailable where it could not. It may have been done before.
            over: called when it was done, or was given up.
            patience_s: how long it has any sense.
        """
        self._due.append(_Due(do, over, self._clock.now() + patience_s))
        if len(self._due) > WAITING_MAX:
            self._due.popleft().over()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def aclose(self) -> None:
        """Try once more what is left, as long as the store answers."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while self._due and await self._do_first():
            pass

    async def _work(self) -> None:
        pause_s, done = PAUSE_S_MIN, 0
        try:
            while self._due:
                await self._sleep(self._clock, pause_s)
                pause_s = min(2 * pause_s, PAUSE_S_MAX)
                while self._due and await self._do_first():
                    pause_s, done = PAUSE_S_MIN, done + 1
        finally:
            self._task = None
            if done:
                self._tell("ledger_caught_up", holds=done)

    async def _do_first(self) -> bool:
        """What has waited longest; False where the store does not answer. What fails otherwise is given up."""
        due = self._due[0]
        try:
            if self._clock.now() < due.until:
                await due.do()
        except StoreUnavailable:
            return False
        except Exception as error:
            self._tell("ledger_upkeep_failed", error=type(error).__name__)
        if self._due and self._due[0] is due:
            self._due.popleft()
            due.over()
        return True
