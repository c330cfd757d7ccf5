"""All environments of a function: one invocation each, reused when idle, more of them when all are busy.

Starts are bounded by the processors that are there, since here all share them: twenty that start at once would each
take twenty times as long. A request that waits for a start takes an environment that falls idle meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from rillgate.cli.local.environment import Environment, InitFailed
from rillgate.cli.local.invocation import Invocation

IDLE_S = 300.0  # after which an idle environment is ended; Lambda does so after some minutes


class Throttled(Exception):
    """As many environments run as may, and all are busy."""


class Fleet:
    """The environments.

    Args:
        make: a new one, not started.
        environments_max: how many may run at once; Lambda's own default is 1,000 for an account.
        starts_max: how many may start at once.
        idle_s: see `IDLE_S`.
    """

    def __init__(
        self, make: Callable[[], Environment], *, environments_max: int, starts_max: int, idle_s: float = IDLE_S
    ) -> None:
        self._make = make
        self._environments_max = environments_max
        self._starts = asyncio.Semaphore(starts_max)
        self._idle_s = idle_s
        self._all: set[Environment] = set()
        self._idle: list[Environment] = []
        self._reapers: dict[Environment, asyncio.TimerHandle] = {}
        self._waiting: deque[asyncio.Future[Environment]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = 0  # environments that run, start, or wait to start
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """Of the environments that run."""
        return [environment.pid for environment in self._all if environment.running]

    async def run(self, invocation: Invocation) -> None:
        """Run one invocation in an environment of its own.

        Raises:
            Throttled: none is free and no more may be started.
            InitFailed: the environment that was started for it did not start.
        """
        environment = await self._take()
        try:
            await environment.invoke(invocation)
        finally:
            self._give_back(environment)

    def terminate(self) -> None:
        """Ask every environment to end: running requests get what the layer gives them on SIGTERM."""
        self._closed = True
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(Throttled())
        for environment in list(self._all):
            self._do(environment.aclose())

    async def aclose(self) -> None:
        """End all of them, and wait for it."""
        self.terminate()
        for reaper in self._reapers.values():
            reaper.cancel()
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    # Within

    async def _take(self) -> Environment:
        while self._idle:
            environment = self._idle.pop()
            self._reapers.pop(environment).cancel()
            if environment.alive:
                return environment
            self._end(environment)
        if self._closed or self._slots >= self._environments_max:
            raise Throttled
        waiting: asyncio.Future[Environment] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._slots += 1
        self._do(self._start())
        return await waiting

    async def _start(self) -> None:
        """One start for one that waits, unless an idle environment has served it meanwhile."""
        async with self._starts:
            if self._closed or all(waiting.done() for waiting in self._waiting):
                self._slots -= 1
                return
            environment = self._make()
            self._all.add(environment)
            try:
                await environment.start()
            except InitFailed as error:
                self._all.discard(environment)
                self._slots -= 1
                self._refuse(error)
                return
        self._give_back(environment)

    def _give_back(self, environment: Environment) -> None:
        if not environment.alive or self._closed:
            self._end(environment)
            return
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(environment)
                return
        self._idle.append(environment)
        loop = asyncio.get_running_loop()
        self._reapers[environment] = loop.call_later(self._idle_s, self._reap, environment)

    def _refuse(self, error: InitFailed) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(error)
                return

    def _reap(self, environment: Environment) -> None:
        del self._reapers[environment]
        self._idle.remove(environment)
        self._end(environment)

    def _end(self, environment: Environment) -> None:
        async def end() -> None:
            await environment.finished()
            await environment.aclose()
            self._all.discard(environment)
            self._slots -= 1

        self._do(end())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
