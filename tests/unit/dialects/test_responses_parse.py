"""Bodies of `POST /v1/responses`: what they become in Chat Completions vocabulary, and what is refused by its name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rillgate.dialects.responses import parse
from rillgate.dialects.responses_reasoning import opened, sealed
from rillgate.dialects.whole import Opaque, Thought
from rillgate.domain.delta import ANTHROPIC_ORIGIN, OPENAI_ORIGIN
from rillgate.domain.errors import ClientError

Fields = dict[str, Any]
SCHEMA: Fields = {"type": "object", "properties": {}}
TOOL: Fields = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True}


def fields_of(**body: Any) -> Fields:
    """What a body becomes."""
    return dict(parse(msgspec.json.encode({"input": "hi", **body})).fields)


def messages_of(*items: Fields, **body: Any) -> list[Fields]:
    """What these items become."""
    messages: list[Fields] = fields_of(input=items, **body)["messages"]
    return messages


def test_parse_string_input_is_one_message_under_the_instructions() -> None:
    """Instructions stand first; nothing else is made up."""
    request = parse(b'{"model":"m","input":"hi","instructions":"Be kind.","max_output_tokens":9,"stream":true}')
    assert request.fields == {
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}],
        "stream": True,
    }
    assert (request.model, request.stream, request.output_tokens_asked) == ("m", True, 9)
    assert (request.dialect, request.include_usage) == ("responses", True)


def test_parse_model_items_that_stand_together_are_one_turn() -> None:
    """Reasoning, words and calls: their results must follow at once; another turn begins after them."""
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "c1",
        "name": "f",
        "arguments": "{}",
        "status": "completed",
    }
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    said = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
        {"type": "output_text", "text": "Let me see.", "annotations": [], "logprobs": []}
    ]}  # fmt: skip
    result = {"type": "function_call_output", "call_id": "c1", "output": "4"}
    further = {"type": "function_call", "call_id": "c2", "name": "f", "arguments": '{"a":1}'}
    assert messages_of({"role": "user", "content": "hi"}, thought, said, call, result, further) == [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "reasoning_content": "Hm.",
            "content": "Let me see.",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c2", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
        },
    ]


def test_parse_parts_are_those_of_chat_completions() -> None:
    """Text, images, files, sound, refusals; also in a tool's result; a mark for the cache as other clients write it."""
    mark = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}
    parts = [
        {"type": "input_text", "text": "a", **mark},
        {"type": "input_image", "image_url": "https://p.example/1.png", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
        {"type": "input_file", "file_url": "https://p.example/a.pdf"},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ]
    user, answer, call, result = messages_of(
        {"type": "message", "role": "user", "content": parts},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "developer", "content": "Do."},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "4"}, parts[1]]},
    )
    image = {"type": "image_url", "image_url": {"url": "https://p.example/1.png", "detail": "low"}}
    assert user["content"] == [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "12h"}},
        image,
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
        {"type": "file", "file": {"filename": "document", "file_data": "https://p.example/a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ]
    assert answer == {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert call == {"role": "developer", "content": "Do."}
    assert result["content"] == [{"type": "text", "text": "4"}, image]


def test_parse_reasoning_gives_back_what_was_sealed() -> None:
    """Text with its proof, what nobody can read, and what OpenAI itself wrote, each to its own family."""
    signed = sealed(Thought("Hm.", "c2ln", ANTHROPIC_ORIGIN))
    hidden = sealed(Opaque("xyz", ANTHROPIC_ORIGIN))
    (message,) = messages_of(
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": signed},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": hidden},
        {"type": "reasoning", "id": "rs_3", "summary": [], "encrypted_content": "gAAAAABpPDIU"},
    )
    assert message == {
        "role": "assistant",
        "content": "",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "format": ANTHROPIC_ORIGIN, "index": 0},
            {"type": "reasoning.encrypted", "data": "xyz", "format": ANTHROPIC_ORIGIN, "index": 1},
            {"type": "reasoning.encrypted", "data": "gAAAAABpPDIU", "format": OPENAI_ORIGIN, "index": 2},
        ],
    }
    assert sealed(Opaque("gAAAAABpPDIU", OPENAI_ORIGIN)) == "gAAAAABpPDIU"


@pytest.mark.parametrize(
    "broken", ["rillgate.", "rillgate.%%%", "rillgate.bm8gSlNPTg==", "rillgate.WzFd", "rillgate.é"]
)
def test_sealed_reasoning_that_is_broken_is_nobodys(broken: str) -> None:
    """Cut short or written by somebody else: passed on as what it may be, and no error."""
    assert opened(broken) == {"type": "reasoning.encrypted", "data": broken, "format": OPENAI_ORIGIN}


