"""Messages of Chat Completions, read into turns of parts."""

from __future__ import annotations

from base64 import b64encode
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.domain.errors import ClientError
from rillgate.providers.conversation import (
    Conversation,
    Document,
    Image,
    Part,
    Reasoning,
    Sound,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    cache_of,
    conversation_of,
)

DATA = b64encode(b"data").decode()
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def read(*messages: dict[str, Any]) -> Conversation:
    """The conversation of these messages."""
    return conversation_of({"messages": list(messages)})


def user(*parts: dict[str, Any]) -> tuple[Part, ...]:
    """The parts of a user's message."""
    (turn,) = read({"role": "user", "content": list(parts)}).turns
    return turn.parts


def refusal(*messages: dict[str, Any]) -> ClientError:
    """The error with which these messages are refused."""
    with pytest.raises(ClientError) as caught:
        read(*messages)
    assert caught.value.status == 400
    assert caught.value.code == "invalid_value"
    return caught.value


def test_conversation_has_its_system_prompt_apart() -> None:
    """Leading messages of either name; a later one is a turn of its own."""
    found = read(
        {"role": "system", "content": "A"},
        {"role": "developer", "content": [{"type": "text", "text": "B"}]},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "C"},
    )
    assert found.system == (Text("A"), Text("B"))
    assert found.turns == (Turn("user", (Text("Hi"),)), Turn("system", (Text("C"),)))


def test_conversation_parts_are_read_by_their_types() -> None:
    """Each with the field it stands in, for refusals."""
    assert user(
        {"type": "text", "text": "Hi"},
        {"type": "text", "text": ""},
        {"type": "image_url", "image_url": {"url": f"data:IMAGE/PNG;base64,{DATA}", "detail": "low"}},
        {"type": "image_url", "image_url": "https://a/b"},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;name=a;base64,{DATA}"}},
        {"type": "input_audio", "input_audio": {"data": DATA, "format": "mp3"}},
        {"type": "refusal", "refusal": "No"},
    ) == (
        Text("Hi"),
        Image("image/png", DATA, "", "messages[0].content[2].image_url.url"),
        Image("", "", "https://a/b", "messages[0].content[3].image_url.url"),
        Document("application/pdf", DATA, "", "a.pdf", "messages[0].content[4].file.file_data"),
        Sound("mp3", DATA, "messages[0].content[5].input_audio.data"),
        Text("No"),
    )


def test_conversation_calls_and_results_belong_together() -> None:
    """A result knows its call's name, by the last call of that id; what failed says so."""
    found = read(
        {"role": "assistant", "content": "A", "tool_calls": [CALL, {**CALL, "id": "c2", "function": {"name": "g"}}]},
        {"role": "tool", "tool_call_id": "c2", "content": "R"},
        {"role": "tool", "tool_call_id": "gone", "content": "S", "is_error": True},
        {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "h", "arguments": {"b": 2}}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "T"},
    )
    assert [turn.parts for turn in found.turns] == [
        (Text("A"), ToolCall("c1", "f", {"a": 1}), ToolCall("c2", "g", {})),
        (ToolResult("c2", "g", (Text("R"),)),),
        (ToolResult("gone", "", (Text("S"),), failed=True),),
        (ToolCall("c1", "h", {"b": 2}),),
        (ToolResult("c1", "h", (Text("T"),)),),
    ]


def test_conversation_functions_as_they_once_were_are_calls_too() -> None:
    """A call without an id, whose result names the function."""
    found = read(
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}},
        {"role": "function", "name": "f", "content": "R"},
    )
    assert [turn.parts for turn in found.turns] == [
        (ToolCall("f", "f", {"a": 1}),),
        (ToolResult("f", "f", (Text("R"),)),),
    ]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"reasoning_content": "hm"}, (Reasoning("hm"),)),
        ({"reasoning": "hm"}, (Reasoning("hm"),)),
        (
            {
                "reasoning_content": "hm",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "hm", "signature": "s", "format": "x"},
                    {"type": "reasoning.encrypted", "data": "d", "format": "x"},
                    {"type": "reasoning.text", "text": "", "signature": "t", "format": "x"},
                    {"type": "reasoning.summary", "summary": "u"},
                    {"type": "reasoning.text"},
                    "odd",
                ],
            },
            (
                Reasoning("hm", "s", origin="x"),
                Reasoning("", data="d", origin="x"),
                Reasoning("", "t", origin="x"),
                Reasoning("u"),
            ),
        ),
        ({"reasoning_content": "hm", "reasoning_details": []}, (Reasoning("hm"),)),
        ({"reasoning_content": ["odd"]}, ()),
    ],
)
def test_conversation_reasoning_comes_with_its_proof_where_there_is_one(
    message: dict[str, Any], expected: tuple[Part, ...]
) -> None:
    """Before everything else that its turn says."""
    (turn,) = read({"role": "assistant", "content": "A", **message}).turns
    assert turn.parts == (*expected, Text("A"))


