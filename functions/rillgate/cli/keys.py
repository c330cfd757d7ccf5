"""`rillgate keys create|list|show|revoke|rotate`."""

from __future__ import annotations

import argparse
from typing import Any

from rillgate.cli import arguments
from rillgate.cli.budget import LIMIT_HELP, WARN_HELP, limits_of, states_text
from rillgate.cli.context import Context, UsageError
from rillgate.cli.ledger_option import add_command, ledger
from rillgate.cli.objects import key_object, limit_texts, previous_until_s, state_object
from rillgate.cli.output import json_text, printable, table, time_text
from rillgate.domain.limits import Budget
from rillgate.domain.principal import VirtualKey
from rillgate.identity.keys import PREFIX, digest, new_key, parse
from rillgate.ledger.admin_budgets import ScopeState, read_state
from rillgate.ledger.admin_keys import (
    KeyEntry,
    create_key,
    find_key,
    key_scope,
    list_keys,
    revoke_key,
    rotate_key,
)

HOW_TO_USE = "Send the key as `Authorization: Bearer KEY` or `x-api-key: KEY`; it is kept nowhere and not shown again."
_WHICH = "its id or name, as `rillgate keys list` shows them"


def add_keys(commands: Any) -> None:
    """Add `rillgate keys` to the commands."""
    parser = commands.add_parser(
        "keys", help="virtual keys: create, list, revoke and rotate them", description="Keys that you hand out."
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    _add_create(actions)
    add_command(actions, "list", _list, "list all keys, revoked ones too")
    add_command(actions, "show", _show, "show one key, its limits and how full they are").add_argument(
        "key", type=_not_the_key, metavar="ID|NAME", help=_WHICH
    )
    add_command(actions, "revoke", _revoke, "refuse a key from now on, for good").add_argument(
        "key", type=_not_the_key, metavar="ID|NAME", help=_WHICH
    )
    rotate = add_command(actions, "rotate", _rotate, "give a key a new secret; its id, limits and spending stay")
    rotate.add_argument("key", type=_not_the_key, metavar="ID|NAME", help=_WHICH)
    rotate.add_argument(
        "--grace",
        type=arguments.duration_s,
        default=0,
        metavar="DURATION",
        help="how long the secret that it had is accepted beside the new one, such as 24h (default: not at all)",
    )


def _add_create(actions: Any) -> None:
    parser = add_command(actions, "create", _create, "make a key and print it, once")
    name = arguments.checked_name
    parser.add_argument("--name", required=True, type=_not_the_key, metavar="N", help="your own name for it")
    parser.add_argument("--user", type=name, metavar="U", help="whose it is: everything counts for user:U too")
    parser.add_argument("--team", type=name, metavar="T", help="whose it is: everything counts for team:T too")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        type=name,
        metavar="GLOB",
        help="models it may ask for, such as 'gpt-*'; may be repeated (default: all)",
    )
    parser.add_argument(
        "--expires", type=arguments.expiry, metavar="WHEN", help="30d, 12h, 2026-12-31 or a time (default: never)"
    )
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        type=arguments.tag,
        metavar="K=V",
        help="stands in every record of its requests; may be repeated",
    )
    parser.add_argument(
        "--limit", action="append", default=[], type=arguments.limit, metavar="METER/WINDOW=AMOUNT", help=LIMIT_HELP
    )
    parser.add_argument("--warn", type=arguments.marks, default=(), metavar="PERCENTS", help=WARN_HELP)


def _not_the_key(text: str) -> str:
    """A name, or an id. A whole key is not repeated: it would end up in logs and histories once more."""
    if text.startswith(PREFIX):
        raise argparse.ArgumentTypeError(f"what begins with {PREFIX} is a key itself; give {_WHICH}")
    return arguments.checked_name(text)


def _create(options: argparse.Namespace, context: Context) -> int:
    now_s = context.now_s()
    secret = new_key()
    key = _new_virtual_key(options, secret, now_s)
    budget = _new_budget(options)
    with ledger(options, context, make=True) as store:
        create_key(store, key, budget)
    _print_secret(options, context, secret, KeyEntry(key, budget or Budget()), f"Key {key.name!r} ({key.key_id}).")
    return 0


