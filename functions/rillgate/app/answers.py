"""Answers that no stream is: JSON, and every error in the shape that its client reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from rillgate.app.auth import CHALLENGE
from rillgate.app.context import internal_error, journal_of
from rillgate.app.spoken import OPENAI_DIALECT, dialect_of
from rillgate.delivery.responses import UNSHARED, error_headers
from rillgate.domain.ends import End
from rillgate.domain.errors import AuthError, ClientError, RillgateError

__all__ = ["EXCEPTION_HANDLERS", "OPENAI_DIALECT", "json_response"]


def json_response(content: Any, status: int = 200) -> Response:
    """A JSON answer, kept by nobody on the way."""
    return _json(msgspec.json.encode(content), status, {})


def _json(body: bytes, status: int, headers: Mapping[str, str]) -> Response:
    unshared = {key.decode(): value.decode() for key, value in UNSHARED}
    return Response(body, status_code=status, headers={**unshared, **headers}, media_type="application/json")


async def rillgate_error(request: Request, error: RillgateError) -> Response:
    """Every error of ours, in the client's dialect."""
    journal_of(request.scope).failed(error)
    headers = {key.decode(): value.decode() for key, value in error_headers(error)}
    if isinstance(error, AuthError) and error.status == 401:
        headers["www-authenticate"] = CHALLENGE  # RFC 9110, section 11.6.1: a 401 says how
    return _json(dialect_of(request.scope).error_body(error), error.status, headers)


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
