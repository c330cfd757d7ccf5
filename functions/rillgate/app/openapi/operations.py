"""One entry for each route: this is where a new one is described.

    ("/v1/things", "post"): operation("createThing", "Makes a thing.", tag="things", body="ThingRequest",
                                      answers={"200": answer("The thing.", ref("Thing")), **errors(OPENAI, 400)})

Its schemas go to `schemas`. What every route of its kind answers (401, 403, 500, 503) comes with `KEYED`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rillgate.app.openapi.answers import (
    ANTHROPIC,
    BY_HEADER,
    OPENAI,
    SERVED,
    Response,
    answer,
    errors,
    stream,
)
from rillgate.app.openapi.shapes import Schema, either, integer, number, ref, text
from rillgate.app.page_routes import FILES
from rillgate.dialects.chat_completions_request import OUTPUT_TOKENS_BOUND

Operation = dict[str, Any]

ANYBODY: Final = (403, 429)  # of every route: a stranger where keys are off, an address that asks too much
KEYED: Final = (401, *ANYBODY, 500, 503)  # of every route that asks who it is
READING: Final = (400, 408, 413)  # of every route that reads a body
SERVING: Final = (400, *KEYED, 404, 409, 502, 504)  # of every route that asks a provider
KEY: Final[list[dict[str, list[str]]]] = [{"bearer": []}, {"api_key": []}]
OPEN: Final[list[dict[str, list[str]]]] = [{}]


def operation(
    name: str,
    summary: str,
    *,
    tag: str,
    answers: Mapping[str, Response],
    description: str = "",
    body: str | None = None,
    body_required: bool = True,
    parameters: list[dict[str, Any]] | None = None,
    security: list[dict[str, list[str]]] | None = None,
) -> Operation:
    """One method of one path."""
    said: Operation = {"operationId": name, "summary": summary, "tags": [tag]}
    if description:
        said["description"] = description
    if parameters:
        said["parameters"] = parameters
    if body is not None:
        content = {"application/json": {"schema": ref(body)}}
        said["requestBody"] = {"required": body_required, "content": content}
    return {**said, "responses": dict(sorted(answers.items())), "security": KEY if security is None else security}


def _query(name: str, schema: Schema, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": schema}


def _path(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": text(minLength=1)}


_CLIENT_ID: Final = {"$ref": "#/components/parameters/x-client-request-id"}
_TRACE: Final = [{"$ref": f"#/components/parameters/{name}"} for name in ("traceparent", "tracestate")]
_ASKING: Final = [_CLIENT_ID, *_TRACE]
_VERSION: Final = [{"$ref": f"#/components/parameters/{name}"} for name in ("anthropic-version", "anthropic-beta")]
_PLAIN: Final = [
    _query("message", text("what to say to the model", minLength=1), required=True),
    _query("system_prompt", text("'' for none")),
    _query("max_tokens", integer("", 1, OUTPUT_TOKENS_BOUND)),
    _query("temperature", number("", 0, 2)),
    _query("ticket", text("for one use; instead of a key, which `EventSource` cannot send")),
    {
        "name": "last-event-id",
        "in": "header",
        "description": "Sent by a browser that reconnects by itself; it is told to stop (204).",
        "schema": text(),
    },
    *_ASKING,
]
_LINK: Final[list[dict[str, list[str]]]] = [*KEY, {"ticket": []}]


def _event_source(name: str, *parameters: dict[str, Any]) -> Operation:
    return operation(
        name,
        "One prompt, streamed to a browser's EventSource.",
        description="Events carry ids; a named event `done` comes before `[DONE]`. A reconnection is answered 204.",
        tag="chat",
        parameters=[*parameters, *_PLAIN],
        answers={
            "200": stream("The answer.", "EventSourceEvent", *SERVED),
            "204": answer("A reconnection: nothing is generated again.", None),
            **errors(OPENAI, *SERVING, passed_on=True),
        },
        security=_LINK,
    )


def _served(what: Schema, event: str, *headers: str) -> Response:
    """A stream or one answer, as the request says."""
    streamed, whole = stream("The answer.", event, *SERVED, *headers), answer("The answer.", what, *SERVED)
    return {**streamed, "content": {**streamed["content"], **whole["content"]}}


def _page_file(path: str, name: str, kind: str, method: str) -> Operation:
    words = path.replace("/", " ").replace(".", " ").title().replace(" ", "") or "Page"
    return operation(
        f"{method}{words}",
        f"The chat page: {name}.",
        tag="page",
        answers={
            "200": answer("The file.", text() if method == "get" else None, "etag", "cache-control", content_type=kind),
            "304": answer("It has not changed.", None, "etag", "cache-control"),
            **errors(BY_HEADER, *ANYBODY),
        },
        security=OPEN,
    )


OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("/v1/chat/completions", "post"): operation(
        "createChatCompletion",
        "OpenAI's Chat Completions, streaming and not.",
        tag="openai",
        body="ChatCompletionRequest",
        parameters=_ASKING,
        answers={
            "200": _served(ref("ChatCompletion"), "ChatEvent"),
            **errors(OPENAI, *SERVING, *READING, passed_on=True),
        },
    ),
    ("/v1/messages", "post"): operation(
        "createMessage",
        "Anthropic's Messages, streaming and not.",
        tag="anthropic",
        body="MessagesRequest",
        parameters=[*_VERSION, *_ASKING],
        answers={
            "200": _served(ref("Message"), "MessagesEvent"),
            **errors(ANTHROPIC, *SERVING, *READING, passed_on=True),
        },
    ),
    ("/v1/messages/count_tokens", "post"): operation(
        "countTokens",
        "How long a prompt is, as far as can be told without asking a provider.",
        tag="anthropic",
        body="CountTokensRequest",
        parameters=[*_VERSION, *_ASKING],
        answers={
            "200": answer("An estimate.", ref("TokenCount"), "x-rillgate-estimated"),
            **errors(ANTHROPIC, *KEYED, *READING, 404),
        },
    ),
    ("/v1/embeddings", "post"): operation(
        "createEmbeddings",
        "OpenAI's embeddings, of every provider that makes some.",
        tag="openai",
        body="EmbeddingsRequest",
        parameters=_ASKING,
        answers={
            "200": answer("Vectors.", ref("EmbeddingList"), *SERVED),
            **errors(OPENAI, *SERVING, *READING, passed_on=True),
        },
    ),
    ("/v1/responses", "post"): operation(
        "createResponse",
        "OpenAI's Responses, streaming and not; nothing is stored.",
        tag="openai",
        body="ResponsesRequest",
        parameters=_ASKING,
        answers={
            "200": _served(ref("Response"), "ResponsesEvent"),
            **errors(OPENAI, *SERVING, *READING, passed_on=True),
        },
    ),
    ("/v1/responses/input_tokens", "post"): operation(
        "countInputTokens",
        "How long a prompt is, as far as can be told without asking a provider.",
        tag="openai",
        body="ResponsesRequest",
        parameters=_ASKING,
        answers={
            "200": answer("An estimate.", ref("InputTokens"), "x-rillgate-estimated"),
            **errors(OPENAI, *KEYED, *READING, 404),
        },
    ),
    **{
        ("/v1/responses/{id}", method): operation(
            f"{method}Response",
            "Nothing: no response is kept.",
            tag="openai",
            parameters=[_path("id", "of a response"), *_ASKING],
            answers=errors(OPENAI, *KEYED, 404),
        )
        for method in ("get", "post", "delete")
    },
    ("/v1/ui-stream", "post"): operation(
        "createUiMessageStream",
        "AI SDK's UI message stream.",
        tag="ai-sdk",
        body="UiStreamRequest",
        parameters=_ASKING,
        answers={
            "200": _served(ref("UiMessage"), "UiChunk", "x-vercel-ai-ui-message-stream"),
            **errors(OPENAI, *SERVING, *READING, passed_on=True),
        },
    ),
    ("/v1/ui-stream/{id}/stream", "get"): operation(
        "resumeUiMessageStream",
        "What `useChat` asks when its page is opened again.",
        tag="ai-sdk",
        parameters=[_path("id", "the chat's"), *_ASKING],
        answers={"204": answer("Nothing runs that could be read on.", None), **errors(OPENAI, *KEYED)},
    ),
    ("/v1/models", "get"): operation(
        "listModels",
        "What can be asked for; in Anthropic's shape for whoever sends `anthropic-version`.",
        tag="models",
        parameters=[_VERSION[0], *_ASKING],
        answers={
            "200": answer("All of them.", either(ref("ModelList"), ref("MessagesModelList"))),
            **errors(BY_HEADER, *KEYED),
        },
    ),
    ("/v1/models/{id}", "get"): operation(
        "getModel",
        "One of them.",
        tag="models",
        parameters=[_path("id", "its name; slashes are part of it"), _VERSION[0], *_ASKING],
        answers={
            "200": answer("It is there.", either(ref("Model"), ref("MessagesModel"))),
            **errors(BY_HEADER, *KEYED, 400, 404),
        },
    ),
    ("/v1/requests/{id}/cancel", "post"): operation(
        "cancelRequest",
        "Stops a running request of the caller's own.",
        tag="control",
        parameters=[_path("id", "its `x-request-id`, or the client's own `x-client-request-id`"), *_ASKING],
        answers={
            "200": answer("It was running here, and has ended.", ref("Cancelled")),
            "202": answer("It may run elsewhere, and ends within seconds if it does.", ref("CancelRequested")),
            **errors(BY_HEADER, *KEYED, 404),
        },
    ),
    ("/v1/tickets", "post"): operation(
        "createTicket",
        "A ticket for a browser, in the name of the caller's key.",
        tag="control",
        body="TicketRequest",
        body_required=False,
        parameters=_ASKING,
        answers={
            "200": answer("The ticket, shown this once.", ref("Ticket"), "cache-control"),
            **errors(BY_HEADER, *KEYED, *READING),
        },
    ),
    ("/v1/usage", "get"): operation(
        "getUsage",
        "The caller's own limits, and what is left of them.",
        tag="control",
        parameters=_ASKING,
        answers={
            "200": answer("Every scope of the caller.", ref("UsageReport"), "cache-control"),
            **errors(BY_HEADER, *KEYED),
        },
    ),
    ("/chat/stream", "post"): operation(
        "chatStream",
        "One prompt, the chunks of Chat Completions.",
        tag="chat",
        body="PlainChatRequest",
        parameters=_ASKING,
        answers={
            "200": stream("The answer.", "ChatEvent", *SERVED),
            **errors(OPENAI, *SERVING, *READING, passed_on=True),
        },
    ),
    ("/chat", "get"): _event_source("chatEventSource", _query("model", text())),
    ("/chat/{model}", "get"): _event_source("chatEventSourceOfModel", _path("model", "slashes are part of it")),
    **{
        ("/healthz", method): operation(
            f"{method}Health",
            "Whether this process answers.",
            tag="probes",
            answers={
                "200": answer("It does.", ref("Health") if method == "get" else None),
                **errors(BY_HEADER, *ANYBODY),
            },
            security=OPEN,
        )
        for method in ("get", "head")
    },
    **{
        ("/readyz", method): operation(
            f"{method}Readiness",
            "Whether a request sent now would be served at once.",
            tag="probes",
            answers={
                "200": answer("It would.", ref("Ready") if method == "get" else None),
                "503": answer("Not yet, or no more.", ref("NotReady") if method == "get" else None),
                **errors(BY_HEADER, *ANYBODY),
            },
            security=OPEN,
        )
        for method in ("get", "head")
    },
    **{
        ("/metrics", method): operation(
            f"{method}Metrics",
            "For Prometheus, to whom `server.metrics` allows.",
            tag="probes",
            answers={
                "200": answer(
                    "Metrics in its text format.",
                    text() if method == "get" else None,
                    content_type="text/plain; version=0.0.4; charset=utf-8",
                ),
                **errors(BY_HEADER, *ANYBODY, 404),
            },
            security=OPEN,
        )
        for method in ("get", "head")
    },
    **{
        ("/openapi.json", method): operation(
            f"{method}OpenApi",
            "This document.",
            tag="probes",
            answers={
                "200": answer("OpenAPI 3.1.", {"type": "object"} if method == "get" else None),
                **errors(BY_HEADER, *ANYBODY),
            },
            security=OPEN,
        )
        for method in ("get", "head")
    },
    **{
        (path, method): _page_file(path, name, kind, method)
        for path, (name, kind) in FILES.items()
        for method in ("get", "head")
    },
}
"""(path, method) → what it takes and answers. Paths as OpenAPI writes them: `/v1/models/{id}`."""
