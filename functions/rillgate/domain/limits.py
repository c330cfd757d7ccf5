"""What may be spent: meters, windows, limits, and the budget of one scope.

A scope is what a budget belongs to, spelled `kind:id`: `global`, `key:ID`, `user:U`, `team:T`, `model:M` (the name that
was asked for), `ticket:ID`. Amounts are integers: tokens, nano-dollars (10⁻⁹ US dollars), requests.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

GLOBAL = "global"


class Meter(StrEnum):
    """What is counted; the values are what operators write in `--limit`."""

    TOKENS = "tokens"
    COST = "usd"  # amounts in nano-dollars
    REQUESTS = "requests"


class Window(StrEnum):
    """How long is counted, in UTC; the values are what operators write in `--limit`."""

    MINUTE = "minute"
    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class Limit(msgspec.Struct, frozen=True):
    """One limit: at most `amount` of a meter in each window."""

    meter: Meter
    window: Window
    amount: int


class Amounts(msgspec.Struct, frozen=True):
    """What one request takes, or took."""

    tokens: int = 0
    cost_nanos: int = 0
    requests: int = 0

    def of(self, meter: Meter) -> int:
        """The amount of one meter."""
        if meter is Meter.TOKENS:
            return self.tokens
        return self.cost_nanos if meter is Meter.COST else self.requests


NOTHING = Amounts()


class Budget(msgspec.Struct, frozen=True):
    """The limits of one scope, as they were last set.

    Attributes:
        version: counts up with every change; 0 for a scope that was never given limits.
        limits: at most one for each meter and window.
        streams_max: how many requests may run at once; None for no limit.
        blocked: why the scope is blocked; None while it is not.
        warn_percents: marks, in percent of every limit, whose crossing is one event for each window.
    """

    version: int = 0
    limits: tuple[Limit, ...] = ()
    streams_max: int | None = None
    blocked: str | None = None
    warn_percents: tuple[int, ...] = ()

    @property
    def has_money_limit(self) -> bool:
        """Whether a price must be known to hold it."""
        return any(limit.meter is Meter.COST for limit in self.limits)


UNLIMITED = Budget()
