"""Words and shapes of Anthropic's answers: reasons, usage, errors, events. What streams and whole answers share.

Source: wire formats, sections 4.2, 4.3 and 9.1; the official SDKs' types and classes of errors, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rillgate.domain.errors import RillgateError
from rillgate.domain.usage import Usage
from rillgate.wire.loose_json import json_bytes

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
ERROR_TYPE_DEFAULT = "api_error"


def stop_reason(finish: str, stop_sequence: str | None, *, called: bool, refused: bool) -> str:
    """Why a message ended.

    Args: called, refused: whether it holds tool calls, or a refusal; some servers end those with a plain "stop".
    """
    if finish == "stop":
        if called:
            return "tool_use"
        if refused:
            return "refusal"
        if stop_sequence is not None:
            return "stop_sequence"
    return STOP_REASONS.get(finish, "end_turn")


def message_id(request_id: str) -> str:
    """The id of a message of our own making."""
    return "msg_" + request_id.removeprefix("req_")


def usage_object(usage: Usage) -> dict[str, Any]:
    """Usage as Anthropic writes it: `input_tokens` without what a cache gave or took; unknown parts are left out."""
    cached, written = usage.cached_input_tokens, usage.cache_write_tokens
    known: dict[str, Any] = {
        "input_tokens": max(0, (usage.input_tokens or 0) - (cached or 0) - (written or 0)),
        "output_tokens": usage.output_tokens or 0,
    }
    if cached is not None:
        known["cache_read_input_tokens"] = cached
    if written is not None:
        known["cache_creation_input_tokens"] = written
    if usage.reasoning_tokens is not None:
        known["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return known


def error_object(error: RillgateError, request_id: str | None = None) -> dict[str, Any]:
    """An error as Anthropic writes it. Our own code stands where the SDKs look for one: `error.details.error_code`.

    A used-up budget stays a 429 of the type `rate_limit_error`, as Anthropic's own spend limits are; that it shall not
    be retried says the header `x-should-retry`, which the SDKs obey before they look at the status.
    """
    said: dict[str, Any] = {"type": ERROR_TYPES.get(error.status, ERROR_TYPE_DEFAULT), "message": error.message}
    if error.code is not None:
        said["details"] = {"error_code": error.code}
    whole: dict[str, Any] = {"type": "error", "error": said}
    return whole if request_id is None else {**whole, "request_id": request_id}


def event(content: Mapping[str, Any]) -> bytes:
    """A frame; its event is the content's type: SDKs skip frames without one."""
    return b"event: " + str(content["type"]).encode() + b"\ndata: " + json_bytes(content) + b"\n\n"
