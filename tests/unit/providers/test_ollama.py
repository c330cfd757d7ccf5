"""Ollama's requests, whole answers, errors and lists of models, and what no stream of the corpus shows."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.dialects.chat_completions import parse
from rillgate.domain.delta import (
    Delta,
    ErrorDelta,
    FinishDelta,
    ReasoningDelta,
    TextDelta,
    ToolDelta,
    UsageDelta,
)
from rillgate.domain.errors import ClientError, UpstreamError
from rillgate.domain.request import ChatRequest
from rillgate.domain.usage import Usage
from rillgate.providers.features import FEATURES
from rillgate.providers.ollama import HANDLING, OllamaProvider
from rillgate.wire.ndjson import NdjsonFrame

PROVIDER = OllamaProvider("box")
HI = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f", "description": "F", "parameters": {"type": "object"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
PNG = b64encode(b"png").decode()
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


def body(**fields: Any) -> dict[str, Any]:
    """The provider's request, for the model "m" under a cap of 50."""
    request = parse(msgspec.json.encode({"messages": [HI], **fields}))
    found: dict[str, Any] = msgspec.json.decode(PROVIDER.build(request, "m", 50).body)
    return found


def more(**fields: Any) -> dict[str, Any]:
    """What stands there beside model, messages, stream and truncate, and beside the cap."""
    said = body(**fields)
    options = said.pop("options")
    assert options.pop("num_predict") == 50
    for name in ("model", "messages", "stream", "truncate"):
        said.pop(name)
    return {**said, **({"options": options} if options else {})}


def decoded(*lines: dict[str, Any]) -> list[Delta]:
    """The deltas of a stream."""
    decoder = PROVIDER.decoder()
    found: list[Delta] = []
    for line in lines:
        found += decoder.decode(NdjsonFrame(b"", msgspec.json.encode(line))) or []
    return found


def test_build_smallest_request_says_its_cap_and_whether_it_streams() -> None:
    """A stream is Ollama's default, and a prompt that is too long is to be an error."""
    request = parse(msgspec.json.encode({"messages": [HI], "max_tokens": 99, "model": "alias"}))
    outgoing = PROVIDER.build(request, "llama3.2:3b", 12)
    assert (outgoing.method, outgoing.path) == ("POST", "/api/chat")
    assert outgoing.headers == (("content-type", "application/json"),)
    assert msgspec.json.decode(outgoing.body) == {
        "model": "llama3.2:3b",
        "messages": [HI],
        "stream": False,
        "truncate": False,
        "options": {"num_predict": 12},
    }
    assert body(stream=True)["stream"] is True


