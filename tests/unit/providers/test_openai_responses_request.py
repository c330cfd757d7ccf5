"""Requests to OpenAI's Responses API, from every dialect's vocabulary."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rillgate.dialects import chat_completions, messages, responses
from rillgate.domain.delta import OPENAI_ORIGIN
from rillgate.domain.errors import ClientError
from rillgate.providers.openai_responses import OpenAIResponsesProvider
from rillgate.providers.openai_responses_request import CAP_MIN, reasons

Fields = dict[str, Any]
MODEL = "gpt-6-luna"
SCHEMA: Fields = {"type": "object", "properties": {"a": {"type": "string"}}}
CLOSED: Fields = {**SCHEMA, "required": ["a"], "additionalProperties": False}
FUNCTION: Fields = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
ASKED: Fields = {"role": "user", "content": "hi"}


def built(request: Any, model: str = MODEL, cap: int = 900) -> Fields:
    """What goes out."""
    said: Fields = msgspec.json.decode(OpenAIResponsesProvider("lab").build(request, model, cap).body)
    return said


def chat(*turns: Fields, model: str = MODEL, cap: int = 900, **fields: Any) -> Fields:
    """What a Chat Completions request becomes."""
    body = {"messages": [*turns] or [ASKED], **fields}
    return built(chat_completions.parse(msgspec.json.encode(body)), model, cap)


def test_request_keeps_nothing_at_openai_and_wants_its_reasoning_encrypted() -> None:
    """So that the next request can bring it back."""
    assert chat() == {
        "model": MODEL,
        "input": [ASKED],
        "max_output_tokens": 900,
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    assert chat(stream=True)["stream"] is True
    assert chat(store=True)["store"] is False


@pytest.mark.parametrize(
    ("model", "found"),
    [
        *((name, True) for name in ("gpt-6-luna", "gpt-5.6-terra", "gpt-5", "o3", "o4-mini-deep-research", "my-own")),
        *(
            (name, False)
            for name in ("gpt-4o", "gpt-4.1-mini", "ft:gpt-4o-mini:acme", "openai/gpt-4o", "gpt-3.5-turbo")
        ),
        *((name, False) for name in ("chatgpt-4o-latest", "gpt-5-chat-latest", "gpt-5.3-chat-latest")),
    ],
)
def test_model_that_does_not_reason_is_not_asked_for_reasoning(model: str, found: bool) -> None:
    """It would refuse the whole request."""
    assert reasons(model) is found
    assert ("include" in chat(model=model)) is found


def test_cap_below_what_the_api_takes_is_raised_to_it() -> None:
    """The count in the stream holds the rest."""
    assert chat(cap=3)["max_output_tokens"] == CAP_MIN


def test_tool_is_strict_only_where_the_client_says_so() -> None:
    """Unsaid it is not in Chat Completions, and is in Responses."""
    strict = {"type": "function", "function": {"name": "g", "strict": True}}
    assert chat(tools=[FUNCTION, strict])["tools"] == [
        {"type": "function", "name": "f", "parameters": SCHEMA, "strict": False},
        {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": True},
    ]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("auto", "auto"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "name": "f"}),
        ({"type": "custom", "custom": {"name": "sql"}}, {"type": "custom", "name": "sql"}),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [FUNCTION]}},
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        ),
    ],
)
def test_choice_of_tools_is_said_without_inner_objects(choice: Any, said: Any) -> None:
    """And not at all where there are none."""
    assert chat(tools=[FUNCTION], tool_choice=choice)["tool_choice"] == said
    assert "tool_choice" not in chat(tool_choice="auto")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [FUNCTION], "tool_choice": {"type": "moon"}}, "tool_choice"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tools": [{"type": "moon"}]}, "tools[0]"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].custom"),
        ({"stop": ["END"]}, "stop"),
        ({"n": 2}, "n"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0].file"),
        ({"messages": [{"role": "user", "content": [{"type": "moon"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "assistant", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "function": {}}]}]},
            "messages[0].tool_calls[0].function",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]},
            "messages[0].tool_calls[0].id",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "custom"}]}]},
            "messages[0].tool_calls[0].custom",
        ),
        ({"messages": [{"role": "tool", "content": "4"}]}, "messages[0].tool_call_id"),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_name(fields: Fields, param: str) -> None:
    """Before anything is sent; some of it by the dialect already."""
    body = {"messages": [ASKED], **fields}
    with pytest.raises(ClientError) as refused:
        built(chat_completions.parse(msgspec.json.encode(body)))
    assert refused.value.param == param


def test_reasoning_goes_back_before_the_call_that_it_led_to() -> None:
    """What belongs to no call of the turn comes first; another family's, and text, is not sent."""
    details = [
        {"type": "reasoning.encrypted", "data": "gB", "format": OPENAI_ORIGIN, "id": "c2"},
        {"type": "reasoning.encrypted", "data": "gA", "format": OPENAI_ORIGIN, "id": "rs_1"},
        {"type": "reasoning.encrypted", "data": "Q0E=", "format": "google-gemini-v1"},
        {"type": "reasoning.text", "text": "Hm.", "signature": "s", "format": "anthropic-claude-v1"},
    ]
    calls = [{"id": key, "type": "function", "function": {"name": "f", "arguments": "{}"}} for key in ("c1", "c2")]
    turn = {"role": "assistant", "content": None, "tool_calls": calls, "reasoning_details": details}
    said = chat(ASKED, turn)["input"][1:]
    assert [item.get("encrypted_content") or item["call_id"] for item in said] == ["gA", "c1", "gB", "c2"]
    assert said[0] == {"type": "reasoning", "summary": [], "encrypted_content": "gA"}


