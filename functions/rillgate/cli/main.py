"""The command line: `rillgate serve`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rillgate import __version__
from rillgate.app.settings.schema import SECONDS_MAX
from rillgate.cli.serve import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 when it did what was asked, 2 when it was asked wrongly."""
    options = _parser().parse_args(arguments)
    return serve(
        config=options.config,
        host=options.host,
        port=options.port,
        allow_unauthenticated=options.allow_unauthenticated,
        grace_s=options.grace_s,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rillgate", description="Stream any LLM to your front end, through one endpoint of your own."
    )
    parser.add_argument("--version", action="version", version=f"rillgate {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    command = commands.add_parser("serve", help="run the gateway", description="Run the gateway until SIGTERM.")
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="configuration (default: ./rillgate.toml if there)"
    )
    command.add_argument("--host", metavar="H", help="address to listen on (default: 127.0.0.1)")
    command.add_argument("--port", type=int, metavar="N", help="port to listen on, 0 for a free one (default: 8000)")
    command.add_argument(
        "--allow-unauthenticated",
        action="store_true",
        help="serve others than this machine without keys: whoever reaches the port spends your tokens",
    )
    command.add_argument(
        "--grace-s",
        type=_seconds,
        default=20.0,
        metavar="SECONDS",
        help="how long running streams may go on after SIGTERM (default: 20)",
    )
    return parser


def _seconds(text: str) -> float:
    """A finite duration; argparse says what is wrong with any other."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"give seconds from 0 to {SECONDS_MAX}, not {text!r}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
