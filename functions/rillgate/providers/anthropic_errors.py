"""What Anthropic says of an error, in the words of `error_table`.

Source: https://docs.anthropic.com (errors, rate limits), read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rillgate.domain.errors import UpstreamError
from rillgate.providers.error_table import QUOTA, Said, error_in_response, error_in_stream
from rillgate.providers.openai_errors import error_from_object, error_from_response
from rillgate.wire.loose_json import loads_or_none, text

# error.type inside a stream → the status that the same error has as a response
STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
SPENT_CODES = frozenset({"contract_spend_limit_reached", "enforced_spend_limit_reached", "ramp_limit_exceeded"})
BLOCKED_TEXT = "content filtering policy"
SPENT_TEXTS = ("credit balance is too low", "specified api usage limits")  # said with status 400


def anthropic_error_from_response(name: str, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """A response with an error status. Header names in lower case; `body` may be cut."""
    error = _error(loads_or_none(body))
    if error is None:
        return error_from_response(name, status, headers, body)
    return error_in_response(name, status, headers, _said(error))


def anthropic_error_from_object(name: str, content: Any) -> UpstreamError:
    """An error inside a stream, or in a body with status 200: its status follows from its type."""
    error = _error(content)
    if error is None:
        return error_from_object(name, content)
    return error_in_stream(name, STATUSES[error["type"]], _said(error))


def _error(content: Any) -> dict[str, Any] | None:
    """The error of {"type": "error", "error": {"type", "message", "details"}}; None for any other shape."""
    error = content.get("error") if isinstance(content, dict) else None
    return error if isinstance(error, dict) and text(error.get("type")) in STATUSES else None


def _said(error: Mapping[str, Any]) -> Said:
    details = error.get("details")
    message = text(error.get("message"))
    spent = isinstance(details, dict) and text(details.get("error_code")) in SPENT_CODES
    if spent or any(sign in message.lower() for sign in SPENT_TEXTS):
        return Said(message, code=QUOTA)
    return Said(message, error["type"], "content_filter" if BLOCKED_TEXT in message.lower() else None)