def test_model_that_does_not_reason_is_given_no_reasoning() -> None:
    """It would refuse the conversation; the rest of it goes on."""
    details = [{"type": "reasoning.encrypted", "data": "gA", "format": OPENAI_ORIGIN}]
    turn = {"role": "assistant", "content": "Hi", "reasoning_details": details}
    assert [item.get("type") for item in chat(ASKED, turn, model="gpt-4o")["input"]] == [None, "message"]


def test_call_id_that_is_too_long_is_shortened_alike_for_call_and_result() -> None:
    """OpenAI takes 64 characters."""
    call_id = "call_" + "x" * 100
    call = {"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = ({"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": call_id, "content": "4"})
    _, called, result = chat(ASKED, *turns)["input"]
    assert called["call_id"] == result["call_id"]
    assert len(called["call_id"]) == 64


def test_calls_of_functions_as_they_once_were_keep_their_results() -> None:
    """By the function's name, as there were no ids yet."""
    turns = (
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "4"},
    )
    assert chat(ASKED, *turns)["input"][1:] == [
        {"type": "function_call", "call_id": "f", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "f", "output": "4"},
    ]


def test_tool_name_that_openai_does_not_take_is_written_otherwise() -> None:
    """In tools and in earlier calls."""
    call = {"id": "c", "type": "function", "function": {"name": "weather.now", "arguments": "{}"}}
    said = chat(
        ASKED,
        {"role": "assistant", "tool_calls": [call]},
        tools=[{"type": "function", "function": {"name": "weather.now"}}],
    )
    assert (said["tools"][0]["name"], said["input"][1]["name"]) == ("weather_now", "weather_now")


@pytest.mark.parametrize(("schema", "strict"), [(SCHEMA, False), (CLOSED, True)])
def test_form_of_another_dialects_answer_is_held_to_its_schema_where_that_can_be(schema: Fields, strict: bool) -> None:
    """Those dialects always promise it; Chat Completions only where `strict` is said."""
    body = {
        "max_tokens": 9,
        "messages": [ASKED],
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
    }
    form = built(messages.parse(msgspec.json.encode(body), {}))["text"]["format"]
    assert (form["strict"], form["name"]) == (strict, "answer")
    own = chat(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})
    assert own["text"]["format"]["strict"] is False


def test_summary_is_asked_for_only_where_the_client_asked() -> None:
    """OpenAI refuses it to organisations that it has not verified."""
    assert "reasoning" not in chat()
    assert chat(reasoning_effort="high")["reasoning"] == {"effort": "high"}
    body = {"input": "hi", "reasoning": {"effort": "low", "summary": "detailed"}}
    assert built(responses.parse(msgspec.json.encode(body)))["reasoning"] == {"effort": "low", "summary": "detailed"}


def test_no_effort_is_a_hint_from_other_dialects_and_a_word_in_openais_own() -> None:
    """Models that cannot stop to think refuse it."""
    assert chat(reasoning_effort="none")["reasoning"] == {"effort": "none"}
    body = {"input": "hi", "reasoning": {"effort": "none"}}
    assert "reasoning" not in built(responses.parse(msgspec.json.encode(body)))


def test_items_of_a_responses_client_come_out_as_they_went_in() -> None:
    """Reasoning of OpenAI's own, in its place."""
    items = [
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "summary": [], "encrypted_content": "gA"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "c", "output": "4"},
    ]
    body = {"instructions": "Be kind.", "input": items}
    said = built(responses.parse(msgspec.json.encode(body)))["input"]
    assert said == [{"role": "system", "content": "Be kind."}, *items]


def test_long_identifier_of_the_end_user_is_shortened() -> None:
    """Within OpenAI's bound, and the same each time."""
    assert chat(user="u" * 500)["safety_identifier"] == chat(safety_identifier="u" * 500)["safety_identifier"]
    assert len(chat(user="u" * 500)["safety_identifier"]) == 64


def test_file_by_its_address_is_fetched_by_openai() -> None:
    """As other dialects send it."""
    source = {"type": "document", "source": {"type": "url", "url": "https://files.example/a.pdf"}}
    body = {"max_tokens": 9, "messages": [{"role": "user", "content": [source]}]}
    (said,) = built(messages.parse(msgspec.json.encode(body), {}))["input"][0]["content"]
    assert said == {"type": "input_file", "file_url": "https://files.example/a.pdf"}
