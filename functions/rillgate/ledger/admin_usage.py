"""What was used, summed from the records: by key, user, team, model or tag.

What a provider reported and what we counted ourselves are never added up: the one is what will be billed, the other an
estimate. A hold that died has neither: what it held was charged, and stands apart as captured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rillgate.domain.ends import End
from rillgate.domain.limits import Amounts
from rillgate.domain.spending import Record
from rillgate.ledger.admin_records import Resolved, resolved

DIMENSIONS = ("key", "user", "team", "model", "tag")
UNKNOWN = ""  # the group of what has no such key, user, team, model or tag

# Ends that are not the caller's doing. A cut at the budget, and a client that leaves, are no failures.
FAILED = frozenset({End.UPSTREAM_ERROR, End.TRUNCATED, End.IDLE, End.DEADLINE, End.SHUTDOWN})


@dataclass(slots=True)
class Tokens:
    """Sums of token counts from one kind of source; a count that is not known adds nothing."""

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0

    def add(self, record: Record) -> None:
        """Count a record in."""
        self.input += record.input_tokens or 0
        self.cached_input += record.cached_input_tokens or 0
        self.cache_write += record.cache_write_tokens or 0
        self.output += record.output_tokens or 0
        self.reasoning += record.reasoning_tokens or 0


@dataclass(slots=True)
class Usage:
    """What one group used.

    Attributes:
        requests: that ended, or died.
        failed: of these, by the provider's fault or ours.
        captured: of these, the ones that died; what they held was charged.
        unpriced: of these, the ones whose price was not known and whose cost is therefore missing.
        captured_tokens: what the dead ones held.
        cost_nanos: charged, the dead ones included.
    """

    group: str
    requests: int = 0
    failed: int = 0
    captured: int = 0
    unpriced: int = 0
    reported: Tokens = field(default_factory=Tokens)
    estimated: Tokens = field(default_factory=Tokens)
    captured_tokens: int = 0
    cost_nanos: int = 0

    def add(self, record: Record) -> None:
        """Count the record of a request that ended."""
        self.requests += 1
        self.failed += record.end in FAILED
        self.unpriced += not record.priced
        (self.estimated if record.estimated else self.reported).add(record)
        self.cost_nanos += record.charged.cost_nanos

    def add_captured(self, held: Amounts) -> None:
        """Count a request that died."""
        self.requests += 1
        self.captured += 1
        self.captured_tokens += held.tokens
        self.cost_nanos += held.cost_nanos


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Groups, the dearest first, and their total; with tags, a request counts in the group of each of its tags."""

    groups: Sequence[Usage]
    total: Usage


def usage(records: Iterable[Record], by: str) -> UsageReport:
    """Sum records by one of `DIMENSIONS`."""
    groups: dict[str, Usage] = {}
    total = Usage("total")
    for hold in resolved(records):
        if hold.own is not None:
            total.add(hold.own)
            for name in _groups(hold.own, by):
                groups.setdefault(name, Usage(name)).add(hold.own)
        else:
            name, held = _captured(hold, by)
            total.add_captured(held)
            groups.setdefault(name, Usage(name)).add_captured(held)
    ordered = sorted(groups.values(), key=lambda of: (-of.cost_nanos, -of.requests, of.group))
    return UsageReport(ordered, total)


def _groups(record: Record, by: str) -> Sequence[str]:
    if by == "tag":
        return [f"{name}={value}" for name, value in record.tags.items()] or [UNKNOWN]
    values = {"key": record.key_id, "user": record.user, "team": record.team, "model": record.model}
    return [values[by] or UNKNOWN]


def _captured(hold: Resolved, by: str) -> tuple[str, Amounts]:
    """The group of a hold that died, and what it held: the same in every scope, and counted once.

    Only the scopes it was charged to are known of it, and of these only such that have a budget, or are a key.
    """
    charges = hold.charges()
    for scope, amounts in charges.items():
        kind, _, name = scope.partition(":")
        if kind == by:
            return name, amounts
    return UNKNOWN, max(charges.values(), key=lambda amounts: (amounts.tokens, amounts.cost_nanos))
