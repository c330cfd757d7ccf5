"""What translating costs, beside passing through: as far as that needs no processes."""

from __future__ import annotations

import pytest
from benchmarks.relay import Load, Measured
from benchmarks.report import Report
from benchmarks.translation import AT_MOST, TRANSLATED, Pair, row_of

LOAD = Load(streams=2, at_once=2, chunks=50)


def _costing(us_per_chunk: float) -> Measured:
    return Measured(cpu_s=us_per_chunk * 100 / 1e6, chunks=100, wall_s=1.0, streams=2)


@pytest.mark.parametrize(("cost", "kept"), [(49.9, True), (50.1, False)])
def test_row_compares_a_translation_with_what_was_passed_through_meanwhile(cost: float, kept: bool) -> None:
    """A way within the claim's factor keeps it, one beyond it does not."""
    assert AT_MOST == 1.25
    row = row_of(TRANSLATED[0], LOAD, [Pair(_costing(cost), _costing(40.0))])
    assert row.kept is kept
    assert row.beside is not None
    assert row.beside.value == pytest.approx(40.0)


def test_row_is_of_all_chunks_of_all_pairs() -> None:
    """A pair that a busy machine made dear weighs on both sides, and no pair is left out."""
    pairs = [Pair(_costing(44.0), _costing(40.0)), Pair(_costing(88.0), _costing(80.0))]
    row = row_of(TRANSLATED[0], LOAD, pairs)
    assert row.beside is not None
    assert row.value == pytest.approx(66.0)
    assert row.beside.value == pytest.approx(60.0)
    assert row.samples == 200
    assert row.kept


def test_rows_have_an_id_and_words_of_their_own_for_each_way() -> None:
    """No figure hides another one in the report, and those that were promised are there."""
    report = Report({}, {})
    for way in TRANSLATED:
        report.add(row_of(way, LOAD, [Pair(_costing(40.0), _costing(40.0))]))
    assert len({row.what for row in report.rows}) == len(TRANSLATED)
    assert {"translation.anthropic_openai", "translation.ollama_openai"} <= {row.id for row in report.rows}
