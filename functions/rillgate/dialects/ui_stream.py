"""Vercel's AI SDK as its `useChat` speaks it: UI messages in, the UI message stream (v1) out.

Place: dialect.parse and dialect.encode; the parts are in `ui_stream_…`.
Source: wire formats, section 10; the package `ai` 7.0.173 (`ui-message-chunks`, `http-chat-transport`), read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rillgate.dialects.chat_completions import error_object
from rillgate.dialects.ui_stream_encoder import UiStreamEncoder
from rillgate.dialects.ui_stream_request import NAME, message_id, parse
from rillgate.dialects.ui_stream_wire import ended, finish_reason, part_of, started, usage_object
from rillgate.dialects.whole import Called, Choice, Refused, choices_of, with_ours
from rillgate.domain.delta import Delta
from rillgate.domain.errors import RillgateError
from rillgate.domain.ports import Encoder, Report
from rillgate.domain.request import AnswerHead
from rillgate.domain.usage import Usage
from rillgate.wire.loose_json import json_bytes

__all__ = ["FEATURES", "NAME", "UiStream", "parse"]

# What this dialect has words for, by the names in which providers say what they do with it.
FEATURES = frozenset(
    {
        *("text", "images", "image_urls", "documents", "sound"),
        *("tools", "tool_choice", "stop", "temperature", "top_p", "top_k", "penalties", "seed"),
        *("reasoning_effort", "reasoning_kept"),
    }
)


class UiStream:
    """The dialect as the pipeline sees it.

    Args: original: the client's own fields, which say whose message an answer goes on with; {} where none were read.
    """

    name = NAME
    stream_headers: Sequence[tuple[str, str]] = (("x-vercel-ai-ui-message-stream", "v1"),)

    def __init__(self, original: Mapping[str, Any] | None = None) -> None:
        self._original = original or {}

    def encoder(self, request_id: str, model: str, created_s: int) -> Encoder:
        """An encoder for one stream."""
        return UiStreamEncoder(request_id, model, message_id(self._original, request_id))

    def answer(self, body: bytes, usage: Usage | None, report: Report) -> bytes:
        """A whole message with our usage and report added; byte for byte when there is nothing to add."""
        return with_ours(body, None if usage is None else usage_object(usage), report)

    def encode_answer(self, head: AnswerHead, deltas: Sequence[Delta], usage: Usage, report: Report) -> bytes:
        """A UI message of what another API family answered, as a page has it after a stream; of several choices, the
        first.
        """
        choices = list(choices_of(head.request_id, deltas).values())
        choice = choices[0] if choices else Choice("")
        called = any(isinstance(block, Called) for block in choice.blocks)
        refused = any(isinstance(block, Refused) for block in choice.blocks)
        reason = finish_reason(choice.finish, called=called, refused=refused)
        said = [part for block in choice.blocks for part in part_of(block, choice.finish)]
        message = {
            "id": message_id(self._original, head.request_id),
            "role": "assistant",
            "metadata": {**started(head.request_id, head.model), **ended(usage, report), "finishReason": reason},
            "parts": [{"type": "step-start"}, *said],
        }
        return json_bytes(message)

    def error_body(self, error: RillgateError) -> bytes:
        """OpenAI's error object; it is what `useChat` has for its error's message."""
        return msgspec.json.encode(error_object(error))
