"""What every answer carries: headers, and errors in the dialect of whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from rillgate.app.openapi.shapes import Schema, integer, ref, text

Response = dict[str, Any]

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream; charset=utf-8"

_DURATION: Final = r"^(\d+h)?(\d+m)?\d+(\.\d+)?m?s$"

HEADERS: Final[dict[str, dict[str, Any]]] = {
    "x-request-id": {
        "description": "Names this request in logs and records, and cancels it.",
        "schema": text(pattern="^req_[A-Za-z0-9_-]{16}$"),
        "required": True,
    },
    "request-id": {
        "description": "The same, where Anthropic's SDKs look for it.",
        "schema": text(pattern="^req_[A-Za-z0-9_-]{16}$"),
    },
    "retry-after": {"description": "Seconds until it is worth trying again.", "schema": integer("", 0)},
    "retry-after-ms": {"description": "The same in milliseconds, with a 429.", "schema": integer("", 0)},
    "x-should-retry": {
        "description": "Whether the official SDKs shall try again.",
        "schema": {"enum": ["true", "false"]},
    },
    "www-authenticate": {"description": "How to send a key.", "schema": text()},
    "cache-control": {"description": "Who may keep this answer.", "schema": text()},
    "x-accel-buffering": {"description": "Tells nginx not to hold a stream back.", "schema": {"enum": ["no"]}},
    "x-vercel-ai-ui-message-stream": {"description": "The protocol's version.", "schema": {"enum": ["v1"]}},
    "x-rillgate-upstream": {
        "description": "Who answered, and in which attempt.",
        "schema": text(pattern="^.+/.+; attempt=[0-9]+$"),
    },
    "x-rillgate-output-tokens-max": {
        "description": "The cap in tokens, where it is lower than what was asked for.",
        "schema": integer("", 0),
    },
    "x-rillgate-estimated": {"description": "The count is an estimate.", "schema": {"enum": ["true"]}},
    "x-rillgate-scope": {"description": "Whose limit is the tightest.", "schema": text(minLength=1)},
    "x-rillgate-remaining-usd": {"description": "Dollars that are left.", "schema": text(pattern=r"^-?\d+(\.\d+)?$")},
    "x-rillgate-reset": {"description": "When the limit's window ends.", "schema": text(format="date-time")},
    "etag": {"description": "Of the file's content.", "schema": text(pattern='^"[0-9a-f]+"$')},
    **{
        f"x-ratelimit-{what}-{meter}": {
            "description": f"The tightest limit of {meter}: {description}.",
            "schema": schema,
        }
        for meter in ("requests", "tokens")
        for what, description, schema in (
            ("limit", "its amount", integer("", 0)),
            ("remaining", "what is left", integer()),
            ("reset", "time until its window ends, such as 6m0s", text(pattern=_DURATION)),
        )
    },
}
"""Every header of an answer that is ours, by its name."""

_IDS: Final = ("x-request-id", "request-id")
_ERROR_HEADERS: Final = (*_IDS, "retry-after", "retry-after-ms", "x-should-retry", "cache-control")
LEVELS: Final = (
    *(name for name in HEADERS if name.startswith("x-ratelimit-")),
    *("x-rillgate-scope", "x-rillgate-remaining-usd", "x-rillgate-reset"),
)
SERVED: Final = (*LEVELS, "x-rillgate-upstream", "x-rillgate-output-tokens-max")

CAUSES: Final = {
    400: "The request cannot be read, or asks for what cannot be had; `param` names the field.",
    401: "No key, or none that is valid.",
    403: "The key does not allow it; or keys are off, and a stranger asks.",
    404: "There is no such thing here.",
    408: "The body came too slowly.",
    409: "It was cancelled.",
    413: "The body is too large.",
    429: "A limit stands in the way, of a budget or of the client's address, or the provider's own.",
    500: "A fault of the gateway.",
    502: "The provider failed.",
    503: "The gateway is full, going down, or cannot reach its ledger; or the provider is overloaded.",
    504: "The provider, or the whole request, took too long.",
}

OPENAI: Final = "Error"
ANTHROPIC: Final = "MessagesError"
BY_HEADER: Final = "AnyError"  # Anthropic's shape for whoever sends `anthropic-version`


def answer(description: str, schema: Schema | None, *headers: str, content_type: str = JSON) -> Response:
    """One answer; without a schema it has no body."""
    kept = ("cache-control",) if content_type == JSON else ()
    response: Response = {"description": description, "headers": _headers(*_IDS, *kept, *headers)}
    if schema is not None:
        response["content"] = {content_type: {"schema": schema}}
    return response


def stream(description: str, event: str, *headers: str) -> Response:
    """Server-sent events whose `data` is `event`: `x-event-schema` says so, since 3.1 has no word for it."""
    told = (*headers, "cache-control", "x-accel-buffering")
    response = answer(description, text("server-sent events"), *told, content_type=EVENTS)
    response["content"][EVENTS]["x-event-schema"] = ref(event)
    return response


def errors(shape: str, *statuses: int, passed_on: bool = False) -> Mapping[str, Response]:
    """Answers that say why not. With `passed_on` there are those that a provider chose, too."""
    names = {str(status): f"{shape}{status}" for status in statuses}
    if passed_on:
        names["default"] = f"{shape}Other"
    return {status: {"$ref": f"#/components/responses/{name}"} for status, name in names.items()}


def _error(shape: str, status: int | None, cause: str) -> Response:
    more = ("www-authenticate",) if status == 401 else LEVELS if status in (403, 429) else ()
    words = "" if status is None else f"{HTTPStatus(status).phrase}. "
    response: Response = {"description": f"{words}{cause}", "content": {JSON: {"schema": ref(shape)}}}
    return {**response, "headers": _headers(*_ERROR_HEADERS, *more)}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in dict.fromkeys(names)}


RESPONSES: Final[dict[str, Response]] = {
    f"{shape}{status or 'Other'}": _error(shape, status, cause)
    for shape in (OPENAI, ANTHROPIC, BY_HEADER)
    for status, cause in (*CAUSES.items(), (None, "The provider refused it, for a reason of its own."))
}
"""Every answer that says why not, by the name under which operations refer to it."""
