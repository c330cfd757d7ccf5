"""Words and shapes of AI SDK's UI messages: reasons, usage, metadata, parts. What streams and whole messages share.

A chunk has the fields that the protocol names and no other: `ai` 5 refuses chunks with more. What a page may want to
know beside the words (the request's id, the model, usage, why an answer was cut) stands in the message's metadata.
Source: the package `ai` 7.0.173, read 2026-11.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rillgate.dialects.whole import Block, Called, Opaque, Refused, Said, Thought
from rillgate.domain.ports import Report
from rillgate.domain.usage import Usage

FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
    "content_filter": "content-filter",
}
CUT_SHORT = frozenset({"length", "content_filter"})
OURS = "rillgate"  # where metadata of a provider is named after the provider
NOT_JSON = "The model's arguments are not JSON."

Json = dict[str, Any]


def finish_reason(finish: str, *, called: bool, refused: bool) -> str:
    """Why a message ended.

    Args: called, refused: whether it holds tool calls, or a refusal; some servers end those with a plain "stop".
    """
    if finish == "stop" and called:
        return "tool-calls"
    if finish == "stop" and refused:
        return "content-filter"
    return FINISH_REASONS.get(finish, "other")


def started(request_id: str, model: str) -> Json:
    """Metadata that is known from the beginning; a page can cancel by the id."""
    return {"requestId": request_id, "model": model}


def ended(usage: Usage | None, report: Report) -> Json:
    """Metadata that is known at the end."""
    metadata: Json = {} if usage is None else {"usage": usage_object(usage)}
    return {**metadata, "rillgate": report} if report else metadata


def usage_object(usage: Usage) -> Json:
    """Usage as AI SDK's own `LanguageModelUsage`; what is not known is left out."""
    spent, made, read = usage.input_tokens, usage.output_tokens, usage.cached_input_tokens
    written, thought = usage.cache_write_tokens, usage.reasoning_tokens
    said: Json = {
        "inputTokens": spent,
        "inputTokenDetails": _known(cacheReadTokens=read, cacheWriteTokens=written),
        "outputTokens": made,
        "outputTokenDetails": _known(reasoningTokens=thought),
        "totalTokens": None if spent is None or made is None else spent + made,
    }
    return _known(**said)


def proof(thought: Thought | Opaque) -> Json:
    """`providerMetadata` of reasoning, which comes back with it."""
    if isinstance(thought, Opaque):
        kept = {"data": thought.data, "format": thought.origin}
        return {OURS: {**kept, "id": thought.call_id} if thought.call_id else kept}
    return {OURS: {"signature": thought.signature, "format": thought.origin}}


def input_of(arguments: str) -> tuple[Any, bool]:
    """A call's input, and whether its arguments are JSON; where not, the text itself. None at all are an object."""
    try:
        return msgspec.json.decode(arguments or "{}"), True
    except (ValueError, RecursionError):
        return arguments, False


def part_of(block: Block, finish: str) -> list[Json]:
    """A block as a part of a message; none for what is empty."""
    match block:
        case Said(text) | Refused(text):
            return [{"type": "text", "text": text, "state": "done"}] if text else []
        case Thought(text, signature):
            more = {"providerMetadata": proof(block)} if signature else {}
            return [{"type": "reasoning", "text": text, "state": "done", **more}] if text or signature else []
        case Opaque():
            return [{"type": "reasoning", "text": "", "state": "done", "providerMetadata": proof(block)}]
        case Called(call_id, name, arguments):
            given, is_json = input_of(arguments)
            call = {"type": f"tool-{name}", "toolCallId": call_id}
            if finish in CUT_SHORT and not (is_json and arguments):
                return [{**call, "state": "input-streaming", "rawInput": arguments}]
            if is_json:
                return [{**call, "state": "input-available", "input": given}]
            return [{**call, "state": "output-error", "input": given, "errorText": NOT_JSON}]


def _known(**fields: Any) -> Json:
    return {name: value for name, value in fields.items() if value is not None}
