"""`rillgate ledger init|backup`."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rillgate.cli.context import Context, UsageError
from rillgate.cli.ledger_option import SqliteLocation, add_command, locate, open_store
from rillgate.cli.output import json_text
from rillgate.ledger.admin_scopes import AdminError

if TYPE_CHECKING:
    from rillgate.ledger.sqlite_file import SqliteFile


BUSY_TIMEOUT_S = 5.0


def add_ledger(commands: Any) -> None:
    """Add `rillgate ledger` to the commands."""
    parser = commands.add_parser("ledger", help="make the ledger, or a copy", description="Where spending is kept.")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    add_command(actions, "init", _init, "make the DynamoDB table, or the SQLite file, unless it is there")
    backup = add_command(
        actions,
        "backup",
        _backup,
        "copy a SQLite ledger, while gateways write to it",
        more="To restore it, stop the gateways and put it in the ledger's place. Tables have point-in-time recovery.",
    )
    backup.add_argument("file", type=Path, metavar="FILE", help="where the copy goes; it must not be there yet")


def _backup(options: argparse.Namespace, context: Context) -> int:
    location = locate(options, context)
    if not isinstance(location, SqliteLocation):
        raise UsageError(f"{location} is no file; use point-in-time recovery, or AWS Backup")
    if not location.path.exists():
        raise AdminError(f"there is no ledger yet: {location} does not exist")
    target: Path = context.cwd / options.file
    with closing(_file(location)) as file:
        try:
            file.copy_to(target)
        except FileExistsError:
            raise AdminError(f"{str(options.file)!r} is there already; name another file") from None
        except OSError as error:
            raise AdminError(f"{str(options.file)!r} cannot be written: {error.strerror}") from error
    size = target.stat().st_size
    if options.json:
        context.say(json_text({"ledger": str(location), "file": str(target), "bytes": size}))
    else:
        context.say(f"{location} is copied to {str(options.file)!r} ({size:,} bytes).")
    return 0


def _file(location: SqliteLocation) -> SqliteFile:
    """The file alone: a copy waits for nobody who writes."""
    from rillgate.ledger.sqlite_file import SqliteFile  # noqa: PLC0415 as in `open_store`

    return SqliteFile(location.path, BUSY_TIMEOUT_S)


def _init(options: argparse.Namespace, context: Context) -> int:
    location = locate(options, context)
    if isinstance(location, SqliteLocation):
        made = not location.path.exists()
        open_store(location, context).close()
    else:
        from rillgate.ledger.dynamodb_admin import DynamoDbAdminStore  # noqa: PLC0415 boto3 takes a quarter of a second

        with closing(DynamoDbAdminStore.open(location)) as store:
            made = store.create_table()
    if options.json:
        context.say(json_text({"ledger": str(location), "made": made}))
    else:
        context.say(f"{location}: {'made' if made else 'it was there already'}.")
    return 0
