"""`make bench-soak`: memory of one gateway over minutes of load, and whether it stays where it is.

The load is what makes a gateway leak if anything does: paced streams that end, with a key, a live count and books in a
file; beside them streams whose clients close the tab after a few chunks. Memory is resident memory, looked at each
second; a minute's figure is the median of its looks, since a request that is being served belongs to no leak.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import fakes, machine
from benchmarks.fakes import Fakes
from benchmarks.machine import cpu_seconds, rss_bytes
from benchmarks.processes import BenchmarkError, free_port, server
from benchmarks.relay import Load, Outcome, Running
from benchmarks.ways import Way, full

RESULTS = Path(__file__).parent / "results"
MINUTES = 30.0
MINUTE_S = 60.0
LOOK_S = 1.0
FLAT_FROM = 3  # by then every pool, cache and arena has seen the load
FLAT_MB, FLAT_SHARE = 2.0, 0.02  # what the minutes after it may rise above it, the larger of the two
WHOLE = Load(streams=400, at_once=80, chunks=100, pause_ms=20)  # some ten seconds, then the next one begins
CLOSED = Load(streams=400, at_once=20, chunks=100, pause_ms=20)
CLOSE_AFTER = 20  # chunks


@dataclass(frozen=True)
class Minute:
    """One minute of load; the last one may be shorter."""

    number: int
    rss_mb: float
    rss_max_mb: float
    streams: int
    failed: int
    chunks: int
    cpu_share: float

    def __str__(self) -> str:
        return (
            f"minute {self.number:>2}: {self.rss_mb:7.1f} MB (largest {self.rss_max_mb:.1f}), "
            f"{self.streams:,} streams, {self.failed} failed, {self.chunks:,} chunks, {self.cpu_share:.0%} of a core"
        )


@dataclass(frozen=True)
class Verdict:
    """How far the minutes after `FLAT_FROM` rise above it; `flat` is None where there are none."""

    rise_mb: float
    allowed_mb: float
    mb_per_minute: float
    flat: bool | None

    def __str__(self) -> str:
        if self.flat is None:
            return f"No verdict: it takes more than {FLAT_FROM} minutes."
        word = "flat" if self.flat else "NOT flat"
        return (
            f"Memory is {word} from minute {FLAT_FROM} on: at most {self.rise_mb:+.1f} MB "
            f"(allowed {self.allowed_mb:.1f}), {self.mb_per_minute:+.2f} MB a minute by the line through all of them."
        )


def judge(rss_mb: Sequence[float]) -> Verdict:
    """By the figures of all minutes, first to last.

    Shape: [90, 120, 125, 125.5, 124.9] → a rise of 0.5 MB above the third: flat.
    """
    kept = rss_mb[FLAT_FROM - 1 :]
    if len(kept) < 2:
        return Verdict(0.0, 0.0, 0.0, None)
    rise, allowed = max(kept[1:]) - kept[0], max(FLAT_MB, FLAT_SHARE * kept[0])
    slope = statistics.linear_regression(range(len(kept)), kept).slope
    return Verdict(rise, allowed, slope, rise <= allowed)


class Work:
    """One load after the other through one way, for as long as it is looked after.

    Attributes:
        seen: what has come of those that ended.
    """

    def __init__(self, tools: Fakes, way: Way, load: Load, *, abort: int = 0) -> None:
        self._begin: Callable[[], Running] = lambda: Running(tools, way.port, way.model, load, key=way.key, abort=abort)
        self._running = self._begin()
        self.seen: list[Outcome] = []

    def look_after(self) -> None:
        """Begin anew where it has ended."""
        if self._running.ended:
            with self._running as running:
                self.seen.append(running.outcome())
            self._running = self._begin()

    def close(self) -> None:
        """End it, whatever runs."""
        self._running.__exit__()


def minutes(tools: Fakes, how_many: float) -> Iterator[Minute]:
    """One after the other, as they pass."""
    port = free_port()
    with ExitStack() as stack:
        stack.enter_context(server(tools.provider(port, WHOLE.script), port))
        way = stack.enter_context(full(port))
        works = [Work(tools, way, WHOLE), Work(tools, way, CLOSED, abort=CLOSE_AFTER)]
        for work in works:
            stack.callback(work.close)
        number, left_s = 0, how_many * MINUTE_S
        while left_s >= LOOK_S:
            number += 1
            yield _minute(number, way, works, min(MINUTE_S, left_s))
            left_s -= MINUTE_S


def _minute(number: int, way: Way, works: Sequence[Work], length_s: float) -> Minute:
    assert way.pid is not None
    before, cpu_s, began = [len(work.seen) for work in works], cpu_seconds(way.pid), time.monotonic()
    looks = []
    while (passed_s := time.monotonic() - began) < length_s:
        time.sleep(min(LOOK_S, length_s - passed_s))
        looks.append(rss_bytes(way.pid) / 1e6)
        for work in works:
            work.look_after()
    ended = [each for work, count in zip(works, before, strict=True) for each in work.seen[count:]]
    return Minute(
        number=number,
        rss_mb=statistics.median(looks),
        rss_max_mb=max(looks),
        streams=sum(each.done for each in ended),
        failed=sum(each.failed for each in ended),
        chunks=sum(each.chunks for each in ended),
        cpu_share=(cpu_seconds(way.pid) - cpu_s) / (time.monotonic() - began),
    )


def main() -> int:
    """Print the series and the verdict; 1 where memory is not flat, a stream failed or nothing could be measured."""
    options = _options()
    tools, told = fakes.find(options.fakes), machine.describe()
    print("\n".join(f"- {name}: {value}" for name, value in told.items()))
    print(f"- load: {WHOLE}; {CLOSED}, closed after {CLOSE_AFTER}; both again and again\n", flush=True)
    series: list[Minute] = []
    try:
        for minute in minutes(tools, options.minutes):
            series.append(minute)
            print(minute, flush=True)
    except (BenchmarkError, OSError) as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    verdict = judge([each.rss_mb for each in series])
    print(f"\n{verdict}")
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"soak-{told['date'].replace(':', '')}.json"
    written = {"machine": told, "minutes": [asdict(each) for each in series], "verdict": asdict(verdict)}
    path.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    print(f"Written to {path}")
    return 1 if verdict.flat is False or any(each.failed for each in series) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Memory over minutes of load.")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument(
        "--fakes", choices=("go", "python"), help="load generator and provider (default: Go's if found)"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER", help="for the JSON file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
