"""Words and shapes of OpenAI's responses: the response object, usage, events. What streams and whole answers share.

Source: wire formats, section 9.2; openai-python's types and recorded streams of OpenAI's, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rillgate.domain.errors import RillgateError
from rillgate.domain.ports import Report
from rillgate.domain.usage import Usage
from rillgate.wire.loose_json import json_bytes

INCOMPLETE_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
ERROR_CODE_DEFAULT = "server_error"

Json = dict[str, Any]


def response_id(request_id: str) -> str:
    """The id of a response of our own making."""
    return "resp_" + request_id.removeprefix("req_")


def head_object(request_id: str, model: str, created_s: int, original: Mapping[str, Any]) -> Json:
    """A response that has just begun: what OpenAI says again of the request, with its defaults.

    Nothing is kept, so `store` is false whatever was asked, and nothing is ever left out of a long input, so
    `truncation` is "disabled". A number that the client leaves to the model stays null.
    """
    given = {key: value for key, value in original.items() if value is not None}
    reasoning = given.get("reasoning", {})
    text = {key: value for key, value in given.get("text", {}).items() if value is not None}
    return {
        "id": response_id(request_id),
        "object": "response",
        "created_at": created_s,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": given.get("instructions"),
        "max_output_tokens": given.get("max_output_tokens"),
        "max_tool_calls": given.get("max_tool_calls"),
        "metadata": given.get("metadata", {}),
        "model": model,
        "output": [],
        "parallel_tool_calls": given.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "prompt_cache_key": given.get("prompt_cache_key"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": given.get("safety_identifier"),
        "service_tier": given.get("service_tier"),
        "store": False,
        "temperature": given.get("temperature"),
        "text": {"format": {"type": "text"}} | text,
        "tool_choice": given.get("tool_choice", "auto"),
        "tools": [{"parameters": None, "strict": None} | tool for tool in given.get("tools", ())],
        "top_logprobs": 0,
        "top_p": given.get("top_p"),
        "truncation": "disabled",
        "usage": None,
        "user": given.get("user"),
    }


def response_object(begun: Json, items: Sequence[Json], finish: str, usage: Usage | None, report: Report) -> Json:
    """A response that is over.

    Args:
        begun: as `head_object` made it.
        finish: OpenAI's word in Chat Completions: "length" and "content_filter" leave it incomplete.
    """
    reason = INCOMPLETE_REASONS.get(finish)
    over = {
        **begun,
        "status": "completed" if reason is None else "incomplete",
        "incomplete_details": None if reason is None else {"reason": reason},
        "output": list(items),
        "usage": None if usage is None else usage_object(usage),
    }
    return {**over, "rillgate": report} if report else over


def failed_object(begun: Json, items: Sequence[Json], error: RillgateError) -> Json:
    """A response that an error broke off, with what it had said."""
    said = {"code": error.code or ERROR_CODE_DEFAULT, "message": error.message}
    return {**begun, "status": "failed", "error": said, "output": list(items)}


def usage_object(usage: Usage) -> Json:
    """Usage as a response says it, whose every number the official types require: 0 where one is not known."""
    spent, made = usage.input_tokens or 0, usage.output_tokens or 0
    read, written = usage.cached_input_tokens or 0, usage.cache_write_tokens or 0
    return {
        "input_tokens": spent,
        "input_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": spent + made,
    }


def error_event(error: RillgateError) -> Json:
    """The event `error`, as OpenAI's reference has it and, in `error`, as OpenAI sends it.

    openai-python raises where it finds the object, openai-node where it finds the event's name; AI SDK reads either.
    """
    said = {"code": error.code, "message": error.message, "param": error.param}
    return {"type": "error", **said, "error": {"type": error.kind, **said}}


def event(content: Mapping[str, Any], number: int) -> bytes:
    """A frame; its event is the content's type."""
    numbered = {**content, "sequence_number": number}
    return b"event: " + str(content["type"]).encode() + b"\ndata: " + json_bytes(numbered) + b"\n\n"
