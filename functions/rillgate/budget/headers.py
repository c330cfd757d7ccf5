"""What answers say of budgets in their headers: how much is left, and when it comes back.

Names and formats are OpenAI's, which its SDKs and many agents read; what it has no name for is under `x-rillgate-`.
Source: reference table of OpenAI's rate limit headers; Go's `time.Duration.String` for durations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction

from rillgate.domain.limits import Meter
from rillgate.domain.spending import Level

_NAMED = {Meter.TOKENS: "tokens", Meter.REQUESTS: "requests"}


def level_headers(levels: Sequence[Level], now_s: float) -> dict[str, str]:
    """The tightest limit of each meter, which is the one with the least left, and whose limit is tightest of all.

    Shape:   4,000 of the 10,000 tokens a day of "key:a1" → {"x-ratelimit-limit-tokens": "10000",
             "x-ratelimit-remaining-tokens": "6000", "x-ratelimit-reset-tokens": "23h5m0s",
             "x-rillgate-scope": "key:a1"}
    Args:    levels: right after this request's own hold, or right before it was refused.
             now_s: seconds since 1970.
    Returns: names in lower case; nothing without levels. A total has no reset.
    """
    headers: dict[str, str] = {}
    for meter in Meter:
        of_meter = [level for level in levels if level.limit.meter is meter]
        if not of_meter:
            continue
        # Of two with the same rest, the one that comes back later; a total never does.
        level = min(of_meter, key=lambda level: (level.remaining, -_reset(level)))
        if meter is Meter.COST:
            headers["x-rillgate-remaining-usd"] = usd(level.remaining)
            continue
        name = _NAMED[meter]
        headers[f"x-ratelimit-limit-{name}"] = str(level.limit.amount)
        headers[f"x-ratelimit-remaining-{name}"] = str(level.remaining)
        if level.resets_s is not None:
            headers[f"x-ratelimit-reset-{name}"] = go_duration(level.resets_s - now_s)
    if levels:
        headers["x-rillgate-scope"] = header_value(min(levels, key=_fraction_left).scope)
    return headers


def header_value(scope: str) -> str:
    """A scope as a header carries it: a user may be named in any script, or with a line break, which is escaped."""
    return scope.encode("unicode_escape").decode()


def go_duration(seconds: float) -> str:
    """A duration as Go writes it, to the millisecond, never negative.

    Shape: 0.012 → "12ms"; 1 → "1s"; 360 → "6m0s"; 83_100 → "23h5m0s"; 90.25 → "1m30.25s"
    """
    millis = max(0, math.ceil(round(seconds * 1000, 3)))
    if 0 < millis < 1000:
        return f"{millis}ms"
    minutes, millis = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(millis, 3)}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def usd(nanos: int) -> str:
    """Nano-dollars in decimal dollars, exactly.

    Shape: 1_500_000_000 → "1.5"; 25_000_000_000 → "25"; 1 → "0.000000001"
    """
    return _decimal(nanos, 9)


def rfc3339(at_s: float) -> str:
    """A moment in UTC: 2026-11-21T00:00:00Z."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _decimal(units: int, places: int) -> str:
    """An integer with the decimal point moved left, without zeros at its end."""
    whole, rest = divmod(abs(units), 10**places)
    sign = "-" if units < 0 else ""
    return sign + (f"{whole}.{rest:0{places}d}".rstrip("0") if rest else str(whole))


def _fraction_left(level: Level) -> Fraction:
    return Fraction(level.remaining, level.limit.amount) if level.limit.amount else Fraction(0)


def _reset(level: Level) -> float:
    return math.inf if level.resets_s is None else level.resets_s
