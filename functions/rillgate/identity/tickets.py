"""Tickets: what a browser holds instead of a key. Everything about one is in its text, signed by the gateway.

    rillt_eyJ2IjoxLCJpZCI6…  .  R2Vu…43 characters
    payload, base64url(JSON)    base64url(HMAC-SHA-256 of everything before the dot)

Base64url is without padding. The signature is compared as text and over the text, not over what the text decodes to,
so that a ticket has exactly one spelling. Time is an argument. The payload is signed, not hidden: whoever holds a
ticket can read its user, its models and its limits.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec

from rillgate.domain.errors import ClientError
from rillgate.domain.limits import UNLIMITED, Budget, Limit, Meter, Window
from rillgate.identity import refusals

PREFIX = "rillt_"
TICKET_CHARS_MAX = 4096  # half of what most servers take as one header or one address
VERSION = 1

_FORM = re.compile(rf"({PREFIX}[A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{{43}})")


class Ticket(msgspec.Struct, frozen=True):
    """What a ticket says.

    Attributes:
        ticket_id: 16 characters of base64url, 96 random bits; the scope is `ticket:<ticket_id>`.
        key_id: the key that issued it.
        user, team: what the ticket is charged to; None for the key's own.
        issued_s, expires_s: seconds since 1970.
        models: globs over the names that may be asked for; empty for all that the key may.
        budget: limits of this ticket alone. Version and block do not travel.
        one_use: whether it is for one request only.
    """

    ticket_id: str
    key_id: str
    issued_s: int
    expires_s: int
    user: str | None = None
    team: str | None = None
    models: tuple[str, ...] = ()
    budget: Budget = UNLIMITED
    one_use: bool = False


class _Payload(msgspec.Struct, omit_defaults=True):
    """A ticket's JSON. `v` has no default: it is always written and always read."""

    v: int
    id: str
    key: str
    iat: int
    exp: int
    user: str | None = None
    team: str | None = None
    models: tuple[str, ...] = ()
    limits: tuple[tuple[Meter, Window, int], ...] = ()
    streams: int | None = None
    warn: tuple[int, ...] = ()
    once: bool = False


def new_ticket_id() -> str:
    """A fresh ticket id: 16 characters of base64url."""
    return secrets.token_urlsafe(12)


def sign(ticket: Ticket, secret: bytes) -> str:
    """The ticket's text.

    Raises:
        ClientError: 400, it would be longer than 4 KiB; fewer or shorter models, limits and names help.
    """
    payload = _Payload(
        v=VERSION,
        id=ticket.ticket_id,
        key=ticket.key_id,
        iat=ticket.issued_s,
        exp=ticket.expires_s,
        user=ticket.user,
        team=ticket.team,
        models=ticket.models,
        limits=tuple((limit.meter, limit.window, limit.amount) for limit in ticket.budget.limits),
        streams=ticket.budget.streams_max,
        warn=ticket.budget.warn_percents,
        once=ticket.one_use,
    )
    body = PREFIX + _encode(msgspec.json.encode(payload))
    token = f"{body}.{_signature(body, secret)}"
    if len(token) > TICKET_CHARS_MAX:
        raise ClientError(
            f"The ticket would have {len(token)} characters, and {TICKET_CHARS_MAX} is the most: name fewer models.",
            code="ticket_too_long",
            param="models",
        )
    return token


def verify(token: str, secret: bytes, now_s: int) -> Ticket:
    """What a ticket says, once its signature is found to be ours and its time not over.

    Raises:
        AuthError: 401, it is too long, not whole, changed or not ours, of another version, or expired.
    """
    check_form(token)
    body, _, signature = token.partition(".")
    if not hmac.compare_digest(_signature(body, secret).encode(), signature.encode()):
        raise refusals.forged_ticket()
    ticket = _read(body)
    if now_s >= ticket.expires_s:
        raise refusals.expired_ticket()
    return ticket


def check_form(token: str) -> None:
    """Refuse what cannot be a ticket, before anybody is asked for the secret.

    Raises:
        AuthError: 401, it is too long or not whole.
    """
    if len(token) > TICKET_CHARS_MAX:
        raise refusals.long_ticket(TICKET_CHARS_MAX)
    if _FORM.fullmatch(token) is None:
        raise refusals.malformed_ticket()


def _read(body: str) -> Ticket:
    """A payload whose signature was found right."""
    try:
        payload = msgspec.json.decode(_decode(body[len(PREFIX) :]), type=_Payload)
    except (msgspec.DecodeError, ValueError):
        raise refusals.strange_ticket() from None
    if payload.v != VERSION:
        raise refusals.strange_ticket()
    limits = tuple(Limit(meter, window, amount) for meter, window, amount in payload.limits)
    return Ticket(
        ticket_id=payload.id,
        key_id=payload.key,
        issued_s=payload.iat,
        expires_s=payload.exp,
        user=payload.user,
        team=payload.team,
        models=payload.models,
        budget=Budget(limits=limits, streams_max=payload.streams, warn_percents=payload.warn),
        one_use=payload.once,
    )


def _signature(body: str, secret: bytes) -> str:
    return _encode(hmac.digest(secret, body.encode(), hashlib.sha256))


def _encode(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
