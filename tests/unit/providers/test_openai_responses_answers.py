"""Whole responses: they say what their streams say, and what is no response is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rillgate.dialects.chat_completions import parse
from rillgate.domain.delta import (
    OPENAI_ORIGIN,
    Delta,
    EndDelta,
    FinishDelta,
    OpaqueReasoningDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolDelta,
    UsageDelta,
)
from rillgate.domain.errors import UpstreamError
from rillgate.domain.usage import Usage
from rillgate.providers.openai_responses import OpenAIResponsesProvider
from tests.corpus.test_corpus import CASES, upstream

PROVIDER = OpenAIResponsesProvider("lab")
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}


def answered(*output: Any, **more: Any) -> list[Delta]:
    """The deltas of a response."""
    body = {"object": "response", "status": "completed", "output": list(output), **more}
    return PROVIDER.decode_answer(msgspec.json.encode(body))


def message(*content: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(content)}


def test_whole_response_says_everything_in_its_order() -> None:
    """Reasoning with the call that it led to, text, a refusal, a call, the end, counts."""
    said = answered(
        {"type": "reasoning", "summary": [{"text": "One."}, {"text": "Two."}], "encrypted_content": "gA"},
        {"type": "web_search_call", "id": "ws_1"},
        message({"type": "output_text", "text": "Hi"}, {"type": "refusal", "refusal": "No"}, {"type": "moon"}),
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
        {"type": "reasoning", "summary": [], "encrypted_content": "gB"},
        CALL,
        {"type": "custom_tool_call", "call_id": "c2", "name": "sql", "input": "select 1"},
        usage={"input_tokens": 9, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 3}},
    )
    assert said == [
        ReasoningDelta(0, "One.\n\nTwo."),
        OpaqueReasoningDelta(0, "gA", OPENAI_ORIGIN, None),
        TextDelta(0, "Hi"),
        RefusalDelta(0, "No"),
        ReasoningDelta(0, "Hm"),
        OpaqueReasoningDelta(0, "gB", OPENAI_ORIGIN, "c1"),
        ToolDelta(0, 0, "c1", "f", ""),
        ToolDelta(0, 0, None, None, '{"a":1}'),
        ToolDelta(0, 1, "c2", "sql", "", True),
        ToolDelta(0, 1, None, None, "select 1"),
        FinishDelta(0, "tool_calls"),
        UsageDelta(Usage(9, 5, reasoning_tokens=3)),
    ]


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("openai_responses/")])
def test_whole_response_means_what_its_stream_means(case: str) -> None:
    """The response that a stream ends with is the same answer in one piece."""
    reader, decoder = PROVIDER.reader(), PROVIDER.decoder()
    streamed: list[Delta] = []
    last: Any = None
    try:
        for frame in [*reader.feed(upstream(case)), *reader.feed_eof()]:
            streamed += decoder.decode(frame) or []
            if streamed and streamed[-1] == EndDelta():
                last = msgspec.json.decode(frame.data)
                break
    except UpstreamError:
        return
    if last is None or not last["response"]["output"] or case.endswith("half_a_surrogate_pair"):
        return  # it breaks off, or the hand that wrote it said something else at its end
    assert told(answered(**last["response"])) == told(streamed[:-1])


def told(deltas: list[Delta]) -> dict[str, Any]:
    """What deltas say, however it is cut."""
    said: dict[str, Any] = {}
    for delta in deltas:
        name = type(delta).__name__
        match delta:
            case TextDelta(_, text) | ReasoningDelta(_, text) | RefusalDelta(_, text):
                said[name] = said.get(name, "") + text
            case ToolDelta(_, index, call_id, called, arguments, custom):
                call = said.setdefault(f"call {index}", ["", "", "", False])
                call[:] = [call[0] + (call_id or ""), call[1] + (called or ""), call[2] + arguments, call[3] or custom]
            case _:
                said.setdefault(name, []).append(delta)
    return said


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"reason": "max_output_tokens"}, "length"),
        ({"reason": "content_filter"}, "content_filter"),
        ({"reason": "moon"}, "length"),
        (None, "length"),
    ],
)
def test_incomplete_response_ends_before_its_time(details: Any, reason: str) -> None:
    """Also one that broke off in a call."""
    said = answered(CALL, status="incomplete", incomplete_details=details)
    assert said[-1] == FinishDelta(0, reason)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 502, "not JSON"),
        (b"[" * 100_000, 502, "not JSON"),
        (b"null", 502, "without output"),
        (b'{"choices": []}', 502, "without output"),
        (b'{"output": [], "status": "failed", "error": null}', 502, "status 'failed'"),
        (b'{"output": [], "status": "queued"}', 502, "status 'queued'"),
        (b'{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}', 429, "slow down"),
        (b'{"status": "failed", "error": {"message": "no", "code": "invalid_image"}}', 400, "no"),
    ],
)
def test_what_is_no_response_is_an_error(body: bytes, status: int, words: str) -> None:
    """The provider's, unless the request was at fault."""
    with pytest.raises(UpstreamError, match=words) as raised:
        PROVIDER.decode_answer(body)
    assert raised.value.status == status


def test_item_of_no_known_shape_is_passed_over() -> None:
    """Whatever stands where a word belongs."""
    odd = [
        {"type": ["message"]},
        {"type": {}},
        {"type": "message", "content": 7},
        7,
        {"type": "message", "content": [7]},
    ]
    assert answered(*odd) == [FinishDelta(0, "stop")]
    with pytest.raises(UpstreamError, match="no") as raised:
        answered(status="failed", error={"code": ["invalid_image"], "message": "no"})
    assert raised.value.status == 502


def test_tool_name_comes_back_as_the_client_gave_it() -> None:
    """As it was written differently on its way out."""
    tool = {"type": "function", "function": {"name": "weather.now"}}
    request = parse(msgspec.json.encode({"messages": [{"role": "user", "content": "hi"}], "tools": [tool]}))
    body = {"status": "completed", "output": [{**CALL, "name": "weather_now"}]}
    first, *_ = PROVIDER.decode_answer(msgspec.json.encode(body), request)
    assert first == ToolDelta(0, 0, "c1", "weather.now", "")
