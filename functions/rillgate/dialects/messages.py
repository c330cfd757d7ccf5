"""Anthropic's Messages API as clients speak it. Place: dialect.parse and dialect.encode; the parts are in `messages_…`.

Source: wire formats, sections 4 and 9.1; https://docs.claude.com/en/api, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rillgate.dialects.messages_encoder import MessagesEncoder
from rillgate.dialects.messages_request import NAME, parse, parse_count
from rillgate.dialects.messages_wire import error_object, message_id, stop_reason, usage_object
from rillgate.dialects.whole import Block, Called, Choice, Opaque, Refused, Said, Thought, choices_of, with_ours
from rillgate.domain.delta import ANTHROPIC_ORIGIN, Delta
from rillgate.domain.errors import RillgateError
from rillgate.domain.kept_reasoning import seal
from rillgate.domain.ports import Encoder, Report
from rillgate.domain.request import AnswerHead
from rillgate.domain.usage import Usage
from rillgate.wire.loose_json import json_bytes

__all__ = ["FEATURES", "NAME", "Messages", "parse", "parse_count"]

# What this dialect has words for, by the names in which providers say what they do with it.
FEATURES = frozenset(
    {
        *("text", "images", "image_urls", "documents"),
        *("tools", "tool_choice", "parallel_tool_calls", "web_search"),
        *("json_schema", "stop", "temperature", "top_p", "top_k"),
        *("reasoning_effort", "reasoning_kept", "cache_marks", "end_user", "service_tier"),
    }
)


class Messages:
    """The dialect as the pipeline sees it."""

    name = NAME
    stream_headers: Sequence[tuple[str, str]] = ()

    def encoder(self, request_id: str, model: str, created_s: int) -> Encoder:
        """An encoder for one stream."""
        return MessagesEncoder(request_id, model)

    def answer(self, body: bytes, usage: Usage | None, report: Report) -> bytes:
        """A whole message with our usage and report added; byte for byte when there is nothing to add."""
        return with_ours(body, None if usage is None else usage_object(usage), report)

    def encode_answer(self, head: AnswerHead, deltas: Sequence[Delta], usage: Usage, report: Report) -> bytes:
        """A `message` object of what another API family answered; of several choices, the first."""
        choices = list(choices_of(head.request_id, deltas).values())
        choice = choices[0] if choices else Choice("")
        content = [block for said in choice.blocks for block in _blocks(said)]
        called = any(isinstance(block, Called) for block in choice.blocks)
        refused = any(isinstance(block, Refused) for block in choice.blocks)
        reason = stop_reason(choice.finish, choice.stop_sequence, called=called, refused=refused)
        answer: dict[str, Any] = {
            "id": message_id(head.request_id),
            "type": "message",
            "role": "assistant",
            "model": head.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": choice.stop_sequence if reason == "stop_sequence" else None,
            "usage": usage_object(usage),
        }
        if report:
            answer["rillgate"] = report
        return json_bytes(answer)

    def error_body(self, error: RillgateError) -> bytes:
        """Anthropic's error object. The request's id stands in the header `request-id`."""
        return msgspec.json.encode(error_object(error))


def _blocks(said: Block) -> list[dict[str, Any]]:
    """A block as content; none for what is empty, or only another family can read."""
    match said:
        case Said(text) | Refused(text):
            return [{"type": "text", "text": text}] if text else []
        case Thought(text, signature, origin):
            proof = signature if origin == ANTHROPIC_ORIGIN else ""
            return [{"type": "thinking", "thinking": text, "signature": proof}] if text or proof else []
        case Opaque(data, origin, call_id):
            kept = seal(origin, call_id, data)
            return [] if kept is None else [{"type": "redacted_thinking", "data": kept}]
        case Called(call_id, name, arguments):
            return [{"type": "tool_use", "id": call_id, "name": name, "input": _input(arguments)}]


def _input(arguments: str) -> dict[str, Any]:
    """The object that the arguments are; text that is none, which models write too, stands whole in `_raw`."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"_raw": arguments}
