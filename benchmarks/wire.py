"""Near the wire: the gateway, nginx, a stock transport and the naive design, all on one fake provider in one run.

Each round asks every way in turn, so that what else happens on this machine happens to all of them; a figure is the
median of the rounds. The provider is started anew for each script, on the port that everybody knows.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from benchmarks import first_token
from benchmarks.client import Stream
from benchmarks.fakes import Fakes
from benchmarks.machine import cpu_seconds
from benchmarks.processes import BenchmarkError, free_port, server
from benchmarks.relay import Load, Measured, Outcome, Running
from benchmarks.report import Row
from benchmarks.ways import DIRECT, FULL, KINDS, Kind, MissingError, Way
from benchmarks.wire_rows import Found, rows_of

FIRST = b'" river"'  # the first text of every script
WARM_UP = 10
PAUSE_S = 0.02  # after each request: what it leaves to be settled must not slow the next one, at another way
SETTLE_S = 0.3  # after each load: books that are closed once the client has everything belong to it
SLOW_PART = 6  # of a load that goes as fast as it can, a slow way is given one in so many streams

Many = dict[str, list[Measured]]


@dataclass(frozen=True)
class Effort:
    """How often each figure is taken, and with which loads."""

    paced: Load = field(default_factory=lambda: Load(100, 100, 100, pause_ms=20))
    burst: Load = field(default_factory=lambda: Load(60, 10, 1000))
    short: Load = field(default_factory=lambda: Load(500, 10, 1))
    many: Load = field(default_factory=lambda: Load(1000, 1000, 100, pause_ms=100))
    rounds: int = 5
    first_tokens: int = 300

    def told(self) -> str:
        """For the head of the table."""
        loads = {"paced": self.paced, "in a burst": self.burst, "a request": self.short}
        return "; ".join(f"{name}: {load}" for name, load in loads.items())


FULL_RUN = Effort()
QUICK = Effort(Load(20, 20, 20, pause_ms=20), Load(5, 5, 100), Load(20, 5, 1), Load(50, 50, 10, pause_ms=100), 1, 5)


def rows(
    fakes: Fakes, effort: Effort, *, group: str = "wire", peers: Mapping[str, Kind] | None = None
) -> Iterator[Row]:
    """All of it; `peers` are ways more, and `group` begins every id."""
    kinds = {**KINDS, **(peers or {})}
    port = free_port()
    with ExitStack() as stack:
        with server(fakes.provider(port, effort.short.script), port):
            ways, missing = _open(stack, kinds, port)
            for name, way in ways.items():
                run(fakes, way, _for(kinds[name], effort.short))  # every path has been gone once
            first_ms = _first_tokens(ways, effort.first_tokens)
            short = _rounds(fakes, kinds, _measured(ways), effort.short, effort.rounds)
        with server(fakes.provider(port, effort.paced.script), port):
            paced = _rounds(fakes, kinds, ways, effort.paced, effort.rounds)
        with server(fakes.provider(port, effort.burst.script), port):
            burst = _rounds(fakes, kinds, ways, effort.burst, effort.rounds)
        with server(fakes.provider(port, effort.many.script), port):
            many = {name: _many(fakes, ways[name], effort.many) for name in (DIRECT, FULL)}
    words = {name: kind.words for name, kind in kinds.items()}
    yield from rows_of(group, words, Found(effort.many, short, paced, burst, first_ms, many), missing)


def run(fakes: Fakes, way: Way, load: Load) -> Measured:
    """One load, with what is left to settle after it.

    Raises: BenchmarkError: a stream failed.
    """
    began = _cpu(way)
    with Running(fakes, way.port, way.model, load, key=way.key) as running:
        seen = running.whole()
    time.sleep(SETTLE_S)
    return Measured(_cpu(way) - began, seen.chunks, seen.wall_s, load.streams, seen.ttft_ms, seen.gap_ms)


def _cpu(way: Way) -> float:
    return cpu_seconds(way.pid) if way.pid else 0.0


def _for(kind: Kind, load: Load) -> Load:
    """What a slow way is given of a load that is as fast as it goes: fewer streams, each the same."""
    if load.pause_ms or not kind.slow:
        return load
    return replace(load, streams=max(load.at_once, load.streams // SLOW_PART))


def _open(stack: ExitStack, kinds: Mapping[str, Kind], port: int) -> tuple[dict[str, Way], dict[str, str]]:
    """Every way that can be gone here, and why the others cannot."""
    ways, missing = {}, {}
    for name, kind in kinds.items():
        try:
            ways[name] = stack.enter_context(kind.open(port))
        except MissingError as error:
            missing[name] = str(error)
    return ways, missing


def _measured(ways: Mapping[str, Way]) -> dict[str, Way]:
    return {name: way for name, way in ways.items() if way.pid}


def _rounds(fakes: Fakes, kinds: Mapping[str, Kind], ways: Mapping[str, Way], load: Load, rounds: int) -> Many:
    """Each way once in every round."""
    found: Many = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            try:
                found[name].append(run(fakes, way, _for(kinds[name], load)))
            except BenchmarkError as error:
                raise BenchmarkError(f"{kinds[name].words}: {error}") from None
    return found


def _first_tokens(ways: Mapping[str, Way], times: int) -> dict[str, list[float]]:
    """Milliseconds: one stream at a time on warm connections, each way once in every round, in any order."""
    clients = {name: Stream(way.port, key=way.key) for name, way in ways.items()}
    samples: dict[str, list[float]] = {name: [] for name in ways}
    order = random.Random(times)
    for number in range(-WARM_UP, times):
        for name in order.sample(list(ways), len(ways)):
            time.sleep(PAUSE_S)
            took = first_token.once(clients[name], ways[name].model, FIRST)
            if number >= 0:
                samples[name].append(took)
    for client in clients.values():
        client.close()
    return samples


def _many(fakes: Fakes, way: Way, load: Load) -> tuple[Outcome, float]:
    """More streams than usual, whatever becomes of them, and their processor time in seconds."""
    began = _cpu(way)
    with Running(fakes, way.port, way.model, load, key=way.key) as running:
        seen = running.outcome()
    time.sleep(SETTLE_S)
    return seen, _cpu(way) - began
