"""Who is asking: a virtual key, the user of a ticket, or nobody in particular where keys are off."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import msgspec

from rillgate.domain.limits import Budget


class VirtualKey(msgspec.Struct, frozen=True):
    """A key that we issued, as it is stored. The key itself is not: only its digest.

    Attributes:
        key_id: public; the scope is `key:<key_id>`.
        name: the operator's own, unique among keys that are not revoked.
        digest: SHA-256 of the whole key, hexadecimal.
        created_s, expires_s, revoked_s: seconds since 1970; None for never.
        user, team: further scopes that everything is charged to; None for none.
        models: globs over the names that are asked for; empty for all.
        tags: the operator's own, copied into every record.
        previous_digest: of the key before the last rotation, accepted until `previous_until_s`.
    """

    key_id: str
    name: str
    digest: str
    created_s: int
    expires_s: int | None = None
    revoked_s: int | None = None
    user: str | None = None
    team: str | None = None
    models: tuple[str, ...] = ()
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    previous_digest: str | None = None
    previous_until_s: int | None = None


class Principal(msgspec.Struct, frozen=True):
    """Whoever asks, after the check of what was presented.

    Attributes:
        key_id: the key, or the key that issued the ticket; None where keys are off and none was presented.
        user, team: as the key, or the ticket, says.
        ticket_id: of the ticket; None for a key.
        models: globs over the names that may be asked for; each tuple must allow the name, an empty one allows all.
        tags: the key's.
        ticket_budget: the ticket's own limits, which travel in it; None for a key, and for a ticket without limits.
    """

    key_id: str | None = None
    user: str | None = None
    team: str | None = None
    ticket_id: str | None = None
    models: tuple[tuple[str, ...], ...] = ()
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    ticket_budget: Budget | None = None

    @property
    def owner(self) -> str:
        """Who may cancel what this one began: the key, or the user of one key's tickets."""
        if self.key_id is None:
            return ""
        return f"{self.key_id}/{self.user or ''}" if self.ticket_id is not None else self.key_id

    def allows(self, model: str) -> bool:
        """Whether this one may ask for a model: by the name that is asked for, upper and lower case apart."""
        return all(any(fnmatchcase(model, glob) for glob in globs) for globs in self.models if globs)


ANYBODY = Principal()
