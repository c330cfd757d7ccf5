"""All requests that are being served by this process: their bound, how to find one, how to end them all.

And what outlives them: a hold that is being settled goes on when its request is cancelled or its client has left, and
the process waits for it before it goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from rillgate.domain.ends import End
from rillgate.domain.errors import CapacityError

RETRY_AFTER_S = 1.0
SETTLED_WAIT_S = 10.0

T = TypeVar("T")


class Running(Protocol):
    """One request being served, as the registry sees it."""

    @property
    def request_id(self) -> str: ...
    @property
    def client_request_id(self) -> str | None: ...
    @property
    def owner(self) -> str:
        """Who may cancel it; "" for everybody to whom keys mean nothing."""

    @property
    def queue_bytes(self) -> int:
        """What waits for its client to read."""

    def stop(self, end: End) -> bool:
        """End it from outside; False when it was over already."""


class Streams:
    """The running requests of one process.

    Args:
        streams_max: how many may run at once; one more is answered 503.
    """

    def __init__(self, streams_max: int) -> None:
        self._streams_max = streams_max
        self._running: set[Running] = set()
        self._afterwards: set[asyncio.Task[Any]] = set()
        self.draining = False

    def add(self, run: Running) -> None:
        """Take a request in.

        Raises:
            CapacityError: the process is full, or going down.
        """
        if self.draining:
            raise CapacityError(
                "This gateway is shutting down; try again.", code="shutting_down", retry_after_s=RETRY_AFTER_S
            )
        if len(self._running) >= self._streams_max:
            raise CapacityError(
                f"This gateway serves {self._streams_max} streams at once and all are taken; try again "
                "(limits.streams_max).",
                retry_after_s=RETRY_AFTER_S,
            )
        self._running.add(run)

    def discard(self, run: Running) -> None:
        """It is over."""
        self._running.discard(run)

    def begin(self) -> None:
        """Take no more in: readiness is gone from here on."""
        self.draining = True

    def running(self) -> int:
        """How many run."""
        return len(self._running)

    def queue_bytes(self) -> int:
        """What waits for clients to read, of all of them. May be asked from another thread."""
        return sum(run.queue_bytes for run in list(self._running))

    def end_all(self) -> None:
        """End every one that still runs, in-band."""
        for run in list(self._running):
            run.stop(End.SHUTDOWN)

    def cancel(self, request_id: str, owner: str) -> bool:
        """End the one with this id, ours or the client's own. False where `owner` has none: others' do not exist."""
        found = [
            run for run in self._running if run.owner == owner and request_id in (run.request_id, run.client_request_id)
        ]
        stopped = [run.stop(End.CANCELLED) for run in found]  # each of them, so no short circuit
        return any(stopped)

    def outlive(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do something that its request's own end must not stop, and that `settled` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._afterwards.add(task)
        task.add_done_callback(self._afterwards.discard)
        return task

    async def settled(self, wait_s: float = SETTLED_WAIT_S) -> bool:
        """Wait until nothing outlives its request, at most `wait_s`; False when something still does."""
        deadline = asyncio.get_running_loop().time() + wait_s
        while self._afterwards:
            rest_s = deadline - asyncio.get_running_loop().time()
            _, pending = await asyncio.wait(set(self._afterwards), timeout=max(0.0, rest_s))
            if pending and rest_s <= 0:
                return False
        return True