def _new_virtual_key(options: argparse.Namespace, secret: str, now_s: float) -> VirtualKey:
    tags = dict(options.tag)
    if len(tags) < len(options.tag):
        raise UsageError("--tag: a name stands there twice; give each once")
    expires_s = None if options.expires is None else options.expires(now_s)
    if expires_s is not None and expires_s <= now_s:
        raise UsageError(f"--expires: {time_text(expires_s)} is over; give a time to come")
    return VirtualKey(
        key_id=parse(secret),
        name=options.name,
        digest=digest(secret),
        created_s=int(now_s),
        expires_s=expires_s,
        user=options.user,
        team=options.team,
        models=tuple(dict.fromkeys(options.model)),
        tags=tags,
    )


def _new_budget(options: argparse.Namespace) -> Budget | None:
    if not options.limit:
        if options.warn:
            raise UsageError("--warn marks limits: give --limit with it")
        return None
    limits, streams_max = limits_of(options.limit)
    return Budget(1, limits, streams_max, None, options.warn)


def _list(options: argparse.Namespace, context: Context) -> int:
    with ledger(options, context) as store:
        entries = list_keys(store)
    now_s = context.now_s()
    if options.json:
        context.say(json_text({"keys": [key_object(entry, now_s) for entry in entries]}))
    elif entries:
        headers = ("ID", "NAME", "USER", "TEAM", "MODELS", "LIMITS", "STATE", "EXPIRES")
        context.say(table(headers, [_row(entry, now_s) for entry in entries]))
    else:
        context.say("There are no keys; make one: rillgate keys create --name NAME")
    return 0


def _row(entry: KeyEntry, now_s: float) -> tuple[str | None, ...]:
    key = entry.key
    models = " ".join(key.models) or "all"
    limits = " ".join(limit_texts(entry.budget))
    return key.key_id, key.name, key.user, key.team, models, limits, entry.state(now_s), time_text(key.expires_s)


def _show(options: argparse.Namespace, context: Context) -> int:
    with ledger(options, context) as store:
        now_s = context.now_s()
        key = find_key(store, options.key)
        state = read_state(store, key_scope(key.key_id), now_s)
    if options.json:
        context.say(json_text(_whole_object(key, state, now_s)))
    else:
        context.say(_whole_text(key, state, now_s))
    return 0


def _whole_object(key: VirtualKey, state: ScopeState, now_s: float) -> dict[str, Any]:
    return key_object(KeyEntry(key, state.budget), now_s) | {"budget": state_object(state, now_s)}


def _whole_text(key: VirtualKey, state: ScopeState, now_s: float) -> str:
    facts = (
        ("id", key.key_id),
        ("name", key.name),
        ("state", KeyEntry(key, state.budget).state(now_s)),
        ("user", key.user),
        ("team", key.team),
        ("models", " ".join(key.models) or "all"),
        ("tags", " ".join(f"{name}={value}" for name, value in key.tags.items())),
        ("created", time_text(key.created_s)),
        ("expires", time_text(key.expires_s) or "never"),
        ("revoked", time_text(key.revoked_s)),
        ("previous secret until", time_text(previous_until_s(key, now_s))),
    )
    known = "\n".join(f"{name + ':':<24}{printable(value)}" for name, value in facts if value)
    return f"{known}\n\n{states_text([state], now_s)}"


def _revoke(options: argparse.Namespace, context: Context) -> int:
    with ledger(options, context) as store:
        now_s = context.now_s()
        key = revoke_key(store, options.key, now_s)
        state = read_state(store, key_scope(key.key_id), now_s)
    if options.json:
        context.say(json_text(_whole_object(key, state, now_s)))
    else:
        context.say(
            f"Key {key.name!r} ({key.key_id}) is revoked since {time_text(key.revoked_s)}; nothing more is admitted."
        )
    return 0


def _rotate(options: argparse.Namespace, context: Context) -> int:
    with ledger(options, context) as store:
        now_s = context.now_s()
        key = find_key(store, options.key)
        secret = new_key(key.key_id)
        key = rotate_key(store, key, digest(secret), now_s, options.grace)
        budget = read_state(store, key_scope(key.key_id), now_s).budget
    until = time_text(key.previous_until_s)
    before = (
        f"The secret before is accepted until {until}." if until else "The secret before is refused within seconds."
    )
    _print_secret(options, context, secret, KeyEntry(key, budget), f"Key {key.name!r} ({key.key_id}). {before}")
    return 0


def _print_secret(options: argparse.Namespace, context: Context, secret: str, entry: KeyEntry, told: str) -> None:
    """The key on the first line, alone, so that a script can take it."""
    if options.json:
        context.say(json_text({"key": secret} | key_object(entry, context.now_s())))
    else:
        context.say(f"{secret}\n{told} {HOW_TO_USE}")
