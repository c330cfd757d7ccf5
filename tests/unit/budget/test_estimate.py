"""The estimate of a prompt: the published overheads, nothing for what is no text, and no shape that breaks it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.budget.estimate import (
    TEMPLATE_TOKENS,
    estimate_prompt,
    prompt_bytes,
    prompt_texts,
    prompt_tokens_max,
)


class Words:
    """An encoding of one token for each word, so that sums can be checked by eye."""

    def __init__(self, name: str = "o200k_base") -> None:
        self._name = name

    @property
    def name(self) -> str:
        """The name that decides on overheads."""
        return self._name

    def count(self, text: str) -> int:
        """Words between white space and colons."""
        return len(text.replace(":", " ").split())

    def pieces(self, text: str) -> list[str]:
        """Not asked for here."""
        raise NotImplementedError


def user(content: object, **more: object) -> dict[str, object]:
    """A user's message."""
    return {"role": "user", "content": content, **more}


MESSAGE, REPLY = 4, 3  # 3 around a message and 1 for its role; 3 that begin the reply


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], REPLY),
        ([user("one two three")], REPLY + MESSAGE + 3),
        ([user("one"), {"role": "assistant", "content": "two"}], REPLY + 2 * MESSAGE + 2),
        ([user("one", name="Ann")], REPLY + MESSAGE + 1 + 1 + 1),
        ([user([{"type": "text", "text": "one two"}, {"type": "text", "text": "three"}])], REPLY + MESSAGE + 3),
        ([user(["one", "two three"])], REPLY + MESSAGE + 3),
        ([user({"type": "text", "text": "one"})], REPLY + MESSAGE + 1),
        ([user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA BB CC"}}])], REPLY + MESSAGE),
        ([user([{"type": "input_audio", "input_audio": {"data": "A B C", "format": "wav"}}])], REPLY + MESSAGE),
        ([user([{"type": "file", "file": {"file_data": "A B C", "filename": "d e"}}])], REPLY + MESSAGE),
        ([{"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot"}]}], REPLY + MESSAGE + 2),
        ([{"role": "assistant", "content": None, "refusal": "no"}], REPLY + MESSAGE + 1),
        ([{"role": "assistant", "content": "a", "reasoning_content": "b c"}], REPLY + MESSAGE + 3),
        (
            [{"role": "assistant", "tool_calls": [{"id": "x y", "function": {"name": "f", "arguments": "{} {}"}}]}],
            REPLY + MESSAGE + 3,
        ),
        (
            [{"role": "assistant", "tool_calls": [{"type": "custom", "custom": {"name": "f", "input": "a b"}}]}],
            REPLY + MESSAGE + 3,
        ),
        ([{"role": "assistant", "function_call": {"name": "f", "arguments": "a"}}], REPLY + MESSAGE + 2),
        ([{"role": "tool", "tool_call_id": "a b c", "content": "done well"}], REPLY + MESSAGE + 2),
    ],
)
def test_estimate_of_messages_is_their_text_and_the_published_overheads(messages: list[Any], expected: int) -> None:
    """3 for each message, 1 for its role, 1 for a name, 3 for the reply; images, audio and files count nothing."""
    assert estimate_prompt({"messages": messages}, Words()) == expected


def function(**fields: object) -> dict[str, Any]:
    """A request with one tool."""
    return {"tools": [{"type": "function", "function": {"name": "find", **fields}}]}


TOOL, TOOLS, PROPERTIES, PROPERTY = 7, 12, 3, 3


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (function(), TOOL + TOOLS + 1),
        (function(description="two words"), TOOL + TOOLS + 3),
        (function(parameters={"type": "object", "properties": {}}), TOOL + TOOLS + 1),
        (
            function(parameters={"properties": {"a": {"type": "string", "description": "the text"}, "b": {}}}),
            TOOL + TOOLS + 1 + PROPERTIES + 2 * PROPERTY + 4 + 1,
        ),
        (
            function(parameters={"properties": {"a": {"type": "string", "enum": ["x", "y", 3]}}}),
            TOOL + TOOLS + 1 + PROPERTIES + PROPERTY + 2 - 3 + 3 * 3 + 3,
        ),
        (
            function(parameters={"properties": {"a": {"type": ["string", "null"]}}}),
            TOOL + TOOLS + 1 + PROPERTIES + PROPERTY + 2,
        ),
        (
            function(parameters={"properties": {"a": {"type": "array", "items": {"properties": {"b": {}}}}}}),
            TOOL + TOOLS + 1 + 2 * PROPERTIES + 2 * PROPERTY + 2 + 1,
        ),
        (
            function(parameters={"$defs": {"d": {"properties": {"b": {}}}}, "anyOf": [{"properties": {"c": {}}}]}),
            TOOL + TOOLS + 1 + 2 * PROPERTIES + 2 * PROPERTY + 2,
        ),
        ({"tools": [*function()["tools"], *function()["tools"]]}, 2 * (TOOL + 1) + TOOLS),
        ({"functions": [{"name": "old", "description": "way"}]}, TOOL + TOOLS + 2),
        (
            {"tools": [{"type": "custom", "custom": {"name": "c", "format": {"grammar": {"definition": "a b"}}}}]},
            TOOL + TOOLS + 1 + 2,
        ),
        (
            {"response_format": {"json_schema": {"name": "n", "schema": {"properties": {"a": {}}}}}},
            TOOL + 1 + PROPERTIES + PROPERTY + 1,
        ),
        ({"response_format": {"type": "json_object"}, "tools": []}, 0),
    ],
)
def test_estimate_of_tools_follows_the_published_formula(fields: dict[str, Any], expected: int) -> None:
    """Tokens around each function, property and enumeration, nested schemas included, and 12 once for all tools."""
    assert estimate_prompt(fields, Words()) == REPLY + expected


