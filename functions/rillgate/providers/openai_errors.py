"""What OpenAI and compatible servers say of an error, and those of other families that say it alike.

Bodies come as `{"error": {…}}`, `{"error": "text"}`, `{"message": …}`, `{"detail": …}` or HTML; all are read, none is
trusted to have a shape. What they mean is `error_table`'s to say.
Source: https://platform.openai.com/docs/guides/error-codes and compatible servers as observed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rillgate.domain.errors import UpstreamError
from rillgate.providers.error_table import Said, error_in_response, error_in_stream
from rillgate.wire.loose_json import loads_or_none

# error.type or error.code inside a stream → the status that the same error has as a response
STATUS_OF_WORD = {
    "invalid_request_error": 400,
    "exceed_context_size_error": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "slow_down": 429,
    "insufficient_quota": 429,
    "requests": 429,
    "tokens": 429,
    "server_is_overloaded": 503,
    "overloaded_error": 503,
    "service_unavailable_error": 503,
    "unavailable_error": 503,
    "timeout": 504,
}


SAME_CODES = {"DeploymentNotFound": "model_not_found"}  # Azure's, where a deployment is the model


def error_from_response(name: str, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """A response with an error status. Header names in lower case; `body` may be cut."""
    content = loads_or_none(body)  # None: HTML, or a body that was cut
    return error_in_response(name, status, headers, _said(_detail(content)))


def error_from_object(name: str, content: Any) -> UpstreamError:
    """An error inside a stream, or in a body with status 200: its status is in `code`, or follows from its words.

    Its message stays what the provider said.
    """
    detail = _detail(content)
    return error_in_stream(name, _status_of(detail), _said(detail))


def _detail(content: Any) -> Any:
    """What is said about the error: the value of `error`, or a flat body itself, alone or in a list of one (Gemini)."""
    if isinstance(content, list) and content:
        content = content[0]
    if isinstance(content, dict):
        inner = content.get("error")
        if inner and isinstance(inner, dict | str):
            return inner
    return content


def _said(detail: Any) -> Said:
    """Whatever came."""
    if isinstance(detail, str):
        return Said(detail)
    if not isinstance(detail, dict):
        return Said()
    message = detail.get("message") or detail.get("detail") or detail.get("error")
    if message and isinstance(message, dict | list):
        message = msgspec.json.encode(message).decode()
    code = _string(detail.get("code"))
    code = SAME_CODES.get(code or "", code)
    return Said(
        _string(message) or "",
        _string(detail.get("type")),
        None if code is None or code.isdigit() else code,  # a status as text is no code
        _string(detail.get("param")),
    )


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _status_of(detail: Any) -> int:
    if not isinstance(detail, dict):
        return 502
    for key in ("code", "status", "status_code"):
        value = detail.get(key)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
            value = int(value)
        if isinstance(value, int) and 400 <= value <= 599:
            return value
    for key in ("code", "type"):
        status = STATUS_OF_WORD.get(str(detail.get(key)))
        if status is not None:
            return status
    return 502
