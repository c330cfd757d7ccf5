"""What Anthropic's errors mean for our client: its types and codes in the words of `openai_errors`.

Source: https://docs.anthropic.com (errors, rate limits), read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rillgate.domain.errors import UpstreamError
from rillgate.providers.loose_json import loads_or_none, text
from rillgate.providers.openai_errors import error_from_object, error_from_response

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
    said = _normal(loads_or_none(body), with_status=False)
    return error_from_response(name, status, headers, body if said is None else msgspec.json.encode({"error": said}))


def anthropic_error_from_object(name: str, content: Any) -> UpstreamError:
    """An error inside a stream, or in a body with status 200: its status follows from its type."""
    said = _normal(content, with_status=True)
    return error_from_object(name, content if said is None else said)


def _normal(content: Any, *, with_status: bool) -> dict[str, Any] | None:
    """{"type": "error", "error": {"type", "message", "details"}} as OpenAI says it; None for any other shape."""
    error = content.get("error") if isinstance(content, dict) else None
    if not isinstance(error, dict) or text(error.get("type")) not in STATUSES:
        return None
    details = error.get("details")
    message = text(error.get("message"))
    spent = isinstance(details, dict) and text(details.get("error_code")) in SPENT_CODES
    if spent or any(sign in message.lower() for sign in SPENT_TEXTS):
        return {"type": "insufficient_quota", "message": message, "code": "insufficient_quota"}
    said = {"type": error["type"], "message": message}
    if BLOCKED_TEXT in message.lower():
        return {**said, "code": "content_filter"}
    return {**said, "code": STATUSES[error["type"]]} if with_status else said
