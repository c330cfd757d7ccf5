"""What each generation of Gemini takes: how it is told to think, and whether it wants its signatures back.

    until 2.0      does not think
    2.5            thinks within a budget of tokens; Pro cannot be told not to
    from 3         thinks more or less after a level, and cannot be told not to; a function call that comes back without
                   its thought signature is refused
    others (Gemma) are left alone

One without a number (`gemini-flash-latest`) is taken for the newest. The lowest level, "MINIMAL", is known to the
smaller models of 3.0 to 3.5 and to every Flash-Lite; the others begin with "LOW".
Source: Gemini API, "Gemini thinking", "Thought signatures" and the model pages of 3.1 to 3.8, read 2026-11-21.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from rillgate.providers.options import Effort

NEWEST = (99, 0)  # of a name without a number
THINKS_SINCE = (2, 5)
LEVELS_SINCE = (3, 0)
MINIMAL_UNTIL = (3, 5)
BUDGET_TOKENS_PRO_MIN = 128  # the least that 2.5 Pro takes
BUDGET_TOKENS_MIN = 512  # the least that 2.5 Flash-Lite takes, but for none; too little to be of use elsewhere
# How many tokens a model with a budget may think, where the client names an effort; Google's own for OpenAI clients.
BUDGETS: Mapping[Effort, int] = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 24_576,
    "max": 24_576,
}
LEVELS: Mapping[Effort, str] = {"low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH", "max": "HIGH"}

_VERSION = re.compile(r"gemini-(?:[a-z-]+-)?(\d{1,2})(?:\.(\d{1,2}))?(?![0-9])")


class Gemini(msgspec.Struct, frozen=True):
    """A model of the family.

    Attributes:
        name: in lower case.
        version: (2, 5); `NEWEST` where the model's name has no number.
    """

    name: str
    version: tuple[int, int]

    @property
    def wants_signatures(self) -> bool:
        """Whether a call without its signature is refused when it comes back."""
        return self.version >= LEVELS_SINCE

    @property
    def lowest_level(self) -> str:
        """The least that it can think."""
        small = "flash-lite" in self.name or ("flash" in self.name and self.version <= MINIMAL_UNTIL)
        return "MINIMAL" if small else "LOW"


def gemini_of(model: str) -> Gemini | None:
    """The Gemini that a model's id names; None for all others.

    Shape: "gemini-2.5-flash" → Gemini("gemini-2.5-flash", (2, 5)); "gemma-3-27b-it" → None
    """
    lowered = model.lower()
    if "gemini" not in lowered:
        return None
    found = _VERSION.search(lowered)
    return Gemini(lowered, NEWEST if found is None else (int(found[1]), int(found[2] or 0)))


def thinking_of(model: str, effort: Effort | None, output_tokens_max: int) -> dict[str, Any]:
    """`thinkingConfig` for as much thought as `reasoning_effort` says; {} to leave the model be.

    Thoughts are shown where the client asked for some: it then pays for them.

    Shape:  ("gemini-3.8-flash", "low", 4096) → {"thinkingLevel": "LOW", "includeThoughts": True}
            ("gemini-2.5-flash", "high", 4096) → {"thinkingBudget": 3072, "includeThoughts": True}
    Args:   output_tokens_max: the cap, which covers thought and answer: at most three quarters of it are for thought.
    """
    gemini = gemini_of(model)
    if gemini is None or effort is None or gemini.version < THINKS_SINCE:
        return {}
    shown = {} if effort == "none" else {"includeThoughts": True}
    if gemini.version >= LEVELS_SINCE:
        return {"thinkingLevel": LEVELS.get(effort, gemini.lowest_level), **shown}
    budget = min(BUDGETS[effort], output_tokens_max * 3 // 4)
    if "pro" in gemini.name:
        budget = max(budget, BUDGET_TOKENS_PRO_MIN)
    elif budget < BUDGET_TOKENS_MIN:
        budget = 0
    return {"thinkingBudget": budget, **shown}