def test_build_messages_are_text_images_and_calls() -> None:
    """Parts are joined, images bare, arguments an object, and a result names its tool."""
    messages = [
        {"role": "system", "content": "A"},
        {"role": "developer", "content": "B"},
        {"role": "user", "content": [{"type": "text", "text": "C"}, IMAGE, {"type": "text", "text": "D"}]},
        {
            "role": "assistant",
            "content": "E",
            "reasoning_content": "hm",
            "tool_calls": [CALL, {**CALL, "id": "call_2"}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "F"},
        {"role": "tool", "tool_call_id": "call_2", "content": [IMAGE]},
        {"role": "tool", "tool_call_id": "gone", "content": "G"},
        {"role": "system", "content": "H"},
    ]
    assert body(messages=messages, tools=[TOOL])["messages"] == [
        {"role": "system", "content": "A\nB"},
        {"role": "user", "content": "C\nD", "images": [PNG]},
        {
            "role": "assistant",
            "content": "E",
            "thinking": "hm",
            "tool_calls": [
                {"id": "call_1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}},
                {"id": "call_2", "function": {"index": 1, "name": "f", "arguments": {"a": 1}}},
            ],
        },
        {"role": "tool", "content": "F", "tool_call_id": "call_1", "tool_name": "f"},
        {"role": "tool", "content": "", "tool_call_id": "call_2", "tool_name": "f", "images": [PNG]},
        {"role": "tool", "content": "G", "tool_call_id": "gone"},
        {"role": "system", "content": "H"},
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tools": [TOOL]}, {"tools": [TOOL]}),
        ({"tools": [TOOL], "tool_choice": "auto"}, {"tools": [TOOL]}),
        ({"tools": [TOOL], "tool_choice": "none"}, {}),
        ({"tools": [TOOL], "parallel_tool_calls": False}, {"tools": [TOOL]}),
        (
            {
                "tools": [TOOL, {"type": "function", "function": {"name": "g"}}],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
                },
            },
            {"tools": [TOOL]},
        ),
        (
            {"temperature": 0, "top_p": 0.5, "top_k": 3, "seed": 7, "presence_penalty": 1, "frequency_penalty": -1},
            {
                "options": {
                    "temperature": 0,
                    "top_p": 0.5,
                    "top_k": 3,
                    "seed": 7,
                    "presence_penalty": 1,
                    "frequency_penalty": -1,
                }
            },
        ),
        ({"stop": "END"}, {"options": {"stop": ["END"]}}),
        ({"stop": ["A", "\n"]}, {"options": {"stop": ["A", "\n"]}}),
        ({"reasoning_effort": "none"}, {"think": False}),
        ({"reasoning_effort": "minimal"}, {"think": "low"}),
        ({"reasoning_effort": "medium"}, {"think": "medium"}),
        ({"reasoning_effort": "xhigh"}, {"think": "max"}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"format": "json"}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}},
            {"format": {"type": "object"}},
        ),
        ({"user": "u", "service_tier": "auto", "prediction": {}, "cache_control": {}}, {}),
    ],
)
def test_build_options_are_said_in_ollamas_words(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """One row for each."""
    assert more(**fields) == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b"}}]}]},
            "messages",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PNG}"}}],
                    }
                ]
            },
            "messages",
        ),
    ],
)
def test_build_what_ollama_cannot_do_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    """400 with the field; no address that a client sends is fetched."""
    with pytest.raises(ClientError) as caught:
        body(**fields)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, "unsupported_parameter")


def test_build_nested_beyond_reason_is_refused() -> None:
    """As for every provider."""
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(100_000):
        inner["a"] = {}
        inner = inner["a"]
    tool = {"type": "function", "function": {"name": "f", "parameters": deep}}
    request = ChatRequest(fields={"messages": [HI], "tools": [tool]}, model=None, stream=False)
    with pytest.raises(ClientError, match="nested too deeply"):
        PROVIDER.build(request, "m", 9)


def test_handling_is_complete() -> None:
    """Every feature has its word."""
    assert set(HANDLING) == {feature.name for feature in FEATURES}


# Answers


def test_answer_is_read_whole() -> None:
    """Thought, text, calls, the finish and the counts; its end is the body's."""
    answer = {
        "model": "m",
        "message": {
            "role": "assistant",
            "content": "Hi",
            "thinking": "hm",
            "tool_calls": [{"id": "call_1", "function": {"name": "f", "arguments": {"a": "ü"}}}],
        },
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 3,
        "eval_count": 7,
    }
    assert PROVIDER.decode_answer(msgspec.json.encode(answer)) == [
        ReasoningDelta(0, "hm"),
        TextDelta(0, "Hi"),
        ToolDelta(0, 0, "call_1", "f", '{"a":"ü"}'),
        FinishDelta(0, "tool_calls"),
        UsageDelta(Usage(3, 7)),
    ]


@pytest.mark.parametrize(
    "given",
    [b"", b"<html>", b"null", b"[]", b"{}", b'{"message":{"content":"Hi"},"done":false}', b'{"done":true}', b"\xff"],
)
def test_answer_that_is_none_is_the_providers_fault(given: bytes) -> None:
    """Also one that is not done, or does not say why it is."""
    with pytest.raises(UpstreamError, match="'box'") as caught:
        PROVIDER.decode_answer(given)
    assert caught.value.status == 502


def test_answer_that_is_an_error_is_raised_as_one() -> None:
    """With status 200."""
    with pytest.raises(UpstreamError, match="oops"):
        PROVIDER.decode_answer(b'{"error":"oops"}')


