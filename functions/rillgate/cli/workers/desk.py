"""Where the questions that one worker has for all the others are put to them, and the answers put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from rillgate.telemetry.snapshot import Snapshot, Totals


class Asked(Protocol):
    """A worker that can be asked. Answers are None when it gives none in time."""

    @property
    def life(self) -> int:
        """Its number among all workers there ever were."""

    def cancel(self, request_id: str, owner: str) -> asyncio.Future[bool | None]:
        """Whether it served this request, which is over now."""

    def count(self) -> asyncio.Future[Snapshot | None]:
        """What it has counted."""


class Desk:
    """The desk.

    Args: workers: those that live, at any time.
    """

    def __init__(self, workers: Callable[[], Iterable[Asked]]) -> None:
        self._workers = workers
        self.totals = Totals()

    async def cancel(self, asker: int, request_id: str, owner: str) -> bool:
        """Ask all but the asker; True as soon as one had it."""
        answers = [worker.cancel(request_id, owner) for worker in self._others(asker)]
        for answer in asyncio.as_completed(answers):
            if await answer:
                return True
        return False

    async def total(self, asker: int) -> Snapshot:
        """Ask all but the asker, who has told its own. Who does not answer is counted as it told last."""
        others = self._others(asker)
        for worker, answer in zip(others, await asyncio.gather(*(worker.count() for worker in others)), strict=True):
            if answer is not None and any(worker is living for living in self._workers()):
                self.totals.told(worker.life, answer)
        return self.totals.total()

    def _others(self, asker: int) -> list[Asked]:
        return [worker for worker in self._workers() if worker.life != asker]
