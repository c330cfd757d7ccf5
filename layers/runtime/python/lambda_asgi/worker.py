"""One poller: next, the app's answer, its end, then next again. Several could run side by side, each with its client.

Lambda ends an invocation, and freezes the environment, when the next one is asked for.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from lambda_asgi.clock import Clock
from lambda_asgi.context import LambdaContext
from lambda_asgi.cycle import App
from lambda_asgi.deadline import Guard
from lambda_asgi.events import HttpRequest, UnsupportedEvent, http_request
from lambda_asgi.failures import Failure
from lambda_asgi.logs import log_event, request_id
from lambda_asgi.run import Run
from lambda_asgi.runtime_api import Invocation, RuntimeApi
from lambda_asgi.settings import Settings
from lambda_asgi.sinks import BufferedSink, Sink, StreamSink


class Worker:
    """Serves one invocation after the other.

    Args:
        app: the ASGI app, started.
        api: this worker's own client.
        settings, clock: as everywhere.
        environ: what the context is made of; `_X_AMZN_TRACE_ID` is set in it, for tracing SDKs.
        state: of the lifespan; each request gets a shallow copy.
    """

    def __init__(
        self,
        app: App,
        api: RuntimeApi,
        *,
        settings: Settings,
        clock: Clock,
        environ: MutableMapping[str, str],
        state: Mapping[str, Any],
    ) -> None:
        self._app = app
        self._api = api
        self._settings = settings
        self._clock = clock
        self._environ = environ
        self._state = state
        self._stopping = False
        self._poll: asyncio.Task[Invocation] | None = None
        self._guard: Guard | None = None

    async def run(self) -> None:
        """Until `stop`.

        Raises:
            RuntimeApiError: the process can only end.
        """
        try:
            while (invocation := await self._next()) is not None:
                await self._serve(invocation)
        finally:
            await self._api.aclose()

    def stop(self) -> None:
        """Ask for nothing more; a running request is told to end and has the grace that is set."""
        self._stopping = True
        if self._poll is not None:
            self._poll.cancel()
        if self._guard is not None:
            self._guard.shut_down(self._settings.shutdown_grace_s)

    # Within

    async def _next(self) -> Invocation | None:
        if self._stopping:
            return None
        self._poll = asyncio.create_task(self._api.next())
        await asyncio.wait({self._poll})
        poll, self._poll = self._poll, None
        return None if poll.cancelled() else poll.result()

    async def _serve(self, invocation: Invocation) -> None:
        token = request_id.set(invocation.request_id)
        self._trace(invocation.trace_id)
        try:
            event = json.loads(invocation.payload)
            request = http_request(event, self._settings.base_path)
        except (ValueError, UnsupportedEvent) as error:
            await self._refuse(invocation, error)
        else:
            await self._answer(invocation, event, request)
        finally:
            request_id.reset(token)

    async def _refuse(self, invocation: Invocation, error: Exception) -> None:
        failure = Failure.of(error, details=self._settings.error_details, kind="Function.UnsupportedEvent")
        log_event(logging.ERROR, "event not supported", reason=failure.message)
        sink = BufferedSink(self._api, invocation, "2.0")
        await sink.fail(failure)
        await sink.settle()

    async def _answer(self, invocation: Invocation, event: Any, request: HttpRequest) -> None:
        run = Run(details=self._settings.error_details)
        guard = self._guard = Guard(self._clock, (run.disconnect, run.cancel, run.give_up, run.break_off))
        if invocation.deadline_s is not None:
            guard.set_deadline(invocation.deadline_s, self._settings.deadline_margin_s)
        scope = {**request.scope, "state": dict(self._state), "extensions": self._extensions(invocation, event, guard)}
        sink = self._sink(invocation, request, run.disconnect)
        try:
            await run.go(self._app, scope, request.body, sink, guard)
        finally:
            guard.close()
            self._guard = None

    def _sink(self, invocation: Invocation, request: HttpRequest, on_broken: Callable[[], None]) -> Sink:
        mode = self._settings.response_mode
        if mode == "stream" or (mode == "auto" and request.streams):
            return StreamSink(self._api, invocation, on_broken)
        return BufferedSink(self._api, invocation, request.payload)

    def _extensions(self, invocation: Invocation, event: Any, guard: Guard) -> dict[str, Any]:
        context = LambdaContext.of(invocation, self._environ, self._clock)
        extensions: dict[str, Any] = {"lambda_asgi": {"event": event, "context": context}}
        if guard.told_s is not None:
            extensions["lambda_asgi.deadline"] = {"deadline_s": guard.told_s, "timeout_s": invocation.deadline_s}
        return extensions

    def _trace(self, trace_id: str) -> None:
        """Where SDKs look for it. One invocation at a time runs here, or this could not be in the environment."""
        if trace_id:
            self._environ["_X_AMZN_TRACE_ID"] = trace_id
        else:
            self._environ.pop("_X_AMZN_TRACE_ID", None)
