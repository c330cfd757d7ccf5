"""The records of a span of days, read partition by partition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

from rillgate.domain.limits import Amounts, Meter
from rillgate.domain.spending import Record
from rillgate.ledger.keys import record_partitions
from rillgate.ledger.records import read_record
from rillgate.ledger.store import AdminStore

DAYS_KEPT = 400


@dataclass(frozen=True, slots=True)
class Span:
    """Days in UTC, both included."""

    first: date
    last: date

    def days(self) -> Iterator[date]:
        """Each of them, in order."""
        for number in range((self.last - self.first).days + 1):
            yield self.first + timedelta(days=number)


@dataclass(slots=True)
class Resolved:
    """All that was recorded of one hold: by its owner, and by those who captured it, scope by scope.

    Both are there for a scope when the owner was late and charged what it took beyond the captured hold.
    """

    hold_id: str
    own: Record | None = None
    captured: dict[str, Record] = field(default_factory=dict)

    @property
    def started_s(self) -> int:
        """When it began, seconds since 1970."""
        record = self.own or next(iter(self.captured.values()))
        return record.started_s

    def charges(self) -> dict[str, Amounts]:
        """What each scope was charged: the larger of both records where there are two."""
        charges = dict(self.own.scopes) if self.own else {}
        for scope, record in self.captured.items():
            amounts = record.scopes.get(scope, record.charged)
            charges[scope] = _larger(charges[scope], amounts) if scope in charges else amounts
        return charges


def records_of(store: AdminStore, days: Iterable[date]) -> Iterator[Record]:
    """All records of these days."""
    for day in days:
        for pk in record_partitions(day):
            for sk, item in store.query(pk):
                yield read_record(sk, item)


def resolved(records: Iterable[Record]) -> list[Resolved]:
    """Records brought together by hold."""
    holds: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        holds[record.hold_id].append(record)
    found = []
    for hold_id, of_hold in holds.items():
        own = next((record for record in of_hold if record.captured_scope is None), None)
        captured = {record.captured_scope: record for record in of_hold if record.captured_scope is not None}
        found.append(Resolved(hold_id, own, captured))
    return found


def _larger(one: Amounts, other: Amounts) -> Amounts:
    tokens, cost_nanos, requests = (max(one.of(meter), other.of(meter)) for meter in Meter)
    return Amounts(tokens, cost_nanos, requests)
