"""Bodies of POST /v1/messages: their translation, field by field, and what is said of wrong ones."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rillgate.dialects.messages import parse, parse_count
from rillgate.domain.delta import ANTHROPIC_ORIGIN
from rillgate.domain.errors import ClientError
from rillgate.domain.request import ChatRequest
from rillgate.providers.conversation import Document, Image, Reasoning, Text, ToolCall, ToolResult, conversation_of

MARK = {"type": "ephemeral", "ttl": "1h"}
PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}
SCHEMA = {"type": "object", "properties": {}}


def body(*messages: Any, **fields: Any) -> bytes:
    """A request; without messages it has one of the user."""
    said = list(messages) or [{"role": "user", "content": "hi"}]
    return msgspec.json.encode({"model": "m", "max_tokens": 9, "messages": said, **fields})


def parsed(*messages: Any, **fields: Any) -> ChatRequest:
    """That request, parsed."""
    return parse(body(*messages, **fields), {})


def user(*blocks: Any) -> dict[str, Any]:
    """A user's turn."""
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    """The model's turn."""
    return {"role": "assistant", "content": list(blocks)}


def text(said: str, **more: Any) -> dict[str, Any]:
    """A text block."""
    return {"type": "text", "text": said, **more}


def test_parse_keeps_the_clients_own_fields_and_headers() -> None:
    """Anthropic's models get the request as it came, with the headers that its API knows and no other."""
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "a,b", "x-api-key": "k", "anthropic-evil": "x"}
    request = parse(body(context_management={"edits": []}, stream=True), headers)
    assert request.original == msgspec.json.decode(body(context_management={"edits": []}, stream=True))
    assert request.headers == (("anthropic-version", "2023-06-01"), ("anthropic-beta", "a,b"))
    assert (request.dialect, request.model, request.stream) == ("messages", "m", True)
    assert (request.output_tokens_asked, request.include_usage, request.choices) == (9, True, 1)
    assert request.fields == {"messages": [{"role": "user", "content": "hi"}], "stream": True}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 0.5, "top_p": 0.9, "top_k": 40}, {"temperature": 0.5, "top_p": 0.9, "top_k": 40}),
        ({"stop_sequences": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"stop_sequences": []}, {}),
        ({"metadata": {"user_id": "u"}}, {"safety_identifier": "u"}),
        ({"service_tier": "standard_only"}, {"service_tier": "default"}),
        ({"service_tier": "auto"}, {"service_tier": "auto"}),
        ({"cache_control": MARK}, {"cache_control": MARK}),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"reasoning_effort": "low"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 8192}}, {"reasoning_effort": "medium"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 31999}}, {"reasoning_effort": "high"}),
        ({"thinking": {"type": "adaptive"}}, {"reasoning_effort": "medium"}),
        ({"thinking": {"type": "between_tools"}}, {"reasoning_effort": "medium"}),
        ({"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, {"reasoning_effort": "none"}),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, {"reasoning_effort": "max"}),
        ({"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}},
        ),
        ({"mcp_servers": [{"type": "url", "url": "u"}]}, {"tools": [{"type": "mcp"}]}),
        ({"tool_choice": {"type": "any"}}, {}),  # without tools it says nothing
        ({"an_unknown_field": 1}, {}),
    ],
)
def test_parse_translates_each_setting(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each in the word that Chat Completions has for it; what it has none for is only in the original."""
    request = parsed(**fields)
    assert {key: value for key, value in request.fields.items() if key not in ("messages", "stream")} == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "f"}, {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
        ({"type": "auto", "disable_parallel_tool_use": False}, {"tool_choice": "auto"}),
    ],
)
def test_parse_translates_tools_and_their_choice(choice: dict[str, Any], expected: dict[str, Any]) -> None:
    """A tool becomes a function; its cache mark stays; one that Anthropic runs stays as it is."""
    tools = [
        {"name": "f", "description": "d", "input_schema": SCHEMA, "strict": True, "cache_control": MARK},
        {"type": "custom", "name": "g", "input_schema": SCHEMA},
        {"type": "web_search_20260318", "name": "web_search"},
    ]
    fields = dict(parsed(tools=tools, tool_choice=choice).fields)
    assert fields.pop("tools") == [
        {
            "type": "function",
            "function": {"name": "f", "parameters": SCHEMA, "description": "d", "strict": True},
            "cache_control": MARK,
        },
        {"type": "function", "function": {"name": "g", "parameters": SCHEMA}},
        {"type": "web_search_20260318", "name": "web_search"},
    ]
    del fields["messages"], fields["stream"]
    assert fields == expected


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        (None, []),
        ("", []),
        ([], []),
        ("Be kind.", [{"role": "system", "content": "Be kind."}]),
        ([text("Be kind.")], [{"role": "system", "content": "Be kind."}]),
        ([text("a", cache_control=MARK)], [{"role": "system", "content": [text("a", cache_control=MARK)]}]),
        ([text("a"), text("b")], [{"role": "system", "content": [text("a"), text("b")]}]),
    ],
)
def test_parse_puts_the_system_prompt_first(system: Any, expected: list[Any]) -> None:
    """As a message; a plain text is a plain string, which every server reads."""
    assert parsed(system=system).fields["messages"] == [*expected, {"role": "user", "content": "hi"}]


def test_parse_translates_a_turn_with_tools() -> None:
    """Results come before what else the user says, each as a message of its own; failures and marks stay on them."""
    request = parsed(
        user(text("weather?")),
        assistant(
            text("Let me "),
            text("look."),
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"city": "Köln"}, "cache_control": MARK},
            {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
        ),
        user(
            {"type": "tool_result", "tool_use_id": "t1", "content": "sunny", "cache_control": MARK},
            {"type": "tool_result", "tool_use_id": "t2", "is_error": True, "content": [text("no"), image()]},
            text("so?"),
        ),
    )
    assert request.fields["messages"] == [
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [
                {
                    "id": "t1",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"city":"Köln"}'},
                    "cache_control": MARK,
                },
                {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": [text("sunny")], "cache_control": MARK},
        {
            "role": "tool",
            "tool_call_id": "t2",
            "content": [text("no"), {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}],
            "is_error": True,
        },
        {"role": "user", "content": "so?"},
    ]
    turns = conversation_of(request.fields).turns
    assert turns[1].parts == (
        Text("Let me look."),
        ToolCall("t1", "f", {"city": "Köln"}, cache="1h"),
        ToolCall("t2", "g", {}),
    )
    assert turns[2].parts == (ToolResult("t1", "f", (Text("sunny"),), cache="1h"),)  # marked once
    assert isinstance(turns[3].parts[0], ToolResult)
    assert turns[3].parts[0].failed


def image(**more: Any) -> dict[str, Any]:
    """An image block."""
    return {"type": "image", "source": PNG, **more}


@pytest.mark.parametrize("content", [None, [], ""])
def test_parse_result_without_content_is_an_empty_text(content: Any) -> None:
    """A tool may give nothing, and a turn of results alone has no message of the user's."""
    request = parsed(user({"type": "tool_result", "tool_use_id": "t", "content": content}))
    assert request.fields["messages"] == [{"role": "tool", "tool_call_id": "t", "content": ""}]


def test_parse_keeps_thinking_with_its_proof() -> None:
    """Signed and redacted reasoning goes with its family's name; unsigned reasoning is text that others may want."""
    request = parsed(
        user(text("hi")),
        assistant(
            {"type": "thinking", "thinking": "hm", "signature": "s1"},
            {"type": "redacted_thinking", "data": "xyz"},
            {"type": "thinking", "thinking": "", "signature": "s2"},
            text("hello"),
        ),
        user(text("again")),
        assistant({"type": "thinking", "thinking": "plain", "signature": ""}, text("yes")),
    )
    first, second = (message for message in request.fields["messages"] if message["role"] == "assistant")
    assert first["reasoning_content"] == "hm"
    assert first["reasoning_details"] == [
        {"type": "reasoning.text", "text": "hm", "signature": "s1", "format": ANTHROPIC_ORIGIN, "index": 0},
        {"type": "reasoning.encrypted", "data": "xyz", "format": ANTHROPIC_ORIGIN, "index": 1},
        {"type": "reasoning.text", "text": "", "signature": "s2", "format": ANTHROPIC_ORIGIN, "index": 2},
    ]
    assert second == {"role": "assistant", "content": "yes", "reasoning_content": "plain"}
    assert conversation_of(request.fields).turns[1].parts == (
        Reasoning("hm", signature="s1", origin=ANTHROPIC_ORIGIN),
        Reasoning("", data="xyz", origin=ANTHROPIC_ORIGIN),
        Reasoning("", signature="s2", origin=ANTHROPIC_ORIGIN),
        Text("hello"),
    )


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (image(), Image("image/png", "aGk=", "", "messages[0].content[0].image_url.url")),
        (
            {"type": "image", "source": {"type": "url", "url": "https://a.example/i.png"}, "cache_control": MARK},
            Image("", "", "https://a.example/i.png", "messages[0].content[0].image_url.url", "1h"),
        ),
        (
            {"type": "document", "source": PDF, "title": "t.pdf"},
            Document("application/pdf", "aGk=", "", "t.pdf", "messages[0].content[0].file.file_data"),
        ),
        (
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "said"}},
            Text("said"),
        ),
        (
            {"type": "document", "source": {"type": "content", "content": [text("inner")]}},
            Text("inner"),
        ),
        (
            {"type": "search_result", "source": "s", "title": "T", "content": [text("found")]},
            Text("T\nfound"),
        ),
    ],
)
def test_parse_translates_each_block(block: dict[str, Any], expected: Any) -> None:
    """What providers of other families read of it."""
    assert conversation_of(parsed(user(block)).fields).turns[0].parts == (expected,)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "document", "source": {"type": "file", "file_id": "f"}},
        {"type": "container_upload", "file_id": "f"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
    ],
)
def test_parse_leaves_what_only_anthropic_reads_to_the_provider(block: dict[str, Any]) -> None:
    """It is no error of the request: Anthropic's models get it, and others refuse it by its name."""
    request = parsed(user(block, text("hi")))
    assert request.original is not None
    assert request.original["messages"][0]["content"][0] == block
    with pytest.raises(ClientError, match=block["type"]):
        conversation_of(request.fields)


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": ["hi"]}, "messages.0"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [user("hi")]}, "messages.0.content.0"),
        ({"messages": [user({"text": "hi"})]}, "messages.0.content.0.type"),
        ({"messages": [user({"type": "text"})]}, "messages.0.content.0.text"),
        ({"messages": [user({"type": "image"})]}, "messages.0.content.0.source"),
        (
            {"messages": [user({"type": "image", "source": {"type": "base64"}})]},
            "messages.0.content.0.source.media_type",
        ),
        ({"messages": [user({"type": "tool_result", "content": "x"})]}, "messages.0.content.0.tool_use_id"),
        (
            {"messages": [assistant({"type": "tool_use", "id": "t", "name": "f", "input": "{}"})]},
            "messages.0.content.0.input",
        ),
        ({"messages": [assistant({"type": "tool_use", "id": "t", "input": {}})]}, "messages.0.content.0.name"),
        ({"messages": [assistant({"type": "thinking"})]}, "messages.0.content.0.thinking"),
        ({"messages": [{"role": "system", "content": [image()]}]}, "messages.0.content.0.type"),
        ({"system": 5}, "system"),
        ({"system": [image()]}, "system.0.type"),
        ({"temperature": 1.5}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"stream": "yes"}, "stream"),
        ({"model": 5}, "model"),
        ({"stop_sequences": "a"}, "stop_sequences"),
        ({"stop_sequences": [5]}, "stop_sequences"),
        ({"tools": [5]}, "tools.0"),
        ({"tools": [{"name": "f"}]}, "tools.0.input_schema"),
        ({"tools": [{"input_schema": {}}]}, "tools.0.name"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "required"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"thinking": True}, "thinking"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"output_config": {"effort": "minimal"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json_object"}}}, "output_config.format"),
        ({"metadata": "u"}, "metadata"),
    ],
)
def test_parse_names_the_field_that_is_wrong(changed: dict[str, Any], param: str) -> None:
    """As Anthropic's own API names it, with a 400."""
    with pytest.raises(ClientError) as caught:
        parsed(**changed)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert f"'{param}'" in caught.value.message


def test_parse_of_a_count_needs_no_cap() -> None:
    """`count_tokens` takes the same fields without `max_tokens`."""
    request = parse_count(body(max_tokens=None, system="s"), {})
    assert request.output_tokens_asked is None
    assert len(request.fields["messages"]) == 2
