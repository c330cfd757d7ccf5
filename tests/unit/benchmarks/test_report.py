"""Rows, and the table that is made of them."""

from __future__ import annotations

import pytest
from benchmarks.report import Beside, Report, Row, number, spread_of


def table_of(row: Row) -> str:
    """The row's line."""
    report = Report({"date": "today"}, {})
    report.add(row)
    return report.as_table().splitlines()[-1]


def test_row_largest_sample_past_the_limit_breaks_the_claim() -> None:
    """A median below the limit does not keep a promise that one sample broke."""
    kept = Row("a", "A", 1.0, "ms", "soon", {"max": 100.0}, limit=100.0)
    broken = Row("b", "B", 1.0, "ms", "soon", {"max": 100.1}, limit=100.0)
    assert (kept.kept, broken.kept) == (True, False)
    assert "soon: kept" in table_of(kept)
    assert "soon: BROKEN" in table_of(broken)


def test_row_below_what_it_must_reach_breaks_the_claim() -> None:
    """Where more is better, the promise is a least value."""
    kept = Row("a", "A", 130_000.0, "chunks/s", "quick", at_least=130_000)
    broken = Row("b", "B", 129_999.0, "chunks/s", "quick", at_least=130_000)
    assert (kept.kept, broken.kept) == (True, False)


def test_row_not_measured_says_why_and_keeps_no_promise() -> None:
    """What was not measured is neither kept nor broken, and its line has the reason."""
    row = Row("a", "A", None, "s", "soon", limit=1.0, note="no wheel")
    assert row.kept is None
    assert "not measured: no wheel" in table_of(row)


def test_table_reference_is_divided_or_subtracted() -> None:
    """Beside a reference stands the ratio, or the difference where a row asks for it."""
    assert "nginx 2.00 µs: × 1.50" in table_of(Row("a", "A", 3.0, "µs", beside=Beside("nginx", 2.0)))
    assert "direct 2.00 ms: +1.00" in table_of(Row("a", "A", 3.0, "ms", beside=Beside("direct", 2.0, ratio=False)))
    assert "direct 3.00 ms: -1.00" in table_of(Row("a", "A", 2.0, "ms", beside=Beside("direct", 3.0, ratio=False)))


def test_report_second_row_of_one_id_is_refused() -> None:
    """Results of two runs are compared by id, so an id names one row."""
    report = Report({}, {})
    report.add(Row("a", "A", 1.0, "s"))
    with pytest.raises(ValueError, match="'a'"):
        report.add(Row("a", "B", 2.0, "s"))


def test_spread_is_the_median_the_95th_percentile_and_the_largest() -> None:
    """By nearest rank, from samples in any order."""
    assert spread_of([float(each) for each in range(100, 0, -1)]) == (51.0, {"p95": 96.0, "max": 100.0})
    assert spread_of([7.0]) == (7.0, {"p95": 7.0, "max": 7.0})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12345.6, "12,346"),
        (99.94, "99.9"),
        (5.333, "5.33"),
        (0.5, "0.500"),
        (0.00123, "0.00123"),
        (-2.5, "-2.50"),
    ],
)
def test_number_has_three_digits(value: float, text: str) -> None:
    """Enough to compare, no more than the measurement holds."""
    assert number(value) == text
