"""Budgets as items: the limits of one scope, as the command line sets them and every process reads them.

Shape: {"v": 3, "limits": '["tokens/day=100000"]', "streams": 4, "warn": "[50,80,95]", "blocked": "unpaid"}
"""

from __future__ import annotations

import json

from rillgate.budget.limit_text import limit_text, parse_limits
from rillgate.domain.limits import Budget
from rillgate.ledger.writes import Item, Value

VERSION = "v"
LIMITS = "limits"
STREAMS = "streams"
WARN = "warn"
BLOCKED = "blocked"
ATTRIBUTES = (VERSION, LIMITS, STREAMS, WARN, BLOCKED)


def budget_item(budget: Budget) -> dict[str, Value]:
    """The attributes of a budget. What it does not have is left out, so a writer removes those of `ATTRIBUTES`."""
    item: dict[str, Value] = {VERSION: budget.version}
    if budget.limits:
        item[LIMITS] = json.dumps([limit_text(limit) for limit in budget.limits], separators=(",", ":"))
    if budget.streams_max is not None:
        item[STREAMS] = budget.streams_max
    if budget.warn_percents:
        item[WARN] = json.dumps(budget.warn_percents, separators=(",", ":"))
    if budget.blocked is not None:
        item[BLOCKED] = budget.blocked
    return item


def read_budget(item: Item) -> Budget:
    """The budget that an item holds.

    Raises: ValueError: an attribute holds what this version cannot read; it would be wrong to take it for no limit.
    """
    limits, in_limits = parse_limits(_texts(item, LIMITS))
    streams = item.get(STREAMS, in_limits)
    blocked = item.get(BLOCKED)
    warn = json.loads(str(item.get(WARN, "[]")))
    if not isinstance(warn, list) or not all(isinstance(mark, int) for mark in warn):
        raise ValueError(f"the budget's {WARN!r} holds {item[WARN]!r}, which is no list of percentages")
    return Budget(
        version=_number(item, VERSION),
        limits=limits,
        streams_max=None if streams is None else int(streams),
        blocked=None if blocked is None else str(blocked),
        warn_percents=tuple(warn),
    )


def _texts(item: Item, name: str) -> list[str]:
    texts = json.loads(str(item.get(name, "[]")))
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"the budget's {name!r} holds {item[name]!r}, which is no list of texts")
    return texts


def _number(item: Item, name: str) -> int:
    value = item.get(name, 0)
    if not isinstance(value, int):
        raise ValueError(f"the budget's {name!r} holds {value!r}, which is no number")
    return value
