"""Windows of limits, in UTC: the number of the one that a moment falls into, and when it ends.

Numbers count from 1970: minutes and days since the epoch, months as (year - 1970) x 12 + month - 1. A total has the
number 0 and no end.
"""

from __future__ import annotations

from datetime import UTC, datetime

from rillgate.domain.limits import Window

MINUTE_S = 60
DAY_S = 86_400


def window_number(window: Window, at_s: float) -> int:
    """The number of the window at `at_s`, seconds since 1970.

    Shape: (DAY, 1_795_000_000) → 20775; (MONTH, 1_795_000_000) → 682
    """
    match window:
        case Window.MINUTE:
            return int(at_s // MINUTE_S)
        case Window.DAY:
            return int(at_s // DAY_S)
        case Window.MONTH:
            moment = datetime.fromtimestamp(at_s, UTC)
            return (moment.year - 1970) * 12 + moment.month - 1
        case Window.TOTAL:
            return 0


def window_end_s(window: Window, at_s: float) -> int | None:
    """When the window at `at_s` ends, seconds since 1970; None for a total."""
    number = window_number(window, at_s)
    match window:
        case Window.MINUTE:
            return (number + 1) * MINUTE_S
        case Window.DAY:
            return (number + 1) * DAY_S
        case Window.MONTH:
            year, month = divmod(number + 1, 12)
            return int(datetime(1970 + year, month + 1, 1, tzinfo=UTC).timestamp())
        case Window.TOTAL:
            return None
