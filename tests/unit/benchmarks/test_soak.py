"""What a series of minutes says about memory."""

from __future__ import annotations

import pytest
from benchmarks.soak import judge


def test_judge_growth_before_the_third_minute_is_none() -> None:
    """Pools, caches and arenas fill at the start."""
    verdict = judge([80.0, 120.0, 125.0, 125.5, 124.9])
    assert verdict.flat is True
    assert verdict.rise_mb == pytest.approx(0.5)


@pytest.mark.parametrize(("after", "flat"), [(127.49, True), (127.51, False)])
def test_judge_rise_after_the_third_minute_is_bounded(after: float, flat: bool) -> None:
    """By two hundredths of what it was, where that is more than two megabytes; a later fall excuses nothing."""
    assert judge([80.0, 120.0, 125.0, after, 125.0]).flat is flat


def test_judge_slow_leak_over_half_an_hour_is_seen() -> None:
    """A tenth of a megabyte in each minute is one."""
    verdict = judge([100.0, 100.0, *(100.0 + number / 10 for number in range(28))])
    assert verdict.flat is False
    assert verdict.mb_per_minute == pytest.approx(0.1)


def test_judge_too_few_minutes_is_no_verdict() -> None:
    """Three minutes tell nothing about what comes after the third."""
    verdict = judge([80.0, 120.0, 125.0])
    assert verdict.flat is None
    assert "No verdict" in str(verdict)
