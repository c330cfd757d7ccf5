"""Questions over a channel whose answers come as messages later, or never."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from rillgate.domain.ports import Clock


class Questions:
    """Those that one side has asked.

    Args:
        clock: time.
        wait_s: after which nobody waits for an answer any more.
    """

    def __init__(self, clock: Clock, wait_s: float) -> None:
        self._clock = clock
        self._wait_s = wait_s
        self._number = 0
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._closed = False

    def ask(self, put: Callable[[int], None]) -> asyncio.Future[Any]:
        """Put a question under a number of its own; gives its answer, and None when none comes."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._closed:
            answer.set_result(None)
            return answer
        self._number = number = self._number + 1
        self._open[number] = answer
        late = self._clock.call_later(self._wait_s, partial(self.answer, number, None))

        def done(_: asyncio.Future[Any]) -> None:  # answered, or whoever asked was cancelled
            late.cancel()
            self._open.pop(number, None)

        answer.add_done_callback(done)
        put(number)
        return answer

    def answer(self, number: int, value: Any) -> None:
        """An answer has come; one that nobody waits for is dropped."""
        waiting = self._open.pop(number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(value)

    def close(self) -> None:
        """Nobody is there to answer any more."""
        self._closed = True
        for number in list(self._open):
            self.answer(number, None)