def test_conversation_turn_without_anything_is_none() -> None:
    """An answer that said nothing, and one whose text is empty."""
    assert read({"role": "assistant", "content": None}, {"role": "user", "content": ""}).turns == ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, None),
        ({"cache_control": None}, None),
        ({"cache_control": {"type": "ephemeral"}}, "5m"),
        ({"cache_control": {"type": "ephemeral", "ttl": "1h"}}, "1h"),
        ({"cache_control": {"ttl": 5}}, "5m"),
        ({"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}, "30m"),
    ],
)
def test_cache_mark_says_for_how_long(value: dict[str, Any], expected: str | None) -> None:
    """In either vocabulary; five minutes where it does not say."""
    assert cache_of(value) == expected


def test_conversation_cache_marks_stay_where_they_stand() -> None:
    """On a part, on a message that is a text, on a result once."""
    mark = {"cache_control": {"type": "ephemeral"}}
    found = read(
        {"role": "user", "content": [{"type": "text", "text": "A", **mark}]},
        {"role": "user", "content": "B", **mark},
        {"role": "assistant", "tool_calls": [{**CALL, **mark}]},
        {"role": "tool", "tool_call_id": "c1", "content": "R", **mark},
    )
    assert [turn.parts for turn in found.turns] == [
        (Text("A", "5m"),),
        (Text("B", "5m"),),
        (ToolCall("c1", "f", {"a": 1}, "5m"),),
        (ToolResult("c1", "f", (Text("R"),), cache="5m"),),
    ]


def test_merged_turns_alternate_with_results_first() -> None:
    """Neighbours of one side are one turn, and no part is lost."""
    result, hint = ToolResult("c1", "f", ()), Text("hint")
    turns = (
        Turn("user", (Text("A"),)),
        Turn("user", (hint,)),
        Turn("assistant", (Text("B"),)),
        Turn("user", (hint,)),
        Turn("user", (result,)),
        Turn("user", (Text("C"),)),
    )
    assert Conversation((), turns).merged() == (
        Turn("user", (Text("A"), hint)),
        Turn("assistant", (Text("B"),)),
        Turn("user", (result, hint, Text("C"))),
    )


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), st.text(min_size=1))))
def test_merged_turns_never_repeat_a_side(said: list[tuple[Any, str]]) -> None:
    """For any order of speakers, and all that was said stays in order."""
    merged = Conversation((), tuple(Turn(role, (Text(text),)) for role, text in said)).merged()
    roles = [turn.role for turn in merged]
    assert all(one != other for one, other in pairwise(roles))
    assert [part for turn in merged for part in turn.parts] == [Text(text) for _, text in said]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "video"}, "messages[0].content[0].type"),
        ({"type": "image_url"}, "messages[0].content[0].image_url.url"),
        ({"type": "image_url", "image_url": {"url": "ftp://a"}}, "messages[0].content[0].image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png,abc"}}, "messages[0].content[0].image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64"}}, "messages[0].content[0].image_url.url"),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,a b="}},
            "messages[0].content[0].image_url.url",
        ),
        ({"type": "file", "file": {"file_id": "f-1"}}, "messages[0].content[0].file"),
        ({"type": "file"}, "messages[0].content[0].file"),
        ({"type": "input_audio", "input_audio": {}}, "messages[0].content[0].input_audio.data"),
        ({"type": "input_audio", "input_audio": {"data": "ü"}}, "messages[0].content[0].input_audio.data"),
    ],
)
def test_conversation_part_that_cannot_be_read_is_refused_by_name(part: dict[str, Any], param: str) -> None:
    """The field, and no data in the message."""
    error = refusal({"role": "user", "content": [part]})
    assert error.param == param
    assert "a b=" not in error.message


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "assistant", "tool_calls": [{"id": "c"}]}, "messages[0].tool_calls[0].function"),
        ({"role": "assistant", "tool_calls": [{**CALL, "id": ""}]}, "messages[0].tool_calls[0].id"),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "{"}}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "[1]"}}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"role": "tool", "content": "R"}, "messages[0].tool_call_id"),
    ],
)
def test_conversation_call_that_cannot_be_read_is_refused_by_name(message: dict[str, Any], param: str) -> None:
    """A call needs an id, a name and an object; a result its call."""
    assert refusal(message).param == param