def test_calls_without_ids_get_ids_that_no_other_turn_has() -> None:
    """The same call twice in one line, again in the next, and in another answer a nanosecond later."""
    call = {"function": {"name": "f", "arguments": {}}}

    def turn(nanos: int) -> list[str | None]:
        line = {"created_at": f"2026-11-21T10:00:00.{nanos:09d}Z", "message": {"tool_calls": [call, call]}}
        return [delta.call_id for delta in decoded(line, line) if isinstance(delta, ToolDelta)]

    ids = turn(1) + turn(2)
    assert len(set(ids)) == len(ids) == 8
    assert all(call_id is not None and call_id.startswith("call_") for call_id in ids)
    assert turn(1) == ids[:4]


def test_calls_are_numbered_without_gaps() -> None:
    """Whatever their server counts."""
    call = {"id": "x", "function": {"name": "f", "index": 5, "arguments": {}}}
    found = decoded({"message": {"tool_calls": [call, "odd", call]}}, {"message": {"tool_calls": [call]}})
    assert [delta.index for delta in found if isinstance(delta, ToolDelta)] == [0, 1, 2]


def test_counts_that_are_left_out_are_unknown_unless_nothing_was_said() -> None:
    """A prompt that counts nothing was cached; an answer that counts nothing may be empty."""
    done = {"done": True, "done_reason": "stop"}
    (_, nothing, _) = decoded({**done, "message": {"content": ""}, "prompt_eval_count": 0})
    assert nothing == UsageDelta(Usage(None, 0))
    (_, _, some, _) = decoded({**done, "message": {"content": "Hi"}})
    assert some == UsageDelta(Usage(None, None))


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (400, '"x" does not support thinking', (400, "invalid_request_error", "invalid_request", False)),
        (
            400,
            "prompt too long; exceeded max context length by 4 tokens",
            (400, "invalid_request_error", "context_length_exceeded", False),
        ),
        (401, "unauthorized", (502, "upstream_error", "upstream_auth", False)),
        (404, "model 'x' not found", (404, "invalid_request_error", "model_not_found", False)),
        (429, "too many", (429, "rate_limit_error", "rate_limit_exceeded", True)),
        (499, "cancelled", (502, "server_error", "upstream_error", True)),
        (500, "oops", (502, "server_error", "upstream_error", True)),
        (503, "server busy, please try again", (503, "server_error", "upstream_overloaded", True)),
    ],
)
def test_error_is_by_its_status_and_in_a_stream_by_its_words(
    status: int, said: str, expected: tuple[int, str, str, bool]
) -> None:
    """Where the words tell; else it is the provider's fault."""
    error = PROVIDER.error(status, {}, msgspec.json.encode({"error": said}))
    assert (error.status, error.kind, error.code, error.retryable) == expected
    (delta,) = decoded({"error": said})
    assert isinstance(delta, ErrorDelta)
    if status not in (401, 429):
        assert (delta.error.status, delta.error.kind, delta.error.code) == expected[:3]


def test_error_of_any_shape_is_read() -> None:
    """An object, HTML, nothing."""
    (delta,) = decoded({"error": {"message": "oops"}})
    assert isinstance(delta, ErrorDelta)
    assert delta.error.message == "oops"
    assert PROVIDER.error(500, {}, b"<html>").status == 502
    assert PROVIDER.error(503, {"retry-after": "3"}, b"").retry_after_s == 3


def test_models_are_those_on_the_servers_disk() -> None:
    """By their names; none is a list too."""
    listing = PROVIDER.models_request()
    assert (listing.method, listing.path) == ("GET", "/api/tags")
    assert PROVIDER.decode_models(b'{"models":[{"name":"a:1b","model":"a:1b"},{"name":"b"}]}') == ["a:1b", "b"]
    assert PROVIDER.decode_models(b'{"models":null}') == []
    for broken in (b"", b"[]", b'{"models":[{}]}', b"\xff"):
        with pytest.raises(UpstreamError):
            PROVIDER.decode_models(broken)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "message",
                    "content",
                    "thinking",
                    "tool_calls",
                    "function",
                    "done",
                    "done_reason",
                    "eval_count",
                    "error",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=4))
def test_decoder_takes_any_json(values: list[Any]) -> None:
    """Whatever comes is read or skipped, and text that is no text is no text of an answer."""
    decoder = PROVIDER.decoder()
    for value in values:
        deltas = decoder.decode(NdjsonFrame(b"", msgspec.json.encode(value)))
        assert all(isinstance(delta.text, str) for delta in deltas or () if isinstance(delta, TextDelta))
