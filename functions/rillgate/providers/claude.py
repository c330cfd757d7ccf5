"""What each generation of Claude takes, wherever it is served: how it is told to think, sampling, forced tools.

    until 3.5      does not think
    3.7 to 4.5     thinks within a budget of tokens, which must leave room below the cap
    4.6 to 4.8     thinks as much as it needs (`adaptive`), more or less after an effort; not unless it is told to
    from 5         thinks unless it is told not to; Fable, Mythos and Opus from 5.5 always do

Sampling is refused from 4.7 on, and by all of them while they think. From 4.1 to 4.6 it is temperature or top_p.
Names come as `claude-FAMILY-MAJOR-MINOR-DATE`, older ones as `claude-MAJOR-MINOR-FAMILY-DATE`, each perhaps within a
cloud's own id. One without a number is taken for the newest, and nothing is expected of it that only some can do.
Source: Anthropic, Messages API reference, "Extended thinking", "Adaptive thinking", "Effort" and the migration guides
to 4.6, 4.7, Fable 5, Opus 5 and 5.5; Amazon Bedrock User Guide, "Adaptive thinking"; all read 2026-11-21.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rillgate.domain.delta import ANTHROPIC_ORIGIN
from rillgate.domain.errors import ClientError
from rillgate.providers.conversation import Part, Reasoning, ToolCall, ToolResult, Turn
from rillgate.providers.options import Effort, ToolChoice

NEWEST = (99, 0)  # of a name without a number

BUDGET_TOKENS_MIN = 1024  # the least that the API takes
# How many tokens a model with a fixed budget may think, where the client names an effort.
BUDGETS: Mapping[Effort, int] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 32_768,
}
WORDS = {"minimal": "low"}
WORDS_OF_4_6 = {"minimal": "low", "xhigh": "high"}
DISABLED = {"type": "disabled"}
SUMMARIZED = {"type": "adaptive", "display": "summarized"}  # without it the text stays empty on newer models
ALWAYS_THINKING = frozenset({"fable", "mythos"})
FORCED_TOOLS_UNTIL = {"opus": (5, 5), "sonnet": (5, 5), "fable": (5, 1), "mythos": (5, 1)}

_OLD = re.compile(r"claude-(?:instant-)?v?(\d)(?!\d)(?:[-.:](\d)(?!\d))?(?:-([a-z]+))?")
_NEW = re.compile(r"claude-([a-z]+)(?:-(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?)?")


class Claude(msgspec.Struct, frozen=True):
    """A model of the family.

    Attributes:
        name: "opus", "sonnet", …; "" for those that have none.
        version: (4, 6); `NEWEST` where the model's name has no number.
    """

    name: str
    version: tuple[int, int]

    @property
    def takes_budget(self) -> bool:
        """Whether thinking is a number of tokens."""
        return (3, 7) <= self.version < (4, 6)

    @property
    def takes_sampling(self) -> bool:
        """Whether settings other than the default are taken."""
        return self.version < (4, 7)

    @property
    def takes_temperature_with_top_p(self) -> bool:
        """Whether both may be set at once."""
        return self.version < (4, 1)

    @property
    def takes_forced_tools(self) -> bool:
        """Whether it can be told that it must call a tool."""
        return self.version == NEWEST or self.version < FORCED_TOOLS_UNTIL.get(self.name, NEWEST)

    @property
    def takes_system_turns(self) -> bool:
        """Whether a system message may follow a user's."""
        return (4, 8) <= self.version < NEWEST


def claude_of(model: str) -> Claude | None:
    """The Claude that a model's id names, on Anthropic's API or on Bedrock; None for all others.

    Shape:  "us.anthropic.claude-sonnet-4-5-20250929-v1:0" → Claude("sonnet", (4, 5))
            "claude-3-7-sonnet-20250219" → Claude("sonnet", (3, 7))
    """
    lowered = model.lower()
    old = _OLD.search(lowered)
    if old is not None:
        return Claude(old[3] or "", (int(old[1]), int(old[2] or 0)))
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
            ("claude-sonnet-4-5", "medium", 4096) → {"thinking": {"type": "enabled", "budget_tokens": 3072}}
    Args:
        output_tokens_max: the cap; thinking counts against it, and where it is too small for both there is none.
        tool_forced: a tool must be called, which the models before 4.8 refuse while they think.
        reasoning_lost: the answer goes on from calls whose signed reasoning did not come back with them. With a budget
            that is refused; a model that thinks as much as it needs goes on without.
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
        thinking = dict(SUMMARIZED)
    said: dict[str, Any] = {"output_config": {"effort": word}}
    return said if tool_forced and claude.version < (4, 8) else {"thinking": thinking, **said}


def budget_of(effort: Effort, output_tokens_max: int) -> int:
    """How much of the cap a model with a fixed budget may think, in tokens; 0 where the cap leaves no room for it.

    The cap covers thought and answer: at most three quarters of it are for thought.
    """
    budget = min(BUDGETS.get(effort, 0), max(BUDGET_TOKENS_MIN, output_tokens_max * 3 // 4))
    return budget if BUDGET_TOKENS_MIN <= budget < output_tokens_max else 0


def sampling_of(model: str, sampling: Mapping[str, Any], thinking: Mapping[str, Any]) -> dict[str, Any]:
    """Those of temperature, top_p and top_k that a model takes; all of them for one that is no Claude.

    Args:
        sampling: a request's fields; what the client did not say is None, or not there.
        thinking: what `thinking_of` gave for the same request.
    """
    given = {name: sampling[name] for name in ("temperature", "top_p", "top_k") if sampling.get(name) is not None}
    if "temperature" in given:
        given["temperature"] = min(given["temperature"], 1)  # where these APIs end; OpenAI's ends at 2
    claude = claude_of(model)
    if claude is None:
        return given
    thinks = thinking.get("thinking", {}).get("type") in ("enabled", "adaptive")
    if thinks or not claude.takes_sampling:
        return {}
    if not claude.takes_temperature_with_top_p and "temperature" in given:
        given.pop("top_p", None)
    return given


def is_forced(choice: ToolChoice, model: str) -> bool:
    """Whether a tool must be called.

    Raises: ClientError: the model cannot be told so.
    """
    forced = choice.mode in ("required", "named")
    claude = claude_of(model)
    if forced and claude is not None and not claude.takes_forced_tools:
        raise ClientError(
            "This model cannot be told that it must call a tool; use \"auto\" for 'tool_choice', or another model.",
            param="tool_choice",
            code="unsupported_parameter",
        )
    return forced


def is_signed(part: Part) -> bool:
    """Whether a part is reasoning of a Claude's that it takes back; without its proof it would be refused."""
    return isinstance(part, Reasoning) and part.origin == ANTHROPIC_ORIGIN and bool(part.data or part.signature)


def reasoning_is_lost(turns: Sequence[Turn]) -> bool:
    """Whether the answer goes on from calls that came without the signed reasoning before them.

    Args: turns: that alternate, results before everything else.
    """
    if len(turns) < 2 or not any(isinstance(part, ToolResult) for part in turns[-1].parts):
        return False
    before = turns[-2].parts
    return any(isinstance(part, ToolCall) for part in before) and not any(map(is_signed, before))


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
    return {"thinking": dict(DISABLED)}
