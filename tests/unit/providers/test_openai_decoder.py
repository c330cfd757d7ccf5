"""Chunks of OpenAI and of the many servers that nearly speak as it does: what counts, what ends, what is skipped."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.domain.delta import (
    Delta,
    EndDelta,
    ErrorDelta,
    FinishDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolDelta,
    UsageDelta,
)
from rillgate.domain.errors import UpstreamError
from rillgate.domain.usage import Usage
from rillgate.wire.sse import FRAME_BYTES_MAX
from tests.unit.providers.support import PROVIDER, chunk, decode, frames

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def only_error(deltas: list[Delta] | None) -> UpstreamError:
    """The error that is all that a frame says."""
    assert deltas is not None
    (delta,) = deltas
    assert isinstance(delta, ErrorDelta)
    return delta.error


# What a delta says


@pytest.mark.parametrize(
    "said",
    [
        {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}], "usage": None},
        {"choices": [{"index": 2, "delta": {"role": "assistant", "content": "x"}, "logprobs": {"content": []}}]},
        {"choices": [{"index": 0, "delta": {"content": "x", "reasoning": "hm"}}]},
        {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "delta": {"content": "x"}}], "usage": USAGE},
        {"choices": [{"index": 0, "delta": {"content": "x"}}], "error": {"message": "no"}},
        {"choices": [{"index": 0, "delta": {"content": "x"}}, {"index": 1, "delta": {"content": "y"}}]},
        {"choices": [{"index": 0, "delta": {"content": "", "tool_calls": [{"index": 0, "id": "c"}]}}]},
        {"choices": [{"index": 0, "delta": {"content": ["x"]}}]},
        {"choices": [{"index": None, "delta": {"content": "x"}}]},
        {"choices": [{"delta": {"content": "x"}, "finish_reason": ""}]},
        {"choices": []},
    ],
)
def test_chunk_of_text_is_read_in_short_as_it_is_read_in_full(said: dict[str, Any]) -> None:
    """The first chunks of a stream and those after many of another kind mean the same."""
    other = {"choices": [{"index": 0, "delta": {"reasoning": "hm"}}]}
    frame, strange = frames(b"".join(b"data: " + msgspec.json.encode(each) + b"\n\n" for each in (said, other)))
    fresh, used = PROVIDER.decoder(), PROVIDER.decoder()
    for _ in range(10):
        used.decode(strange)
    assert repr(fresh.decode(frame)) == repr(used.decode(frame))


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ({"content": "Hel"}, [TextDelta(0, "Hel")]),
        ({"role": "assistant", "content": "", "refusal": None}, []),
        ({"content": None}, []),
        ({"content": None, "reasoning_content": "hm"}, [ReasoningDelta(0, "hm")]),
        ({"reasoning": "hm"}, [ReasoningDelta(0, "hm")]),
        ({"reasoning": "hm", "reasoning_content": "hm"}, [ReasoningDelta(0, "hm")]),
        ({"reasoning": None, "reasoning_content": "", "content": "x"}, [TextDelta(0, "x")]),
        ({"content": "so", "reasoning": "hm"}, [ReasoningDelta(0, "hm"), TextDelta(0, "so")]),
        ({"refusal": "no"}, [RefusalDelta(0, "no")]),
        ({"content": "a\u2028b\x85c😀"}, [TextDelta(0, "a\u2028b\x85c😀")]),
        ({"audio": {"id": "a", "data": "QUJD", "transcript": "hear"}}, [TextDelta(0, "hear")]),
        ({"audio": {"data": "QUJD"}}, [TextDelta(0, "")]),
        ({"content": 5}, []),
        ({"unknown": {"content": "x"}}, []),
    ],
)
def test_decode_delta_of_every_known_kind_is_counted_once(delta: dict[str, Any], expected: list[Delta]) -> None:
    """Text, reasoning under either name but once, refusals and transcripts are output; empty and null are none."""
    assert decode(chunk(delta)) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([{"type": "text", "text": "Hi"}], [TextDelta(0, "Hi")]),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hi"}],
            [ReasoningDelta(0, "hm"), TextDelta(0, "Hi")],
        ),
        ([{"type": "thinking", "thinking": "hm"}], [ReasoningDelta(0, "hm")]),
        ([{"type": "reference", "reference_ids": [1]}], []),
        ([None, "Hi", 5, {"type": "text", "text": None}, {"type": "text", "text": "x"}], [TextDelta(0, "x")]),
        ([], []),
        ({"type": "text", "text": "Hi"}, [TextDelta(0, "Hi")]),
    ],
)
def test_decode_content_as_parts_tells_text_from_thinking(content: object, expected: list[Delta]) -> None:
    """Mistral sends content as a list, its thinking among it; parts of other kinds count nothing."""
    assert decode(chunk({"content": content})) == expected


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            {"index": 1, "id": "call_a", "type": "function", "function": {"name": "f", "arguments": ""}},
            ToolDelta(0, 1, "call_a", "f", ""),
        ),
        ({"index": 1, "function": {"arguments": '{"q"'}}, ToolDelta(0, 1, None, None, '{"q"')),
        ({"function": {"name": "f", "arguments": "{}"}}, ToolDelta(0, 0, None, "f", "{}")),
        ({"index": None, "id": None, "function": {"name": None, "arguments": "x"}}, ToolDelta(0, 0, None, None, "x")),
        ({"id": "null", "function": {"name": "", "arguments": None}}, ToolDelta(0, 0, None, None, "")),
        ({"id": "", "index": "0", "function": None}, ToolDelta(0, 0, None, None, "")),
        ({"id": "c", "function": {"name": "f", "arguments": {"q": 1}}}, ToolDelta(0, 0, "c", "f", "")),
        ({"id": "c", "function": "f"}, ToolDelta(0, 0, "c", None, "")),
    ],
)
def test_decode_tool_fragment_without_index_or_id_is_read(call: dict[str, Any], expected: ToolDelta) -> None:
    """Gemini's layer sends no index, Ollama's older ones no id, others null or the text "null"."""
    assert decode(chunk({"tool_calls": [call]})) == [expected]


def test_decode_tool_fragments_without_index_are_numbered_by_their_place() -> None:
    """Two calls in one frame stay two calls."""
    calls = [{"function": {"name": "f", "arguments": "1"}}, {"function": {"name": "g", "arguments": "2"}}]
    assert decode(chunk({"content": None, "tool_calls": calls})) == [
        ToolDelta(0, 0, None, "f", "1"),
        ToolDelta(0, 1, None, "g", "2"),
    ]


@pytest.mark.parametrize("calls", [None, [], {}, "x", [None, 5]])
def test_decode_tool_calls_of_another_type_lose_nothing_beside_them(calls: object) -> None:
    """Text beside broken tool calls is still text."""
    assert decode(chunk({"content": "x", "tool_calls": calls})) == [TextDelta(0, "x")]


def test_decode_function_call_of_old_clients_is_a_tool_call() -> None:
    """The field that `tool_calls` replaced is output like any other."""
    fields = {"function_call": {"name": "f", "arguments": '{"q"'}}
    assert decode(chunk(fields)) == [ToolDelta(0, 0, None, "f", '{"q"')]


# Choices, finish, usage


def test_decode_choices_in_one_frame_keep_their_numbers() -> None:
    """With n > 1 choices interleave, some servers put several into a frame."""
    choices = [
        {"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"},
        {"delta": {"content": "a"}},
    ]
    assert decode({"choices": choices}) == [TextDelta(1, "b"), FinishDelta(1, "stop"), TextDelta(0, "a")]


@pytest.mark.parametrize(
    "payload",
    [
        {"choices": [], "prompt_filter_results": [{"prompt_index": 0}], "model": "", "id": ""},
        {"choices": [{"index": 0}]},
        {"choices": [{"index": 0, "delta": None, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}}], "object": "", "usage": None},
        {"choices": [], "usage": {}},
        {"choices": [], "error": None},
        {"choices": [{"index": 0, "delta": {}}], "error": ""},
    ],
)
def test_decode_frame_that_says_nothing_counted_is_forwarded_not_skipped(payload: dict[str, Any]) -> None:
    """`choices: []` first, an absent or null delta, empty usage: a frame of the protocol without deltas."""
    assert decode(payload) == []


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("content_filter", "content_filter"),
        ("function_call", "function_call"),
        ("eos", "stop"),
        ("model_length", "length"),
        ("never_heard_of", "never_heard_of"),
    ],
)
def test_decode_finish_reason_becomes_openais_word(reason: str, expected: str) -> None:
    """Together says eos, Mistral model_length; what nobody knows stays as it is."""
    assert decode(chunk({}, reason)) == [FinishDelta(0, expected)]


@pytest.mark.parametrize("reason", [None, "", 0, False, {}])
def test_decode_finish_reason_that_is_no_word_finishes_nothing(reason: object) -> None:
    """Servers that send "" until they mean it would otherwise make a broken stream look whole."""
    assert decode(chunk({"content": "x"}, reason)) == [TextDelta(0, "x")]


@pytest.mark.parametrize("reason", ["error", "insufficient_system_resource"])
def test_decode_finish_reason_that_is_a_failure_is_an_error(reason: str) -> None:
    """Mistral and DeepSeek give up with a finish reason: an error, after the text that came with it."""
    deltas = decode({"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": reason}], "usage": USAGE})
    assert deltas is not None
    assert deltas[0] == TextDelta(0, "x")
    error = only_error(deltas[1:])
    assert (error.status, error.code) == (502, "upstream_error")
    assert reason in error.message


def test_decode_text_finish_and_usage_in_one_chunk_come_in_that_order() -> None:
    """Together puts all three into its last chunk."""
    assert decode(chunk({"content": "x"}, "stop", usage=USAGE)) == [
        TextDelta(0, "x"),
        FinishDelta(0, "stop"),
        UsageDelta(Usage(input_tokens=9, output_tokens=4)),
    ]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (USAGE, Usage(9, 4)),
        ({"prompt_tokens": 9, "completion_tokens": 0}, Usage(9, 0)),
        ({"completion_tokens": 4}, Usage(None, 4)),
        ({"prompt_tokens": 9, "completion_tokens": None}, Usage(9, None)),
        ({**USAGE, "prompt_tokens_details": {"cached_tokens": 0}}, Usage(9, 4, cached_input_tokens=0)),
        ({**USAGE, "prompt_tokens_details": {"cached_tokens": 3}}, Usage(9, 4, cached_input_tokens=3)),
        ({**USAGE, "prompt_tokens_details": None, "completion_tokens_details": None}, Usage(9, 4)),
        ({**USAGE, "prompt_tokens_details": [], "completion_tokens_details": "x"}, Usage(9, 4)),
        ({**USAGE, "completion_tokens_details": {"reasoning_tokens": 2}}, Usage(9, 4, reasoning_tokens=2)),
        ({**USAGE, "prompt_cache_hit_tokens": 5, "prompt_cache_miss_tokens": 4}, Usage(9, 4, cached_input_tokens=5)),
        ({**USAGE, "prompt_tokens": True, "completion_tokens": -4}, None),
        ({**USAGE, "prompt_tokens": "9"}, Usage(None, 4)),
        ({"total_tokens": 13}, None),
        ({}, None),
        ([], None),
        ("none", None),
        (None, None),
    ],
)
def test_decode_usage_keeps_unknown_apart_from_zero(usage: object, expected: Usage | None) -> None:
    """What is not said is None and never 0; what is no count is not said."""
    assert decode(chunk({}, usage=usage)) == ([] if expected is None else [UsageDelta(expected)])


def test_decode_usage_without_choices_is_usage() -> None:
    """The last chunk of OpenAI has `choices: []`, that of some others none at all."""
    assert decode({"choices": [], "usage": USAGE}) == [UsageDelta(Usage(9, 4))]
    assert decode({"usage": USAGE}) == [UsageDelta(Usage(9, 4))]


def outputs(*payloads: object) -> list[int | None]:
    """The output tokens of each usage that a stream of these chunks names."""
    decoder = PROVIDER.decoder()
    stream = b"".join(b"data: " + msgspec.json.encode(payload) + b"\n\n" for payload in payloads)
    deltas = [delta for frame in frames(stream) for delta in decoder.decode(frame) or ()]
    return [delta.usage.output_tokens for delta in deltas if isinstance(delta, UsageDelta)]


def finished(choice: int, **more: Any) -> dict[str, Any]:
    """The chunk that finishes a choice."""
    return {"choices": [{"index": choice, "delta": {}, "finish_reason": "stop"}], **more}


def used(output_tokens: int | None) -> dict[str, Any]:
    """A usage chunk without choices."""
    return {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": output_tokens}}


def test_decode_usage_of_each_choice_for_itself_is_added_up() -> None:
    """llama.cpp runs every choice alone and sends a usage chunk after each: the whole is their sum."""
    assert outputs(finished(1), used(4), chunk({"content": "a"}), finished(0), used(3)) == [4, 7]
    assert outputs(finished(2), used(4), finished(0), used(3), finished(1), used(2)) == [4, 7, 9]


def test_decode_usage_that_is_said_again_is_not_added_up() -> None:
    """The same twice, usage before the finish chunk, usage on every chunk, one for all choices: none is a sum."""
    assert outputs(finished(0), used(4), used(4)) == [4, 4]
    assert outputs(finished(0), used(4), finished(0), used(4)) == [4, 4]
    assert outputs(used(2), finished(0), used(4)) == [2, 4]
    assert outputs(finished(0, usage={"completion_tokens": 4}), finished(1, usage={"completion_tokens": 9})) == [4, 9]
    assert outputs(finished(0), finished(1), used(9), used(9)) == [9, 9]
    assert outputs(finished(0), used(None), finished(1), used(9)) == [None, 9]


# Errors


@pytest.mark.parametrize(
    "payload",
    [
        {"error": {"message": "it fell over", "type": "server_error", "param": None, "code": None}},
        {"error": {"message": "it fell over", "type": "x", "code": 500}},
        {"error": {"message": "it fell over", "code": "500"}},
        {"error": "it fell over"},
        {"error": {"message": "it fell over"}, "choices": [{"delta": {"content": "x"}, "finish_reason": "error"}]},
        {"error": {"message": "it fell over"}, "usage": USAGE},
        {"object": "error", "message": "it fell over", "type": "InternalServerError", "code": 500},
        {"type": "error", "message": "it fell over"},
        {"error": True, "message": "it fell over"},
        {"detail": "it fell over"},
        {"message": "it fell over"},
        [{"error": {"message": "it fell over", "status": "INTERNAL", "code": 500}}],
    ],
)
def test_decode_error_in_any_shape_is_an_error_with_its_words(payload: object) -> None:
    """Objects, strings, number codes, choices beside it, flat bodies, Gemini's list of one."""
    error = only_error(decode(payload))
    assert error.message == "it fell over"
    assert (error.status, error.kind, error.code) == (502, "server_error", "upstream_error")


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (b'error: {"code":500,"message":"it fell over","type":"server_error"}\n\n', "it fell over"),
        (b'event: error\ndata: {"error":{"message":"it fell over"}}\n\n', "it fell over"),
        (b'event: error\ndata: {"message":"it fell over"}\n\n', "it fell over"),
        (b'event: error\ndata: "it fell over"\n\n', "it fell over"),
        (b"event: error\ndata: it fell over\n\n", "status 502"),
        (b"event: error\ndata: null\n\n", "status 502"),
        (b'[{\n  "error": {\n    "code": 500,\n    "message": "it fell over"\n  }\n}\n]\n', "it fell over"),
    ],
)
def test_decode_error_outside_of_a_data_frame_is_an_error(stream: bytes, words: str) -> None:
    """Old llama.cpp writes an `error` field, others an `error` event, Gemini bare JSON in several lines."""
    (frame,) = frames(stream)
    assert words in only_error(PROVIDER.decoder().decode(frame)).message


