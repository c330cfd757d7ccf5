"""The HTTP surface, as minimal Starlette handlers: let in, read the body, let the dialect parse it, hand it on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from rillgate.app.access import is_forwarded, is_loopback_name
from rillgate.app.answers import json_response
from rillgate.app.auth import Door, check_model
from rillgate.app.body import BodyLimits, read_body
from rillgate.app.catalog import Catalog
from rillgate.app.context import journal_of
from rillgate.app.count_tokens import counted_tokens
from rillgate.app.deadline import time_left
from rillgate.app.forwarded import is_unix_socket
from rillgate.app.listed_models import model_object, models_object
from rillgate.app.loopback import is_loopback_address
from rillgate.app.pricing import Pricing
from rillgate.app.readiness import Readiness
from rillgate.app.settings.types import Settings
from rillgate.app.spoken import (
    MESSAGES_DIALECT,
    MESSAGES_PATH,
    OPENAI_DIALECT,
    RESPONSES_PATH,
    UI_STREAM_PATH,
    dialect_of,
)
from rillgate.app.tickets import check_user, parse_ticket_request, ticket_object
from rillgate.app.usage import own_scopes, usage_object
from rillgate.dialects import chat_completions, embeddings, messages, plain_chat
from rillgate.dialects.plain_chat import EventSource
from rillgate.domain.errors import ClientError
from rillgate.domain.ports import Dialect, Gatekeeper, Location, Provider, Siblings
from rillgate.domain.principal import Principal
from rillgate.domain.request import ChatRequest, Target
from rillgate.pipeline.call import Call, Services, Upstream
from rillgate.pipeline.serve import serve
from rillgate.telemetry.ids import safe_client_id

EVENT_SOURCE = EventSource()

Handler = Callable[[Request], Awaitable[Response]]


class Backend(msgspec.Struct, frozen=True):
    """A configured provider: how to translate for it and where it answers.

    Attributes:
        embedder: gives what makes its embeddings; None where it makes none.
    """

    provider: Provider
    location: Location
    embedder: Callable[[], Provider | None] = lambda: None


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
        *,
        gatekeeper: Gatekeeper,
        pricing: Pricing,
        siblings: Siblings | None = None,
    ) -> None:
        self._settings = settings
        server = settings.server
        self._body_limits = BodyLimits(settings.limits.body_bytes_max, server.body_timeout_s, server.body_rate_min)
        self._services = services
        self._catalog = catalog
        self._backends = backends
        self._readiness = readiness
        self._gatekeeper = gatekeeper
        self._door = Door(gatekeeper, keys_required=settings.keys_required)
        self._pricing = pricing
        self._siblings = siblings

    def routes(self) -> list[BaseRoute]:
        """Every route but the page's."""
        return [
            _route("/v1/chat/completions", self.chat_completions, "POST"),
            _route(MESSAGES_PATH, self.messages, "POST"),
            _route(f"{MESSAGES_PATH}/count_tokens", self.count_tokens, "POST"),
            _route(RESPONSES_PATH, self.responses, "POST"),
            _route(f"{RESPONSES_PATH}/input_tokens", self.input_tokens, "POST"),
            *(_route(f"{RESPONSES_PATH}/{{id:path}}", self.kept_response, way) for way in ("GET", "POST", "DELETE")),
            _route(UI_STREAM_PATH, self.ui_stream, "POST"),
            _route(f"{UI_STREAM_PATH}/{{id}}/stream", self.ui_stream_again, "GET"),
            _route("/v1/embeddings", self.embeddings, "POST"),
            _route("/v1/models", self.models, "GET"),
            _route("/v1/models/{id:path}", self.model, "GET"),
            _route("/v1/requests/{id}/cancel", self.cancel, "POST"),
            _route("/v1/tickets", self.tickets, "POST"),
            _route("/v1/usage", self.usage, "GET"),
            _route("/chat/stream", self.chat_stream, "POST"),
            _route("/chat", self.chat_event_source, "GET"),
            _route("/chat/{model:path}", self.chat_event_source, "GET"),
            _route("/healthz", self.healthz, "GET", quiet=True),
            _route("/readyz", self.readyz, "GET", quiet=True),
            _route("/metrics", self.metrics, "GET", quiet=True),
            _route("/openapi.json", self.openapi, "GET", quiet=True),
        ]

    async def chat_completions(self, request: Request) -> Response:
        """OpenAI Chat Completions, streaming and not."""
        principal = await self._let_in(request)
        parsed = chat_completions.parse(await self._body(request))
        return await self._serve(request, principal, OPENAI_DIALECT, parsed)

    async def messages(self, request: Request) -> Response:
        """Anthropic's Messages, streaming and not."""
        principal = await self._let_in(request)
        parsed = messages.parse(await self._body(request), request.headers)
        return await self._serve(request, principal, MESSAGES_DIALECT, parsed)

    async def embeddings(self, request: Request) -> Response:
        """OpenAI's embeddings, of every provider that makes some."""
        principal = await self._let_in(request)
        parsed = embeddings.parse(await self._body(request))
        return await self._serve(request, principal, embeddings.Embeddings(embeddings.format_of(parsed)), parsed)

    async def count_tokens(self, request: Request) -> Response:
        """How long a prompt is, as far as we can tell."""
        principal = await self._let_in(request)
        return await self._counted(principal, messages.parse_count(await self._body(request), request.headers))

    async def responses(self, request: Request) -> Response:
        """OpenAI's Responses, streaming and not."""
        from rillgate.dialects.responses import Responses, parse  # noqa: PLC0415 (no cold start waits for it)

        principal = await self._let_in(request)
        parsed = parse(await self._body(request))
        return await self._serve(request, principal, Responses(parsed.original), parsed)

    async def input_tokens(self, request: Request) -> Response:
        """As `count_tokens`, for Responses."""
        from rillgate.dialects.responses import parse  # noqa: PLC0415 (as above)

        principal = await self._let_in(request)
        parsed = parse(await self._body(request))
        return await self._counted(principal, parsed, object="response.input_tokens")

    async def kept_response(self, request: Request) -> Response:
        """None is."""
        await self._let_in(request)
        raise ClientError(
            f"There is no response {request.path_params['id'][:80]!r}: Rillgate keeps none. Keep what "
            "POST /v1/responses answers, and send its items in 'input'.",
            status=404,
            code="response_not_found",
        )

    async def ui_stream(self, request: Request) -> Response:
        """AI SDK's UI message stream, for `useChat`."""
        from rillgate.dialects.ui_stream import UiStream, parse  # noqa: PLC0415 (as above)

        principal = await self._let_in(request)
        parsed = parse(await self._body(request))
        return await self._serve(request, principal, UiStream(parsed.original), parsed)

    async def ui_stream_again(self, request: Request) -> Response:
        """What `useChat` asks when its page is opened again: nothing runs that it could go on reading."""
        await self._let_in(request)
        return Response(status_code=204)

    async def chat_stream(self, request: Request) -> Response:
        """One prompt, the same chunks."""
        principal = await self._let_in(request)
        parsed = plain_chat.parse_body(await self._body(request), self._settings.limits.cut_notice)
        return await self._serve(request, principal, OPENAI_DIALECT, parsed, plain=True)

    async def chat_event_source(self, request: Request) -> Response:
        """For a browser's `EventSource`. Its automatic reconnection is told to stop and never pays again."""
        if "last-event-id" in request.headers:  # before anything else: the ticket in its address is used up by now
            return Response(status_code=204)
        ticket = request.query_params.get("ticket")
        principal = _noted(request, await self._door.principal_of_link(request.headers, ticket))
        limits = self._settings.limits
        parsed = plain_chat.parse_query(
            request.path_params.get("model") or request.query_params.get("model"),
            request.query_params,
            limits.cut_notice,
            limits.chat_output_tokens_default,
        )
        return await self._serve(request, principal, EVENT_SOURCE, parsed, plain=True)

    async def models(self, request: Request) -> Response:
        """What the caller can ask for."""
        principal = await self._let_in(request)
        entries = [entry for entry in await self._catalog.models() if principal.allows(entry.id)]
        return json_response(models_object(entries, dialect_of(request.scope)))

    async def model(self, request: Request) -> Response:
        """One of them."""
        principal = await self._let_in(request)
        entry = await self._catalog.get(request.path_params["id"])
        check_model(principal, entry.id)
        return json_response(model_object(entry, dialect_of(request.scope)))

    async def cancel(self, request: Request) -> Response:
        """Stop a running request of the caller's own, by its `x-request-id` or the client's own id.

        At once where this process serves it, or one that shares its socket: 200. Where others may, they are asked: 202,
        and it ends within seconds if one of them does.
        """
        principal = await self._let_in(request)
        request_id = request.path_params["id"]
        known = safe_client_id(request_id) is not None  # an id of ours is one that a client could send, too
        if self._services.streams.cancel(request_id, principal.owner) or (
            known and self._siblings is not None and await self._siblings.cancel(request_id, principal.owner)
        ):
            return json_response({"id": request_id, "cancelled": True})
        flags = self._services.cancel_flags
        if flags is None or not known:
            raise ClientError(
                f"No running request has the id {request_id[:80]!r}; it may have ended.",
                status=404,
                code="request_not_found",
            )
        await flags.put_up(request_id, principal.owner)
        return json_response({"id": request_id, "cancelled": False, "requested": True}, status=202)

    async def tickets(self, request: Request) -> Response:
        """A ticket in the name of the caller's key."""
        issuer = _noted(request, await self._door.issuer(request.headers))
        wanted = parse_ticket_request(await self._body(request))
        check_user(issuer, wanted.user)
        issued_s = self._services.clock.wall()
        ticket = await self._gatekeeper.issue_ticket(
            issuer,
            user=wanted.user,
            ttl_s=wanted.ttl_s,
            models=wanted.models,
            budget=wanted.budget,
            one_use=wanted.one_use,
        )
        return json_response(ticket_object(ticket, wanted, issued_s))

    async def usage(self, request: Request) -> Response:
        """The caller's limits and what is left of them."""
        principal = await self._let_in(request)
        levels = await self._services.ledger.levels(own_scopes(principal))
        return json_response(usage_object(principal, levels))

    async def healthz(self, request: Request) -> Response:
        """This process answers."""
        return json_response({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """A request sent now would be served at once; 503 with the reasons where it would not."""
        waiting_for = self._readiness.waiting_for()
        if waiting_for:
            return json_response({"status": "not_ready", "waiting_for": waiting_for}, status=503)
        return json_response({"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        """For Prometheus, to whom `server.metrics` allows."""
        shown_to = self._settings.server.metrics
        if shown_to == "off":
            raise ClientError("Metrics are off (server.metrics).", status=404, code="not_found")
        if shown_to == "loopback" and not _from_here(request):
            raise ClientError(
                "Metrics are shown to this machine only (server.metrics).", status=403, code="metrics_refused"
            )
        if self._siblings is not None:
            body, content_type = await self._siblings.metrics()
        else:
            body, content_type = await asyncio.to_thread(self._services.metrics.render)  # see there
        return Response(body, media_type=content_type)

    async def openapi(self, request: Request) -> Response:
        """All of this, described for programs."""
        from rillgate.app.openapi.document import encoded  # noqa: PLC0415 (of no use to whoever streams)

        body = await asyncio.to_thread(encoded, keys_required=self._settings.keys_required)
        return Response(body, media_type="application/json")

    async def _let_in(self, request: Request) -> Principal:
        """Whoever asks; before its body is read."""
        return _noted(request, await self._door.principal(request.headers))

    async def _body(self, request: Request) -> bytes:
        """The body, within its bounds."""
        length = request.headers.get("content-length", "")
        return await read_body(request.receive, length, self._body_limits, self._services.clock)

    async def _serve(
        self, request: Request, principal: Principal, dialect: Dialect, parsed: ChatRequest, *, plain: bool = False
    ) -> Response:
        """Route the parsed request and make it the response; `plain` for the /chat routes, which have less time."""
        journal = journal_of(request.scope)
        journal.model = parsed.model
        journal.stream = parsed.stream
        journal.dialect = dialect.name
        asks_for_reasoning = parsed.fields.get("reasoning_effort") not in (None, "none")
        routed = await self._catalog.resolve(parsed.model, reasoning=asks_for_reasoning)
        target = routed.targets[0]
        if parsed.model is None:  # a name all the same: for what the key may ask for, and for the model's own budget
            parsed = replace(parsed, model=self._default_name(target))
        check_model(principal, parsed.model or target.model)
        journal.provider = target.provider
        journal.routed_model = target.model
        upstreams = self._upstreams(routed.targets, parsed)
        price, price_problem = self._pricing.dearest([each.target for each in upstreams], parsed)
        total_s = target.timeouts.chat_total_s if plain else target.timeouts.total_s
        call = Call(
            request=parsed,
            upstreams=upstreams,
            retries=routed.retries,
            dialect=dialect,
            journal=journal,
            total_s=time_left(total_s, request.scope, self._services.clock.wall()),
            principal=principal,
            price=price,
            price_problem=price_problem,
        )
        return Served(call, self._services)

    async def _counted(self, principal: Principal, parsed: ChatRequest, **more: str) -> Response:
        """What a prompt counts for the model that would answer."""
        target = (await self._catalog.resolve(parsed.model)).targets[0]
        check_model(principal, parsed.model or self._default_name(target))
        return await counted_tokens(parsed, target, self._services, **more)

    def _upstreams(self, targets: Sequence[Target], parsed: ChatRequest) -> tuple[Upstream, ...]:
        """Who may answer; for embeddings those that make some.

        Raises: ClientError: none of them does.
        """
        found = tuple(filter(None, (self._upstream(each, parsed) for each in targets)))
        if not found:
            raise ClientError(
                f"Provider {targets[0].provider!r} makes no embeddings; ask a model of another one.",
                param="model",
                code="unsupported_parameter",
            )
        return found

    def _upstream(self, target: Target, parsed: ChatRequest) -> Upstream | None:
        backend = self._backends[target.provider]
        provider = backend.embedder() if parsed.dialect == embeddings.NAME else backend.provider
        if provider is None:
            return None
        price, _ = self._pricing.of(target, parsed)
        traced = self._settings.providers[target.provider].trace_context
        return Upstream(target, provider, backend.location, price, self._pricing.tiers(target), traced)

    def _default_name(self, target: Target) -> str:
        """By which name the model answers that a request gets when it names none."""
        default = self._catalog.names.default
        return target.model if default is None else default.id


def _from_here(request: Request) -> bool:
    """Whether this machine asks, by a name of its own: a page of a stranger reaches it by another one."""
    client = request.client
    # Over a unix socket it is whom its file lets in; a proxy says for whom it asks.
    local = is_unix_socket(request.scope) if client is None else is_loopback_address(client.host)
    return local and is_loopback_name(request.headers.get("host", "")) and not is_forwarded(request.scope)


def _noted(request: Request, principal: Principal) -> Principal:
    """Tell the journal who asks."""
    journal = journal_of(request.scope)
    journal.key_id, journal.user = principal.key_id, principal.user
    return principal


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
