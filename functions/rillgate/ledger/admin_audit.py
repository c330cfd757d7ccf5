"""Replays the records against the counters, and names every difference.

For each scope and window: counter = what records say + what live holds hold. The counter is read before the records.
A hold that was live then is counted as held, whatever record there is of it by now. A request that began or ended in
between can still look like a difference: the caller repeats an audit that found one.

Counters whose window is long over are taken away by the gateway; those are passed over. So are totals that began before
the first record that was read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from rillgate.budget.windows import window_number
from rillgate.domain.limits import GLOBAL, NOTHING, Amounts, Meter, Window
from rillgate.ledger import items
from rillgate.ledger.admin_findings import AuditReport, Finding
from rillgate.ledger.admin_records import DAYS_KEPT, Resolved, Span, records_of, resolved
from rillgate.ledger.items import ALWAYS, Counter, Hold
from rillgate.ledger.keys import record_partitions, scope_key
from rillgate.ledger.store import AdminStore
from rillgate.ledger.writes import EMPTY, Item

WindowId = tuple[Window, int]


def audit(store: AdminStore, span: Span, scopes: Iterable[str], now_s: float) -> AuditReport:
    """Compare the counters with the records of `span`, and of the rest of its months.

    Args: scopes: those with a budget, and every key's; `global` and what the records name are added.
    """
    whole = whole_months(span, now_s)
    known = {GLOBAL, *scopes}
    found = _read(store, known)
    holds = resolved(records_of(store, whole.days()))
    named = {scope for hold in holds for scope in hold.charges()} - known
    found |= _read(store, named)
    report = AuditReport()
    recorded = _recorded(holds, found)
    for scope in sorted(found):
        _Books(scope, found[scope], recorded.get(scope, {})).compare(report, span, now_s)
    _drop_partial_totals(report, store, whole, now_s)
    return report


def whole_months(span: Span, now_s: float) -> Span:
    """The span, widened to the months that it touches: a month's counter knows no part of a month. Not past today."""
    first = span.first.replace(day=1)
    after = (span.last.replace(day=28) + timedelta(days=4)).replace(day=1)
    return Span(first, max(span.last, min(after - timedelta(days=1), _day(now_s))))


def _read(store: AdminStore, scopes: Iterable[str]) -> dict[str, Item]:
    names = sorted(scopes)
    found = store.read([scope_key(scope) for scope in names])
    return {scope: item or EMPTY for scope, item in zip(names, found, strict=True)}


def _recorded(holds: Iterable[Resolved], found: Mapping[str, Item]) -> dict[str, dict[WindowId, Amounts]]:
    """What records say, by scope and window; without those whose hold was live when the counters were read."""
    sums: defaultdict[str, defaultdict[WindowId, list[Amounts]]] = defaultdict(lambda: defaultdict(list))
    for hold in holds:
        for scope, amounts in hold.charges().items():
            if items.hold_name(hold.hold_id) in found[scope]:
                continue
            for window in _windows(hold.started_s):
                sums[scope][window].append(amounts)
    return {scope: {window: _sum(amounts) for window, amounts in windows.items()} for scope, windows in sums.items()}


@dataclass(frozen=True, slots=True)
class _Books:
    """One scope: its item, and what records say by window."""

    scope: str
    item: Item
    recorded: Mapping[WindowId, Amounts]

    def compare(self, report: AuditReport, span: Span, now_s: float) -> None:
        live = [hold for _, _, hold in items.holds(self.item)]
        expired = sum(hold.expires_s < now_s for hold in live)
        if live:
            report.live[self.scope] = len(live)
        if expired:
            report.expired[self.scope] = expired
        if items.number(self.item, items.LIVE) != len(live):
            report.miscounted.append((self.scope, items.number(self.item, items.LIVE), len(live)))
        for finding in self._findings(live, span):
            if _was_taken_away(finding, now_s):
                report.notes.append(
                    f"{finding.scope} {finding.window_text}: not compared, the gateway has taken its counters away"
                )
            else:
                report.findings.append(finding)

    def _findings(self, live: Sequence[Hold], span: Span) -> Iterator[Finding]:
        counted = _counted(self.item)
        held: defaultdict[WindowId, list[Amounts]] = defaultdict(list)
        for hold in live:
            for at in _windows(hold.started_s):
                held[at].append(hold.amounts)
        for at in _in_span({*counted, *self.recorded, *held}, span):
            yield Finding(
                self.scope,
                *at,
                counted=counted.get(at, NOTHING),
                recorded=self.recorded.get(at, NOTHING),
                held=_sum(held[at]),
                live=len(held[at]),
            )


def _was_taken_away(finding: Finding, now_s: float) -> bool:
    """Whether a counter is missing that may be: the gateway keeps none whose window is long over."""
    missing = any(finding.recorded.of(meter) and not finding.counted.of(meter) for meter in Meter)
    return missing and Counter(Meter.REQUESTS, finding.window, finding.number).is_over(now_s)


def _counted(item: Item) -> dict[WindowId, Amounts]:
    """The counters of an item by window; minutes are rates and are not replayed."""
    counted: defaultdict[WindowId, dict[Meter, int]] = defaultdict(dict)
    for name in item:
        counter = items.read_counter(name)
        if counter is not None and counter.window in ALWAYS:
            counted[counter.window, counter.number][counter.meter] = items.number(item, name)
    return {
        window: Amounts(*(amounts.get(meter, 0) for meter in (Meter.TOKENS, Meter.COST, Meter.REQUESTS)))
        for window, amounts in counted.items()
    }


def _windows(started_s: int) -> Sequence[WindowId]:
    return [(window, window_number(window, started_s)) for window in ALWAYS]


def _in_span(windows: Iterable[WindowId], span: Span) -> Iterator[WindowId]:
    """Days of the span, the months that it touches, and the total."""
    first, last = _midnight_s(span.first), _midnight_s(span.last)
    for window, number in sorted(windows):
        if window_number(window, first) <= number <= window_number(window, last):
            yield window, number


def _drop_partial_totals(report: AuditReport, store: AdminStore, read: Span, now_s: float) -> None:
    """Take out the totals that began before the records that were read, or go on after them."""
    totals = [finding for finding in report.findings if finding.window is Window.TOTAL]
    if read.last < _day(now_s):
        _drop(report, totals, "the days up to today belong to it; leave --to out")
        return
    # Only a total above its records can be one with older records: these are looked for then, and only then.
    above = [each for each in totals if any(each.difference.of(meter) > 0 for meter in Meter)]
    if above and (older := _older_record(store, read)) is not None:
        _drop(report, above, f"there are older records; give --from {older} or an earlier day")


def _drop(report: AuditReport, findings: Sequence[Finding], why: str) -> None:
    if findings:
        report.findings = [finding for finding in report.findings if finding not in findings]
        report.notes.append(f"total of {', '.join(finding.scope for finding in findings)}: not compared, {why}")


def _older_record(store: AdminStore, read: Span) -> date | None:
    """The last day before the span that has a record."""
    for days in range(1, DAYS_KEPT + 1):
        day = read.first - timedelta(days=days)
        if any(True for pk in record_partitions(day) for _ in store.query(pk)):
            return day
    return None


def _day(now_s: float) -> date:
    return datetime.fromtimestamp(now_s, UTC).date()


def _midnight_s(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _sum(amounts: Sequence[Amounts]) -> Amounts:
    tokens, cost_nanos, requests = (sum(each.of(meter) for each in amounts) for meter in Meter)
    return Amounts(tokens, cost_nanos, requests)
