"""The HTTP surface, as minimal Starlette handlers: let in, read the body, let the dialect parse it, hand it on."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from rillgate.app.answers import json_response
from rillgate.app.auth import Door, check_model
from rillgate.app.body import BodyLimits, read_body
from rillgate.app.calls import Calls
from rillgate.app.catalog import Catalog
from rillgate.app.context import journal_of
from rillgate.app.count_tokens import counted_tokens
from rillgate.app.listed_models import model_object, models_object
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
from rillgate.app.told import route
from rillgate.app.usage import own_scopes, usage_object
from rillgate.dialects import chat_completions, embeddings, messages, plain_chat
from rillgate.dialects.plain_chat import EventSource
from rillgate.domain.errors import ClientError
from rillgate.domain.ports import Dialect, Gatekeeper, Siblings
from rillgate.domain.principal import Principal
from rillgate.domain.request import ChatRequest
from rillgate.pipeline.call import Call, Services
from rillgate.pipeline.serve import serve
from rillgate.telemetry.ids import safe_client_id

EVENT_SOURCE = EventSource()


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
        calls: Calls,
        *,
        gatekeeper: Gatekeeper,
        siblings: Siblings | None = None,
    ) -> None:
        self._settings = settings
        server = settings.server
        self._body_limits = BodyLimits(settings.limits.body_bytes_max, server.body_timeout_s, server.body_rate_min)
        self._services = services
        self._catalog = catalog
        self._calls = calls
        self._gatekeeper = gatekeeper
        self._door = Door(gatekeeper, keys_required=settings.keys_required)
        self._siblings = siblings

    def routes(self) -> list[BaseRoute]:
        """Every route for clients."""
        return [
            route("/v1/chat/completions", self.chat_completions, "POST"),
            route(MESSAGES_PATH, self.messages, "POST"),
            route(f"{MESSAGES_PATH}/count_tokens", self.count_tokens, "POST"),
            route(RESPONSES_PATH, self.responses, "POST"),
            route(f"{RESPONSES_PATH}/input_tokens", self.input_tokens, "POST"),
            *(route(f"{RESPONSES_PATH}/{{id:path}}", self.kept_response, way) for way in ("GET", "POST", "DELETE")),
            route(UI_STREAM_PATH, self.ui_stream, "POST"),
            route(f"{UI_STREAM_PATH}/{{id}}/stream", self.ui_stream_again, "GET"),
            route("/v1/embeddings", self.embeddings, "POST"),
            route("/v1/models", self.models, "GET"),
            route("/v1/models/{id:path}", self.model, "GET"),
            route("/v1/requests/{id}/cancel", self.cancel, "POST"),
            route("/v1/tickets", self.tickets, "POST"),
            route("/v1/usage", self.usage, "GET"),
            route("/chat/stream", self.chat_stream, "POST"),
            route("/chat", self.chat_event_source, "GET"),
            route("/chat/{model:path}", self.chat_event_source, "GET"),
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
        return Served(await self._calls.call(request, principal, dialect, parsed, plain=plain), self._services)

    async def _counted(self, principal: Principal, parsed: ChatRequest, **more: str) -> Response:
        return await counted_tokens(parsed, await self._calls.counted_for(principal, parsed), self._services, **more)


def _noted(request: Request, principal: Principal) -> Principal:
    """Tell the journal who asks."""
    journal = journal_of(request.scope)
    journal.key_id, journal.user = principal.key_id, principal.user
    return principal
