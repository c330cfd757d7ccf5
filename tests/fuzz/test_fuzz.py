"""Parsers under a fixed budget: the same inputs each time. `make fuzz MINUTES=10` looks further."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.engine import FINDINGS, fuzz
from tests.fuzz.registry import missing, targets
from tests.fuzz.target import check

NAMES = sorted(targets())
RUNS = 150  # of each target in `make test`
SLOW_RUNS = 5_000


@pytest.mark.parametrize("name", NAMES)
def test_parser_survives_mutations_of_what_makes_sense(name: str) -> None:
    """Nothing but declared errors, which say what was wrong; the same however it is cut; bounded; nothing logged."""
    fuzz(targets()[name], RUNS)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_parser_survives_anything(name: str, data: bytes) -> None:
    """The same for bytes and texts that make no sense."""
    check(targets()[name], data, random.Random(0))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_parser_survives_many_more_mutations(name: str) -> None:
    """The same for longer."""
    fuzz(targets()[name], SLOW_RUNS, number=1)


def test_every_parser_of_what_comes_from_outside_has_a_target() -> None:
    """Readers, dialects, providers and the edges: who adds one fuzzes it."""
    assert missing() == set()


def test_findings_belong_to_targets() -> None:
    """An input that no target reads proves nothing."""
    assert {path.name for path in FINDINGS.iterdir() if path.is_dir()} <= set(NAMES)
