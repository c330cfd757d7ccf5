"""What a Claude model takes, by its name: the forms of thinking, sampling settings, forced tools.

Names come as `claude-FAMILY-MAJOR-MINOR-DATE`, older ones as `claude-MAJOR-MINOR-FAMILY-DATE`, each perhaps within a
cloud's own id. A Claude whose version cannot be read is taken for the newest; a model that is no Claude stands behind a
server that speaks the same API, and gets what the newest get, but its sampling settings too.
Source: Anthropic's model and migration pages, read 2026-11.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from rillgate.providers.options import Effort

BUDGET_TOKENS_MIN = 1024  # the least that the API takes
# How many tokens a model with a fixed budget may think, where the client names an effort.
BUDGETS: dict[Effort, int] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 32_768,
}

_CLAUDE = re.compile(
    r"claude-(?:(?P<family>[a-z]+)-)?(?P<major>\d)(?!\d)(?:[-.](?P<minor>\d{1,2})(?!\d))?(?:-(?P<after>[a-z]+))?"
)
_NEWEST = (99, 0)
_MANUAL_FROM, _ADAPTIVE_FROM = (3, 7), (4, 6)
_ONE_OF_PAIR_FROM = (4, 1)  # from here on, temperature or top_p, not both
_SAMPLING_UNTIL = (4, 7)
_SYSTEM_TURNS_FROM = (4, 8)
_FORCED_TOOLS_UNTIL = {"opus": (5, 5), "sonnet": (5, 5), "fable": (5, 1), "mythos": (5, 1)}


class Abilities(msgspec.Struct, frozen=True):
    """What one model takes.

    Attributes:
        thinking: "manual" with a budget of tokens, "adaptive" with an effort, "none" where it cannot.
        sampling: whether settings other than the default are taken.
        temperature_with_top_p: whether both may be set at once.
        forced_tools: whether it can be told that it must call one.
        system_turns: whether a system message may follow a user's.
    """

    thinking: Literal["none", "manual", "adaptive"] = "adaptive"
    sampling: bool = True
    temperature_with_top_p: bool = True
    forced_tools: bool = True
    system_turns: bool = False


def abilities_of(model: str) -> Abilities:
    """What the model of this name takes.

    Shape: 'claude-sonnet-4-5-20250929' → Abilities("manual", …); 'claude-opus-5' → Abilities("adaptive", False, …)
    """
    name = model.lower()
    if "claude" not in name:
        return Abilities()
    match = _CLAUDE.search(name)
    if match is None:
        return Abilities(sampling=False)
    version = (int(match["major"]), int(match["minor"] or 0))
    family = match["family"] or match["after"] or ""
    return Abilities(
        "adaptive" if version >= _ADAPTIVE_FROM else "manual" if version >= _MANUAL_FROM else "none",
        sampling=version < _SAMPLING_UNTIL,
        temperature_with_top_p=version < _ONE_OF_PAIR_FROM,
        forced_tools=version < _FORCED_TOOLS_UNTIL.get(family, _NEWEST),
        system_turns=version >= _SYSTEM_TURNS_FROM,
    )


def budget_of(effort: Effort, output_tokens_max: int) -> int:
    """How much of the cap a model with a fixed budget may think, in tokens; 0 where the cap leaves no room for it.

    The cap covers thought and answer: at most three quarters of it are for thought.
    """
    budget = min(BUDGETS.get(effort, 0), max(BUDGET_TOKENS_MIN, output_tokens_max * 3 // 4))
    return budget if BUDGET_TOKENS_MIN <= budget < output_tokens_max else 0
