"""Runs one target: its findings of before, its seeds, and then mutations of them, always the same for one number."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.mutate import mutated
from tests.fuzz.target import Target, check

FINDINGS = Path(__file__).parent / "findings"


def known(target: Target) -> list[bytes]:
    """Inputs that once were findings; each one's name says of what."""
    return [path.read_bytes() for path in sorted((FINDINGS / target.name).glob("*"))]


def inputs(target: Target, rng: random.Random) -> Iterator[bytes]:
    """Without end."""
    seeds = [*known(target), *target.seeds()]
    yield from seeds
    while True:
        yield mutated(rng.choice(seeds), target.shape, seeds, rng)


def fuzz(target: Target, runs: int, number: int = 0) -> None:
    """Hold `target` to its properties for its seeds and `runs` mutations of them.

    Args: number: of the sequence of mutations.
    Raises:
        Exception: a finding, with a note that holds the input.
    """
    rng = random.Random(f"{target.name}/{number}")
    count = len(known(target)) + len(list(target.seeds())) + runs
    for _, data in zip(range(count), inputs(target, rng), strict=False):
        try:
            check(target, data, rng)
        except Exception as error:
            error.add_note(f"{target.name} of {data!r}")
            raise
