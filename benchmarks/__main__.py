"""`make bench`: every figure that the project names, taken on this machine, as one table and as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import (
    cancel,
    cold_start,
    document,
    estimates,
    fakes,
    first_token,
    ledger,
    machine,
    memory,
    micro,
    nginx,
    peers,
    plot,
    relay,
    start,
    translation,
    wire,
)
from benchmarks.processes import ROOT, BenchmarkError
from benchmarks.report import Report, Row

RESULTS = Path(__file__).parent / "results"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "wire.svg"
GROUPS = (
    "micro",
    "start",
    "first_token",
    "cancel",
    "nginx",
    "memory",
    "wire",
    "translation",
    "ledger",
    "estimates",
    "cold",
)
ON_REQUEST = ("peers",)  # they need what `make bench` does not install


@dataclass(frozen=True)
class Effort:
    """How often each figure is taken."""

    micro_chunks: int = 5000
    micro_rounds: int = 20
    starts: int = 7
    starts_embedded: int = 3
    cold_starts: int = 9
    cold_imports: int = 15
    first_tokens: int = 500
    cancels: int = 100
    silent_clients: int = 1000
    wire: wire.Effort = wire.FULL_RUN
    loads: relay.Loads = relay.FULL
    ledger: ledger.Effort = ledger.FULL
    estimates: estimates.Effort = estimates.FULL


QUICK = Effort(1000, 2, 1, 1, 1, 1, 20, 4, 50, wire.QUICK, relay.QUICK, ledger.QUICK, estimates.QUICK)


def main() -> int:
    """Run what was asked for; 1 when a figure could not be taken."""
    options = _options()
    effort = QUICK if options.quick else Effort()
    # A smoke run compiles nothing.
    tools = fakes.find(options.fakes or ("python" if options.quick else None))
    report = Report(machine.describe(), {"load generator and its provider": tools.language})
    if options.quick:
        report.options["quick"] = "a smoke run: too few samples for figures"
    groups: dict[str, Callable[[], Iterator[Row]]] = {
        "micro": lambda: micro.rows(effort.micro_chunks, effort.micro_rounds),
        "start": lambda: start.rows(effort.starts, effort.starts_embedded),
        "first_token": lambda: first_token.rows(effort.first_tokens),
        "cancel": lambda: cancel.rows(effort.cancels),
        "nginx": lambda: nginx.rows(effort.first_tokens, effort.cancels),
        "memory": lambda: memory.rows(effort.silent_clients),
        "wire": lambda: wire.rows(tools, effort.wire),
        "translation": lambda: translation.rows(tools, effort.loads),
        "ledger": lambda: ledger.rows(tools, effort.ledger),
        "estimates": lambda: estimates.rows(effort.estimates),
        "cold": lambda: cold_start.rows(effort.cold_starts, effort.cold_imports),
        "peers": lambda: wire.rows(tools, effort.wire, group="peers", peers=peers.kinds()),
    }
    wanted = options.only or GROUPS
    if {"wire", "peers"} & set(wanted):
        report.options["near the wire"] = effort.wire.told()
    failed = [name for name in wanted if not _take(name, groups[name], report)]
    print(f"\n{report.as_table()}\n")
    _write(report, options.output)
    if options.docs:
        _document(report, whole=not options.only)
    if failed:
        print(f"Not measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _take(name: str, measure: Callable[[], Iterator[Row]], report: Report) -> bool:
    """One group of figures; False when it failed, with the reason as a row."""
    began = time.monotonic()
    print(f"{name} …", end=" ", flush=True)
    try:
        for row in measure():
            report.add(row)
    except (BenchmarkError, OSError, EOFError) as error:  # OSError: TimeoutError among others
        print(f"FAILED: {error}", flush=True)
        first, *others = str(error).strip().splitlines() or [type(error).__name__]
        note = f"{first} … {others[-1].strip()}" if others else first  # a traceback says it in its last line
        report.add(Row(f"{name}.failed", f"The rest of {name}", None, "", note=note[:200]))
        return False
    print(f"{time.monotonic() - began:.0f} s", flush=True)
    return True


def _write(report: Report, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.machine['date'].replace(':', '')}.json"
    path.write_text(json.dumps(report.as_json(), indent=1, ensure_ascii=False) + "\n")
    print(f"Written to {path}")


def _document(report: Report, *, whole: bool) -> None:
    """Put the figures into the documentation, and the plot beside it. What could not be measured leaves it as it is."""
    text, left_out = document.with_figures(DOCUMENT.read_text(), report, whole=whole)
    DOCUMENT.write_text(text)
    if left_out:
        print(f"Only a whole run writes the figures of {', '.join(left_out)} into {DOCUMENT.name}")
    bars = plot.bars_of(report.rows)
    if bars:
        PLOT.write_text(plot.svg(bars, report.machine))
        print(f"Drawn to {PLOT}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure; see docs/benchmarks.md.")
    parser.add_argument("--quick", action="store_true", help="a smoke run of less than half a minute")
    groups = (*GROUPS, *ON_REQUEST)
    parser.add_argument("--only", nargs="+", choices=groups, metavar="GROUP", help=f"some of: {', '.join(groups)}")
    parser.add_argument(
        "--fakes", choices=("go", "python"), help="load generator and provider (default: Go's if found)"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER", help="for the JSON file")
    parser.add_argument("--docs", action="store_true", help="write docs/benchmarks.md and docs/wire.svg as well")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
