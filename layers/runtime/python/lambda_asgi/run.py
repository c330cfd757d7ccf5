"""One request through the app, up to the moment at which Lambda has taken the response and the app has returned.

An app may return later than its last body message: the client has everything by then, and the next invocation is asked
for only when the app has returned. That is where work after a response belongs; the deadline bounds it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import MutableMapping
from typing import Any

from lambda_asgi.cycle import App, HttpCycle
from lambda_asgi.deadline import Guard
from lambda_asgi.failures import Failure
from lambda_asgi.logs import log_event
from lambda_asgi.sinks import Sink

_GIVEN_UP: set[asyncio.Task[None]] = set()
"""Tasks that outlived their cancellation; nothing else keeps them from being collected while they run."""


class Run:
    """What the deadline's guard and a broken response act on, and what a run comes to."""

    def __init__(self, *, details: str) -> None:
        self._details = details
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._cycle: HttpCycle | None = None
        self._sink: Sink | None = None

    async def go(self, app: App, scope: MutableMapping[str, Any], body: bytes, sink: Sink, guard: Guard) -> None:
        """Call the app, end its response where it did not, and wait until Lambda has it.

        Raises:
            RuntimeApiError: the process can only end.
        """
        cycle = HttpCycle(body, sink, without_body=scope["method"] == "HEAD")
        self._cycle, self._sink = cycle, sink
        self._task = asyncio.create_task(_called(app, scope, cycle))
        await asyncio.wait({self._task, self._over}, return_when=asyncio.FIRST_COMPLETED)
        failure = self._failure(self._task, cycle, sink, guard.reason)
        if failure is not None:
            await cycle.fail(failure)
        cycle.close()
        await sink.settle()

    def disconnect(self) -> None:
        """The app is told to end."""
        if self._cycle is not None:
            self._cycle.disconnect()

    def cancel(self) -> None:
        """The app is cancelled."""
        if self._task is not None:
            self._task.cancel()

    def give_up(self) -> None:
        """The app is waited for no longer."""
        if not self._over.done():
            self._over.set_result(None)

    def break_off(self) -> None:
        """Nothing is waited for any longer."""
        if self._sink is not None:
            self._sink.break_off("no time was left")

    def _failure(self, task: asyncio.Task[None], cycle: HttpCycle, sink: Sink, ending: str) -> Failure | None:
        """What is to be reported; None where the response is complete, whatever came after, or nothing gets through."""
        error = _error_of(task)
        if error is not None and not (sink.broken and isinstance(error, OSError)):
            log_event(logging.ERROR, "the app failed", error=error, response_complete=cycle.complete)
        if cycle.complete and ending and (task.cancelled() or not task.done()):
            log_event(logging.WARNING, "work after the response was cut off", reason=ending)
        if cycle.complete or sink.broken:
            return None
        if ending == "deadline":
            log_event(logging.ERROR, "the app did not complete its response in time")
            return Failure("Function.DeadlineExceeded", "The app did not complete its response in time.", status=504)
        if ending == "shutdown":
            return Failure("Function.Shutdown", "The environment was shut down during the response.", status=503)
        if error is not None:
            return Failure.of(error, details=self._details)
        return Failure("Function.IncompleteResponse", "The app ended without completing its response.")


async def _called(app: App, scope: MutableMapping[str, Any], cycle: HttpCycle) -> None:
    """The app's call itself may raise, before there is anything to await."""
    await app(scope, cycle.receive, cycle.send)


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    """What the app raised. A task that still runs is given up, and kept."""
    if not task.done():
        log_event(logging.ERROR, "the app goes on after it was cancelled, and is waited for no longer")
        _GIVEN_UP.add(task)
        task.add_done_callback(_GIVEN_UP.discard)
        return None
    return None if task.cancelled() else task.exception()
