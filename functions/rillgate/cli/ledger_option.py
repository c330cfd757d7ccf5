"""Which ledger a command of the control plane works on: `--ledger URL`, else what the configuration says.

Of the configuration only `[ledger]` is used: a provider's secret that is missing keeps nobody from revoking a key.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from rillgate.app.settings.rules import MEMORY, SQLITE, Misfit, ledger_url
from rillgate.app.settings.sources import read_sources
from rillgate.app.settings.types import LedgerSettings
from rillgate.cli.context import Context, UsageError
from rillgate.ledger.admin_scopes import AdminError
from rillgate.ledger.dynamodb_location import DynamoDbLocation, parse_location
from rillgate.ledger.store import AdminStore
from rillgate.ledger.writes import StoreUnavailable
from rillgate.upstream.aws_sources import aws_region

NO_TABLE = "ResourceNotFoundException"  # DynamoDB's name for a table that is not there


@dataclass(frozen=True, slots=True)
class SqliteLocation:
    """A SQLite file, which need not be there."""

    path: Path

    def __str__(self) -> str:
        return f"SQLite file {str(self.path)!r}"


Location = SqliteLocation | DynamoDbLocation
Run = Callable[[argparse.Namespace, Context], int]


def add_command(commands: Any, name: str, run: Run, purpose: str, *, more: str = "") -> argparse.ArgumentParser:
    """A command of the control plane, with the options that all of them have: `--config`, `--ledger`, `--json`.

    Args:
        commands: what `add_subparsers` gave.
        purpose: for the list of commands; a sentence without its capital and its stop.
        more: sentences for the command's own help.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}. {more}".strip()
    )
    parser.set_defaults(run=run)
    where = parser.add_argument_group("which ledger").add_mutually_exclusive_group()
    where.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="take the ledger of this configuration (default: RILLGATE_CONFIG, else ./rillgate.toml if there)",
    )
    where.add_argument(
        "--ledger",
        metavar="URL",
        help="sqlite:///PATH or dynamodb://TABLE?region=R&endpoint_url=U "
        "(default: as configured, else sqlite:///rillgate.db)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def locate(options: argparse.Namespace, context: Context) -> Location:
    """The ledger that the options, or the configuration, name.

    Raises:
        UsageError: `--ledger` is no ledger's address, or none that another process could see.
        SettingsError: the configuration cannot be read.
    """
    url, folder, source = _url(options, context)
    if url.startswith(SQLITE):
        url = f"{SQLITE}{folder.absolute() / url.removeprefix(SQLITE)}"
    return located(url, context, source)


def located(url: str, context: Context, source: str) -> Location:
    """The ledger at an address, whose path is absolute.

    Args: source: who says so, for the error.
    Raises: UsageError: it is in memory, where no other process sees it.
    """
    if url == MEMORY:
        raise UsageError(
            f"{source}: a ledger in memory is known only to the gateway that runs on it; "
            "give sqlite:///PATH or dynamodb://TABLE?region=R"
        )
    if url.startswith(SQLITE):
        return SqliteLocation(Path(url.removeprefix(SQLITE)))
    location = parse_location(url)  # the address was checked where it was read
    return replace(location, region=location.region or aws_region(context.environ))  # as the gateway finds it


@contextmanager
def ledger(options: argparse.Namespace, context: Context, *, make: bool = False) -> Iterator[AdminStore]:
    """The store of the ledger, closed at the end.

    Args: make: whether a SQLite file that is not there is made. A table is made by `rillgate ledger init` only.
    Raises: AdminError: there is no ledger. StoreUnavailable: there is one that cannot be used. And as `locate`.
    """
    location = locate(options, context)
    if isinstance(location, SqliteLocation) and not make and not location.path.exists():
        raise AdminError(
            f"there is no ledger yet: {location} does not exist; the gateway, `rillgate keys create`, "
            "`rillgate budget set` and `rillgate ledger init` make it, or name another one with --ledger"
        )
    with closing(open_store(location, context)) as store, table_told(location):
        yield store


@contextmanager
def table_told(location: Location) -> Iterator[None]:
    """Say what to do where there is no such table.

    Raises: AdminError
    """
    try:
        yield
    except StoreUnavailable as error:
        if NO_TABLE not in str(error):
            raise
        raise AdminError(f"there is no {location}; make it with `rillgate ledger init`, or correct its URL") from error


def open_store(location: Location, context: Context) -> AdminStore:
    """A store for the command line. Each is imported only where it is used: boto3 takes a quarter of a second."""
    if isinstance(location, SqliteLocation):
        from rillgate.ledger.sqlite_table import SqliteTable  # noqa: PLC0415

        return SqliteTable(location.path, wall=context.now_s)
    from rillgate.ledger.dynamodb_admin import DynamoDbAdminStore  # noqa: PLC0415

    return DynamoDbAdminStore.open(location)


def _url(options: argparse.Namespace, context: Context) -> tuple[str, Path, str]:
    """The address, the folder that a relative path starts at, and who says so."""
    if options.ledger is not None:
        try:
            return ledger_url(options.ledger), context.cwd, "--ledger"
        except Misfit as misfit:
            raise UsageError(f"--ledger: {misfit}") from None
    tree, _ = read_sources(config=options.config, flags={}, environ=context.environ, cwd=context.cwd)
    settings = LedgerSettings(**tree.values("ledger"))
    return settings.url, tree.file.parent if tree.file else context.cwd, tree.origin("ledger", "url").name
