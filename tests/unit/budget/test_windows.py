"""Windows of limits."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.budget.windows import window_end_s, window_number
from rillgate.domain.limits import Window

AT_S = 1_795_000_000  # 2026-11-18 11:06:40


def at(*moment: int) -> int:
    """A moment in UTC, seconds since 1970."""
    year, month, day, *rest = moment
    return int(datetime(year, month, day, *rest, tzinfo=UTC).timestamp())  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("window", "at_s", "number"),
    [
        (Window.MINUTE, 0, 0),
        (Window.MINUTE, 59.999, 0),
        (Window.MINUTE, 60, 1),
        (Window.MINUTE, AT_S, 29_916_666),
        (Window.DAY, 0, 0),
        (Window.DAY, 86_399.9, 0),
        (Window.DAY, 86_400, 1),
        (Window.DAY, AT_S, 20_775),
        (Window.MONTH, 0, 0),
        (Window.MONTH, at(1970, 12, 31, 23, 59, 59), 11),
        (Window.MONTH, at(1971, 1, 1), 12),
        (Window.MONTH, AT_S, 682),
        (Window.TOTAL, 0, 0),
        (Window.TOTAL, AT_S, 0),
    ],
)
def test_window_number_at_moment_counts_from_1970(window: Window, at_s: float, number: int) -> None:
    """Windows are numbered from 1970 in UTC; a total is always number 0."""
    assert window_number(window, at_s) == number


@pytest.mark.parametrize(
    ("window", "at_s", "end_s"),
    [
        (Window.MINUTE, AT_S, AT_S + 20),
        (Window.MINUTE, AT_S + 19.99, AT_S + 20),
        (Window.MINUTE, AT_S + 20, AT_S + 80),
        (Window.DAY, AT_S, at(2026, 11, 19)),
        (Window.DAY, at(2026, 11, 19), at(2026, 11, 20)),
        (Window.MONTH, AT_S, at(2026, 12, 1)),
        (Window.MONTH, at(2026, 12, 31, 23, 59, 59), at(2027, 1, 1)),
        (Window.MONTH, at(2028, 2, 29), at(2028, 3, 1)),
        (Window.TOTAL, AT_S, None),
    ],
)
def test_window_end_at_moment_is_where_the_next_begins(window: Window, at_s: float, end_s: int | None) -> None:
    """A window ends at the first second of the next one, over the ends of years and of leap days; a total never."""
    assert window_end_s(window, at_s) == end_s


@given(st.sampled_from([Window.MINUTE, Window.DAY, Window.MONTH]), st.integers(0, 4 * 10**9))
def test_windows_at_any_moment_follow_each_other_without_gap(window: Window, at_s: int) -> None:
    """Every moment before the end is in this window, and the end is in the very next one."""
    end_s = window_end_s(window, at_s)
    assert end_s is not None
    assert end_s > at_s
    assert window_number(window, end_s - 1) == window_number(window, at_s)
    assert window_number(window, end_s) == window_number(window, at_s) + 1
