"""The HTTP surface, as minimal Starlette handlers: read the body, let the dialect parse it, hand it to the pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from rillgate.app.access import is_forwarded
from rillgate.app.catalog import Catalog
from rillgate.app.context import internal_error, journal_of
from rillgate.app.loopback import is_loopback_address
from rillgate.app.naming import ModelEntry
from rillgate.app.readiness import Readiness
from rillgate.app.settings.types import Settings
from rillgate.delivery.responses import error_headers
from rillgate.dialects import chat_completions, plain_chat
from rillgate.dialects.chat_completions import ChatCompletions
from rillgate.dialects.plain_chat import EventSource
from rillgate.domain.ends import End
from rillgate.domain.errors import ClientError, RillgateError
from rillgate.domain.ports import Dialect, Location, Provider
from rillgate.domain.request import ChatRequest
from rillgate.pipeline.call import Call, Services
from rillgate.pipeline.serve import serve

OPENAI_DIALECT = ChatCompletions()
EVENT_SOURCE = EventSource()

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Backend:
    """A configured provider: how to translate for it and where it answers."""

    provider: Provider
    location: Location


class Served(Response):
    """A response that is the pipeline: it writes status, headers and body itself."""

    def __init__(self, call: Call, services: Services) -> None:
        self._call = call
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await serve(self._call, self._services, scope, receive, send)


class Handlers:
    """The handlers and what they need; one object for each app."""

    def __init__(
        self,
        settings: Settings,
        services: Services,
        catalog: Catalog,
        backends: dict[str, Backend],
        readiness: Readiness,
    ) -> None:
        self._settings = settings
        self._services = services
        self._catalog = catalog
        self._backends = backends
        self._readiness = readiness

    def routes(self) -> list[BaseRoute]:
        """Every route but the page's."""
        return [
            _route("/v1/chat/completions", self.chat_completions, "POST"),
            _route("/v1/models", self.models, "GET"),
            _route("/v1/models/{id:path}", self.model, "GET"),
            _route("/v1/requests/{id}/cancel", self.cancel, "POST"),
            _route("/chat/stream", self.chat_stream, "POST"),
            _route("/chat", self.chat_event_source, "GET"),
            _route("/chat/{model:path}", self.chat_event_source, "GET"),
            _route("/healthz", self.healthz, "GET", quiet=True),
            _route("/readyz", self.readyz, "GET", quiet=True),
            _route("/metrics", self.metrics, "GET", quiet=True),
        ]

    async def chat_completions(self, request: Request) -> Response:
        """OpenAI Chat Completions, streaming and not."""
        parsed = chat_completions.parse(await self._body(request))
        return await self._serve(request, OPENAI_DIALECT, parsed)

    async def chat_stream(self, request: Request) -> Response:
        """One prompt, the same chunks."""
        parsed = plain_chat.parse_body(await self._body(request), self._settings.limits.cut_notice)
        return await self._serve(request, OPENAI_DIALECT, parsed, plain=True)

    async def chat_event_source(self, request: Request) -> Response:
        """For a browser's `EventSource`. Its automatic reconnection is told to stop and never pays again."""
        if "last-event-id" in request.headers:
            return Response(status_code=204)
        limits = self._settings.limits
        parsed = plain_chat.parse_query(
            request.path_params.get("model") or request.query_params.get("model"),
            request.query_params,
            limits.cut_notice,
            limits.chat_output_tokens_default,
        )
        return await self._serve(request, EVENT_SOURCE, parsed, plain=True)

    async def models(self, request: Request) -> Response:
        """What can be asked for."""
        entries = await self._catalog.models()
        return _json({"object": "list", "data": [self._model_object(entry) for entry in entries]})

    async def model(self, request: Request) -> Response:
        """One of them."""
        return _json(self._model_object(await self._catalog.get(request.path_params["id"])))

    def _model_object(self, entry: ModelEntry) -> dict[str, Any]:
        return {"id": entry.id, "object": "model", "created": 0, "owned_by": entry.provider}

    async def cancel(self, request: Request) -> Response:
        """Stop a running request, by its `x-request-id` or the client's own id."""
        request_id = request.path_params["id"]
        if not self._services.streams.cancel(request_id):
            raise ClientError(
                f"No running request has the id {request_id[:80]!r}; it may have ended.",
                status=404,
                code="request_not_found",
            )
        return _json({"id": request_id, "cancelled": True})

    async def healthz(self, request: Request) -> Response:
        """This process answers."""
        return _json({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """A request sent now would be served at once; 503 with the reasons where it would not."""
        waiting_for = self._readiness.waiting_for()
        if waiting_for:
            return _json({"status": "not_ready", "waiting_for": waiting_for}, status=503)
        return _json({"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        """For Prometheus, to whom `server.metrics` allows."""
        shown_to = self._settings.server.metrics
        if shown_to == "off":
            raise ClientError("Metrics are off (server.metrics).", status=404, code="not_found")
        local = request.client is not None and is_loopback_address(request.client.host)
        if shown_to == "loopback" and (not local or is_forwarded(request.scope)):
            raise ClientError(
                "Metrics are shown to this machine only (server.metrics).", status=403, code="metrics_refused"
            )
        body, content_type = await asyncio.to_thread(self._services.metrics.render)  # 50 ms with 200 models
        return Response(body, media_type=content_type)

    async def _body(self, request: Request) -> bytes:
        """The body, read up to its bound."""
        bytes_max = self._settings.limits.body_bytes_max
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > bytes_max:
            raise _too_large(bytes_max)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > bytes_max:
                raise _too_large(bytes_max)
        return bytes(body)

    async def _serve(self, request: Request, dialect: Dialect, parsed: ChatRequest, *, plain: bool = False) -> Response:
        """Route the parsed request and make it the response; `plain` for the /chat routes, which have less time."""
        journal = journal_of(request.scope)
        journal.model = parsed.model
        journal.stream = parsed.stream
        journal.dialect = dialect.name
        asks_for_reasoning = parsed.fields.get("reasoning_effort") not in (None, "none")
        target = await self._catalog.resolve(parsed.model, reasoning=asks_for_reasoning)
        journal.provider = target.provider
        journal.routed_model = target.model
        backend = self._backends[target.provider]
        call = Call(
            request=parsed,
            target=target,
            provider=backend.provider,
            location=backend.location,
            dialect=dialect,
            journal=journal,
            total_s=target.timeouts.chat_total_s if plain else target.timeouts.total_s,
        )
        return Served(call, self._services)


def _route(path: str, handler: Handler, method: str, *, quiet: bool = False) -> Route:
    route = Route(path, handler, methods=[method])
    if not quiet:
        route.methods = {method}  # Starlette adds HEAD to GET, and a HEAD must not spend tokens
    return told(route, quiet=quiet)


def told(route: Route, *, quiet: bool = False) -> Route:
    """A route that tells the journal its template, never the path as it came."""
    app = route.app

    async def tell(scope: Scope, receive: Receive, send: Send) -> None:
        journal = journal_of(scope)
        journal.route = route.path
        journal.quiet = quiet
        await app(scope, receive, send)

    route.app = tell
    return route


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status_code=status, media_type="application/json")


def _too_large(bytes_max: int) -> ClientError:
    return ClientError(
        f"The request body is larger than {bytes_max} bytes (limits.body_bytes_max).",
        status=413,
        code="request_too_large",
    )


async def rillgate_error(request: Request, error: RillgateError) -> Response:
    """Every error of ours, in OpenAI's shape."""
    journal_of(request.scope).failed(error)
    headers = {key.decode(): value.decode() for key, value in error_headers(error)}
    return Response(
        OPENAI_DIALECT.error_body(error), status_code=error.status, headers=headers, media_type="application/json"
    )


async def http_exception(request: Request, error: HTTPException) -> Response:
    """Starlette's own 404 and 405, in the same shape."""
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        mapped = ClientError(
            f"{request.method} is not allowed here; use {allowed}.", status=405, code="method_not_allowed"
        )
    else:
        mapped = ClientError(
            f"Unknown path {request.url.path[:200]!r}; the API is under /v1, the chat page at /.",
            status=error.status_code,
            code="not_found",
        )
    response = await rillgate_error(request, mapped)
    response.headers.update(error.headers or {})
    return response


async def client_left(request: Request, error: ClientDisconnect) -> Response:
    """The client left while its body was being read; nobody sees this answer."""
    journal_of(request.scope).end = End.CLIENT_GONE
    return Response(status_code=499)


async def crashed(request: Request, error: Exception) -> Response:
    """A fault of ours, in the same shape. Starlette raises it again afterwards, and `RequestContext` logs it."""
    return await rillgate_error(request, internal_error())


EXCEPTION_HANDLERS: dict[Any, Any] = {  # Starlette's type says Exception where each takes its own
    RillgateError: rillgate_error,
    HTTPException: http_exception,
    ClientDisconnect: client_left,
    Exception: crashed,
}
