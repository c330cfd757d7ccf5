"""`rillgate audit`: do the counters say what the records say?"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from rillgate.budget.limit_text import amount_text
from rillgate.cli import arguments
from rillgate.cli.context import Context
from rillgate.cli.ledger_option import add_command, ledger
from rillgate.cli.output import Cell, json_text, printable, table
from rillgate.domain.limits import Amounts, Meter
from rillgate.ledger.admin_audit import audit
from rillgate.ledger.admin_budgets import all_budgets
from rillgate.ledger.admin_findings import AuditReport, Finding
from rillgate.ledger.admin_keys import key_scope, list_keys
from rillgate.ledger.admin_records import Span
from rillgate.ledger.store import AdminStore

# A request that ends while its books are read looks like a difference; a moment later it does not.
ROUNDS = 3
PAUSE_S = 1.0

_HEADERS = ("SCOPE", "WINDOW", "METER", "COUNTER", "RECORDS", "LIVE HOLDS", "DIFFERENCE")


def add_audit(commands: Any) -> None:
    """Add `rillgate audit` to the commands."""
    purpose = "replay the records against the counters and name every difference"
    more = "The exit code is 0 when everything is explained, and 1 when not. Days are in UTC."
    arguments.add_span_options(add_command(commands, "audit", _audit, purpose, more=more))


def _audit(options: argparse.Namespace, context: Context) -> int:
    with ledger(options, context) as store:
        for left in reversed(range(ROUNDS)):
            span = arguments.span(options, context.now_s())
            report = audit(store, span, _scopes(store), context.now_s())
            if report.is_clean or not left:
                break
            context.sleep(PAUSE_S)
    context.say(json_text(_object(report, span)) if options.json else _text(report, span))
    return 0 if report.is_clean else 1


def _scopes(store: AdminStore) -> set[str]:
    return {*all_budgets(store), *(key_scope(entry.key.key_id) for entry in list_keys(store))}


def _object(report: AuditReport, span: Span) -> dict[str, Any]:
    """Shape: {"from": …, "to": …, "explained": true, "compared": 12, "differences": [], "live_holds": {}, …}"""
    return {
        "from": span.first.isoformat(),
        "to": span.last.isoformat(),
        "explained": report.is_clean,
        "compared": len(report.findings),
        "differences": [_finding_object(finding) for finding in report.differences],
        "miscounted": [
            {"scope": scope, "live_counted": counted, "live_holds": there}
            for scope, counted, there in report.miscounted
        ],
        "live_holds": report.live,
        "expired_holds": report.expired,
        "notes": report.notes,
    }


def _finding_object(finding: Finding) -> dict[str, Any]:
    return {
        "scope": finding.scope,
        "window": finding.window.value,
        "of": finding.window_text,
        "counter": _amounts_object(finding.counted),
        "records": _amounts_object(finding.recorded),
        "live_holds": _amounts_object(finding.held),
        "difference": _amounts_object(finding.difference),
        "reasons": finding.reasons(),
    }


def _amounts_object(amounts: Amounts) -> dict[str, int]:
    return {"tokens": amounts.tokens, "cost_nanos": amounts.cost_nanos, "requests": amounts.requests}


def _text(report: AuditReport, span: Span) -> str:
    differences = report.differences
    lines = [
        f"{span.first} to {span.last} (UTC): {len(report.findings)} windows of "
        f"{len({finding.scope for finding in report.findings})} scopes compared, {len(differences)} differ."
    ]
    if differences:
        lines.append(table(_HEADERS, [row for finding in differences for row in _rows(finding)]))
    return "\n".join([*lines, *map(printable, _notes(report))])


def _notes(report: AuditReport) -> Iterator[str]:
    for finding in report.differences:
        for reason in finding.reasons():
            yield f"{finding.scope} {finding.window_text}: {reason}"
    for scope, counted, there in report.miscounted:
        yield f"{scope}: {counted} live holds are counted, {there} are there"
    for scope, live in report.live.items():
        expired = report.expired.get(scope)
        yield f"{scope}: {live} live holds" + (f", {expired} of them expired and not captured yet" if expired else "")
    yield from report.notes


def _rows(finding: Finding) -> Iterator[tuple[Cell, ...]]:
    """One row for each meter that differs."""
    for meter in Meter:
        if finding.difference.of(meter):
            columns = (finding.counted, finding.recorded, finding.held, finding.difference)
            amounts = [amount_text(meter, amounts.of(meter)) for amounts in columns]
            yield finding.scope, finding.window_text, meter.value, *amounts
