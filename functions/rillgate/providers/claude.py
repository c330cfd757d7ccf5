"""How each generation of Claude is told to think, wherever it is served, and what of sampling is left to it then.

    until 3.5      does not think
    3.7 to 4.5     thinks within a budget of tokens, which must leave room below the cap
    4.6 to 4.8     thinks as much as it needs (`adaptive`), more or less after an effort; not unless it is told to
    from 5         thinks unless it is told not to; Fable, Mythos and Opus from 5.5 always do

Sampling is refused from 4.7 on, and by all of them while they think. From 4.1 to 4.6 it is temperature or top_p.
Source: Anthropic, "Extended thinking", "Adaptive thinking", "Effort" and the migration guides to 4.6, 4.7, Fable 5,
Opus 5 and 5.5; Amazon Bedrock User Guide, "Adaptive thinking"; all read 2026-11-21.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from rillgate.providers.anthropic_models import abilities_of, budget_of
from rillgate.providers.options import Effort

NEWEST = (99, 0)  # of a name without a number

WORDS = {"minimal": "low"}
WORDS_OF_4_6 = {"minimal": "low", "xhigh": "high"}
ALWAYS_THINKING = frozenset({"fable", "mythos"})

_OLD = re.compile(r"claude-(?:instant-)?v?(\d)(?!\d)(?:[-.:](\d)(?!\d))?")
_NEW = re.compile(r"claude-([a-z]+)(?:-(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?)?")


class Claude(msgspec.Struct, frozen=True):
    """A model of the family.

    Attributes:
        name: "opus", "sonnet", …; "" for those that had their number first.
        version: (4, 6); `NEWEST` where the model's name has no number.
    """

    name: str
    version: tuple[int, int]

    @property
    def takes_budget(self) -> bool:
        """Whether thinking is a number of tokens."""
        return (3, 7) <= self.version < (4, 6)


def claude_of(model: str) -> Claude | None:
    """The Claude that a model's id names, on Anthropic's API or on Bedrock; None for all others.

    Shape:  "us.anthropic.claude-sonnet-4-5-20250929-v1:0" → Claude("sonnet", (4, 5))
            "claude-3-7-sonnet-20250219" → Claude("", (3, 7))
    """
    lowered = model.lower()
    old = _OLD.search(lowered)
    if old is not None:
        return Claude("", (int(old[1]), int(old[2] or 0)))
    new = _NEW.search(lowered)
    if new is None:
        return None
    return Claude(new[1], NEWEST if new[2] is None else (int(new[2]), int(new[3] or 0)))


def thinking_of(
    model: str,
    effort: Effort | None,
    output_tokens_max: int,
    *,
    tool_forced: bool = False,
    reasoning_lost: bool = False,
) -> dict[str, Any]:
    """Fields of a Messages request that make a Claude think as much as `reasoning_effort` says; {} to leave it be.

    Shape:  ("claude-sonnet-4-6", "low", 4096) → {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}
            ("claude-sonnet-4-5", "medium", 4096) → {"thinking": {"type": "enabled", "budget_tokens": 2048}}
    Args:
        output_tokens_max: the cap; thinking counts against it, and where it is too small for both there is none.
        tool_forced: a tool must be called, which the models before 4.8 refuse while they think.
        reasoning_lost: the answer goes on from calls whose signed reasoning did not come back with them.
    """
    claude = claude_of(model)
    if claude is None or effort is None or claude.version < (3, 7):
        return {}
    if claude.takes_budget:
        budget = 0 if tool_forced or reasoning_lost else budget_of(effort, output_tokens_max)
        return {"thinking": {"type": "enabled", "budget_tokens": budget}} if budget else {}
    if effort == "none":
        return _without_thinking(claude)
    if claude.version < (4, 7):
        word = "high" if effort == "max" and claude.name != "opus" else WORDS_OF_4_6.get(effort, effort)
        thinking = {"type": "adaptive"}
    else:
        word = WORDS.get(effort, effort)
        thinking = {"type": "adaptive", "display": "summarized"}  # else its text stays empty
    said: dict[str, Any] = {"output_config": {"effort": word}}
    return said if tool_forced and claude.version < (4, 8) else {"thinking": thinking, **said}


def sampling_of(model: str, sampling: Mapping[str, Any], thinking: Mapping[str, Any]) -> dict[str, Any]:
    """Those of temperature, top_p and top_k that a model takes; all of them for one that is no Claude.

    Args:
        sampling: by these names, None for what the client did not say.
        thinking: what `thinking_of` gave for the same request.
    """
    given = {name: value for name, value in sampling.items() if value is not None}
    if claude_of(model) is None:
        return given
    abilities = abilities_of(model)
    thinks = thinking.get("thinking", {}).get("type") in ("enabled", "adaptive")
    if thinks or not abilities.sampling:
        return {}
    if not abilities.temperature_with_top_p and "temperature" in given:
        given.pop("top_p", None)
    return given


def _without_thinking(claude: Claude) -> dict[str, Any]:
    """Off, or as little as there is."""
    if claude.version < (5, 0):
        return {}
    if (
        claude.name in ALWAYS_THINKING
        or claude.version == NEWEST
        or (claude.name == "opus" and claude.version > (5, 0))
    ):
        return {"output_config": {"effort": "low"}}
    if claude.name == "sonnet" and claude.version > (5, 0):
        return {"thinking": {"type": "between_tools"}}
    return {"thinking": {"type": "disabled"}}
