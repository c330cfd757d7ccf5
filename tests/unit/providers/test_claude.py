"""What each generation of Claude is told about thinking and sampling, by its name on either service."""

from __future__ import annotations

from typing import Any

import pytest

from rillgate.domain.delta import ANTHROPIC_ORIGIN
from rillgate.domain.errors import ClientError
from rillgate.providers.claude import (
    NEWEST,
    Claude,
    budget_of,
    claude_of,
    is_forced,
    reasoning_is_lost,
    sampling_of,
    thinking_of,
)
from rillgate.providers.conversation import Reasoning, Text, ToolCall, ToolResult, Turn
from rillgate.providers.options import ToolChoice

CAP = 20_000
ADAPTIVE = {"type": "adaptive", "display": "summarized"}
SAMPLING = {"temperature": 0.5, "top_p": 0.9, "top_k": 40}
CALL, RESULT = ToolCall("t1", "f", {}), ToolResult("t1", "f", ())
SIGNED = Reasoning("hm", "sig", origin=ANTHROPIC_ORIGIN)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-opus-4-1-20250805", Claude("opus", (4, 1))),
        ("claude-sonnet-4-20250514", Claude("sonnet", (4, 0))),
        ("claude-sonnet-4@20250514", Claude("sonnet", (4, 0))),
        ("claude-sonnet-4-6", Claude("sonnet", (4, 6))),
        ("claude-sonnet-4.6", Claude("sonnet", (4, 6))),
        ("claude-opus-5", Claude("opus", (5, 0))),
        ("claude-opus-5-5", Claude("opus", (5, 5))),
        ("claude-fable-5-1", Claude("fable", (5, 1))),
        ("claude-mythos-preview", Claude("mythos", NEWEST)),
        ("claude-haiku-12-10", Claude("haiku", (12, 10))),
        ("claude-3-7-sonnet-20250219", Claude("sonnet", (3, 7))),
        ("claude-3-opus-20240229", Claude("opus", (3, 0))),
        ("claude-3-5-sonnet-latest", Claude("sonnet", (3, 5))),
        ("claude-5.5-opus", Claude("opus", (5, 5))),
        ("claude-2.1", Claude("", (2, 1))),
        ("claude-instant-1.2", Claude("", (1, 2))),
        ("Claude-Sonnet-5-5-20261001", Claude("sonnet", (5, 5))),
        ("anthropic/claude-haiku-4.5", Claude("haiku", (4, 5))),
        ("claude-next", Claude("next", NEWEST)),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", Claude("sonnet", (4, 5))),
        ("anthropic.claude-opus-4-6-v1", Claude("opus", (4, 6))),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", Claude("sonnet", (3, 5))),
        ("anthropic.claude-v2:1", Claude("", (2, 1))),
        ("anthropic.claude-instant-v1", Claude("", (1, 0))),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.anthropic.claude-haiku-4-5-20251001-v1:0",
            Claude("haiku", (4, 5)),
        ),
        ("amazon.nova-pro-v1:0", None),
        ("gpt-5.1", None),
        ("", None),
    ],
)
def test_claude_name_says_its_generation(model: str, expected: Claude | None) -> None:
    """Dates and versions of the service are no generation; one without a number is taken for the newest."""
    assert claude_of(model) == expected


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("claude-3-5-sonnet-20241022", "high", {}),
        ("claude-3-7-sonnet-20250219", "low", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ("claude-sonnet-4-5", "none", {}),
        ("claude-sonnet-4-6", "low", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        ("claude-sonnet-4-6", "max", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        ("claude-opus-4-6", "max", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}),
        ("claude-opus-4-6", "xhigh", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        ("claude-opus-4-6", "none", {}),
        ("claude-opus-4-7", "xhigh", {"thinking": ADAPTIVE, "output_config": {"effort": "xhigh"}}),
        ("claude-opus-4-8", "none", {}),
        ("claude-opus-5", "minimal", {"thinking": ADAPTIVE, "output_config": {"effort": "low"}}),
        ("claude-opus-5", "none", {"thinking": {"type": "disabled"}}),
        ("claude-haiku-5-5", "none", {"thinking": {"type": "disabled"}}),
        ("claude-sonnet-5-5", "none", {"thinking": {"type": "between_tools"}}),
        ("claude-opus-5-5", "none", {"output_config": {"effort": "low"}}),
        ("claude-fable-5", "none", {"output_config": {"effort": "low"}}),
        ("claude-mythos-preview", "none", {"output_config": {"effort": "low"}}),
        ("claude-opus-5", None, {}),
        ("amazon.nova-pro-v1:0", "high", {}),
    ],
)
def test_claude_thinks_as_its_generation_is_told(model: str, effort: Any, expected: dict[str, Any]) -> None:
    """A budget, an effort, or whatever comes nearest to none."""
    assert thinking_of(model, effort, CAP) == expected


@pytest.mark.parametrize("cap", [1025, 1400, 3000, 100_000])
@pytest.mark.parametrize("effort", ["minimal", "low", "medium", "high", "xhigh", "max"])
def test_claude_budget_leaves_room_for_an_answer(cap: int, effort: Any) -> None:
    """It is at least what the API takes and below the cap; no room, no thinking."""
    assert 1024 <= thinking_of("claude-sonnet-4-5", effort, cap)["thinking"]["budget_tokens"] < cap
    assert thinking_of("claude-sonnet-4-5", effort, 1024) == {}


@pytest.mark.parametrize(
    ("model", "forced", "lost"),
    [
        ("claude-sonnet-4-5", set(), set()),
        ("claude-opus-4-6", {"output_config"}, {"thinking", "output_config"}),
        ("claude-opus-4-7", {"output_config"}, {"thinking", "output_config"}),
        ("claude-opus-4-8", {"thinking", "output_config"}, {"thinking", "output_config"}),
    ],
)
def test_claude_does_not_think_where_that_would_be_refused(model: str, forced: set[str], lost: set[str]) -> None:
    """Forced tools exclude it before 4.8; lost reasoning only where it has a budget."""
    assert thinking_of(model, "high", CAP, tool_forced=True).keys() == forced
    assert thinking_of(model, "high", CAP, reasoning_lost=True).keys() == lost


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-3-7-sonnet-20250219", {"temperature", "top_p", "top_k"}),
        ("claude-opus-4-20250514", {"temperature", "top_p", "top_k"}),
        ("claude-opus-4-1-20250805", {"temperature", "top_k"}),
        ("claude-sonnet-4-6", {"temperature", "top_k"}),
        ("claude-opus-4-7", set()),
        ("claude-mythos-preview", set()),
        ("amazon.nova-pro-v1:0", {"temperature", "top_p", "top_k"}),
    ],
)
def test_claude_sampling_is_what_its_generation_takes(model: str, expected: set[str]) -> None:
    """None of it while it thinks, and nothing that was not said."""
    assert sampling_of(model, SAMPLING, {}).keys() == expected
    assert sampling_of(model, {"temperature": None, "top_p": None}, {}) == {}
    if claude_of(model) is not None:
        for kind in ("enabled", "adaptive"):
            assert sampling_of(model, SAMPLING, {"thinking": {"type": kind}}) == {}
    assert "top_p" in sampling_of("claude-sonnet-4-6", {"top_p": 0.9, "temperature": None}, {})


