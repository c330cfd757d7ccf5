"""Bodies of Chat Completions requests: what is wrong is a 400 that names the field, what is only odd passes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rillgate.dialects.chat_completions_request import CHOICES_MAX, OUTPUT_TOKENS_BOUND, ROLES, STOPS_MAX, parse
from rillgate.domain.errors import ClientError
from rillgate.domain.request import ChatRequest

USER = {"role": "user", "content": "hi"}


def parsed(**fields: Any) -> ChatRequest:
    """A request with one message and these fields."""
    return parse(msgspec.json.encode({"messages": [USER], **fields}))


def refusal(body: object) -> ClientError:
    """The error of a body: bytes as they are, anything else as JSON."""
    with pytest.raises(ClientError) as caught:
        parse(body if isinstance(body, bytes) else msgspec.json.encode(body))
    assert (caught.value.status, caught.value.kind) == (400, "invalid_request_error")
    return caught.value


def wrong(name: str, *values: Any) -> list[tuple[dict[str, Any], str]]:
    """A field with each of these values, and its name."""
    return [({name: value}, name) for value in values]


def test_parse_reads_what_the_house_needs_and_keeps_the_rest() -> None:
    """Every field stays in `fields`, known or not; what the pipeline needs is read out of them."""
    fields = {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
        "max_tokens": 9,
        "n": 2,
        "top_k": 40,
        "metadata": {"a": "b"},
    }
    request = parsed(**fields)
    assert request.fields == {"messages": [USER], **fields}
    assert request == ChatRequest(
        fields=request.fields, model="m", stream=True, include_usage=True, output_tokens_asked=9, choices=2
    )


def test_parse_of_the_least_gives_defaults() -> None:
    """Messages are all that is needed."""
    assert parsed() == ChatRequest(fields={"messages": [USER]}, model=None, stream=False)


@pytest.mark.parametrize(
    "fields",
    [
        *({name: None} for name in ("model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n")),
        *({name: None} for name in ("temperature", "top_p", "stop", "tools", "logprobs", "top_logprobs", "seed")),
        {"model": ""},
    ],
)
def test_parse_null_is_as_if_the_field_were_absent(fields: dict[str, Any]) -> None:
    """SDKs write null for what is not set."""
    request = parsed(**fields)
    assert (request.model, request.stream, request.include_usage) == (None, False, False)
    assert (request.output_tokens_asked, request.choices) == (None, 1)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 5}, "model"),
        ({"model": ["m"]}, "model"),
        ({"stream": "true"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream_options": True, "stream": True}, "stream_options"),
        ({"stream_options": [], "stream": True}, "stream_options"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream_options": {}, "stream": False}, "stream_options"),
        ({"stream_options": {"include_usage": "yes"}, "stream": True}, "stream_options.include_usage"),
        ({"stream_options": {"include_usage": 1}, "stream": True}, "stream_options.include_usage"),
        *wrong("max_tokens", 0, -1, 1.5, "9", True, [], {}, OUTPUT_TOKENS_BOUND + 1, 10**25),
        *wrong("max_completion_tokens", 0, -1, 1.5, "9", True, [], {}, OUTPUT_TOKENS_BOUND + 1, 10**25),
        *wrong("n", 0, -1, 1.5, "1", True, CHOICES_MAX + 1),
        *wrong("temperature", -0.1, 2.1, "1", True, [], 10**25),
        *wrong("top_p", -0.1, 1.1, "1", False),
        *wrong("presence_penalty", -2.1, 2.1, "0", {}),
        *wrong("frequency_penalty", -2.1, 2.1, "0", {}),
        *wrong("top_logprobs", -1, 21, 1.5, "5", True),
        *wrong("seed", 1.5, "7", True, 2**63, -(2**63) - 1),
        *wrong("logprobs", 1, "true", 5),
        *wrong("parallel_tool_calls", 1, "true", []),
        *wrong("stop", 5, True, {}, [5], ["a", None], ["a"] * (STOPS_MAX + 1)),
        *wrong("tools", {}, "x", 5),
        ({"tools": [{}, "x"]}, "tools[1]"),
        ({"tools": [{}, None]}, "tools[1]"),
    ],
)
def test_parse_wrong_type_or_range_is_a_400_that_names_the_field(fields: dict[str, Any], param: str) -> None:
    """Every field that the gateway or a provider reads; `param` is the field, and the message says what is expected."""
    error = refusal({"messages": [USER], **fields})
    assert error.param == param
    assert param in error.message
    assert error.code in ("invalid_type", "invalid_value")


@pytest.mark.parametrize(
    ("messages", "param", "code"),
    [
        (None, "messages", "missing_required_parameter"),
        ([], "messages", "invalid_value"),
        ({}, "messages", "invalid_type"),
        ("hi", "messages", "invalid_type"),
        ([USER, "hi"], "messages[1]", "invalid_type"),
        ([USER, None], "messages[1]", "invalid_type"),
        ([{}], "messages[0].role", "invalid_type"),
        ([{"role": None, "content": "x"}], "messages[0].role", "invalid_type"),
        ([{"role": 5, "content": "x"}], "messages[0].role", "invalid_type"),
        ([{"role": "wizard", "content": "x"}], "messages[0].role", "invalid_value"),
        ([{"role": "User", "content": "x"}], "messages[0].role", "invalid_value"),
        *(
            ([{"role": role}], "messages[0].content", "missing_required_parameter")
            for role in ("system", "developer", "user", "tool")
        ),
        ([{"role": "user", "content": None}], "messages[0].content", "missing_required_parameter"),
        ([{"role": "user", "content": 5}], "messages[0].content", "invalid_type"),
        ([{"role": "user", "content": {"type": "text", "text": "x"}}], "messages[0].content", "invalid_type"),
        ([{"role": "assistant", "content": True}], "messages[0].content", "invalid_type"),
        ([USER, {"role": "user", "content": ["x"]}], "messages[1].content[0]", "invalid_type"),
        (
            [{"role": "user", "content": [{"type": "text", "text": "x"}, None]}],
            "messages[0].content[1]",
            "invalid_type",
        ),
        ([{"role": "user", "content": [{}]}], "messages[0].content[0]", "invalid_value"),
        ([{"role": "user", "content": [{"text": "x"}]}], "messages[0].content[0]", "invalid_value"),
        ([{"role": "user", "content": [{"type": 5}]}], "messages[0].content[0]", "invalid_value"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text", "invalid_type"),
        ([{"role": "user", "content": [{"type": "text", "text": 5}]}], "messages[0].content[0].text", "invalid_type"),
        ([{"role": "assistant", "tool_calls": {}}], "messages[0].tool_calls", "invalid_type"),
        ([{"role": "assistant", "tool_calls": [{}, "x"]}], "messages[0].tool_calls[1]", "invalid_type"),
    ],
)
def test_parse_wrong_message_is_a_400_that_names_its_place(messages: object, param: str, code: str) -> None:
    """The position is part of the name: among a hundred messages the client must find the one."""
    error = refusal({"messages": messages})
    assert (error.param, error.code) == (param, code)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"messages":',
        b"hello",
        b"\xff\xfe",
        b'{"messages":[{"role":"user","content":"\xff"}]}',
        b'{"messages":"\\ud800"}',
        b'{"temperature":NaN}',
        b'{"temperature":1e999}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"9" * 10_000 + b"}",
        b"null",
        b"[]",
        b"5",
        b'"text"',
        b"true",
    ],
)
def test_parse_body_that_is_no_json_object_is_a_400(body: bytes) -> None:
    """Not JSON, not UTF-8, nested without end, numbers without end, JSON of another type."""
    error = refusal(body)
    assert error.code in ("invalid_json", "invalid_type")
    assert error.param is None
    assert len(error.message) < 300


@pytest.mark.parametrize("role", sorted(ROLES))
def test_parse_every_role_with_text_passes(role: str) -> None:
    """Also `developer`, and `function` of old clients."""
    assert parse(msgspec.json.encode({"messages": [{"role": role, "content": "x"}]})).fields


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "assistant", "content": None, "tool_calls": None},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "assistant", "content": "", "reasoning_content": "hm", "reasoning_details": [{}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "x"}]},
        {"role": "function", "name": "f", "content": None},
        {"role": "user", "content": []},
        {"role": "user", "content": ""},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]},
        {"role": "user", "content": [{"type": "never_heard_of", "x": 5}]},
        {"role": "user", "content": "x", "name": "ann", "unknown": [1]},
    ],
)
def test_parse_odd_but_valid_message_passes_unchanged(message: dict[str, Any]) -> None:
    """What OpenAI or some server takes is for them to judge."""
    request = parse(msgspec.json.encode({"messages": [message]}))
    assert request.fields["messages"] == [message]


@pytest.mark.parametrize(
    "fields",
    [
        {"stop": "x"},
        {"stop": []},
        {"stop": ["a", "b", "c", "d", "e"]},
        {"temperature": 0},
        {"temperature": 2},
        {"temperature": 1.0},
        {"top_p": 1, "presence_penalty": -2, "frequency_penalty": 2.0},
        {"seed": -1},
        {"logprobs": True, "top_logprobs": 20},
        {"tools": []},
        {"tools": [{"type": "custom", "custom": {"name": "f"}}], "tool_choice": "required"},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}},
        {"tool_choice": 5, "response_format": "odd"},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
        {"reasoning_effort": "xhigh", "verbosity": "low", "modalities": ["text", "audio"]},
        {"logit_bias": {"50256": -100}, "user": "u", "store": True, "prediction": {"type": "content", "content": "x"}},
        {"stream": True, "stream_options": {"include_obfuscation": False}},
        {"stream": True, "stream_options": {"include_usage": None}},
    ],
)
def test_parse_valid_fields_pass_unchanged(fields: dict[str, Any]) -> None:
    """Limits are inclusive, and what only the provider reads is not looked at."""
    assert parsed(**fields).fields == {"messages": [USER], **fields}


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, None),
        ({"max_tokens": 9}, 9),
        ({"max_completion_tokens": 9}, 9),
        ({"max_tokens": 9, "max_completion_tokens": 5}, 5),
        ({"max_tokens": 5, "max_completion_tokens": 9}, 5),
        ({"max_tokens": None, "max_completion_tokens": 9}, 9),
        ({"max_tokens": 9.0}, 9),
        ({"max_tokens": 1}, 1),
        ({"max_tokens": OUTPUT_TOKENS_BOUND}, OUTPUT_TOKENS_BOUND),
    ],
)
def test_parse_cap_under_either_name_is_the_smaller(fields: dict[str, Any], asked: int | None) -> None:
    """A client that names both means the stricter one."""
    request = parsed(**fields)
    assert request.output_tokens_asked == asked
    assert type(request.output_tokens_asked) in (int, type(None))


@pytest.mark.parametrize(("n", "choices"), [(1, 1), (2, 2), (2.0, 2), (CHOICES_MAX, CHOICES_MAX)])
def test_parse_n_is_the_number_of_choices(n: float, choices: int) -> None:
    """Each choice is counted for itself, so their number is known before."""
    assert parsed(n=n).choices == choices


def test_parse_value_in_a_message_is_bounded() -> None:
    """An error is no mirror for megabytes."""
    error = refusal({"messages": [{"role": "x" * 100_000, "content": "x"}]})
    assert len(error.message) < 300


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)
KNOWN = (
    *("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "temperature"),
    *("top_p", "presence_penalty", "frequency_penalty", "top_logprobs", "seed", "logprobs", "parallel_tool_calls"),
    *("stop", "tools", "tool_choice", "response_format", "reasoning_effort"),
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from([*sorted(ROLES), "x"]) | json_values},
        optional={
            "content": json_values
            | st.lists(st.fixed_dictionaries({"type": st.just("text") | json_values, "text": json_values}), max_size=2),
            "tool_calls": json_values,
            "name": json_values,
        },
    ),
    max_size=3,
)


@given(
    fields=st.dictionaries(st.sampled_from(KNOWN), json_values, max_size=6),
    messages=messages | json_values,
    stream=st.booleans() | json_values,
)
def test_parse_any_json_is_a_request_or_the_clients_error(
    fields: dict[str, Any], messages: object, stream: object
) -> None:
    """Nothing else is raised, and what comes out has the types that the pipeline counts on."""
    with suppress(ClientError):
        request = parse(msgspec.json.encode({"stream": stream, **fields, "messages": messages}))
        assert isinstance(request.model, str | None)
        assert isinstance(request.stream, bool)
        assert isinstance(request.include_usage, bool)
        assert 1 <= request.choices <= CHOICES_MAX
        assert request.output_tokens_asked is None or 1 <= request.output_tokens_asked <= OUTPUT_TOKENS_BOUND


@given(body=st.binary(max_size=200) | json_values.map(msgspec.json.encode) | st.text(max_size=200).map(str.encode))
@example(body=b'{"messages":[{"role":"user","content":"\xed\xa0\x80"}]}')
def test_parse_any_bytes_are_a_request_or_the_clients_error(body: bytes) -> None:
    """The same for what is no JSON at all."""
    with suppress(ClientError):
        parse(body)
