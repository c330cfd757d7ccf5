"""The command line: `serve`, what looks at a gateway or stands in for one, and the control plane."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from rillgate import __version__
from rillgate.app.settings.schema import SECONDS_MAX
from rillgate.app.settings.sources import SettingsError
from rillgate.cli.audit import add_audit
from rillgate.cli.budget import add_budget
from rillgate.cli.chat import add_chat
from rillgate.cli.context import Context, UsageError
from rillgate.cli.doctor import add_doctor
from rillgate.cli.healthcheck import add_healthcheck
from rillgate.cli.keys import add_keys
from rillgate.cli.lambda_local import add_lambda_local
from rillgate.cli.ledger import add_ledger
from rillgate.cli.serve import serve
from rillgate.cli.usage import add_usage
from rillgate.ledger.admin_scopes import AdminError
from rillgate.ledger.writes import StoreUnavailable
from rillgate.telemetry.redaction import masked

FAILED = 1
ASKED_WRONGLY = 2
WORKERS_MAX = 64  # one for each core is enough


def main(arguments: Sequence[str] | None = None, context: Context | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after `rillgate`; None for the process's own.
        context: clock, environment, working directory and output of the control plane; None for the real ones.
    Returns:
        the exit code: 0 when it did what was asked, 1 when that cannot be done, 2 when it was asked wrongly.
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options, context or Context())
        sys.stdout.flush()  # a reader that has gone shows here and not when Python exits
    except (UsageError, SettingsError) as error:
        return _refuse(error, ASKED_WRONGLY)
    except (AdminError, StoreUnavailable) as error:
        return _refuse(error, FAILED)
    except BrokenPipeError:  # `rillgate usage | head -1`: what was asked for is done
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _refuse(error: Exception, code: int) -> int:
    # A key in the place of its public id is repeated by none of them, nor kept by a terminal.
    print(f"rillgate: {masked(' '.join(str(error).split()))}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """Repeats words that it does not understand, and no key among them."""

    def error(self, message: str) -> NoReturn:
        super().error(masked(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="rillgate", description="Stream any LLM to your front end, through one endpoint of your own.")
    parser.add_argument("--version", action="version", version=f"rillgate {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (
        _add_serve,
        add_chat,
        add_lambda_local,
        add_keys,
        add_budget,
        add_usage,
        add_audit,
        add_ledger,
        add_doctor,
        add_healthcheck,
    ):
        add(commands)
    return parser


def _add_serve(commands: Any) -> None:
    command = commands.add_parser("serve", help="run the gateway", description="Run the gateway until SIGTERM.")
    command.set_defaults(run=_serve)
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
    command.add_argument(
        "--workers",
        type=_workers,
        default=1,
        metavar="N",
        help="how many processes serve on the one address and the one ledger (default: 1)",
    )
    command.add_argument(
        "--first-key",
        action="store_true",
        help="make one key where the ledger has none yet, and print it once",
    )


def _serve(options: argparse.Namespace, context: Context) -> int:
    return serve(
        config=options.config,
        host=options.host,
        port=options.port,
        allow_unauthenticated=options.allow_unauthenticated,
        grace_s=options.grace_s,
        workers=options.workers,
        make_first_key=options.first_key,
        context=context,
    )


def _workers(text: str) -> int:
    """A number of processes; argparse says what is wrong with any other."""
    if not text.isdecimal() or not 1 <= int(text) <= WORKERS_MAX:
        raise argparse.ArgumentTypeError(f"give a number from 1 to {WORKERS_MAX}, not {text!r}")
    return int(text)


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