@pytest.mark.parametrize(
    ("detail", "status", "code"),
    [
        ({"message": "m", "code": 429}, 429, "rate_limit_exceeded"),
        ({"message": "m", "code": "429"}, 429, "rate_limit_exceeded"),
        ({"message": "m", "type": "rate_limit_error"}, 429, "rate_limit_exceeded"),
        ({"message": "m", "type": "tokens", "code": "rate_limit_exceeded"}, 429, "rate_limit_exceeded"),
        ({"message": "m", "code": "slow_down"}, 429, "rate_limit_exceeded"),
        ({"message": "m", "code": "insufficient_quota"}, 429, "insufficient_quota"),
        ({"message": "m", "type": "insufficient_quota"}, 429, "insufficient_quota"),
        ({"message": "m", "code": 402}, 429, "insufficient_quota"),
        ({"message": "m", "type": "overloaded_error"}, 503, "upstream_overloaded"),
        ({"message": "m", "code": 503}, 503, "upstream_overloaded"),
        ({"message": "m", "code": "server_is_overloaded"}, 503, "upstream_overloaded"),
        ({"message": "m", "code": 400}, 400, "invalid_request"),
        ({"message": "m", "type": "invalid_request_error", "code": "invalid_value"}, 400, "invalid_value"),
        ({"message": "m", "code": "model_not_found"}, 404, "model_not_found"),
        ({"message": "m", "code": 504}, 504, "upstream_timeout"),
        ({"message": "m", "type": "timeout"}, 504, "upstream_timeout"),
        ({"message": "the maximum context length is 8", "code": 400}, 400, "context_length_exceeded"),
        ({"message": "m", "type": "exceed_context_size_error", "n_ctx": 8}, 400, "context_length_exceeded"),
        ({"message": "m", "code": 401}, 502, "upstream_auth"),
        ({"message": "m", "code": "invalid_api_key"}, 502, "upstream_auth"),
        ({"message": "m", "type": "permission_error"}, 502, "upstream_auth"),
        ({"message": "m", "code": 200}, 502, "upstream_error"),
        ({"message": "m", "code": True}, 502, "upstream_error"),
        ({"message": "m", "code": 99999}, 502, "upstream_error"),
        ({}, 502, "upstream_error"),
    ],
)
def test_decode_error_in_the_stream_has_the_status_that_its_words_mean(
    detail: dict[str, Any], status: int, code: str | None
) -> None:
    """The same table as for responses, with the status from `code` or from the words."""
    error = only_error(decode({"error": detail}))
    assert (error.status, error.code) == (status, code)


