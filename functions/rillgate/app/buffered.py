"""Whole answers on the stock runtime: events through Mangum, on one loop that lives as long as the environment.

Mangum runs a lifespan for every request, and each request to its end on whatever loop the calling thread has. Here the
lifespan is begun once, on a loop of our own that Mangum is then given: it stands still between invocations, as the
whole environment does.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import MutableMapping
from typing import Any

from mangum import Mangum

from rillgate.app.context import App, Receive, Send
from rillgate.app.deadline import EXTENSION, PLATFORM_MARGIN_S

TEXT_TYPES = ["text/", "application/json", "application/javascript", "image/svg+xml"]  # the rest goes as base64


class Buffered:
    """A handler for the stock runtime. Requests are served one after the other, as Lambda sends them.

    Args:
        app: ASGI, with a lifespan.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._lifespan: _Lifespan | None = None
        asyncio.set_event_loop(self._loop)  # Mangum takes the thread's own
        told = _with_deadline(app)
        self._mangum = Mangum(told, lifespan="off", text_mime_types=TEXT_TYPES)  # type: ignore[arg-type] # wants a coroutine's type

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """One invocation: an event of a Function URL, an HTTP API, a REST API or a load balancer, and its answer.

        Raises: RuntimeError: the app did not start, or the event is none of those.
        """
        with self._lock:
            asyncio.set_event_loop(self._loop)
            if self._lifespan is None:
                lifespan = _Lifespan(self._app)
                self._loop.run_until_complete(lifespan.start())
                self._lifespan = lifespan
            answer: dict[str, Any] = self._mangum(event, context)
            return answer

    def close(self) -> None:
        """End the lifespan and the loop; Lambda never asks for it."""
        with self._lock:
            if self._lifespan is not None:
                self._loop.run_until_complete(self._lifespan.stop())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
            asyncio.set_event_loop(None)


class _Lifespan:
    """The ASGI lifespan protocol, from the server's side."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._to_app: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._from_app: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, and wait until the app has started."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
        self._task = asyncio.get_running_loop().create_task(self._run(scope))
        await self._exchange("startup")

    async def stop(self) -> None:
        """End, and wait until the app has."""
        await self._exchange("shutdown")
        if self._task is not None:
            await self._task

    async def _run(self, scope: MutableMapping[str, Any]) -> None:
        try:
            await self._app(scope, self._to_app.get, self._from_app.put)
        except Exception as error:  # an app may raise instead of saying that it failed
            await self._from_app.put({"type": "lifespan.failed", "message": f"{type(error).__name__}: {error}"})

    async def _exchange(self, step: str) -> None:
        await self._to_app.put({"type": f"lifespan.{step}"})
        answer = await self._from_app.get()
        if answer["type"] != f"lifespan.{step}.complete":
            raise RuntimeError(f"The app failed at {step}: {answer.get('message', '')}")


def _with_deadline(app: App) -> App:
    """The app, told of Lambda's deadline in the way that the streaming layer tells it."""

    async def told(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        remaining = getattr(scope.get("aws.context"), "get_remaining_time_in_millis", None)
        if remaining is not None:
            deadline_s = time.time() + remaining() / 1000 - PLATFORM_MARGIN_S
            scope["extensions"] = {**scope.get("extensions", {}), EXTENSION: {"deadline_s": deadline_s}}
        await app(scope, receive, send)

    return told