def test_parse_tools_their_choice_and_the_answers_form_are_nested() -> None:
    """What is flat here has an object of its own there."""
    form = {"type": "json_schema", "name": "a", "schema": SCHEMA, "strict": True}
    fields = fields_of(
        tools=[TOOL],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        text={"format": form, "verbosity": "low"},
        reasoning={"effort": "low", "summary": "auto"},
        temperature=0.5,
        top_p=0.9,
        safety_identifier="u",
        prompt_cache_key="k",
        metadata={"a": "b"},
    )
    del fields["messages"]
    assert fields == {
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}}
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}},
        "verbosity": "low",
        "reasoning_effort": "low",
        "reasoning_summary": "auto",
        "temperature": 0.5,
        "top_p": 0.9,
        "safety_identifier": "u",
        "prompt_cache_key": "k",
        "stream": False,
    }
    assert fields_of(text={"format": {"type": "json_object"}})["response_format"] == {"type": "json_object"}
    assert "response_format" not in fields_of(text={"format": {"type": "text"}})
    assert "tool_choice" not in fields_of(tool_choice="auto")  # there is nothing to choose from
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}
    assert fields_of(tools=[TOOL], tool_choice=allowed)["tool_choice"] == {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
    }


def test_parse_takes_what_only_openai_would_act_on() -> None:
    """Defaults that SDKs send, and fields that are nobody's: none of them is an error or goes anywhere."""
    more: Fields = {
        "store": True,
        "background": False,
        "previous_response_id": None,
        "truncation": "auto",
        "include": ["reasoning.encrypted_content"],
        "max_tool_calls": 3,
        "top_logprobs": 0,
        "stream_options": {"include_obfuscation": False},
        "a_new_field": {"x": 1},
    }
    assert fields_of(**more) == fields_of()


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"input": None}, "input", "missing_required_parameter"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": 3}, "input", "invalid_type"),
        ({"input": ["hi"]}, "input[0]", "invalid_type"),
        ({"input": [{}]}, "input[0].type", "missing_required_parameter"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type", "unsupported_value"),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input[0].type", "unsupported_value"),
        ({"input": [{"type": ["x"]}]}, "input[0].type", "unsupported_value"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role", "invalid_value"),
        ({"input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
        ({"input": [{"role": "user", "content": 3}]}, "input[0].content", "invalid_type"),
        ({"input": [{"role": "user", "content": ["x"]}]}, "input[0].content[0]", "invalid_type"),
        ({"input": [{"role": "user", "content": [{}]}]}, "input[0].content[0].type", "missing_required_parameter"),
        ({"input": [{"role": "user", "content": [{"type": "text"}]}]}, "input[0].content[0].type", "invalid_value"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            "input[0].content[0].text",
            "missing_required_parameter",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].file_id",
            "unsupported_value",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].file_id",
            "unsupported_value",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "input[0].content[0].input_audio",
            "invalid_type",
        ),
        (
            {"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]},
            "input[0].call_id",
            "missing_required_parameter",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]},
            "input[0].arguments",
            "invalid_type",
        ),
        (
            {"input": [{"type": "function_call_output", "call_id": "c"}]},
            "input[0].output",
            "missing_required_parameter",
        ),
        (
            {"input": [{"type": "reasoning", "summary": [], "encrypted_content": 3}]},
            "input[0].encrypted_content",
            "invalid_type",
        ),
        ({"input": [{"type": "reasoning", "summary": "x"}]}, "input[0].summary", "invalid_type"),
        ({"input": [{"type": "reasoning", "summary": ["x"]}]}, "input[0].summary[0]", "invalid_type"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "unsupported_parameter"),
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "unsupported_parameter"),
        ({"background": True}, "background", "unsupported_parameter"),
        ({"store": "yes"}, "store", "invalid_type"),
        ({"include": ["message.output_text.logprobs"]}, "include", "unsupported_parameter"),
        ({"top_logprobs": 2}, "top_logprobs", "unsupported_parameter"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "unsupported_parameter"),
        ({"tools": [TOOL, {"type": "custom", "name": "x"}]}, "tools[1].type", "unsupported_parameter"),
        ({"tools": [{"type": "function"}]}, "tools[0].name", "missing_required_parameter"),
        ({"tools": [{"type": "function", "name": "f", "parameters": 3}]}, "tools[0].parameters", "invalid_type"),
        ({"tools": [3]}, "tools[0]", "invalid_type"),
        ({"tools": [TOOL], "tool_choice": {"type": "web_search"}}, "tool_choice", "invalid_value"),
        ({"tools": [TOOL], "tool_choice": "always"}, "tool_choice", "invalid_value"),
        ({"tool_choice": {"type": "allowed_tools", "tools": [{}]}}, "tool_choice.tools[0]", "invalid_value"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls", "invalid_type"),
        ({"instructions": ["x"]}, "instructions", "invalid_type"),
        ({"max_output_tokens": 0}, "max_output_tokens", "invalid_value"),
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"metadata": []}, "metadata", "invalid_type"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", "invalid_value"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema", "missing_required_parameter"),
        ({"text": {"verbosity": 3}}, "text.verbosity", "invalid_type"),
        ({"reasoning": {"effort": 3}}, "reasoning.effort", "invalid_type"),
        ({"stream": "yes"}, "stream", "invalid_type"),
    ],
)
def test_parse_refuses_by_name(body: Fields, param: str, code: str) -> None:
    """400, the field, and what to do instead."""
    with pytest.raises(ClientError) as refused:
        fields_of(**body)
    assert (refused.value.status, refused.value.param, refused.value.code) == (400, param, code)
    assert param in refused.value.message
