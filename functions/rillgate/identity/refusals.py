"""Why a credential is refused, each reason in words of its own. None of them ever repeats the credential.

code              meaning
invalid_api_key   no key of ours, not whole, mistyped, or not known; an unknown key and a wrong one read the same, so
                  that nobody learns which key ids exist
key_expired       it is ours and its time is over; also for a ticket whose key's time is over
key_revoked       it is ours and was revoked; also for a ticket whose key was revoked
invalid_ticket    a ticket that is not whole, not ours, or in the wrong place
ticket_expired    a ticket whose time is over
ticket_used       a ticket for one use that was used

All are 401 with `x-should-retry: false`: the same credential is refused again.
"""

from __future__ import annotations

from rillgate.domain.errors import AuthError


def foreign_credential() -> AuthError:
    """Nothing that we issue, or nothing at all; most often a key of a provider."""
    return _refused(
        "This gateway needs a key of its own, which starts with 'rill_', as 'Authorization: Bearer' or 'x-api-key'; "
        "a provider's key is of no use here. Ask whoever runs the gateway for one.",
        "invalid_api_key",
    )


def malformed_key() -> AuthError:
    """It starts as a key does and does not go on as one."""
    return _refused(
        "The key is not whole: a key is 'rill_' and 50 letters and digits. Copy it again from where it was issued.",
        "invalid_api_key",
    )


def mistyped_key() -> AuthError:
    """Its checksum says that it was never issued."""
    return _refused(
        "The key is mistyped: its checksum does not fit. Copy it again from where it was issued.", "invalid_api_key"
    )


def unknown_key() -> AuthError:
    """No such key id, or another secret: the same words for both."""
    return _refused(
        "The key is not known to this gateway, or was replaced. Use the key that was issued last.", "invalid_api_key"
    )


def revoked_key(key_id: str) -> AuthError:
    """Whole, right, and revoked."""
    return _refused(f"The key with id {key_id!r} was revoked. Ask for a new one.", "key_revoked")


def expired_key(key_id: str) -> AuthError:
    """Whole, right, and past its time."""
    return _refused(f"The key with id {key_id!r} has expired. Ask for a new one.", "key_expired")


def malformed_ticket() -> AuthError:
    """Cut short, or no ticket at all."""
    return _refused("The ticket is not whole. Pass it on exactly as POST /v1/tickets gave it.", "invalid_ticket")


def long_ticket(chars_max: int) -> AuthError:
    """No ticket that we issue is so long."""
    return _refused(f"The ticket is longer than {chars_max} characters, as none of ours is.", "invalid_ticket")


def forged_ticket() -> AuthError:
    """Changed on its way, or signed by somebody else."""
    return _refused(
        "The ticket was changed, or another gateway issued it: its signature does not fit. Ask POST /v1/tickets "
        "of this gateway for one.",
        "invalid_ticket",
    )


def strange_ticket() -> AuthError:
    """Signed by us, in a form that this version does not read."""
    return _refused(
        "The ticket was issued by another version of this gateway. Ask POST /v1/tickets for a new one.",
        "invalid_ticket",
    )


def expired_ticket() -> AuthError:
    """Past its time."""
    return _refused("The ticket has expired. Ask POST /v1/tickets for a new one.", "ticket_expired")


def used_ticket() -> AuthError:
    """For one use, and used."""
    return _refused("The ticket was for one use and has been used. Ask POST /v1/tickets for a new one.", "ticket_used")


def ticket_for_one_use() -> AuthError:
    """A ticket for one use where a bearer of many requests is asked for."""
    return _refused(
        "The ticket is for one use, as '?ticket=' on GET /chat/{model} only. Ask POST /v1/tickets for one that may be "
        "sent as 'Authorization: Bearer'.",
        "invalid_ticket",
    )


def not_for_one_use() -> AuthError:
    """Something of longer life in an address, where logs and histories keep it."""
    return _refused(
        "'?ticket=' takes a ticket for one use only, since addresses end up in logs: no key, and no other ticket. "
        "Ask POST /v1/tickets for one with one use.",
        "invalid_ticket",
    )


def ticket_of_unknown_key() -> AuthError:
    """The key that issued it is gone."""
    return _refused("The key that issued this ticket is not known to this gateway.", "invalid_ticket")


def ticket_of_revoked_key() -> AuthError:
    """Its tickets are dead with a key."""
    return _refused("The key that issued this ticket was revoked.", "key_revoked")


def ticket_of_expired_key() -> AuthError:
    """Its tickets are dead with a key."""
    return _refused("The key that issued this ticket has expired.", "key_expired")


def _refused(message: str, code: str) -> AuthError:
    return AuthError(message, code=code, should_retry=False)
