"""Scopes as operators spell them, and the one error of the control plane."""

from __future__ import annotations

from rillgate.domain.limits import GLOBAL

KINDS = ("key", "user", "team", "model", "ticket")
SCOPES = "global, key:ID, user:U, team:T, model:M or ticket:ID"
NAME_BYTES_MAX = 512  # a primary key of DynamoDB has at most 2,048, and every record of a request repeats it


class AdminError(Exception):
    """What an operator asked for cannot be done. The message is one line that says why and what to do instead."""


def parse_scope(text: str) -> str:
    """A scope, checked. Whether anybody was ever charged to it is not known here: a budget may come first.

    Raises: AdminError: it is none; the message lists what there is.
    """
    kind, colon, name = text.partition(":")
    if text == GLOBAL:
        return text
    if kind not in KINDS or not colon or not name:
        raise AdminError(f"{text!r} is no scope; give {SCOPES}")
    check_name(name, f"the scope {kind}:…")
    return text


def check_name(name: str, what: str) -> str:
    """A name of a user, a team, a key: printable, without blanks around it, and of bounded size.

    Raises: AdminError
    """
    if not name or name != name.strip() or not name.isprintable():
        raise AdminError(f"{what}: {name!r} is no name; give printable text without blanks around it")
    if len(name.encode()) > NAME_BYTES_MAX:
        raise AdminError(f"{what}: {name[:40]!r}… is too long; give at most {NAME_BYTES_MAX} bytes")
    return name
