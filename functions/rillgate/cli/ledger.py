"""`rillgate ledger init`."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import Any

from rillgate.cli.context import Context
from rillgate.cli.ledger_option import SqliteLocation, add_command, locate, open_store
from rillgate.cli.output import json_text


def add_ledger(commands: Any) -> None:
    """Add `rillgate ledger` to the commands."""
    parser = commands.add_parser("ledger", help="make the ledger", description="Where spending is kept.")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    add_command(actions, "init", _init, "make the DynamoDB table, or the SQLite file, unless it is there")


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
