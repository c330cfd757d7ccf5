"""Who asks: from a request's headers to a principal, before anything of its body is read.

A key or a ticket comes as `Authorization: Bearer rill_…` or as `x-api-key: rill_…`, whichever the client's SDK sends.
Where keys are not required one of ours is still checked and charged; any other credential is ignored, since every SDK
sends one.
Source: RFC 6750, section 2.1 (the scheme `Bearer`), https://www.rfc-editor.org/rfc/rfc6750, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping

from rillgate.app.naming import shown_name
from rillgate.domain.errors import AuthError
from rillgate.domain.ports import Gatekeeper
from rillgate.domain.principal import ANYBODY, Principal
from rillgate.identity.gatekeeper import looks_like_ours

HOW = "send one of this gateway's keys as `Authorization: Bearer rill_…` or `x-api-key: rill_…`"
CHALLENGE = "Bearer"  # WWW-Authenticate of every 401


class Door:
    """Lets requests in.

    Args:
        gatekeeper: checks keys and tickets.
        keys_required: whether a request without one is refused.
    """

    def __init__(self, gatekeeper: Gatekeeper, *, keys_required: bool) -> None:
        self._gatekeeper = gatekeeper
        self._keys_required = keys_required

    async def principal(self, headers: Mapping[str, str]) -> Principal:
        """Whoever sends these headers; `ANYBODY` where keys are not required and none of ours is there.

        Raises:
            AuthError: 401, nothing or nothing valid was presented.
            BudgetUnavailable: the store of keys did not answer.
        """
        presented = _presented(headers)
        ours = _ours(presented)
        if ours is not None:
            return await self._gatekeeper.principal(ours)
        if self._keys_required:
            raise _foreign() if presented else _missing()
        return ANYBODY

    async def principal_of_link(self, headers: Mapping[str, str], ticket: str | None) -> Principal:
        """As `principal`, for the routes that `EventSource` opens: it sends no headers, so a ticket for one use may
        stand in the address, and is used up by this.

        Raises: as `principal`.
        """
        if ticket and looks_like_ours(ticket):
            return await self._gatekeeper.principal_for_one_use(ticket)
        if ticket and self._keys_required:
            raise _foreign()
        return await self.principal(headers)

    async def issuer(self, headers: Mapping[str, str]) -> Principal:
        """The key that may issue tickets; needed also where keys are not required.

        Raises:
            AuthError: 401 as `principal`; 403 for a ticket, which issues none.
            BudgetUnavailable: as `principal`.
        """
        principal = await self.principal(headers)
        if principal.key_id is None:
            raise _foreign() if _presented(headers) else _missing()
        if principal.ticket_id is not None:
            message = "A ticket cannot issue tickets: only your application's back end does, with its key."
            raise AuthError(message, status=403, kind="permission_error", code="key_required")
        return principal


def check_model(principal: Principal, model: str) -> None:
    """Let `principal` ask for `model`, by the name that it asks for.

    Raises: AuthError: 403, its key or its ticket does not allow this name.
    """
    if not principal.allows(model):
        what = "ticket" if principal.ticket_id is not None else "key"
        raise AuthError(
            f"This {what} may not use the model {shown_name(model)}: GET /v1/models lists those that it may.",
            status=403,
            kind="permission_error",
            code="model_not_allowed",
            param="model",
        )


def _presented(headers: Mapping[str, str]) -> list[str]:
    """The credentials in these headers; a scheme that is not Bearer is one of somebody else's."""
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else scheme
    return [text for text in (bearer, headers.get("x-api-key", "").strip()) if text]


def _ours(presented: list[str]) -> str | None:
    """The one credential that is ours, if one is.

    Raises: AuthError: 401, two different ones.
    """
    ours = {text for text in presented if looks_like_ours(text)}
    if len(ours) > 1:
        raise AuthError("Two different keys were sent, in `Authorization` and in `x-api-key`: send one.")
    return next(iter(ours), None)


def _missing() -> AuthError:
    return AuthError(f"No key was sent: {HOW}.", code="missing_api_key")


def _foreign() -> AuthError:
    return AuthError(f"What was sent is no key of this gateway: {HOW}.")
