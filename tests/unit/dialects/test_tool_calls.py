"""Numbers, ids and names of tool calls, whatever way a provider writes them."""

from __future__ import annotations

import re

import pytest

from rillgate.dialects.tool_calls import Piece, ToolCalls, made_up_ids
from rillgate.domain.delta import ToolDelta


def tool(index: int, call_id: str | None, name: str | None, arguments: str) -> ToolDelta:
    """A fragment of choice 0."""
    return ToolDelta(0, index, call_id, name, arguments)


@pytest.mark.parametrize(
    ("deltas", "pieces"),
    [
        pytest.param(
            [tool(0, "a", "f", "{"), tool(0, None, None, "}"), tool(1, "b", "g", "{}")],
            [(0, "a", "f", "{"), (0, None, None, "}"), (1, "b", "g", "{}")],
            id="as OpenAI does",
        ),
        pytest.param(
            [tool(1, "a", "f", "{"), tool(3, "b", "g", "{"), tool(1, None, None, "}"), tool(3, None, None, "}")],
            [(0, "a", "f", "{"), (1, "b", "g", "{"), (0, None, None, "}"), (1, None, None, "}")],
            id="numbers of content blocks, interleaved",
        ),
        pytest.param(
            [tool(0, "a", "f", "{"), tool(0, "a", "f", "}")],
            [(0, "a", "f", "{"), (0, None, None, "}")],
            id="id and name with each fragment",
        ),
        pytest.param(
            [tool(0, "a", "f", "{}"), tool(0, "b", "f", "{}")],
            [(0, "a", "f", "{}"), (1, "b", "f", "{}")],
            id="one number for every call",
        ),
        pytest.param(
            [tool(0, None, "f", "{}"), tool(0, None, "f", "{}"), tool(0, None, None, " ")],
            [(0, "call_x_0", "f", "{}"), (1, "call_x_1", "f", "{}"), (1, None, None, " ")],
            id="no ids and one number",
        ),
        pytest.param(
            [tool(0, None, "f", "{"), tool(0, "late", None, "}")],
            [(0, "call_x_0", "f", "{"), (0, None, None, "}")],
            id="an id that comes too late",
        ),
        pytest.param([tool(0, "a", None, "{}")], [(0, "a", "", "{}")], id="no name"),
    ],
)
def test_tool_calls_are_numbered_and_named_once(
    deltas: list[ToolDelta], pieces: list[tuple[int, str | None, str | None, str]]
) -> None:
    """From 0 without gaps; id and name where a call begins and nowhere else."""
    calls = ToolCalls("call_x")
    assert [calls.take(delta) for delta in deltas] == [Piece(*piece) for piece in pieces]


def test_calls_without_arguments_are_known() -> None:
    """Their JSON text is still to be said."""
    calls = ToolCalls("call_x")
    for delta in (tool(0, "a", "f", ""), tool(1, "b", "g", "{}"), tool(2, "c", "h", "")):
        calls.take(delta)
    assert calls.without_arguments() == [0, 2]


@pytest.mark.parametrize("choice", [0, 1, 127])
def test_made_up_ids_fit_every_provider(choice: int) -> None:
    """At most 40 characters, letters, digits, _ and -, with the number of the call behind."""
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,40}", f"{made_up_ids('req_' + 'A-_9' * 4, choice)}_99")
