"""The built-in price list: the lines of `price_table.py` as rules and prices, looked up as genai-prices does.

Place:  budget.prices → budget.price_list. Pure.
Strategy: the table is text until a family is first asked for, which most gateways do for one or two of them: importing
        it costs about a millisecond, reading a family one to three (openrouter six), a lookup 3 to 30 microseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from functools import cache, lru_cache

from rillgate.budget.price_table import FALLBACKS, FAMILIES
from rillgate.domain.price import Price

NAMES_MAX = 512  # clients choose model names

# Models that search the web with every request and charge for that beside the tokens: what they cost is not known.
_CHARGES_BESIDE_TOKENS = re.compile(r"\bsonar\b|\bsearch-(preview|api)\b|\bdeep-research\b")
_COMPACT_DATE = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")

Tiers = tuple[tuple[int, Price], ...]  # (input tokens above which it applies, price), from few to many
Test = Callable[[str], bool]


def listed_price(family: str, model: str, input_tokens: int) -> Price | None:
    """What the list says of a model; None where it gives no price.

    Shape: ("openai", "gpt-4.1-20250414", 900) → Price(input=2_000_000_000, …): a date in one piece is tried as it is,
           and then with dashes.
    Args:  family: a key of `FAMILIES`.
           input_tokens: of the request, cached ones included.
    """
    model = model.lower()
    if _CHARGES_BESIDE_TOKENS.search(model):
        return None
    dashed = _COMPACT_DATE.sub(_with_dashes, model)
    for name in (model,) if dashed == model else (model, dashed):
        for one in (family, *FALLBACKS.get(family, ())):
            tiers = _family(one).find(name)
            if tiers is not None:
                return next((price for above, price in reversed(tiers) if input_tokens > above), None)
    return None


def _with_dashes(found: re.Match[str]) -> str:
    year, month, day = map(int, found.groups())
    try:
        return f"-{date(year, month, day).isoformat()}"
    except ValueError:
        return found.group()


class _Family:
    """The rules and prices of one family, read from their lines. The first line that a name fits decides.

    Most rules are whole names: these are looked up, and only the few others before the line found are tried.

    Attributes:
        find: the tiers of a model: empty where no price is known, None where no line fits. Names are remembered: each
            request asks a few times, and of a family with many rules a lookup takes longer than its estimate.
    """

    def __init__(self, lines: str) -> None:
        self._tiers: list[Tiers] = []
        self._names: dict[str, int] = {}
        self._tests: list[tuple[int, Test]] = []
        self.find = lru_cache(NAMES_MAX)(self._look)
        for number, line in enumerate(lines.split("\n")):
            rules, _, prices = line.partition(" | ")
            self._tiers.append(_read_tiers(prices))
            for rule in rules.split(" "):
                if rule.startswith("=") and "&" not in rule:
                    self._names.setdefault(rule[1:], number)
                else:
                    self._tests.append((number, _read_rule(rule)))

    def _look(self, name: str) -> Tiers | None:
        found = self._names.get(name, len(self._tiers))
        for number, test in self._tests:
            if number >= found:
                break
            if test(name):
                found = number
                break
        return self._tiers[found] if found < len(self._tiers) else None


@cache
def _family(name: str) -> _Family:
    """A family, read when it is first asked for: most gateways ask for one or two."""
    return _Family(FAMILIES[name].strip("\n"))


def _read_tiers(prices: str) -> Tiers:
    if prices == "-":
        return ()
    first, *more = prices.split(" > ")
    tiers = [(-1, _read_price(first))]
    for tier in more:
        above, _, kinds = tier.partition(": ")
        tiers.append((int(above), _read_price(kinds)))
    return tuple(tiers)


def _read_price(kinds: str) -> Price:
    numbers = [None if kind == "-" else int(kind) for kind in kinds.split(" ")]
    given, (cached_input, cache_write, reasoning) = numbers[:2], [*numbers[2:], None, None, None][:3]
    return Price(given[0] or 0, given[1] or 0, cached_input, cache_write, reasoning)


def _read_rule(rule: str) -> Test:
    """A rule as a test. Several joined by `&` must all hold."""
    tests = [_read_clause(clause) for clause in rule.split("&")]
    return tests[0] if len(tests) == 1 else lambda name: all(test(name) for test in tests)


def _read_clause(clause: str) -> Test:
    sign, text = clause[0], clause[1:]
    if sign == "~":
        pattern = re.compile(text)
        return lambda name: pattern.search(name) is not None
    return {
        "=": lambda name: name == text,
        "^": lambda name: name.startswith(text),
        "$": lambda name: name.endswith(text),
        "*": lambda name: text in name,
    }[sign]
