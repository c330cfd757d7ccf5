"""Bodies of `POST /v1/ui-stream`: what they become in Chat Completions vocabulary, and what is refused by its name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rillgate.dialects.ui_stream import parse
from rillgate.dialects.ui_stream_request import message_id
from rillgate.domain.delta import ANTHROPIC_ORIGIN
from rillgate.domain.errors import ClientError

Fields = dict[str, Any]
SCHEMA: Fields = {"type": "object", "properties": {}}
DONE: Fields = {"state": "done"}


def user(*parts: Fields) -> Fields:
    """A user's message."""
    return {"id": "m1", "role": "user", "parts": list(parts)}


def assistant(*parts: Fields) -> Fields:
    """The model's."""
    return {"id": "m2", "role": "assistant", "parts": list(parts), "metadata": {"x": 1}}


def text(said: str) -> Fields:
    """A text part."""
    return {"type": "text", "text": said}


def fields_of(*messages: Fields, **body: Any) -> Fields:
    """What a body becomes."""
    said = list(messages) or [user(text("hi"))]
    sent = {"id": "chat1", "trigger": "submit-message", "messages": said, **body}
    return dict(parse(msgspec.json.encode(sent)).fields)


def messages_of(*messages: Fields) -> list[Fields]:
    """What these messages become."""
    found: list[Fields] = fields_of(*messages)["messages"]
    return found


