"""The audit's arithmetic, on items and records as they may be met."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import date

import pytest

from rillgate.domain.limits import Amounts, Meter
from rillgate.domain.spending import Record
from rillgate.ledger.admin_audit import audit, whole_months
from rillgate.ledger.admin_findings import AuditReport
from rillgate.ledger.admin_records import Span
from rillgate.ledger.items import ALWAYS, Hold, counter, hold_name
from rillgate.ledger.keys import scope_key
from rillgate.ledger.records import record_write
from rillgate.ledger.sqlite_table import SqliteTable
from rillgate.ledger.writes import Add, Put, Write

NOW_S = 1_795_262_400  # 2026-11-21T12:00:00Z
SCOPE = "key:K1"
ID = "AAAAAAAAAAAAAAAA"
TODAY = Span(date(2026, 11, 21), date(2026, 11, 21))


@pytest.fixture
def store() -> Iterator[SqliteTable]:
    """A ledger in memory."""
    with closing(SqliteTable(None, wall=lambda: NOW_S)) as store:
        yield store


def count(store: SqliteTable, amounts: Amounts, at_s: int = NOW_S - 60) -> None:
    """Count into the day, the month and the total."""
    changes = [Add(counter(meter, window, at_s), amounts.of(meter)) for meter in Meter for window in ALWAYS]
    store.write(Write(scope_key(SCOPE), tuple(changes)))


def record(store: SqliteTable, amounts: Amounts, hold_id: str = ID, *, captured: bool = False) -> None:
    """Keep a record of a minute ago."""
    store.write(
        record_write(
            Record(
                hold_id=hold_id,
                started_s=NOW_S - 60,
                scopes={SCOPE: amounts},
                charged=amounts,
                captured_scope=SCOPE if captured else None,
            )
        )
    )


def look(store: SqliteTable, span: Span = TODAY) -> AuditReport:
    """Audit now."""
    return audit(store, span, [SCOPE], NOW_S)


def test_audit_of_a_live_hold_that_has_a_record_already_counts_the_hold(store: SqliteTable) -> None:
    """The record may be written before the scope is settled: the counter still has the hold in it."""
    hold = Hold(NOW_S + 900, 0, 500, 900, NOW_S - 60)
    store.write(Write(scope_key(SCOPE), (Put(hold_name(ID), hold.value), Add("n", 1))))
    count(store, hold.amounts)
    record(store, Amounts(300, 400, 1))
    assert look(store).is_clean


@pytest.mark.parametrize(
    ("own", "captured", "charged"),
    [
        (Amounts(700, 100, 1), Amounts(500, 900, 1), Amounts(700, 900, 1)),
        (Amounts(300, 400, 1), Amounts(500, 900, 1), Amounts(500, 900, 1)),
    ],
)
def test_audit_of_a_hold_settled_after_its_capture_takes_the_larger(
    store: SqliteTable, own: Amounts, captured: Amounts, charged: Amounts
) -> None:
    """A late owner charges what it took beyond the hold, meter by meter, and never gives back."""
    record(store, own)
    record(store, captured, captured=True)
    count(store, charged)
    assert look(store).is_clean


def test_audit_of_two_requests_that_differ_in_opposite_ways_still_differs(store: SqliteTable) -> None:
    """Each meter is compared by itself."""
    record(store, Amounts(10, 20, 1))
    count(store, Amounts(11, 19, 1))
    report = look(store)
    assert [finding.difference for finding in report.differences] == [Amounts(1, -1, 0)] * 3


def test_audit_of_one_day_reads_its_whole_month_and_reports_the_day(store: SqliteTable) -> None:
    """A month's counter is compared with all of the month, days outside the span are not reported."""
    record(store, Amounts(10, 20, 1))
    count(store, Amounts(10, 20, 1))
    report = look(store, Span(date(2026, 11, 1), date(2026, 11, 20)))
    assert report.is_clean
    assert [finding.window_text for finding in report.findings] == ["2026-11", "total"]


@pytest.mark.parametrize(
    ("first", "last", "whole"),
    [
        ("2026-11-10", "2026-11-12", ("2026-11-01", "2026-11-21")),
        ("2026-10-31", "2026-10-31", ("2026-10-01", "2026-10-31")),
        ("2026-01-31", "2026-02-01", ("2026-01-01", "2026-02-28")),
        ("2025-12-24", "2025-12-31", ("2025-12-01", "2025-12-31")),
    ],
)
def test_whole_months_of_a_span_end_with_the_month_or_today(first: str, last: str, whole: tuple[str, str]) -> None:
    """No day to come is read."""
    span = whole_months(Span(date.fromisoformat(first), date.fromisoformat(last)), NOW_S)
    assert (span.first.isoformat(), span.last.isoformat()) == whole
