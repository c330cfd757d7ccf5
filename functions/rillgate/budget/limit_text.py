"""Limits as operators write and read them: `tokens/day=100000`, `usd/month=25`, `requests/minute=60`, `streams=4`.

The same spelling stands on the command line, in tickets and in the stored budget, and reading gives back exactly what
was written: dollars become whole nano-dollars without ever being a float.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

from rillgate.domain.limits import Limit, Meter, Window

STREAMS = "streams"
DOLLAR = 10**9  # nano-dollars
DOLLAR_DIGITS = 9  # after the point; a nano-dollar is the smallest amount there is
AMOUNT_MAX = 10**18  # a billion dollars; sums of two still fit 64 bits, which is what SQLite computes in
STREAMS_MAX = 1_000_000

EXAMPLES = "tokens/day=100000, usd/month=25, requests/minute=60 or streams=4"
_METERS = ", ".join(meter.value for meter in Meter)
_WINDOWS = ", ".join(window.value for window in Window)
_WHOLE = re.compile(r"[0-9]+(?:_[0-9]+)*")
_DOLLARS = re.compile(r"([0-9]+(?:_[0-9]+)*)(?:\.([0-9]+))?")


def parse_limit(text: str) -> Limit:
    """One limit of a meter in a window.

    Shape:  "usd/month=2.5" → Limit(Meter.COST, Window.MONTH, 2_500_000_000)
    Raises: ValueError: one sentence that names the text and the remedy.
    """
    name, equals, amount = text.strip().partition("=")
    meter, slash, window = name.partition("/")
    if not equals or not slash:
        raise ValueError(f"limit {text!r} is not METER/WINDOW=AMOUNT; write it as {EXAMPLES}")
    if meter not in {known.value for known in Meter}:
        raise ValueError(f"limit {text!r} counts {meter!r}, which is no meter; give one of {_METERS}")
    if window not in {known.value for known in Window}:
        raise ValueError(f"limit {text!r} is for each {window!r}, which is no window; give one of {_WINDOWS}")
    return Limit(Meter(meter), Window(window), _amount(text, Meter(meter), amount))


def parse_limits(texts: Iterable[str]) -> tuple[tuple[Limit, ...], int | None]:
    """All limits of one scope, in the order given, and how many streams may run at once; None where no text says so.

    Raises: ValueError: as `parse_limit`, and for a second limit of the same meter and window.
    """
    limits: dict[tuple[Meter, Window], Limit] = {}
    streams_max: int | None = None
    for text in texts:
        name, _, amount = text.strip().partition("=")
        if name == STREAMS:
            if streams_max is not None:
                raise _twice(text, STREAMS)
            streams_max = _whole(text, amount, STREAMS_MAX)
            continue
        limit = parse_limit(text)
        if (limit.meter, limit.window) in limits:
            raise _twice(text, name)
        limits[limit.meter, limit.window] = limit
    return tuple(limits.values()), streams_max


def limit_text(limit: Limit) -> str:
    """A limit as `parse_limit` reads it.

    Shape: Limit(Meter.COST, Window.MONTH, 2_500_000_000) → "usd/month=2.5"
    """
    amount = dollars_text(limit.amount) if limit.meter is Meter.COST else str(limit.amount)
    return f"{limit.meter.value}/{limit.window.value}={amount}"


def amount_text(meter: Meter, amount: int) -> str:
    """An amount of a meter for people.

    Shape: (Meter.TOKENS, 100_000) → "100,000 tokens"; (Meter.COST, 25 * 10**9) → "$25.00"; 1 → "1 request"
    """
    if meter is Meter.COST:
        sign = "-" if amount < 0 else ""
        whole, fraction = divmod(abs(amount), DOLLAR)
        digits = f"{fraction:09d}".rstrip("0").ljust(2, "0")
        return f"{sign}${whole:,}.{digits}"
    word = meter.value if abs(amount) != 1 else meter.value.removesuffix("s")
    return f"{amount:,} {word}"


def dollars_text(nanos: int) -> str:
    """Nano-dollars as dollars, exact and without zeros at the end: 2_500_000_000 → "2.5"."""
    sign = "-" if nanos < 0 else ""
    whole, fraction = divmod(abs(nanos), DOLLAR)
    return f"{sign}{whole}.{fraction:09d}".rstrip("0").rstrip(".")


def _amount(text: str, meter: Meter, amount: str) -> int:
    if meter is not Meter.COST:
        return _whole(text, amount, AMOUNT_MAX)
    match = _DOLLARS.fullmatch(amount)
    if match is None:
        raise ValueError(f"limit {text!r}: {amount!r} is no amount of dollars; give digits, such as 25 or 2.50")
    if len((match[2] or "").rstrip("0")) > DOLLAR_DIGITS:
        raise ValueError(f"limit {text!r} is finer than a nano-dollar; give at most {DOLLAR_DIGITS} decimals")
    _check_length(text, match[1])
    return _in_range(text, int(Decimal(amount.replace("_", "")).scaleb(DOLLAR_DIGITS)), AMOUNT_MAX)


def _whole(text: str, amount: str, high: int) -> int:
    if not _WHOLE.fullmatch(amount):
        raise ValueError(f"limit {text!r}: {amount!r} is no whole number; give digits, such as 100000")
    _check_length(text, amount)
    return _in_range(text, int(amount), high)


def _check_length(text: str, digits: str) -> None:
    """Neither Python's `int` nor the context of `Decimal` takes digits without end."""
    if len(digits.replace("_", "").lstrip("0")) > len(str(AMOUNT_MAX)):
        raise ValueError(f"limit {text[:60]!r} is too large; leave it out for no limit")


def _in_range(text: str, amount: int, high: int) -> int:
    if amount == 0:
        raise ValueError(f"limit {text!r} allows nothing; give 1 or more, or block the scope: rillgate budget block")
    if amount > high:
        raise ValueError(f"limit {text!r} is too large; leave it out for no limit")
    return amount


def _twice(text: str, name: str) -> ValueError:
    return ValueError(f"limit {text!r} is a second one for {name}; give one")
