"""What is fuzzed, and what must hold of it whatever comes.

A target takes bytes in pieces and says what they mean: an `Outcome`, that can be compared. What it declares to raise is
part of the outcome; anything else that it raises is a finding. `check` holds every target to the same:

- nothing is raised but what is declared, and what is declared says in one short line what was wrong;
- pieces make no difference: whole, byte by byte and cut at random give the same outcome;
- what comes out is bounded by what went in;
- nothing is logged: what a stranger sent is somebody's text.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from rillgate.app.spoken import MESSAGES_DIALECT, OPENAI_DIALECT
from rillgate.domain.errors import RillgateError
from rillgate.domain.ports import Dialect

MESSAGE_CHARS_MAX = 2_100  # of an error: a sentence, and what a provider said
BYTE_BY_BYTE_MAX = 2_048  # longer inputs are cut at random only
OUT_PER_BYTE_MAX = 400  # an envelope around each single character, twice
OUT_FREE = 16_384

Outcome = Any
"""Anything that can be compared and has a repr."""

Shape = Literal["bytes", "lines", "json", "messages"]
"""How the inputs are built, for the mutator: anything; lines; one JSON value; messages of AWS's event streams."""

DIALECTS: tuple[Dialect, ...] = (OPENAI_DIALECT, MESSAGES_DIALECT)


@dataclass(frozen=True)
class Target:
    """One parser.

    Attributes:
        name: of the target, and of its folder in `findings`.
        covers: modules that it goes through on purpose; see `registry.missing`.
        seeds: inputs to begin with, which make sense.
        run: pieces → outcome.
        shape: of the inputs.
        cut: whether pieces matter; a parser of whole bodies gets one piece.
        events: that may be logged, since nothing of the input stands in them.
    """

    name: str
    covers: frozenset[str]
    seeds: Callable[[], Iterable[bytes]]
    run: Callable[[Sequence[bytes]], Outcome]
    shape: Shape = "json"
    cut: bool = False
    events: frozenset[str] = frozenset()


class Finding(AssertionError):
    """A property that does not hold."""


def refused(error: RillgateError) -> Outcome:
    """The outcome of a declared error, once it is one that a client can be told."""
    if not error.message or len(error.message) > MESSAGE_CHARS_MAX:
        raise Finding(f"{type(error).__name__} says {len(error.message)} characters")
    if not 400 <= error.status <= 599:
        raise Finding(f"{type(error).__name__} has the status {error.status}")
    for dialect in DIALECTS:
        msgspec.json.decode(dialect.error_body(error))
        dialect.encoder("req_1", "m", 0).error(error)
    return type(error).__name__, error.status, error.code, error.param, error.message


def check(target: Target, data: bytes, rng: random.Random) -> Outcome:
    """Hold `target` to its properties for one input; gives its outcome.

    Raises:
        Finding: one does not hold.
        Exception: what the target must not raise.
    """
    with silence(target):
        whole = target.run([data])
        if target.cut:
            for pieces in _cuts(data, rng):
                if (cut := target.run(pieces)) != whole:
                    raise Finding(f"cut into {len(pieces)} pieces it says {cut!r}, and whole {whole!r}")
    size = len(repr(whole))
    if size > OUT_PER_BYTE_MAX * len(data) + OUT_FREE:
        raise Finding(f"{len(data)} bytes became {size}")
    return whole


def _cuts(data: bytes, rng: random.Random) -> Iterator[list[bytes]]:
    if len(data) <= BYTE_BY_BYTE_MAX:
        yield [data[at : at + 1] for at in range(len(data))]
    at, pieces = 0, []
    while at < len(data):
        length = rng.choice((1, 2, 3, 7, 64, 1_000))
        pieces.append(data[at : at + length])
        at += length
    yield pieces


@contextmanager
def silence(target: Target) -> Iterator[None]:
    """Nothing may be logged within."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name != "asyncio" and record.getMessage() not in target.events:  # which names its selector
                said.append(record.name)

    listener, root = Listener(), logging.getLogger()
    levels = [(each, each.level) for each in (root, logging.getLogger("rillgate"))]
    for each, _ in levels:
        each.setLevel(logging.DEBUG)
    root.addHandler(listener)
    try:
        yield
    finally:
        root.removeHandler(listener)
        for each, level in levels:
            each.setLevel(level)
    if said:
        raise Finding(f"{target.name} logged by {sorted(set(said))}")
