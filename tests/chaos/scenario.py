"""What one lane of the large run does next, drawn from a seed: which fault, which client, which API."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from tests.chaos.apis import APIS
from tests.chaos.client import Ask
from tests.chaos.faults import FAULTS
from tests.chaos.plan import MODEL, Plan
from tests.chaos.provider import SECURE

FAILOVER: Final = "either"  # a route: OpenAI's API first, Anthropic's second

# How often, in parts; what is not named is 3. Some take long, some cost much: there are fewer of those.
_FAULT_PARTS: Final = {
    "none": 160,
    "late": 8,
    "fin": 14,
    "rst": 14,
    "trickle": 2,
    "silent": 2,
    "stuck": 4,
    "length_never": 1,
    "no_http": 1,
    "upgraded": 1,
    "broken_chunk": 2,
    "huge_event": 0,  # 8 MiB each while it comes: what the allocator keeps of the worst moment would hide a leak
    "head_bomb": 1,
    "dead_kept": 6,
    "idle_reset": 6,
    "idle_close": 6,
}
_PACED: Final = ("none", "fin", "rst", "stuck", "runaway", "error_event", "broken_event", "until_close", "no_usage")
LYING: Final = ("zero_usage", "wild_usage")  # what the provider says is charged, so it may be less than what came

_MANNER_PARTS: Final = {
    "read": 80,
    "slow": 5,  # small window, a pause before each read
    "stall": 1.5,  # reads nothing for longer than it is waited for
    "leave": 4,  # closes somewhere in the answer
    "reset": 4,
    "half_close": 2,
    "drip": 2,  # its request comes byte by byte
    "pipeline": 2,  # three requests in one breath
    "cancel": 3,  # by the API
}


@dataclass(frozen=True)
class Scenario:
    """One request's, and how its client behaves."""

    ask: Ask
    manner: str
    at_bytes: int = 0

    @property
    def label(self) -> str:
        """For a table."""
        return f"{self.ask.plan.fault}"


class Scenarios:
    """One after the other; the same for the same seed."""

    def __init__(self, seed: int, *, secure: bool) -> None:
        self._drawn = random.Random(seed)
        self._number = 10_000 + seed % 1000 * 1_000_000
        names = [*APIS, *([SECURE] if secure else [])]
        self._models = [*(f"{name}/{MODEL}" for name in names), FAILOVER]
        self._faults = list(FAULTS)
        self._fault_parts = [_FAULT_PARTS.get(name, 3) for name in FAULTS]

    def next(self) -> Scenario:
        """Another one."""
        drawn = self._drawn
        (manner,) = drawn.choices([*_MANNER_PARTS], [*_MANNER_PARTS.values()])
        (fault,) = drawn.choices(self._faults, self._fault_parts)
        if manner in ("stall", "pipeline", "cancel"):
            fault = "none"
        return Scenario(self.ask(fault, manner), manner, drawn.randint(0, 4000))

    def ask(self, fault: str, manner: str) -> Ask:
        """A request that meets this fault."""
        drawn = self._drawn
        self._number += 1
        words, gap_ms = drawn.randint(8, 60), drawn.randint(150, 500)
        if manner == "stall":
            words, gap_ms = 4000, 0
        elif manner == "pipeline":
            words, gap_ms = 5, 50
        elif fault not in _PACED and fault not in ("late", "rst", "fin"):
            words, gap_ms = drawn.randint(3, 30), drawn.choice((0, 0, 100))
        model = drawn.choice(self._models)
        where = "openai" if model == FAILOVER else "-"
        plan = Plan(self._number, words, fault, drawn.random(), gap_ms, drawn.choice((0, 0, 1)), where)
        dialect = drawn.choices(("chat", "messages", "plain"), (4, 3, 1))[0]
        stream = dialect == "plain" or manner in ("stall", "cancel") or drawn.random() < 0.9
        return Ask(plan, dialect, model, stream, words if fault == "runaway" else max(64, words + 10))
