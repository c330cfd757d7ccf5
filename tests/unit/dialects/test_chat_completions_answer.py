"""What Chat Completions clients get of another family's answer: reasoning with its proof, and whole completions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion

from rillgate.dialects.chat_completions import ChatCompletions
from rillgate.dialects.plain_chat import EventSource
from rillgate.domain.delta import (
    ANTHROPIC_ORIGIN,
    Delta,
    FinishDelta,
    OpaqueReasoningDelta,
    ReasoningDelta,
    RefusalDelta,
    SignatureDelta,
    TextDelta,
    ToolDelta,
    UsageDelta,
)
from rillgate.domain.request import AnswerHead
from rillgate.domain.usage import Usage
from rillgate.providers.conversation import Reasoning, Text, conversation_of
from tests.unit.dialects.sdk_support import completion_of

HEAD = AnswerHead("req_1", "m", 1_700_000_000)
THOUGHT: list[Delta] = [
    ReasoningDelta(0, "Let me"),
    ReasoningDelta(0, " see."),
    SignatureDelta(0, "sig1", ANTHROPIC_ORIGIN),
    OpaqueReasoningDelta(0, "xyz", ANTHROPIC_ORIGIN),
    SignatureDelta(0, "sig2", ANTHROPIC_ORIGIN),
    TextDelta(0, "Hello"),
    FinishDelta(0, "stop"),
]
DETAILS = [
    {"type": "reasoning.text", "text": "Let me see.", "signature": "sig1", "format": ANTHROPIC_ORIGIN, "index": 0},
    {"type": "reasoning.encrypted", "data": "xyz", "format": ANTHROPIC_ORIGIN, "index": 1},
    {"type": "reasoning.text", "text": "", "signature": "sig2", "format": ANTHROPIC_ORIGIN, "index": 2},
]


def answer(*deltas: Delta, report: dict[str, Any] | None = None) -> dict[str, Any]:
    """A whole answer as the dialect writes it."""
    body = ChatCompletions().encode_answer(HEAD, deltas, Usage(9, 4), report or {})
    ChatCompletion.model_validate_json(body, strict=True)
    return dict(msgspec.json.decode(body))


def streamed(*deltas: Delta) -> bytes:
    """A stream of them."""
    encoder = ChatCompletions().encoder("req_1", "m", 1_700_000_000)
    return b"".join([encoder.encode((delta,), {}) for delta in deltas]) + encoder.end()


def test_answer_says_everything_of_a_completion() -> None:
    """One object, with usage and report; calls whole, arguments joined."""
    whole = answer(
        TextDelta(0, "Hel"),
        TextDelta(0, "lo"),
        ToolDelta(0, 1, "a", "f", '{"x":'),
        ToolDelta(0, 3, "b", "g", ""),
        ToolDelta(0, 1, None, None, "1}"),
        FinishDelta(0, "tool_calls"),
        UsageDelta(Usage(1, 1)),
        report={"estimated": True},
    )
    assert whole == {
        "id": "chatcmpl-req_1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello",
                    "refusal": None,
                    "tool_calls": [
                        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
                    ],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
        "rillgate": {"estimated": True},
    }


@pytest.mark.parametrize(
    ("deltas", "content"),
    [([], ""), ([RefusalDelta(0, "no")], None), ([ToolDelta(0, 0, "a", "f", "{}")], None), ([TextDelta(0, "a")], "a")],
)
def test_answer_content_is_null_only_where_something_else_is_said(deltas: list[Delta], content: str | None) -> None:
    """An empty completion is an empty text, as OpenAI's own."""
    assert answer(*deltas, FinishDelta(0, "stop"))["choices"][0]["message"]["content"] == content


def test_answer_has_every_choice_in_order() -> None:
    """By number, each with its own finish reason."""
    whole = answer(TextDelta(1, "b"), TextDelta(0, "a"), FinishDelta(1, "length"), FinishDelta(0, "stop"))
    choices = [(each["index"], each["message"]["content"], each["finish_reason"]) for each in whole["choices"]]
    assert choices == [(0, "a", "stop"), (1, "b", "length")]


def test_reasoning_comes_back_with_its_proof_in_a_whole_answer() -> None:
    """A client that sends the message back gives the provider all it needs."""
    message = answer(*THOUGHT)["choices"][0]["message"]
    assert message["reasoning_content"] == "Let me see."
    assert message["reasoning_details"] == DETAILS
    check_round_trip(message)


def test_reasoning_comes_back_with_its_proof_from_a_stream() -> None:
    """The official helper, which joins by index and knows nothing of reasoning, builds the same message."""
    message = completion_of(streamed(*THOUGHT)).choices[0].message.model_dump(exclude_none=True)
    assert message["reasoning_content"] == "Let me see."
    assert message["reasoning_details"] == DETAILS
    check_round_trip(message)


def check_round_trip(message: dict[str, Any]) -> None:
    """The message in the next request."""
    conversation = conversation_of({"messages": [{"role": "user", "content": "hi"}, message]})
    assert conversation.turns[1].parts == (
        Reasoning("Let me see.", signature="sig1", origin=ANTHROPIC_ORIGIN),
        Reasoning("", data="xyz", origin=ANTHROPIC_ORIGIN),
        Reasoning("", signature="sig2", origin=ANTHROPIC_ORIGIN),
        Text("Hello"),
    )


def test_reasoning_without_proof_has_no_details() -> None:
    """Where no family wants it back there is the text alone."""
    deltas: list[Delta] = [ReasoningDelta(0, "hm"), TextDelta(0, "a"), FinishDelta(0, "stop")]
    assert b"reasoning_details" not in streamed(*deltas)
    assert "reasoning_details" not in answer(*deltas)["choices"][0]["message"]


def test_stream_call_without_arguments_gets_an_empty_object() -> None:
    """An empty string is no JSON, and clients parse it."""
    calls = completion_of(streamed(ToolDelta(0, 2, "a", "f", ""), FinishDelta(0, "tool_calls"))).choices[0].message
    assert calls.tool_calls is not None
    assert calls.tool_calls[0].function.arguments == "{}"


def test_event_source_gets_whole_answers_too() -> None:
    """It is the same dialect."""
    deltas: list[Delta] = [TextDelta(0, "a"), FinishDelta(0, "stop")]
    whole = ChatCompletions().encode_answer(HEAD, deltas, Usage(), {})
    assert EventSource().encode_answer(HEAD, deltas, Usage(), {}) == whole
