"""The load generator in Python: its times."""

from __future__ import annotations

import pytest
from benchmarks.load import Times, percentiles


def test_times_chunks_of_one_read_have_no_gap_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first chunk is a time of its own, and reads without text are no chunks."""
    now = iter([10.5, 10.7])
    monkeypatch.setattr("benchmarks.load.time.monotonic", lambda: next(now))
    times = Times(10.0)
    times.came(0)
    times.came(2)
    times.came(1)
    assert times.first_s == [pytest.approx(0.5)]
    assert times.gaps_s == [0.0, pytest.approx(0.2)]
    assert times.chunks == 3


def test_percentiles_are_milliseconds_by_rank() -> None:
    """As the generator in Go has them, in any order, and zero where nothing came."""
    assert percentiles([number / 1000 for number in range(101, 0, -1)]) == pytest.approx(
        {"p50": 51.0, "p95": 96.0, "p99": 100.0, "max": 101.0}
    )
    assert set(percentiles([]).values()) == {0.0}
