"""What a stream and a whole answer have in common while they are served: one task group, and many ways to end.

Everything that can end a request calls `stop` with its cause; the first cause wins. `stop` awaits nothing, so it
can be called from a timer, from the disconnect watch and from the process's shutdown alike.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from rillgate.delivery.responses import send_error
from rillgate.delivery.writer import Send
from rillgate.domain.ends import End
from rillgate.domain.errors import RillgateError
from rillgate.domain.timer import Timer
from rillgate.domain.usage import Usage
from rillgate.pipeline.call import Call, Services
from rillgate.pipeline.ended import error_of
from rillgate.telemetry.logs import log_exception

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Run(ABC):
    """One request while it is served."""

    def __init__(self, call: Call, services: Services, receive: Receive, send: Send) -> None:
        self._call = call
        self._services = services
        self._receive = receive
        self._send = send
        self._total = Timer(services.clock, call.total_s, lambda: self._stop_for(End.DEADLINE))
        self._work: asyncio.Task[None] | None = None
        self._stopped: End | None = None
        self._failure: RillgateError | None = None

    @property
    def request_id(self) -> str:
        """Ours."""
        return self._call.journal.request_id

    @property
    def client_request_id(self) -> str | None:
        """The client's own, where it sent one."""
        return self._call.journal.client_request_id

    @property
    @abstractmethod
    def end(self) -> End:
        """How it ended."""

    @property
    def error(self) -> RillgateError | None:
        """What the client was told, where it was told of a failure."""
        return self._failure

    @property
    @abstractmethod
    def usage(self) -> Usage | None:
        """Tokens, the provider's or ours; None when nothing reached a model."""

    @abstractmethod
    def stop(self, end: End) -> bool:
        """End it for this cause, unless it is over or ending already."""

    @abstractmethod
    async def _serve(self) -> None:
        """Serve it; errors that can still have a status of their own are left in `_failure`."""

    async def run(self) -> None:
        """Serve the call to its end, whatever that is. Raises nothing but cancellation."""
        self._total.restart()
        try:
            await self._serve()
            if self._failure is not None:
                await send_error(self._send, self._call.dialect, self._failure)
        except asyncio.CancelledError:
            self._stopped = self._stopped or End.CANCELLED
            raise
        finally:
            self._total.close()

    async def _watch_client(self) -> None:
        """Nobody else reads `receive`: a second reader would eat the one message that says the client is gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.stop(End.CLIENT_GONE)

    def _stop_for(self, end: End) -> None:
        self.stop(end)

    def _error_of(self, end: End) -> RillgateError:
        return error_of(end, self._call.target.provider)

    def _mapped(self, error: Exception) -> RillgateError:
        """An error for the client; what is not ours to explain is logged and called internal."""
        if isinstance(error, RillgateError):
            return error
        log_exception("request_failed", error, request_id=self.request_id)
        return RillgateError("The gateway failed to handle this request; its log says more.", code="internal_error")