def test_sampling_ends_where_these_apis_end() -> None:
    """OpenAI's temperature goes on to 2."""
    assert sampling_of("claude-sonnet-4-6", {"temperature": 1.5}, {}) == {"temperature": 1}
    assert sampling_of("amazon.nova-pro-v1:0", {"temperature": 0.2, "messages": []}, {}) == {"temperature": 0.2}


@pytest.mark.parametrize(
    ("cap", "expected"), [(100_000, 8192), (10_000, 7500), (1400, 1050), (1100, 1024), (1025, 1024), (1024, 0), (9, 0)]
)
def test_budget_stays_below_the_cap_and_leaves_room(cap: int, expected: int) -> None:
    """At most three quarters, never less than the API takes, and none where the cap has no room."""
    assert budget_of("medium", cap) == expected


def test_budget_of_no_effort_is_none() -> None:
    """And it grows with the effort."""
    assert budget_of("none", 100_000) == 0
    budgets = [budget_of(effort, 10**6) for effort in ("minimal", "low", "medium", "high", "xhigh")]
    assert budgets == sorted(set(budgets))


@pytest.mark.parametrize(
    ("model", "forced", "system"),
    [
        ("claude-sonnet-4-5", True, False),
        ("claude-opus-4-7", True, False),
        ("claude-opus-4-8", True, True),
        ("claude-opus-5", True, True),
        ("claude-haiku-5-5", True, True),
        ("claude-opus-5-5", False, True),
        ("claude-sonnet-5-5-20261001", False, True),
        ("claude-5.5-sonnet", False, True),
        ("claude-fable-5", True, True),
        ("claude-fable-5-1", False, True),
        ("claude-mythos-5-1", False, True),
        ("claude-next", True, False),
    ],
)
def test_claude_takes_forced_tools_and_system_turns_by_its_version(model: str, forced: bool, system: bool) -> None:
    """Of one whose version cannot be read nothing is refused here, and nothing is expected."""
    claude = claude_of(model)
    assert claude is not None
    assert (claude.takes_forced_tools, claude.takes_system_turns) == (forced, system)


def test_forced_tool_is_refused_where_the_model_cannot_be_told() -> None:
    """By the field's name; another choice is none, and a model that is no Claude takes all."""
    for choice in (ToolChoice("required"), ToolChoice("named", "f")):
        assert is_forced(choice, "claude-opus-5")
        assert is_forced(choice, "llama")
        with pytest.raises(ClientError, match="cannot be told") as refused:
            is_forced(choice, "claude-opus-5-5")
        assert (refused.value.param, refused.value.code) == ("tool_choice", "unsupported_parameter")
    for choice in (ToolChoice(), ToolChoice("auto"), ToolChoice("none")):
        assert not is_forced(choice, "claude-opus-5-5")


@pytest.mark.parametrize(
    ("before", "last", "expected"),
    [
        ((CALL,), (RESULT,), True),
        ((Reasoning("hm"), CALL), (RESULT, Text("go on")), True),
        ((Reasoning("hm", "sig", origin="google-gemini-v1"), CALL), (RESULT,), True),
        ((Reasoning("hm", origin=ANTHROPIC_ORIGIN), CALL), (RESULT,), True),
        ((SIGNED, CALL), (RESULT,), False),
        ((Reasoning("", data="opaque", origin=ANTHROPIC_ORIGIN), CALL), (RESULT,), False),
        ((CALL,), (Text("go on"),), False),
        ((Text("A"),), (RESULT,), False),
    ],
)
def test_reasoning_is_lost_where_a_call_came_back_without_it(before: Any, last: Any, expected: bool) -> None:
    """Only its own family's, with proof, only before a call, and only while the answer goes on from its result."""
    assert reasoning_is_lost([Turn("assistant", before), Turn("user", last)]) is expected
    assert not reasoning_is_lost([Turn("user", last)])
