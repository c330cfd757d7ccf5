"""The whole document. Source: OpenAPI Specification 3.1.1, read 2026-11-21."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec

from rillgate import __version__
from rillgate.app.openapi.answers import HEADERS, RESPONSES
from rillgate.app.openapi.operations import OPERATIONS
from rillgate.app.openapi.schemas import SCHEMAS
from rillgate.app.openapi.shapes import Schema, text
from rillgate.telemetry.ids import CLIENT_ID_CHARS_MAX

OPENAPI_VERSION: Final = "3.1.1"

TAGS: Final = {
    "openai": "OpenAI's API, for its SDKs and for everything that speaks it.",
    "anthropic": "Anthropic's API, for its SDKs.",
    "ai-sdk": "Vercel's AI SDK, for `useChat`.",
    "models": "What can be asked for.",
    "chat": "For pages without an SDK.",
    "control": "Cancel, tickets, usage.",
    "probes": "For operators.",
    "page": "The chat page's files.",
}


def _header_parameter(name: str, description: str, schema: Schema) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


PARAMETERS: Final = {
    "x-client-request-id": _header_parameter(
        "x-client-request-id",
        "The client's own id: logged beside ours, and cancels too.",
        text(minLength=1, maxLength=CLIENT_ID_CHARS_MAX, pattern=r"^[\x20-\x7e]+$"),
    ),
    "traceparent": _header_parameter(
        "traceparent",
        "W3C Trace Context: the trace goes on in the log and to the provider. Ignored if invalid.",
        text(),
    ),
    "tracestate": _header_parameter("tracestate", "W3C Trace Context, passed on to the provider.", text()),
    "anthropic-version": _header_parameter(
        "anthropic-version", "Goes to Anthropic as it is; elsewhere it asks for Anthropic's shapes.", text()
    ),
    "anthropic-beta": _header_parameter("anthropic-beta", "Goes to Anthropic as it is.", text()),
}

SECURITY_SCHEMES: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "rill_… or rillt_…",
        "description": "A key, or a ticket that `POST /v1/tickets` gave.",
    },
    "api_key": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "The same, as Anthropic's SDKs send it.",
    },
    "ticket": {"type": "apiKey", "in": "query", "name": "ticket", "description": "A ticket for one use."},
}


def document(*, keys_required: bool) -> dict[str, Any]:
    """The document of a gateway.

    Args: keys_required: whether a request needs a key; where not, one that is sent is checked all the same.
    """
    paths: dict[str, dict[str, Any]] = {}
    for (path, method), operation in OPERATIONS.items():
        allowed = operation["security"]
        if not keys_required and {} not in allowed and operation["operationId"] != "createTicket":
            allowed = [*allowed, {}]
        paths.setdefault(path, {})[method] = {**operation, "security": allowed}
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "Rillgate",
            "version": __version__,
            "summary": "Streams any LLM through one endpoint, with spending limits.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "responses": RESPONSES,
            "headers": HEADERS,
            "parameters": PARAMETERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


@cache
def encoded(*, keys_required: bool) -> bytes:
    """The same as JSON, made once."""
    return msgspec.json.encode(document(keys_required=keys_required))