# What is no chunk


@pytest.mark.parametrize("data", [b"[DONE]", b"[DONE] ", b"[DONE]\t", b" [DONE]", b"  [DONE]  ", b"[DONE]\r"])
def test_decode_done_padded_is_the_end(data: bytes) -> None:
    """Some servers pad it."""
    (frame,) = frames(b"data: " + data + b"\n\n")
    assert PROVIDER.decoder().decode(frame) == [EndDelta()]


def test_decode_done_without_newline_at_the_end_is_the_end() -> None:
    """Some servers close right after it."""
    (frame,) = frames(b"data: [DONE]")
    assert PROVIDER.decoder().decode(frame) == [EndDelta()]


@pytest.mark.parametrize(
    "payload", [None, [], [1], 5, 1.5, True, "text", b'"[DONE]"', {}, {"type": "ping"}, {"id": "x", "object": "y"}]
)
def test_decode_json_that_is_no_chunk_is_skipped(payload: object) -> None:
    """A bare null, a list, a number, an object without choices, usage or error: not of this protocol."""
    assert decode(payload) is None


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"{",
        b'{"choices": [',
        b"<html>",
        b"DONE",
        b'{"choices": []} x',
        b'{"choices":[{"delta":{"content":"\xff"}}]}',
        b"[" * 200_000,
    ],
)
def test_decode_frame_that_is_not_json_is_the_providers_fault(data: bytes) -> None:
    """It says so without repeating it: somebody's text may be in it."""
    with pytest.raises(UpstreamError) as caught:
        decode(data)
    assert (caught.value.status, caught.value.code) == (502, "upstream_error")
    assert str(len(data)) in caught.value.message
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (rb'{"choices":[{"delta":{"content":"a\ud83d"}}]}', [TextDelta(0, "a\ufffd")]),
        (rb'{"choices":[{"delta":{"content":"\ud83d\ude00"}}]}', [TextDelta(0, "😀")]),
        (rb'{"x":"\udc00","choices":[{"delta":{"content":"a"}}]}', [TextDelta(0, "a")]),
        (b'{"choices":[{"delta":{"content":"a"},"logprobs":NaN}]}', [TextDelta(0, "a")]),
        (b'{"choices":[{"delta":{"content":"a"},"p":-1E999}]}', [TextDelta(0, "a")]),
        (b'{"choices":[{"index":null,"delta":{"content":"a"}}]}', [TextDelta(0, "a")]),
        (b'{"choices":[{"index":"2","delta":{"content":"a"}}]}', [TextDelta(0, "a")]),
        (b'{"choices":[null,{"delta":[],"finish_reason":"stop"}]}', [FinishDelta(0, "stop")]),
        (b'{"choices":[{"delta":{"content":"a"}}],"usage":[]}', [TextDelta(0, "a")]),
        (
            b'{"choices":{},"usage":{"prompt_tokens":9,"completion_tokens":4}}',
            [UsageDelta(Usage(9, 4))],
        ),
    ],
)
def test_decode_json_that_only_a_loose_parser_takes_loses_nothing(data: bytes, expected: list[Delta]) -> None:
    """Half a surrogate pair, NaN, PHP's [] for {}: a client's own parser would take them, so they are read."""
    assert decode(data) == expected