def test_parse_is_what_use_chat_sends() -> None:
    """Four fields of its own; the model and the cap beside them, as the page gives them; always a stream."""
    request = parse(
        b'{"id":"c","messages":[{"id":"m1","role":"user","parts":[{"type":"text","text":"hi"}]}],'
        b'"trigger":"submit-message","messageId":"m1","model":"m","maxOutputTokens":9,"my_own":{"x":1}}'
    )
    assert request.fields == {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    assert (request.model, request.stream, request.output_tokens_asked) == ("m", True, 9)
    assert (request.dialect, request.include_usage) == ("ui_stream", True)
    assert parse(b'{"messages":[{"role":"user","parts":[{"type":"text","text":"hi"}]}],"stream":false}').stream is False


def test_parse_settings_are_those_of_ai_sdk() -> None:
    """Under its own names; a tool is what the page runs."""
    fields = fields_of(
        instructions="Be kind.",
        temperature=0.5,
        topP=0.9,
        topK=5,
        presencePenalty=1,
        frequencyPenalty=0.5,
        seed=7,
        stopSequences=["END"],
        reasoning="low",
        tools={"weather": {"description": "d", "inputSchema": SCHEMA, "strict": True}},
        toolChoice={"type": "tool", "toolName": "weather"},
    )
    assert fields == {
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "presence_penalty": 1,
        "frequency_penalty": 0.5,
        "seed": 7,
        "stop": ["END"],
        "reasoning_effort": "low",
        "tools": [
            {
                "type": "function",
                "function": {"name": "weather", "parameters": SCHEMA, "description": "d", "strict": True},
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "stream": True,
    }
    assert fields_of(system="Be kind.")["messages"] == fields["messages"]  # as it was called until version 6
    assert "reasoning_effort" not in fields_of(reasoning="provider-default")
    assert "tool_choice" not in fields_of(toolChoice="auto")  # there is nothing to choose from


def test_parse_steps_are_turns_with_the_results_of_their_calls() -> None:
    """What the model thought, said and called, then what came of it, step by step; whatever state the calls are in."""
    kept = {"providerMetadata": {"rillgate": {"signature": "c2ln", "format": ANTHROPIC_ORIGIN}}}
    hidden = {"providerMetadata": {"rillgate": {"data": "xyz", "format": ANTHROPIC_ORIGIN}, "other": {"a": 1}}}
    called = {"toolCallId": "c1", "input": {"city": "Köln"}}
    messages = messages_of(
        user(text("hi")),
        assistant(
            {"type": "step-start"},
            {"type": "reasoning", "text": "Hm.", **DONE, **kept},
            {"type": "reasoning", "text": "", **DONE, **hidden},
            {**text("Let me see."), **DONE},
            {"type": "tool-weather", "state": "output-available", **called, "output": {"sky": "blue"}},
            {
                "type": "dynamic-tool",
                "toolName": "time",
                "toolCallId": "c2",
                "state": "output-error",
                "errorText": "no",
            },
            {
                "type": "tool-a",
                "toolCallId": "c3",
                "state": "output-denied",
                "input": {},
                "approval": {"reason": "No!"},
            },
            {"type": "tool-b", "toolCallId": "c4", "state": "approval-responded", "approval": {"approved": False}},
            {"type": "tool-c", "toolCallId": "c5", "state": "input-streaming", "rawInput": '{"a'},
            {"type": "tool-d", "toolCallId": "c6", "state": "input-available", "input": {}},
            {"type": "tool-e", "toolCallId": "c7", "state": "output-error", "rawInput": "{a", "errorText": "not JSON"},
            {"type": "data-weather", "data": {"x": 1}},
            {"type": "source-url", "sourceId": "s", "url": "https://p.example"},
            {"type": "step-start"},
            text("Blue."),
            {"type": "steering-message", "id": "s1", "parts": [text("Really?")]},
            {"type": "step-start"},
            text("Yes."),
        ),
        user(text("Thanks."), {"type": "data-note", "data": 1}),
    )

    def call(call_id: str, name: str, arguments: str) -> Fields:
        return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}

    def result(call_id: str, content: str, **more: Any) -> Fields:
        return {"role": "tool", "tool_call_id": call_id, "content": content, **more}

    assert messages == [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "reasoning_content": "Hm.",
            "reasoning_details": [
                {"type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "format": ANTHROPIC_ORIGIN, "index": 0},
                {"type": "reasoning.encrypted", "data": "xyz", "format": ANTHROPIC_ORIGIN, "index": 1},
            ],
            "content": "Let me see.",
            "tool_calls": [
                call("c1", "weather", '{"city":"Köln"}'),
                call("c2", "time", "{}"),
                call("c3", "a", "{}"),
                call("c4", "b", "{}"),
                call("c7", "e", '{"_raw":"{a"}'),
            ],
        },
        result("c1", '{"sky":"blue"}'),
        result("c2", "no", is_error=True),
        result("c3", "No!", is_error=True),
        result("c4", "The user did not allow this call.", is_error=True),
        result("c7", "not JSON", is_error=True),
        {"role": "assistant", "content": "Blue."},
        {"role": "user", "content": "Really?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Thanks."},
    ]


def test_parse_files_are_what_their_media_types_say() -> None:
    """Images, sounds, documents; a system message is the page's own words."""
    (system, asked) = messages_of(
        {"role": "system", "parts": [text("Be"), text(" kind.")]},
        user(
            {"type": "file", "mediaType": "image/png", "url": "https://p.example/1.png"},
            {"type": "file", "mediaType": "audio/mpeg", "url": "data:audio/mpeg;base64,UklG"},
            {
                "type": "file",
                "mediaType": "application/pdf",
                "url": "data:application/pdf;base64,JV",
                "filename": "a.pdf",
            },
            {"type": "file", "mediaType": "application/pdf", "url": "data:application/pdf;base64,JV"},
        ),
    )
    assert system == {"role": "system", "content": [text("Be"), text(" kind.")]}
    assert asked["content"] == [
        {"type": "image_url", "image_url": {"url": "https://p.example/1.png"}},
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "mp3"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JV"}},
        {"type": "file", "file": {"filename": "document", "file_data": "data:application/pdf;base64,JV"}},
    ]


def test_message_of_the_answer_is_the_one_that_goes_on() -> None:
    """After the results of its calls; after the user a new one."""
    assert message_id({"messages": [user(), assistant()]}, "req_1") == "m2"
    assert message_id({"messages": [assistant(), user()]}, "req_1") == "msg_1"
    assert message_id({"messages": [{**assistant(), "id": ""}]}, "req_1") == "msg_1"
    assert message_id({}, "req_1") == "msg_1"


IMAGE: Fields = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,aGk="}
PART = "messages[0].parts[0]"


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"messages": None}, "messages", "missing_required_parameter"),
        ({"messages": {}}, "messages", "invalid_type"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [user()]}, "messages", "invalid_value"),
        ({"messages": ["hi"]}, "messages[0]", "invalid_type"),
        ({"messages": [{"role": "tool", "parts": []}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "messages[0].parts", "missing_required_parameter"),
        ({"messages": [{"role": "user", "parts": "hi"}]}, "messages[0].parts", "invalid_type"),
        ({"messages": [user("hi")]}, PART, "invalid_type"),  # type: ignore[arg-type]
        ({"messages": [user({})]}, f"{PART}.type", "missing_required_parameter"),
        ({"messages": [user({"type": "text"})]}, f"{PART}.text", "missing_required_parameter"),
        ({"messages": [user({"type": "reasoning", "text": "x"})]}, f"{PART}.type", "invalid_value"),
        ({"messages": [{"role": "system", "parts": [IMAGE]}]}, f"{PART}.type", "invalid_value"),
        ({"messages": [assistant(IMAGE)]}, f"{PART}.type", "invalid_value"),
        ({"messages": [user({**IMAGE, "url": "blob:https://p.example/1"})]}, f"{PART}.url", "invalid_value"),
        ({"messages": [user({"type": "file", "url": "data:,"})]}, f"{PART}.mediaType", "missing_required_parameter"),
        (
            {"messages": [user({**IMAGE, "providerReference": {"openai": "file-1"}})]},
            f"{PART}.providerReference",
            "invalid_value",
        ),
        (
            {"messages": [assistant({"type": "tool-a", "state": "output-available", "output": 1})]},
            f"{PART}.toolCallId",
            "missing_required_parameter",
        ),
        (
            {"messages": [assistant({"type": "dynamic-tool", "toolCallId": "c", "state": "output-error"})]},
            f"{PART}.toolName",
            "missing_required_parameter",
        ),
        ({"max_tokens": 5}, "max_tokens", "unknown_parameter"),
        ({"top_p": 0.5}, "top_p", "unknown_parameter"),
        ({"instructions": 3}, "instructions", "invalid_type"),
        ({"maxOutputTokens": 0}, "maxOutputTokens", "invalid_value"),
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"stopSequences": [1]}, "stopSequences", "invalid_value"),
        ({"system": 3}, "system", "invalid_type"),
        ({"tools": [{"name": "x"}]}, "tools", "invalid_type"),
        ({"tools": {"a": 3}}, "tools.a", "invalid_type"),
        ({"tools": {"a": {}}}, "tools.a.inputSchema", "missing_required_parameter"),
        ({"toolChoice": {"type": "tool"}}, "toolChoice", "invalid_value"),
        ({"stream": "yes"}, "stream", "invalid_type"),
    ],
)
def test_parse_refuses_by_name(body: Fields, param: str, code: str) -> None:
    """400, the field, and what to do instead."""
    with pytest.raises(ClientError) as refused:
        parse(msgspec.json.encode({"messages": [user(text("hi"))], **body}))
    assert (refused.value.status, refused.value.param, refused.value.code) == (400, param, code)
    assert param in refused.value.message or "messages" in refused.value.message


def test_parse_takes_an_output_that_is_nested_deeply() -> None:
    """As text, like any other."""
    deep: Any = "x"
    for _ in range(900):
        deep = [deep]
    part = {"type": "tool-a", "toolCallId": "c", "state": "output-available", "output": deep}
    assert messages_of(assistant(part))[1]["content"].startswith("[[[")
