"""Arguments of the control plane: durations, dates, limits, marks, tags, addresses. Each says what to write instead."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from urllib.parse import SplitResult, urlsplit

from rillgate.budget.limit_text import parse_limits
from rillgate.cli.context import UsageError
from rillgate.ledger.admin_records import DAYS_KEPT, Span
from rillgate.ledger.admin_scopes import AdminError, check_name

UNIT_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
DURATION_S_MAX = 100 * 365 * 86_400
_DURATION = re.compile(r"([0-9]{1,12})([dhms])")
NO_MARKS = "none"


def duration_s(text: str) -> int:
    """30d, 12h, 45m or 90s, in seconds."""
    match = _DURATION.fullmatch(text)
    seconds = int(match[1]) * UNIT_S[match[2]] if match else -1
    if not 0 <= seconds <= DURATION_S_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; give one such as 30d, 12h, 45m or 90s")
    return seconds


def expiry(text: str) -> Callable[[float], int]:
    """A duration from now, or an RFC 3339 date or time, as a function of now that gives seconds since 1970."""
    if _DURATION.fullmatch(text):
        seconds = duration_s(text)
        return lambda now_s: int(now_s) + seconds
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or (moment.tzinfo is None and len(text) > len("2026-12-31")):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; give a duration such as 30d or 12h, or an RFC 3339 date such as 2026-12-31 "
            "or 2026-12-31T18:00:00Z"
        )
    at_s = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    return lambda _: at_s


def day(text: str) -> date:
    """A day, 2026-11-21."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date; give one such as 2026-11-21") from None


def limit(text: str) -> str:
    """One limit, checked, as it was written: whether it may stand beside the others only all of them show."""
    try:
        parse_limits([text])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def marks(text: str) -> tuple[int, ...]:
    """Percentages, 50,80,95, in order; none for none."""
    if text == NO_MARKS:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,3}", part) and 1 <= int(part) <= 100 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} are no marks; give percentages from 1 to 100, such as 50,80,95")
    return tuple(sorted({int(part) for part in parts}))


def tag(text: str) -> tuple[str, str]:
    """A tag, K=V."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no tag; give K=V, such as app=web")
    return checked_name(name), checked_name(value)


def checked_name(text: str) -> str:
    """A name as scopes have it."""
    try:
        return check_name(text, "name")
    except AdminError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def gateway_url(text: str) -> SplitResult:
    """An address of a gateway; argparse says what is wrong with any other."""
    try:
        url = urlsplit(text.rstrip("/").removesuffix("/v1"))
        usable = (
            url.scheme in ("http", "https") and bool(url.hostname) and not (url.query or url.fragment or url.username)
        )
        _ = url.port
    except ValueError:
        usable = False
    if not usable:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address of a gateway; give one such as https://llm.example.com"
        )
    return url


def add_span_options(parser: argparse.ArgumentParser) -> None:
    """`--from` and `--to`."""
    parser.add_argument(
        "--from", dest="first", type=day, metavar="DATE", help="first day (default: this month's first)"
    )
    parser.add_argument("--to", dest="last", type=day, metavar="DATE", help="last day, included (default: today)")


def span(options: argparse.Namespace, now_s: float) -> Span:
    """The days between `--from` and `--to`, in UTC; this month up to today where neither is given.

    Raises: UsageError
    """
    today = datetime.fromtimestamp(now_s, UTC).date()
    last: date = min(options.last or today, today)
    first: date = options.first or last.replace(day=1)
    if first > today:
        raise UsageError(f"--from {first} is in the future; give {today} or an earlier day")
    if first > last:
        raise UsageError(f"--from {first} is after --to {last}; swap them")
    if first < today - timedelta(days=DAYS_KEPT):
        raise UsageError(f"--from {first}: records are kept for {DAYS_KEPT} days; give a later day")
    return Span(first, last)
