"""What one request is to meet, written into its own prompt: so the provider knows it, whatever stands between.

A request's text follows from its number alone. Whoever reads an answer knows every byte that may stand in it: a prefix
of that text, in order, nothing twice and nothing of anybody else's.

Shape: "chaos 17 40 rst 0.25 250 0 openai ." = request 17, 40 words, the connection is reset after a quarter of the
answer, 250 ms between two words, every attempt of it, where OpenAI's API is spoken.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

# One token each in o200k_base, together with the space before it, and no two of them become one: so a text has as many
# tokens as words (tests/chaos/test_plan.py). Some are of two and three bytes a letter, which cuts fall into.
_WORDS: Final = """
river stone water light cloud mountain valley forest bridge garden window letter number paper silver copper iron
winter summer spring autumn morning evening night music painting story history nature science machine engine
market village city street house kitchen table chair bread butter coffee sugar salt pepper orange apple lemon
green yellow purple white black brown small large narrow wide deep high low near far early late quick slow warm
cold soft hard simple clear quiet open closed first second third fourth fifth north south east west ocean island
harbor ship sailor captain doctor teacher student farmer soldier king queen child mother father brother sister
friend animal horse tiger lion bird fish tree flower grass leaf seed rain snow wind storm thunder für über não
está même année été 中国 日本 мир сила
"""
WORDS: Final = tuple(_WORDS.split())
MODEL: Final = "gpt-4.1-mini"  # its encoding is o200k_base, whoever is said to serve it
EVERYWHERE: Final = "-"
EVERY_TIME: Final = 0

_PLAN = re.compile(rb"chaos (\d+) (\d+) ([a-z_0-9]+) (\d\.\d+) (\d+) (\d+) ([a-z-]+) \.")


@dataclass(frozen=True)
class Plan:
    """One request's.

    Attributes:
        number: of the request.
        words: how long its answer is.
        fault: what happens to it, by name; see `tests.chaos.faults`.
        at: where, as a part of the answer.
        gap_ms: between two words.
        times: how many attempts meet the fault, the first ones; 0 for all.
        where: whose API meets it; others answer as they should.
    """

    number: int
    words: int = 12
    fault: str = "none"
    at: float = 0.0
    gap_ms: int = 0
    times: int = EVERY_TIME
    where: str = EVERYWHERE

    @property
    def prompt(self) -> str:
        """What the client asks."""
        return f"chaos {self.number} {self.words} {self.fault} {self.at:.4f} {self.gap_ms} {self.times} {self.where} ."

    @property
    def pieces(self) -> list[str]:
        """The answer's words, each with the space before it."""
        return words(self.number, self.words)

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)


def endless_words(number: int) -> Iterator[str]:
    """A request's text, word by word. The number itself comes first: no two requests begin alike."""
    drawn = random.Random(number)
    yield from (f" {WORDS[int(digit)]}" for digit in str(number))
    while True:
        yield f" {drawn.choice(WORDS)}"


def words(number: int, count: int) -> list[str]:
    """The first words of a request's text."""
    return list(islice(endless_words(number), count))


def plan_in(body: bytes) -> Plan | None:
    """The plan that a request carries, as far as it has come; None where it carries none."""
    found = _PLAN.search(body)
    if found is None:
        return None
    number, count, fault, at, gap_ms, times, where = (part.decode() for part in found.groups())
    return Plan(int(number), int(count), fault, float(at), int(gap_ms), int(times), where)
