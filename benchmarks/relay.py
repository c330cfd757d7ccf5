"""One load through one way: a load generator, what stands in between, and what came of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from benchmarks.fakes import ClientDialect, Fakes
from benchmarks.machine import cpu_seconds
from benchmarks.processes import BenchmarkError, clean_environment

MODEL = "gpt-4o"  # its text is counted exactly
OUTPUT_TOKENS_MAX = 32_768  # the cap, far from what is sent: the count runs and does not cut
LOAD_S = 120
PATHS: dict[ClientDialect, str] = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


@dataclass(frozen=True)
class Load:
    """One shape of load: `streams` in all, `at_once` of them; a pause of 0 means as fast as it goes."""

    streams: int
    at_once: int
    chunks: int
    pause_ms: int = 0

    @property
    def script(self) -> str:
        """For the provider."""
        return f"n{self.chunks}-d{self.pause_ms}"

    def __str__(self) -> str:
        chunks = "1 chunk" if self.chunks == 1 else f"{self.chunks:,} chunks"
        pace = f", {1000 // self.pause_ms} a second" if self.pause_ms else ""
        return f"{self.streams:,} streams of {chunks}{pace}, {self.at_once:,} at once"


@dataclass(frozen=True)
class Loads:
    """`paced` is what the project is for, `burst` as fast as it goes, `short` a request with one chunk."""

    paced: Load
    burst: Load
    short: Load
    repeats: int


FULL = Loads(Load(100, 100, 100, pause_ms=20), Load(60, 10, 1000), Load(1000, 10, 1), repeats=3)
QUICK = Loads(Load(20, 20, 50, pause_ms=20), Load(10, 5, 200), Load(50, 5, 1), repeats=1)


@dataclass(frozen=True)
class Outcome:
    """What the clients of one load saw; times in milliseconds, by "p50", "p95", "p99" and "max"."""

    done: int
    failed: int
    reasons: Mapping[str, int]
    chunks: int
    wall_s: float
    ttft_ms: Mapping[str, float]
    gap_ms: Mapping[str, float]

    @classmethod
    def read(cls, said: str) -> Self:
        """From what a load generator says."""
        found: dict[str, Any] = json.loads(said)
        return cls(**{name: found[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Measured:
    """One load through one way. `cpu_s` is the way's own process; times in milliseconds, as in `Outcome`."""

    cpu_s: float
    chunks: int
    wall_s: float
    streams: int
    ttft_ms: Mapping[str, float] = field(default_factory=dict)
    gap_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def cpu_us_per_chunk(self) -> float:
        """Microseconds."""
        return self.cpu_s * 1e6 / self.chunks

    @property
    def cpu_ms_per_stream(self) -> float:
        """Milliseconds."""
        return self.cpu_s * 1e3 / self.streams

    @property
    def chunks_per_s(self) -> float:
        """Of all streams together."""
        return self.chunks / self.wall_s


def median(found: list[Measured]) -> Measured:
    """The middle one by CPU, or by time where nobody's CPU is measured."""
    return sorted(found, key=lambda each: each.cpu_s or each.wall_s)[len(found) // 2]


def run(
    fakes: Fakes, port: int, model: str, load: Load, pid: int | None, *, dialect: ClientDialect = "openai"
) -> Measured:
    """One load through one way; `pid` is of the process whose processor time is taken.

    Raises: BenchmarkError: a stream failed.
    """
    before = cpu_seconds(pid) if pid else 0.0
    with Running(fakes, port, model, load, dialect=dialect) as running:
        chunks, wall_s = running.finish()
    cpu_s = cpu_seconds(pid) - before if pid else 0.0
    return Measured(cpu_s, chunks, wall_s, load.streams)


class Running:
    """A load that has begun; leaving its block ends it.

    Args:
        key: what every request shows; "" for none.
        abort: after so many chunks each client closes its connection; 0 for never.
    """

    def __init__(
        self,
        fakes: Fakes,
        port: int,
        model: str,
        load: Load,
        *,
        dialect: ClientDialect = "openai",
        key: str = "",
        abort: int = 0,
    ) -> None:
        self._load = load
        address = f"http://127.0.0.1:{port}{PATHS[dialect]}"
        command = fakes.load(
            address, model, load.at_once, load.streams, OUTPUT_TOKENS_MAX, dialect=dialect, key=key, abort=abort
        )
        self._process = subprocess.Popen(
            command, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        with self._process:  # closes its pipes and waits
            pass

    @property
    def ended(self) -> bool:
        """Every stream has come to its end."""
        return self._process.poll() is not None

    def finish(self) -> tuple[int, float]:
        """Wait for its end: how many chunks came, and in how many seconds.

        Raises: BenchmarkError: a stream failed, or it takes too long.
        """
        found = self.whole()
        return found.chunks, found.wall_s

    def whole(self) -> Outcome:
        """Wait for its end, which every stream must have reached.

        Raises: BenchmarkError: a stream failed, or it takes too long.
        """
        found = self.outcome()
        if found.failed or found.done != self._load.streams:
            raise BenchmarkError(f"of {self._load}: {found.failed} failed: {found.reasons}")
        return found

    def outcome(self) -> Outcome:
        """Wait for its end, whatever became of the streams.

        Raises: BenchmarkError: it takes too long.
        """
        try:
            said, errors = self._process.communicate(timeout=LOAD_S)
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"{self._load} did not end within {LOAD_S} s") from None
        if self._process.returncode:
            raise BenchmarkError(f"the load generator failed: {errors[-2000:]}")
        return Outcome.read(said)
