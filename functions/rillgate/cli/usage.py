"""`rillgate usage`: what was used, from the records."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from rillgate.budget.limit_text import DOLLAR, amount_text, dollars_text
from rillgate.cli import arguments
from rillgate.cli.context import Context, UsageError
from rillgate.cli.ledger_option import add_command, ledger
from rillgate.cli.output import Cell, csv_text, json_text, table
from rillgate.domain.limits import Meter
from rillgate.ledger.admin_keys import list_keys
from rillgate.ledger.admin_records import Span, records_of
from rillgate.ledger.admin_usage import DIMENSIONS, Tokens, Usage, UsageReport, usage

_HEADERS = (
    "REQUESTS",
    "FAILED",
    "INPUT",
    "CACHED",
    "OUTPUT",
    "REASONING",
    "EST. INPUT",
    "EST. OUTPUT",
    "CAPTURED",
    "CAPT. TOKENS",
    "COST",
)
_CSV_HEADERS = (
    "requests",
    "failed_requests",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "estimated_input_tokens",
    "estimated_cached_input_tokens",
    "estimated_cache_write_tokens",
    "estimated_output_tokens",
    "estimated_reasoning_tokens",
    "captured_requests",
    "captured_tokens",
    "unpriced_requests",
    "cost_usd",
)


def add_usage(commands: Any) -> None:
    """Add `rillgate usage` to the commands."""
    purpose = "requests, tokens and cost, from the records of ended requests"
    parser = add_command(commands, "usage", _usage, purpose, more="Days are in UTC.")
    parser.add_argument(
        "--by", choices=DIMENSIONS, default="key", help="what to sum up by; tag: by each K=V (default: key)"
    )
    arguments.add_span_options(parser)
    parser.add_argument("--csv", action="store_true", help="print CSV, tokens of each kind in a column of its own")


def _usage(options: argparse.Namespace, context: Context) -> int:
    if options.csv and options.json:
        raise UsageError("--csv and --json: give one of them")
    span = arguments.span(options, context.now_s())
    with ledger(options, context) as store:
        report = usage(records_of(store, span.days()), options.by)
        names = {entry.key.key_id: entry.key.name for entry in list_keys(store)} if options.by == "key" else {}
    if options.json:
        context.say(json_text(_object(report, options.by, span, names)))
    elif options.csv:
        name_header = ("name",) if options.by == "key" else ()
        rows = [_csv_row(of, options.by, names) for of in report.groups]
        context.say(csv_text((options.by, *name_header, *_CSV_HEADERS), rows))
    else:
        context.say(_text(report, options.by, span, names))
    return 0


def _object(report: UsageReport, by: str, span: Span, names: Mapping[str, str]) -> dict[str, Any]:
    """Shape: {"from": …, "to": …, "by": "key", "groups": [{"key": "4Vz0…", "name": "web", …}], "total": {…}}"""
    groups = []
    for of in report.groups:
        name = {"name": names.get(of.group)} if by == "key" else {}
        groups.append({by: of.group or None} | name | _sums_object(of))
    return {
        "from": span.first.isoformat(),
        "to": span.last.isoformat(),
        "by": by,
        "groups": groups,
        "total": _sums_object(report.total),
    }


def _sums_object(of: Usage) -> dict[str, Any]:
    return {
        "requests": of.requests,
        "failed_requests": of.failed,
        "reported": _tokens_object(of.reported),
        "estimated": _tokens_object(of.estimated),
        "captured_requests": of.captured,
        "captured_tokens": of.captured_tokens,
        "unpriced_requests": of.unpriced,
        "cost_nanos": of.cost_nanos,
        "cost_usd": of.cost_nanos / DOLLAR,
    }


def _tokens_object(tokens: Tokens) -> dict[str, int]:
    return {
        "input_tokens": tokens.input,
        "cached_input_tokens": tokens.cached_input,
        "cache_write_tokens": tokens.cache_write,
        "output_tokens": tokens.output,
        "reasoning_tokens": tokens.reasoning,
    }


def _csv_row(of: Usage, by: str, names: Mapping[str, str]) -> Sequence[Cell]:
    return (
        of.group,
        *((names.get(of.group, ""),) if by == "key" else ()),
        of.requests,
        of.failed,
        *_tokens_object(of.reported).values(),
        *_tokens_object(of.estimated).values(),
        of.captured,
        of.captured_tokens,
        of.unpriced,
        dollars_text(of.cost_nanos),
    )


def _text(report: UsageReport, by: str, span: Span, names: Mapping[str, str]) -> str:
    if not report.total.requests:
        return f"Nothing was used from {span.first} to {span.last} (UTC)."
    name_header = ("NAME",) if by == "key" else ()
    rows: list[Sequence[Cell]] = []
    for of in (*report.groups, report.total):
        name = (None if of is report.total else names.get(of.group),) if by == "key" else ()
        rows.append((of.group, *name, *_row(of)))
    heading = f"{span.first} to {span.last} (UTC)"
    return "\n".join([heading, table((by.upper(), *name_header, *_HEADERS), rows), *_footnotes(report, by)])


def _row(of: Usage) -> Sequence[Cell]:
    return (
        of.requests,
        of.failed,
        of.reported.input,
        of.reported.cached_input,
        of.reported.output,
        of.reported.reasoning,
        of.estimated.input,
        of.estimated.output,
        of.captured,
        of.captured_tokens,
        amount_text(Meter.COST, of.cost_nanos),
    )


def _footnotes(report: UsageReport, by: str) -> list[str]:
    notes = ["INPUT to REASONING are as providers reported them; EST. is our own count where a provider reported none."]
    if report.total.captured:
        notes.append(
            "CAPTURED died before they could be settled: what they held is charged. Their tags are not known"
            + ("." if by in ("key", "tag") else f", and their {by} only where {by}:… has a budget.")
        )
    if report.total.unpriced:
        notes.append(f"Requests without a known price: {report.total.unpriced}; their cost is missing.")
    if by == "tag":
        notes.append("A request counts under each of its tags, and once in the total.")
    return notes
