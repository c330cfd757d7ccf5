"""Estimates beside the embedded model's own counts, as far as that needs no model."""

from __future__ import annotations

import pytest
from benchmarks import estimates
from benchmarks.estimates import Compared, Ended, rows
from benchmarks.model import samples
from benchmarks.prompts import KINDS, PROMPTS

from rillgate.app.embedded import EmbeddedModel


def test_estimates_without_the_model_name_every_row_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing row would look like a figure that nobody promised."""
    monkeypatch.setattr(EmbeddedModel, "available", staticmethod(lambda: False))
    found = list(rows(estimates.QUICK))
    assert [row.id for row in found] == list(estimates.WHAT)
    assert all(row.value is None and row.note for row in found)


def test_estimates_prompts_are_of_every_kind_that_is_named() -> None:
    """About thirty, and each kind has a row of its own."""
    assert set(PROMPTS) == set(KINDS)
    assert sum(map(len, PROMPTS.values())) >= 30


def test_prompt_row_tells_how_often_estimate_and_hold_are_enough() -> None:
    """An estimate that is met exactly is enough; the hold may cover what the estimate does not."""
    compared = [Compared(50, 55, 100, 1, 1), Compared(95, 105, 100, 1, 1), Compared(100, 110, 100, 1, 1)]
    row = estimates._prompt_row("all", compared)
    assert (row.value, row.spread) == (0.95, {"min": 0.5, "max": 1.0})
    assert row.note == "1 at or above it; the hold covers 2"


def test_tail_row_is_what_was_made_beside_what_had_come() -> None:
    """Sums of all streams, and the rest of each."""
    row = estimates._tail_row("estimates.tail.cut", [Ended(12, 10), Ended(20, 20), Ended(31, 30)])
    assert row.beside is not None
    assert (row.value, row.beside.value, row.samples) == (63, 60, 3)
    assert "p50 1, max 2" in row.note


def test_samples_are_read_by_name_and_labels() -> None:
    """Comments are not; a label may hold a blank."""
    text = b'# HELP made Tokens\n# TYPE made counter\nmade 12\nmade{model="a b"} 1.5e+03\n\n'
    assert samples(text) == {"made": 12.0, 'made{model="a b"}': 1500.0}
