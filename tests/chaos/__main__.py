"""`make chaos`: a thousand streams at once for minutes, and everything goes wrong that can. A broken promise fails it.

    python -m tests.chaos --minutes 5 --streams 1000

A gateway, a provider that misbehaves, and the clients, which check every byte, are a process each. Meanwhile the
ledger's file is locked by somebody else, and its disk is full, again and again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import uvloop

from tests.chaos.run import Options, run


def main() -> int:
    """Exit code 0 where every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Chaos over real sockets.")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (5)")
    parser.add_argument("--streams", type=int, default=1000, help="how many at once (1000)")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn (1)")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(run(Options(60 * options.minutes, options.streams, options.seed)))
    print(report)  # noqa: T201
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
