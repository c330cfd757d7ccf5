"""`rillgate budget set|show|block|unblock`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from rillgate.budget.limit_text import parse_limits
from rillgate.cli import arguments
from rillgate.cli.context import Context, UsageError
from rillgate.cli.ledger_option import add_command, ledger
from rillgate.cli.objects import LEVEL_HEADERS, level_rows, state_notes, state_object
from rillgate.cli.output import json_text, printable, table
from rillgate.domain.limits import Budget, Limit
from rillgate.ledger.admin_budgets import ScopeState, block, change_budget, read_all, read_state, unblock
from rillgate.ledger.admin_keys import find_key, key_scope
from rillgate.ledger.admin_scopes import SCOPES, AdminError, parse_scope
from rillgate.ledger.store import AdminStore

LIMIT_HELP = (
    "at most AMOUNT in each window (UTC): tokens, usd or requests for each minute, day, month or in total, such as "
    "tokens/day=100000 or usd/month=25; streams=4 for how many may run at once; may be repeated"
)
WARN_HELP = "percentages of every limit whose crossing is logged, such as 50,80,95"
_SCOPE_HELP = f"{SCOPES}; key:NAME is taken too"


def add_budget(commands: Any) -> None:
    """Add `rillgate budget` to the commands."""
    parser = commands.add_parser(
        "budget", help="limits of a scope: show and set them, block it", description="Hard limits of one scope."
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    _add_set(actions)
    show = add_command(actions, "show", _show, "show limits, what is committed and what is left now")
    show.add_argument("scope", nargs="?", metavar="SCOPE", help=f"{_SCOPE_HELP} (default: all that have a budget)")
    block_ = add_command(actions, "block", _block, "admit nothing more in a scope; what runs goes on to its end")
    block_.add_argument("scope", metavar="SCOPE", help=_SCOPE_HELP)
    block_.add_argument("--reason", default="", metavar="TEXT", help="what refused callers are told")
    unblock_ = add_command(actions, "unblock", _unblock, "admit again what the limits allow")
    unblock_.add_argument("scope", metavar="SCOPE", help=_SCOPE_HELP)


def limits_of(texts: list[str]) -> tuple[tuple[Limit, ...], int | None]:
    """All `--limit` together.

    Raises: UsageError: one stands there twice.
    """
    try:
        return parse_limits(texts)
    except ValueError as error:
        raise UsageError(str(error)) from None


def resolve_scope(store: AdminStore, text: str) -> str:
    """A scope, `key:NAME` as `key:ID`.

    Raises: AdminError: it is none, or there is no such key.
    """
    scope = parse_scope(text)
    kind, _, name = scope.partition(":")
    return key_scope(find_key(store, name).key_id) if kind == "key" else scope


def _add_set(actions: Any) -> None:
    parser = add_command(actions, "set", _set, "replace the limits of a scope")
    parser.add_argument("scope", metavar="SCOPE", help=_SCOPE_HELP)
    parser.add_argument(
        "--limit", action="append", default=[], type=arguments.limit, metavar="METER/WINDOW=AMOUNT", help=LIMIT_HELP
    )
    parser.add_argument(
        "--warn", type=arguments.marks, metavar="PERCENTS", help=f"{WARN_HELP}, or none (default: as they are)"
    )
    parser.add_argument("--clear", action="store_true", help="take all limits and marks away; what was spent stays")


def _set(options: argparse.Namespace, context: Context) -> int:
    if options.clear and (options.limit or options.warn):
        raise UsageError("--clear takes everything away: give it alone, or --limit and --warn")
    if not options.clear and not options.limit and options.warn is None:
        raise UsageError("nothing to set: give --limit, --warn or --clear")
    limits, streams_max = limits_of(options.limit)

    def change(budget: Budget) -> Budget:
        if options.clear:
            return replace(budget, limits=(), streams_max=None, warn_percents=())
        if options.limit:
            budget = replace(budget, limits=limits, streams_max=streams_max)
        return budget if options.warn is None else replace(budget, warn_percents=options.warn)

    return _change(options, context, lambda store, scope: change_budget(store, scope, change))


def _block(options: argparse.Namespace, context: Context) -> int:
    if not options.reason.isprintable():
        raise UsageError("--reason holds characters that cannot be printed; give plain text on one line")
    return _change(options, context, lambda store, scope: block(store, scope, options.reason))


def _unblock(options: argparse.Namespace, context: Context) -> int:
    def do(store: AdminStore, scope: str) -> Budget:
        kind, _, key_id = scope.partition(":")
        if kind == "key" and find_key(store, key_id).revoked_s is not None:
            raise AdminError(f"the key {key_id!r} is revoked, for good; make a new one: rillgate keys create")
        return unblock(store, scope)

    return _change(options, context, do)


def _change(options: argparse.Namespace, context: Context, do: Callable[[AdminStore, str], Budget]) -> int:
    """Change a budget and show it as it is then."""
    parse_scope(options.scope)  # before a file is made for it
    with ledger(options, context, make=True) as store:
        scope = resolve_scope(store, options.scope)
        do(store, scope)
        now_s = context.now_s()
        state = read_state(store, scope, now_s)
    context.say(json_text(state_object(state, now_s)) if options.json else states_text([state], now_s))
    return 0


def _show(options: argparse.Namespace, context: Context) -> int:
    with ledger(options, context) as store:
        now_s = context.now_s()
        if options.scope is None:
            states = read_all(store, now_s)
        else:
            states = [read_state(store, resolve_scope(store, options.scope), now_s)]
    if options.json:
        objects = [state_object(state, now_s) for state in states]
        context.say(json_text(objects[0] if options.scope is not None else {"budgets": objects}))
    elif states:
        context.say(states_text(states, now_s))
    else:
        context.say("No scope has a budget; set one, such as: rillgate budget set global --limit usd/month=25")
    return 0


def states_text(states: list[ScopeState], now_s: float) -> str:
    """Budgets for people."""
    rows = [row for state in states for row in level_rows(state)]
    notes = [printable(note) for state in states for note in state_notes(state, now_s)]
    return "\n".join([table(LEVEL_HEADERS, rows), *notes])
