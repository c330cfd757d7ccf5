"""The outermost layer: every request gets its id, its journal and its one log line; every answer carries the id.

Pure ASGI, as everything here: a layer of `BaseHTTPMiddleware` would add a task and a hop to every chunk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from rillgate.app.spoken import dialect_of, id_headers
from rillgate.delivery.responses import send_error
from rillgate.domain.errors import RillgateError
from rillgate.domain.ports import Clock
from rillgate.pipeline.journal import Journal
from rillgate.telemetry.ids import new_request_id, safe_client_id
from rillgate.telemetry.logs import RequestRecord, log_exception, log_request, tell_request
from rillgate.telemetry.trace import begin_trace

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

JOURNAL = "rillgate.journal"
XRAY_HEADER = "rillgate.xray_header"  # in a scope: what X-Ray says of the invocation, on Lambda


def journal_of(scope: Scope) -> Journal:
    """The journal of the request that this scope belongs to."""
    journal: Journal = scope[JOURNAL]
    return journal


def header(scope: Scope, name: bytes) -> str | None:
    """A request header's first value."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None


def internal_error() -> RillgateError:
    """What a client is told of a fault of ours."""
    return RillgateError("The gateway failed to handle this request; its log says more.", code="internal_error")


class RequestContext:
    """Wraps the whole app.

    Errors that reach it before an answer has begun are answered in the dialect of their path; anything unexpected is
    logged without its values and answered 500.

    Attributes:
        on_request: called with the record of each request at its end, beside its log line.
    """

    def __init__(self, app: App, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self.on_request: list[Callable[[RequestRecord], None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, trace = new_request_id(), begin_trace(scope["headers"], scope.get(XRAY_HEADER))
        tell_request(request_id=request_id, trace_id=trace.trace_id, span_id=trace.span_id)
        journal = Journal(
            request_id=request_id,
            method=scope["method"],
            began_s=self._clock.now(),
            client_request_id=safe_client_id(header(scope, b"x-client-request-id")),
            trace=trace,
        )
        scope[JOURNAL] = journal
        ids = id_headers(scope, journal.request_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                journal.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *ids]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            await self._answer(error, scope, journal, send_with_id)
        finally:
            if not (journal.quiet and journal.error is None):
                self._tell(journal.record(self._clock.now()))

    def _tell(self, record: RequestRecord) -> None:
        log_request(record)
        for callback in self.on_request:
            callback(record)

    async def _answer(self, error: Exception, scope: Scope, journal: Journal, send: Send) -> None:
        if not isinstance(error, RillgateError):
            log_exception("request_failed", error, request_id=journal.request_id)
            error = internal_error()
        journal.failed(error)
        if journal.status is None:
            await send_error(send, dialect_of(scope), error)