def test_estimate_of_tools_for_older_models_counts_more_around_a_function() -> None:
    """Models of cl100k_base take 10 tokens around a function, later ones 7."""
    older = estimate_prompt(function(), Words("cl100k_base"))
    assert older == estimate_prompt(function(), Words("o200k_base")) + 3


def test_texts_are_those_that_reach_the_model() -> None:
    """Messages first, then tools; ids, roles and data URLs are not among them."""
    fields = {
        "model": "m",
        "user": "u",
        "messages": [user("Hi", name="Ann"), user([{"type": "image_url", "image_url": {"url": "data:x"}}])],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d"}}],
    }
    assert prompt_texts(fields) == ["Hi", "Ann", "f:d"]


def test_bytes_measure_utf8_and_grow_with_the_prompt() -> None:
    """The measure follows the text in bytes, not in characters."""
    assert prompt_bytes({"messages": [user("é" * 1000)]}) - prompt_bytes({"messages": [user("")]}) == 2000


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
KEYS = [
    *("messages", "tools", "functions", "response_format", "json_schema", "schema", "role", "content", "name", "text"),
    *("tool_calls", "function_call", "function", "custom", "arguments", "format", "grammar", "definition", "refusal"),
    *("parameters", "properties", "type", "description", "enum", "items", "anyOf", "$defs", "additionalProperties"),
]
requests: st.SearchStrategy[Any] = st.recursive(
    json_values,
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=5) | st.lists(inner, max_size=3),
    max_leaves=25,
)


@given(st.dictionaries(st.sampled_from(KEYS), requests, max_size=6))
def test_estimate_of_any_json_object_raises_nothing_and_stays_below_its_bytes(fields: dict[str, Any]) -> None:
    """Whatever a client sends where lists, objects and strings are expected, there is a number, and a bound for it."""
    assert 0 < estimate_prompt(fields, Words()) <= prompt_bytes(fields)
    assert all(isinstance(text, str) for text in prompt_texts(fields))


def test_estimate_of_a_schema_nested_past_any_recursion_counts_every_level() -> None:
    """The depth of a schema is the client's choice and costs no stack."""
    schema: dict[str, Any] = {}
    for _ in range(50_000):
        schema = {"properties": {"a": schema}}
    assert estimate_prompt(function(parameters=schema), Words()) == REPLY + TOOL + TOOLS + 1 + 50_000 * 7


def test_estimate_of_numbers_that_cannot_be_written_out_raises_nothing() -> None:
    """Python writes out no integer of thousands of digits; such an option of an enumeration counts as no text."""
    options = [10**5000, float("inf"), float("nan"), -(10**5000), 7, True, None, [1]]
    fields = function(parameters={"properties": {"a": {"enum": options}}})
    assert estimate_prompt(fields, Words()) == REPLY + TOOL + TOOLS + 1 + PROPERTIES + PROPERTY + 1 - 3 + 8 * 3 + 2


def test_prompt_tokens_max_grows_with_what_other_tokenizers_make_of_it() -> None:
    """English by half; other scripts by their bytes, and never beyond them; a template's own prompt always."""
    english = {"messages": [{"role": "user", "content": "word " * 100}]}
    chinese = {"messages": [{"role": "user", "content": "\u6cb3" * 100}]}
    assert prompt_tokens_max(english, 100) == 150 + TEMPLATE_TOKENS
    assert prompt_tokens_max(chinese, 80) == 120 + 150 + TEMPLATE_TOKENS
    assert prompt_tokens_max(chinese, 800) == prompt_bytes(chinese) + TEMPLATE_TOKENS


@pytest.mark.parametrize(
    ("given", "texts", "expected"),
    [
        ("one two", ["one two"], 2),
        (["one", "two three"], ["one", "two three"], 3),
        ([5, 6, 7], [], 3),
        ([[5, 6], [7]], [], 3),
        (None, [], 0),
        ({"a": 1}, [], 0),
    ],
)
def test_estimate_of_what_is_to_be_embedded_is_its_texts_alone(given: object, texts: list[str], expected: int) -> None:
    """Nothing stands around them, and token ids count themselves."""
    fields = {"model": "m", "input": given}
    assert prompt_texts(fields) == texts
    assert estimate_prompt(fields, Words()) == expected
    assert prompt_bytes(fields) >= expected
    beside = {"messages": [user("Hi")], "input": given}
    assert estimate_prompt(beside, Words()) == MESSAGE + 1 + REPLY
