"""What a stream and a whole answer have in common while they are served: one task group, and many ways to end.

Everything that can end a request calls `stop` with its cause; the first cause wins. `stop` awaits nothing, so it
can be called from a timer, from the disconnect watch and from the process's shutdown alike.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rillgate.delivery.responses import send_error
from rillgate.delivery.writer import Send
from rillgate.domain.ends import End
from rillgate.domain.errors import RillgateError
from rillgate.domain.request import UpstreamRequest
from rillgate.pipeline.call import Call, Services
from rillgate.pipeline.charge import Outcome
from rillgate.pipeline.ended import error_of
from rillgate.telemetry.logs import log_exception
from rillgate.upstream.exchange import UpstreamResponse


class Run(ABC):
    """One request while it is served.

    Args:
        outgoing: the provider's request.
    """

    def __init__(self, call: Call, services: Services, send: Send, outgoing: UpstreamRequest) -> None:
        self._call = call
        self._services = services
        self._send = send
        self._outgoing = outgoing
        self._reached = False
        self._work: asyncio.Task[None] | None = None
        self._stopped: End | None = None
        self._failure: RillgateError | None = None

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
    def outcome(self) -> Outcome:
        """What became of it upstream."""

    @abstractmethod
    def stop(self, end: End) -> bool:
        """End it for this cause, unless it is over or ending already."""

    @abstractmethod
    async def _serve(self) -> None:
        """Serve it; errors that can still have a status of their own are left in `_failure`."""

    async def run(self) -> None:
        """Serve the call to its end, whatever that is. Raises nothing but cancellation."""
        try:
            await self._serve()
            if self._failure is not None:
                await send_error(self._send, self._call.dialect, self._failure)
        except asyncio.CancelledError:
            self._stopped = self._stopped or End.CANCELLED
            raise

    @asynccontextmanager
    async def _response(self) -> AsyncIterator[UpstreamResponse]:
        """The provider's response. From its first byte on the request counts as made, until an error status undoes it.

        Raises: as `Location.endpoint` and `Exchange.open`.
        """
        call = self._call
        endpoint = await call.location.endpoint()
        async with self._services.exchange.open(
            call.target.provider,
            endpoint,
            self._outgoing,
            connect_s=call.target.timeouts.connect_s,
            on_sending=self._sending,
        ) as response:
            if response.status >= 300:
                self._reached = False
            yield response

    def _sending(self) -> None:
        self._reached = True

    def _stop_for(self, end: End) -> None:
        self.stop(end)

    def _error_of(self, end: End) -> RillgateError:
        return error_of(end, self._call.target.provider)

    def _mapped(self, error: Exception) -> RillgateError:
        """An error for the client; what is not ours to explain is logged and called internal."""
        if isinstance(error, RillgateError):
            return error
        log_exception("request_failed", error, request_id=self._call.journal.request_id)
        return RillgateError("The gateway failed to handle this request; its log says more.", code="internal_error")
