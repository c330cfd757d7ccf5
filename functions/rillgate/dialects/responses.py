"""OpenAI's Responses API as clients speak it, without a store. Place: dialect.parse and dialect.encode; the parts are
in `responses_…`.

Source: wire formats, section 9.2; https://platform.openai.com/docs/api-reference/responses, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rillgate.dialects.chat_completions import error_object
from rillgate.dialects.responses_encoder import ResponsesEncoder
from rillgate.dialects.responses_output import Output
from rillgate.dialects.responses_request import NAME, parse
from rillgate.dialects.responses_wire import head_object, response_object, usage_object
from rillgate.dialects.whole import with_ours
from rillgate.domain.delta import Delta, FinishDelta
from rillgate.domain.errors import RillgateError
from rillgate.domain.ports import Encoder, Report
from rillgate.domain.request import AnswerHead
from rillgate.domain.usage import Usage
from rillgate.wire.loose_json import json_bytes

__all__ = ["FEATURES", "NAME", "REFUSED", "Responses", "parse"]

# What this dialect has words for, by the names in which providers say what they do with it.
FEATURES = frozenset(
    {
        *("text", "images", "image_urls", "documents", "sound"),
        *("tools", "custom_tools", "tool_choice", "parallel_tool_calls", "web_search"),
        *("json_schema", "json_object", "temperature", "top_p", "logprobs"),
        *("reasoning_effort", "reasoning_kept", "cache_marks", "end_user", "service_tier"),
    }
)
# Of these, what is refused before any provider is asked: nothing in an answer could say it.
REFUSED = frozenset({"custom_tools", "web_search", "logprobs"})


class Responses:
    """The dialect as the pipeline sees it.

    Args: original: the client's own fields, much of which a response says again; {} where none were read.
    """

    name = NAME
    stream_headers: Sequence[tuple[str, str]] = ()

    def __init__(self, original: Mapping[str, Any] | None = None) -> None:
        self._original = original or {}

    def encoder(self, request_id: str, model: str, created_s: int) -> Encoder:
        """An encoder for one stream."""
        return ResponsesEncoder(request_id, head_object(request_id, model, created_s, self._original))

    def answer(self, body: bytes, usage: Usage | None, report: Report) -> bytes:
        """A whole response with our usage and report added; byte for byte when there is nothing to add."""
        return with_ours(body, None if usage is None else usage_object(usage), report)

    def encode_answer(self, head: AnswerHead, deltas: Sequence[Delta], usage: Usage, report: Report) -> bytes:
        """A `response` object of what another API family answered; of several choices, the first."""
        output = Output(head.request_id)
        finish = "stop"
        for delta in deltas:
            if isinstance(delta, FinishDelta):
                finish = delta.reason if delta.choice == 0 else finish
            elif getattr(delta, "choice", None) == 0:
                output.take(delta)
        output.close(finish)
        begun = head_object(head.request_id, head.model, head.created_s, self._original)
        return json_bytes(response_object(begun, output.items(), finish, usage, report))

    def error_body(self, error: RillgateError) -> bytes:
        """OpenAI's error object."""
        return msgspec.json.encode(error_object(error))
