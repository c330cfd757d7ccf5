"""The app's lifespan: started once, at INIT, and ended with the process.

Source: ASGI lifespan specification 2.0.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from lambda_asgi.cycle import App, Message
from lambda_asgi.logs import log_event


class LifespanFailed(Exception):
    """The app said that it cannot start, or does not support a lifespan that is required."""


class Lifespan:
    """One app's lifespan.

    Args:
        app: it.
        mode: "on", "off" or "auto"; see `Settings`.

    Attributes:
        state: what the app put into `scope["state"]`; each request gets a shallow copy.
    """

    def __init__(self, app: App, mode: str) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._mode = mode
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._said: asyncio.Future[Message] | None = None
        self._task: asyncio.Future[None] | None = None

    async def startup(self) -> None:
        """Wait until the app has started.

        Raises:
            LifespanFailed: it did not.
        """
        if self._mode == "off":
            return
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self._task = asyncio.ensure_future(self._run(scope))
        message = await self._tell(self._task, "lifespan.startup")
        if message is None:
            self._unsupported()
        elif message["type"] == "lifespan.startup.failed":
            await asyncio.wait({self._task})
            raise LifespanFailed(message.get("message") or "The app said that its startup failed.")

    async def shutdown(self) -> None:
        """Wait until the app has ended. What goes wrong is logged only."""
        if self._task is None or self._task.done():
            return
        message = await self._tell(self._task, "lifespan.shutdown")
        await asyncio.wait({self._task})
        if (error := self._error()) is not None or (message or {}).get("type") == "lifespan.shutdown.failed":
            log_event(logging.ERROR, "lifespan shutdown failed", error=error, reason=(message or {}).get("message"))

    # Within

    async def _run(self, scope: dict[str, Any]) -> None:
        await self._app(scope, self._messages.get, self._send)

    async def _send(self, message: Message) -> None:
        if self._said is not None and not self._said.done():
            self._said.set_result(message)

    async def _tell(self, task: asyncio.Future[None], kind: str) -> Message | None:
        """Give the app a message and wait for what it says to that; None where it ended without a word."""
        said = self._said = asyncio.get_running_loop().create_future()
        self._messages.put_nowait({"type": kind})
        await asyncio.wait({task, said}, return_when=asyncio.FIRST_COMPLETED)
        return said.result() if said.done() else None

    def _unsupported(self) -> None:
        error = self._error()
        if self._mode == "on":
            raise LifespanFailed("The app supports no lifespan, and LAMBDA_ASGI_LIFESPAN is on.") from error
        log_event(logging.INFO, "the app supports no lifespan", error=error)

    def _error(self) -> BaseException | None:
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()
