"""What a request says beside its messages, read for translation."""

from __future__ import annotations

from typing import Any

import pytest

from rillgate.domain.errors import ClientError
from rillgate.providers.options import (
    EFFORTS,
    OutputFormat,
    Tool,
    ToolChoice,
    effort_of,
    end_user_of,
    output_format_of,
    stops_of,
    tool_choice_of,
    tools_of,
)


def function(name: str, **more: Any) -> dict[str, Any]:
    """A function as a tool."""
    return {"type": "function", "function": {"name": name, **more}}


ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [function("g")]}}


def test_tools_are_functions() -> None:
    """With what they say of themselves, and nothing made up."""
    tools = [
        {**function("f", description="F", parameters={"type": "object"}, strict=True), "cache_control": {"ttl": "1h"}},
        function("g"),
    ]
    assert tools_of({"tools": tools}) == (
        Tool("f", "F", {"type": "object"}, True, "1h"),
        Tool("g", "", {}, None),
    )
    assert tools_of({}) == tools_of({"tools": None}) == ()


def test_tools_are_those_that_are_allowed() -> None:
    """Where the choice is a list of them."""
    fields = {"tools": [function("f"), function("g")], "tool_choice": ALLOWED}
    assert [tool.name for tool in tools_of(fields)] == ["g"]


@pytest.mark.parametrize("tool", [{"type": "custom", "custom": {"name": "f"}}, {"type": "function"}, {}])
def test_tools_that_are_no_functions_are_refused(tool: dict[str, Any]) -> None:
    """By their place."""
    with pytest.raises(ClientError) as caught:
        tools_of({"tools": [function("f"), tool]})
    assert caught.value.param == "tools[1]"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ToolChoice()),
        ({"parallel_tool_calls": False}, ToolChoice(parallel=False)),
        ({"tool_choice": "auto"}, ToolChoice("auto")),
        ({"tool_choice": "none"}, ToolChoice("none")),
        ({"tool_choice": "required", "parallel_tool_calls": True}, ToolChoice("required", parallel=True)),
        ({"tool_choice": function("f")}, ToolChoice("named", "f")),
        ({"tool_choice": ALLOWED}, ToolChoice("auto")),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}},
            ToolChoice("required"),
        ),
    ],
)
def test_tool_choice_has_four_modes(fields: dict[str, Any], expected: ToolChoice) -> None:
    """And says whether several calls may come."""
    assert tool_choice_of(fields) == expected


@pytest.mark.parametrize("choice", ["any", {"type": "function"}, {"type": "custom", "custom": {"name": "f"}}, 1, []])
def test_tool_choice_that_is_none_is_refused(choice: object) -> None:
    """By name."""
    with pytest.raises(ClientError) as caught:
        tool_choice_of({"tool_choice": choice})
    assert caught.value.param == "tool_choice"


def test_output_format_is_text_json_or_a_schema() -> None:
    """With what stands beside the schema."""
    assert output_format_of({}) == output_format_of({"response_format": {"type": "text"}}) == OutputFormat()
    assert output_format_of({"response_format": {"type": "json_object"}}) == OutputFormat("json_object")
    wrapped = {"name": "n", "description": "d", "schema": {"type": "object"}, "strict": True}
    found = output_format_of({"response_format": {"type": "json_schema", "json_schema": wrapped}})
    assert found == OutputFormat("json_schema", {"type": "object"}, "n", "d", True)


@pytest.mark.parametrize(
    "given", ["json", {"type": "xml"}, {}, {"type": "json_schema"}, {"type": "json_schema", "json_schema": {}}]
)
def test_output_format_that_is_none_is_refused(given: object) -> None:
    """By name."""
    with pytest.raises(ClientError) as caught:
        output_format_of({"response_format": given})
    assert caught.value.param == "response_format"


@pytest.mark.parametrize("odd", ["huge", 3, {}])
def test_effort_that_is_none_is_refused(odd: object) -> None:
    """By name."""
    with pytest.raises(ClientError) as caught:
        effort_of({"reasoning_effort": odd})
    assert caught.value.param == "reasoning_effort"


def test_effort_is_a_word_that_openai_knows() -> None:
    """Nothing is nothing."""
    assert effort_of({}) is None
    assert [effort_of({"reasoning_effort": effort}) for effort in EFFORTS] == list(EFFORTS)


def test_stops_are_a_list_whatever_was_given() -> None:
    """One text is a list of one."""
    assert stops_of({}) == stops_of({"stop": None}) == stops_of({"stop": []}) == ()
    assert stops_of({"stop": "a"}) == ("a",)
    assert stops_of({"stop": ["a", "b"]}) == ("a", "b")


def test_end_user_has_a_newer_name_and_an_older_one() -> None:
    """The newer counts; what is no text is none."""
    assert end_user_of({"safety_identifier": "s", "user": "u"}) == "s"
    assert end_user_of({"safety_identifier": "", "user": "u"}) == "u"
    assert end_user_of({"user": 3}) is None