def test_decode_huge_frame_is_read() -> None:
    """Megabytes of tool arguments are one frame like any other."""
    text = "x" * (FRAME_BYTES_MAX - 1000)
    assert decode(chunk({"content": text})) == [TextDelta(0, text)]


def test_read_frame_past_its_bound_is_the_providers_fault() -> None:
    """A frame longer than the bound is never held."""
    reader = PROVIDER.reader()
    with pytest.raises(UpstreamError):
        reader.feed(b"data: " + b"x" * FRAME_BYTES_MAX + b"\n\n")


KEYS = (
    *("choices", "delta", "message", "index", "finish_reason", "usage", "error", "content", "tool_calls", "function"),
    *("name", "arguments", "id", "reasoning", "refusal", "audio", "text", "thinking", "code", "type", "object"),
    *("prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens", "detail", "status"),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)


@given(payload=st.dictionaries(st.sampled_from(KEYS), json_values, max_size=6) | json_values)
def test_decode_any_json_gives_deltas_of_the_right_types(payload: object) -> None:
    """Whatever is where it does not belong, nothing is raised, and what comes out can be counted and written."""
    deltas = decode(payload)
    for delta in deltas or ():
        match delta:
            case TextDelta(choice, text) | ReasoningDelta(choice, text) | RefusalDelta(choice, text):
                assert (type(choice), type(text)) == (int, str)
            case ToolDelta(choice, index, call_id, name, arguments):
                assert isinstance(choice, int)
                assert isinstance(index, int)
                assert isinstance(call_id, str | None)
                assert isinstance(name, str | None)
                assert isinstance(arguments, str)
            case FinishDelta(choice, reason):
                assert (type(choice), type(reason)) == (int, str)
            case UsageDelta(usage):
                assert usage.input_tokens is not None or usage.output_tokens is not None
            case ErrorDelta(error):
                assert delta is (deltas or [])[-1]
                assert isinstance(error.message, str)
            case EndDelta():
                raise AssertionError("no JSON is the end")


