"""Figures in the documentation."""

from __future__ import annotations

import pytest
from benchmarks.document import with_figures
from benchmarks.report import Report, Row

TEXT = """top
<!-- figures: begin -->
old
<!-- figures: end -->
middle
<!-- figures of wire: begin -->
old wire
<!-- figures of wire: end -->
bottom
"""


def _report(*ids: str) -> Report:
    report = Report({"date": "today"}, {})
    for row_id in ids:
        report.add(Row(row_id, f"row {row_id}", 1.0, "s"))
    return report


def test_whole_run_fills_the_groups_own_place_and_the_one_of_all_others() -> None:
    """What stands around the marks stays, and each row stands in one place."""
    text, left_out = with_figures(TEXT, _report("micro.a", "wire.b"), whole=True)
    assert "old" not in text
    assert [text.count(each) for each in ("row micro.a", "row wire.b", "top", "middle", "bottom")] == [1] * 5
    assert text.index("row micro.a") < text.index("middle") < text.index("row wire.b")
    assert left_out == []


def test_run_of_some_groups_leaves_the_place_of_all_others() -> None:
    """A table of everything is not replaced by one of little."""
    text, left_out = with_figures(TEXT, _report("micro.a", "wire.b"), whole=False)
    assert "old\n" in text
    assert "row micro.a" not in text
    assert "row wire.b" in text
    assert left_out == ["micro"]


def test_group_that_failed_leaves_its_place() -> None:
    """Half a table in place of a whole one helps nobody."""
    text, _ = with_figures(TEXT, _report("wire.b", "wire.failed"), whole=False)
    assert text == TEXT


def test_document_without_its_end_mark_is_refused() -> None:
    """Rather than losing what follows."""
    with pytest.raises(ValueError, match="figures: end"):
        with_figures(TEXT.replace("<!-- figures: end -->", ""), _report("micro.a"), whole=True)
