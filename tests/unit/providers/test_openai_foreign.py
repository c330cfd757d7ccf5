"""Requests of another dialect on their way to OpenAI and compatible servers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rillgate.dialects.chat_completions import parse as parse_completions
from rillgate.dialects.messages import parse
from rillgate.domain.errors import ClientError
from rillgate.providers.openai import OpenAIProvider
from rillgate.providers.openai_foreign import plain_fields

MARK = {"type": "ephemeral"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
HI = {"role": "user", "content": "hi"}


def text(said: str) -> dict[str, Any]:
    """A part."""
    return {"type": "text", "text": said}


def plain(*messages: Any, own_host: bool = True, **fields: Any) -> dict[str, Any]:
    """The fields that are sent."""
    return plain_fields({"messages": list(messages) or [HI], **fields}, own_host=own_host)


def built(own_host: bool, **fields: Any) -> dict[str, Any]:
    """The body that goes upstream for a Messages request."""
    body = msgspec.json.encode({"model": "m", "max_tokens": 9, "messages": [HI], **fields})
    outgoing = OpenAIProvider("lab", own_host=own_host).build(parse(body, {}), "routed", 7)
    assert outgoing.path == "/chat/completions"
    return dict(msgspec.json.decode(outgoing.body))


def test_request_of_another_dialect_is_built_from_its_translation() -> None:
    """Under our model and cap, with usage asked for where it streams."""
    assert built(own_host=True, system="s", stream=True) == {
        "model": "routed",
        "messages": [{"role": "system", "content": "s"}, HI],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 7,
    }


@pytest.mark.parametrize(
    ("fields", "own", "other"),
    [
        ({"top_k": 5}, {}, {"top_k": 5}),
        ({"metadata": {"user_id": "u"}}, {"safety_identifier": "u"}, {"user": "u"}),
        ({"service_tier": "auto"}, {"service_tier": "auto"}, {}),
        ({"cache_control": MARK}, {}, {}),
        ({"thinking": {"type": "disabled"}}, {}, {}),
        ({"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        ({"temperature": 0.5}, {"temperature": 0.5}, {"temperature": 0.5}),
    ],
)
def test_settings_are_those_that_the_server_knows(
    fields: dict[str, Any], own: dict[str, Any], other: dict[str, Any]
) -> None:
    """OpenAI's own hosts refuse a field that they do not know; others read more and less."""
    always = {"model", "messages", "stream", "max_tokens", "max_completion_tokens"}
    for own_host, expected in ((True, own), (False, other)):
        sent = built(own_host, **fields)
        assert {key: value for key, value in sent.items() if key not in always} == expected


CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (CLOSED, True),
        ({**CLOSED, "properties": {"a": {"type": "array", "items": CLOSED}}}, True),
        ({**CLOSED, "required": []}, None),
        ({**CLOSED, "additionalProperties": True}, None),
        ({**CLOSED, "properties": {"a": {"anyOf": [{"type": "object"}]}}}, None),
        ({**CLOSED, "$defs": {"b": {**CLOSED, "required": None}}}, None),
    ],
)
def test_schema_is_kept_to_where_openai_can(schema: dict[str, Any], strict: bool | None) -> None:
    """Anthropic's API always does; OpenAI's takes `strict` only for schemas that leave nothing open."""
    form = {"format": {"type": "json_schema", "schema": schema}}
    sent = built(own_host=True, output_config=form)["response_format"]["json_schema"]
    assert sent == {"name": "answer", "schema": schema} | ({"strict": True} if strict else {})
    assert "strict" not in built(own_host=False, output_config=form)["response_format"]["json_schema"]


def test_long_user_id_keeps_within_the_bound() -> None:
    """The same user has the same name, in at most 128 characters."""
    first, again, other = (built(True, metadata={"user_id": name * 70}) for name in ("ab", "ab", "cd"))
    assert len(first["safety_identifier"]) == 64
    assert first["safety_identifier"] == again["safety_identifier"] != other["safety_identifier"]


def test_texts_are_one_string_and_marks_are_gone() -> None:
    """Many servers read no arrays of text."""
    marked = {"type": "text", "text": "a", "cache_control": MARK}
    assert plain({"role": "system", "content": [marked, text("b")]}, {"role": "user", "content": [marked, IMAGE]})[
        "messages"
    ] == [
        {"role": "system", "content": "a\n\nb"},
        {"role": "user", "content": [text("a"), IMAGE]},
    ]


def test_reasoning_goes_where_it_is_wanted() -> None:
    """DeepSeek wants the text back, OpenAI's own host refuses it; nobody here reads another family's proof."""
    thought = {"role": "assistant", "content": "a", "reasoning_content": "hm", "reasoning_details": [{"index": 0}]}
    assert plain(thought, own_host=True)["messages"] == [{"role": "assistant", "content": "a"}]
    other = plain(thought, own_host=False)["messages"]
    assert other == [{"role": "assistant", "content": "a", "reasoning_content": "hm"}]


def test_images_in_results_follow_in_a_message_of_the_users() -> None:
    """After the last result in a row, since results must stand together behind their calls."""
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = plain(
        {"role": "assistant", "content": None, "tool_calls": [{**call, "cache_control": MARK}]},
        {"role": "tool", "tool_call_id": "t", "content": [text("see"), IMAGE], "is_error": True},
        {"role": "tool", "tool_call_id": "u", "content": "x", "cache_control": MARK},
        HI,
        {"role": "tool", "tool_call_id": "v", "content": [IMAGE]},
    )["messages"]
    assert messages == [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t", "content": "see"},
        {"role": "tool", "tool_call_id": "u", "content": "x"},
        {"role": "user", "content": [IMAGE]},
        HI,
        {"role": "tool", "tool_call_id": "v", "content": ""},
        {"role": "user", "content": [IMAGE]},
    ]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "container_upload"}]}]}, "messages[0].content[0].type"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "file", "file": {"file_data": "https://a.example/a.pdf"}}]}
                ]
            },
            "messages[0].content[0].file.file_data",
        ),
        ({"messages": [HI], "tools": [{"type": "web_search_20260318", "name": "w"}]}, "tools[0]"),
        ({"messages": [HI], "tools": [{"type": "mcp"}]}, "tools[0]"),
    ],
)
def test_what_only_anthropic_does_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    """A 400 that says what, before anything is sent."""
    with pytest.raises(ClientError) as caught:
        plain_fields(fields, own_host=False)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "unsupported_parameter", param)


def test_own_dialect_is_not_touched() -> None:
    """What a Chat Completions client sends passes as it is."""
    body = msgspec.json.encode({"model": "m", "messages": [{**HI, "cache_control": MARK}], "top_k": 5, "x": 1})
    sent = OpenAIProvider("lab", own_host=True).build(parse_completions(body), "m", 7).body
    assert msgspec.json.decode(sent)["messages"] == [{**HI, "cache_control": MARK}]
    assert msgspec.json.decode(sent)["x"] == 1