@given(data=st.binary(min_size=1, max_size=60).filter(lambda data: b"\n" not in data and b"\r" not in data))
def test_decode_any_bytes_give_deltas_or_the_providers_fault(data: bytes) -> None:
    """No byte sequence raises anything but UpstreamError."""
    for frame in frames(b"data: x" + data + b"\n\ndata:" + data + b"\n\n"):
        with suppress(UpstreamError):
            PROVIDER.decoder().decode(frame)


# Whole answers


def test_decode_answer_gives_text_calls_finish_and_usage() -> None:
    """A whole answer says the same as its stream."""
    message = {
        "role": "assistant",
        "content": "Hi",
        "reasoning": "hm",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}], "usage": USAGE}
    assert PROVIDER.decode_answer(
        b"\n\n\n" + msgspec.json.encode(body)
    ) == [  # DeepSeek sends empty lines while it thinks
        ReasoningDelta(0, "hm"),
        TextDelta(0, "Hi"),
        ToolDelta(0, 0, "c", "f", "{}"),
        FinishDelta(0, "tool_calls"),
        UsageDelta(Usage(9, 4)),
    ]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b"null", "without choices"),
        (b"{}", "without choices"),
        (b'{"choices":[]}', "without choices"),
        (b'{"choices":null,"usage":{"prompt_tokens":1}}', "without choices"),
        (b'{"error":{"message":"it fell over"}}', "it fell over"),
        (b'{"error":{"message":"it fell over"},"choices":[{"message":{"content":"x"}}]}', "it fell over"),
        (b'{"error":"it fell over"}', "it fell over"),
        (b'{"object":"error","message":"it fell over","code":500}', "it fell over"),
        (b'[{"error":{"message":"it fell over"}}]', "it fell over"),
        (b'{"choices":[{"message":{"content":"x"},"finish_reason":"error"}]}', "finish reason 'error'"),
    ],
)
def test_decode_answer_that_is_none_is_the_providers_fault(body: bytes, words: str) -> None:
    """An error at status 200, or a body that is no answer."""
    with pytest.raises(UpstreamError) as caught:
        PROVIDER.decode_answer(body)
    assert caught.value.status == 502
    assert words in caught.value.message


@pytest.mark.parametrize("body", [b'{"choices":[{"message":null}]}', b'{"choices":[{"message":[]}],"usage":"x"}'])
def test_decode_answer_with_an_empty_message_says_nothing(body: bytes) -> None:
    """A choice without a message is an answer all the same."""
    assert PROVIDER.decode_answer(body) == []
