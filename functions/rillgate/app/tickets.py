"""`POST /v1/tickets`: an application's back end turns its key into a ticket that a browser may hold.

A ticket names its user, lives for minutes, and may be narrowed further by models and limits of its own; whatever its
key may not do, it may not do either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rillgate.budget.headers import rfc3339
from rillgate.budget.limit_text import parse_limits
from rillgate.dialects.json_fields import (
    SHOWN_CHARS_MAX,
    json_object,
    optional_array,
    optional_bool,
    optional_integer,
    optional_string,
    shown,
    wrong_type,
)
from rillgate.domain.errors import AuthError, ClientError
from rillgate.domain.limits import Budget
from rillgate.domain.principal import Principal
from rillgate.identity.gatekeeper import ONE_USE_TTL_S_MAX, TICKET_TTL_S_MAX, USER_CHARS_MAX

TTL_S_DEFAULT = 600
MODELS_MAX = 32  # of globs; a ticket travels with every request, and so do these
LIMITS_MAX = 16
TEXT_CHARS_MAX = 128  # of one glob or limit

_FIELDS = ("user", "ttl_s", "models", "limits", "one_use")


class TicketRequest(msgspec.Struct, frozen=True):
    """What a ticket is asked to be. `budget` has version 0: it travels in the ticket and never changes."""

    user: str | None
    ttl_s: int
    models: tuple[str, ...]
    budget: Budget
    one_use: bool


def parse_ticket_request(body: bytes) -> TicketRequest:
    """The body of `POST /v1/tickets`.

    Shape:  {"user": "ada", "ttl_s": 600, "models": ["fast-*"], "limits": ["tokens/total=5000", "streams=1"],
            "one_use": false}, all optional.
    Raises: ClientError: not JSON, an unknown field, a wrong type or a value out of range; `param` names the field.
    """
    fields = json_object(body) if body.strip() else {}
    unknown = sorted(fields.keys() - set(_FIELDS))
    if unknown:
        raise ClientError(
            f"Unknown field {shown(unknown[0])}; this route takes {', '.join(_FIELDS)}.",
            param=unknown[0][:SHOWN_CHARS_MAX],
            code="unknown_parameter",
        )
    one_use = optional_bool(fields, "one_use")
    ttl_s = optional_integer(fields, "ttl_s", 1, ONE_USE_TTL_S_MAX if one_use else TICKET_TTL_S_MAX)
    return TicketRequest(
        user=_user(fields),
        ttl_s=ttl_s or (ONE_USE_TTL_S_MAX if one_use else TTL_S_DEFAULT),
        models=_texts(fields, "models", MODELS_MAX),
        budget=_budget(_texts(fields, "limits", LIMITS_MAX)),
        one_use=one_use,
    )


def check_user(issuer: Principal, user: str | None) -> None:
    """A key that belongs to a user issues tickets for nobody else: what they spend would escape that user's limits.

    Raises: AuthError: 403.
    """
    if issuer.user is not None and user not in (None, issuer.user):
        raise AuthError(
            f"This key belongs to the user {shown(issuer.user)} and issues no tickets for {shown(user)}.",
            status=403,
            kind="permission_error",
            code="user_not_allowed",
            param="user",
        )


def ticket_object(ticket: str, request: TicketRequest, issued_s: float) -> dict[str, Any]:
    """The answer."""
    return {
        "object": "ticket",
        "ticket": ticket,
        "expires_at": rfc3339(int(issued_s) + request.ttl_s),
        "one_use": request.one_use,
    }


def _user(fields: Mapping[str, Any]) -> str | None:
    user = optional_string(fields, "user")
    if user is not None and not (0 < len(user) <= USER_CHARS_MAX and user.isprintable() and user.strip() == user):
        raise _invalid("user", user, f"it must be 1 to {USER_CHARS_MAX} printable characters, no space around them")
    return user


def _texts(fields: Mapping[str, Any], param: str, many_max: int) -> tuple[str, ...]:
    texts = optional_array(fields, param)
    if len(texts) > many_max:
        raise ClientError(
            f"Invalid value for '{param}': {len(texts)} of them; at most {many_max} are taken.",
            param=param,
            code="invalid_value",
        )
    for index, text in enumerate(texts):
        place = f"{param}[{index}]"
        if not isinstance(text, str):
            raise wrong_type(place, "a string", text)
        if not 0 < len(text) <= TEXT_CHARS_MAX:
            raise _invalid(place, text, f"it must be 1 to {TEXT_CHARS_MAX} characters")
    return tuple(texts)


def _budget(texts: tuple[str, ...]) -> Budget:
    try:
        limits, streams_max = parse_limits(texts)
    except ValueError as error:
        raise ClientError(f"Invalid value for 'limits': {error}.", param="limits", code="invalid_value") from None
    return Budget(limits=limits, streams_max=streams_max)


def _invalid(param: str, value: str, why: str) -> ClientError:
    return ClientError(f"Invalid value for '{param}': {shown(value)}; {why}.", param=param, code="invalid_value")
