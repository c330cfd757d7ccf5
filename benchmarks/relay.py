"""What a relayed chunk costs, and how many go through: a load generator, the gateway, a fake provider."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from benchmarks.fakes import ClientDialect, Fakes
from benchmarks.machine import cpu_seconds
from benchmarks.processes import BenchmarkError, clean_environment, free_port, gateway, nginx, server
from benchmarks.report import Beside, Row

MODEL = "gpt-4o"  # its text is counted exactly
NEAR_THE_WIRE = "to come within a small factor of nginx"
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
        return f"{self.streams:,} streams of {chunks}{pace}, {self.at_once} at once"


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
class Measured:
    """One load through one way. `cpu_s` is the way's own process."""

    cpu_s: float
    chunks: int
    wall_s: float
    streams: int

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


def rows(fakes: Fakes, loads: Loads) -> Iterator[Row]:
    """CPU for each chunk and each request, and chunks per second; directly, through nginx, through the gateway."""
    scripts = {"paced": loads.paced, "burst": loads.burst, "short": loads.short}
    with ExitStack() as stack:
        ports = {name: free_port() for name in scripts}
        for name, load in scripts.items():
            stack.enter_context(server(fakes.provider(ports[name], load.script), ports[name]))
        g = stack.enter_context(gateway({name: f"http://127.0.0.1:{port}/v1" for name, port in ports.items()}))
        g.wait_ready()
        proxy = stack.enter_context(nginx(list(ports.values())))
        proxy_ports = dict(zip(ports, proxy[1], strict=True)) if proxy else {}

        def through_gateway(name: str) -> Measured:
            return run(fakes, g.port, f"{name}/{MODEL}", scripts[name], g.pid)

        def through_nginx(name: str) -> Measured | None:
            return run(fakes, proxy_ports[name], MODEL, scripts[name], proxy[0].pid) if proxy else None

        def direct(name: str) -> Measured:
            return run(fakes, ports[name], MODEL, scripts[name], None)

        through_gateway("short")  # connections are open and every path has been gone once
        for name, load in scripts.items():
            # In turn, so that what else happens on this machine happens to both.
            found = [(through_gateway(name), through_nginx(name)) for _ in range(loads.repeats)]
            ours = median([each for each, _ in found])
            theirs = median([each for _, each in found if each is not None]) if proxy else None
            if name == "short":
                yield _request_row(load, ours, theirs)
            else:
                yield _chunk_row(name, load, ours, theirs)
            if name == "burst":
                beside = median([direct(name) for _ in range(loads.repeats)])
                yield _throughput_row(load, ours, beside)


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
    """A load that has begun; leaving its block ends it."""

    def __init__(self, fakes: Fakes, port: int, model: str, load: Load, *, dialect: ClientDialect) -> None:
        self._load = load
        address = f"http://127.0.0.1:{port}{PATHS[dialect]}"
        command = fakes.load(address, model, load.at_once, load.streams, OUTPUT_TOKENS_MAX, dialect=dialect)
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

    def finish(self) -> tuple[int, float]:
        """Wait for its end: how many chunks came, and in how many seconds.

        Raises: BenchmarkError: a stream failed, or it takes too long.
        """
        try:
            said, errors = self._process.communicate(timeout=LOAD_S)
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"{self._load} did not end within {LOAD_S} s") from None
        if self._process.returncode:
            raise BenchmarkError(f"the load generator failed: {errors[-2000:]}")
        found = json.loads(said)
        if found["failed"] or found["done"] != self._load.streams:
            raise BenchmarkError(f"of {self._load}: {found['failed']} failed: {found['reasons']}")
        return found["chunks"], found["wall_s"]


def _beside(theirs: float | None) -> Beside | None:
    return Beside("nginx", theirs) if theirs else None


def _chunk_row(name: str, load: Load, ours: Measured, theirs: Measured | None) -> Row:
    return Row(
        id=f"relay.cpu.{name}",
        what=f"CPU for each relayed chunk, {WORDS[name]}: {load}",
        value=ours.cpu_us_per_chunk,
        unit="µs",
        claim=NEAR_THE_WIRE,
        beside=_beside(theirs.cpu_us_per_chunk if theirs else None),
        samples=ours.chunks,
    )


def _request_row(load: Load, ours: Measured, theirs: Measured | None) -> Row:
    return Row(
        id="relay.cpu.request",
        what=f"CPU for each request: {load}",
        value=ours.cpu_ms_per_stream,
        unit="ms",
        claim=NEAR_THE_WIRE,
        beside=_beside(theirs.cpu_ms_per_stream if theirs else None),
        samples=ours.streams,
    )


def _throughput_row(load: Load, ours: Measured, beside: Measured) -> Row:
    return Row(
        id="relay.throughput",
        what=f"Chunks through one process, in a burst: {load}",
        value=ours.chunks_per_s,
        unit="chunks/s",
        claim=NEAR_THE_WIRE,
        beside=Beside("direct", beside.chunks_per_s),
        samples=ours.chunks,
    )


WORDS = {"paced": "paced, requests included", "burst": "in a burst"}
