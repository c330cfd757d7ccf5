"""From a credential to whoever presents it: the first step of every request's way.

    form and checksum → known → digest → not revoked → not expired                          a key
    form → signature → not expired → for this place → its key alive → (not used)            a ticket

What fails at a step says so in the words of `refusals`; nothing behind that step is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rillgate.domain.errors import AuthError, ClientError
from rillgate.domain.limits import UNLIMITED, Budget
from rillgate.domain.ports import Clock, KeyVault
from rillgate.domain.principal import Principal, VirtualKey
from rillgate.identity import keys, refusals, tickets
from rillgate.identity.key_cache import AGE_S_MAX, SIZE_MAX, KeyCache
from rillgate.identity.tickets import Ticket

TICKET_TTL_S_MAX = 3600
ONE_USE_TTL_S_MAX = 60
USER_CHARS_MAX = 256  # of a ticket; a scope is part of a primary key, of which DynamoDB takes 2,048 bytes


def looks_like_ours(credential: str) -> bool:
    """Whether it starts as our keys and tickets do, and is therefore checked even where none is needed."""
    return credential.startswith((keys.PREFIX, tickets.PREFIX))


class Gatekeeper:
    """`domain.ports.Gatekeeper` over a vault.

    Args:
        vault: keys and the secret of tickets.
        clock: time; expiry is by its wall, ages by its monotonic seconds.
        age_s_max: seconds until a change of a key is seen.
        cache_size_max: how many keys are remembered.
        stale_ok: while the store does not answer, go on with keys that were known. Tickets for one use are refused
            even so, since nobody could say whether they were used.
        new_ticket_id: makes ticket ids; 96 random bits.
    """

    def __init__(
        self,
        vault: KeyVault,
        clock: Clock,
        *,
        age_s_max: float = AGE_S_MAX,
        cache_size_max: int = SIZE_MAX,
        stale_ok: bool = False,
        new_ticket_id: Callable[[], str] = tickets.new_ticket_id,
    ) -> None:
        self._vault = vault
        self._clock = clock
        self._cache = KeyCache(vault, clock, age_s_max=age_s_max, size_max=cache_size_max, stale_ok=stale_ok)
        self._new_ticket_id = new_ticket_id

    async def principal(self, credential: str) -> Principal:
        """As the port says."""
        if not credential.startswith(tickets.PREFIX):
            return await self._principal_of_key(credential)
        ticket = await self._verified(credential)
        if ticket.one_use:
            raise refusals.ticket_for_one_use()
        return _ticket_principal(ticket, await self._issuing_key(ticket))

    async def principal_for_one_use(self, ticket: str) -> Principal:
        """As the port says."""
        if ticket.startswith(keys.PREFIX):
            raise refusals.not_for_one_use()
        verified = await self._verified(ticket)
        if not verified.one_use:
            raise refusals.not_for_one_use()
        principal = _ticket_principal(verified, await self._issuing_key(verified))
        # Last of all: a ticket that is refused for another reason is not used up.
        if not await self._vault.use_ticket(verified.ticket_id, verified.expires_s):
            raise refusals.used_ticket()
        return principal

    async def issue_ticket(
        self,
        issuer: Principal,
        *,
        user: str | None,
        ttl_s: int,
        models: Sequence[str],
        budget: Budget,
        one_use: bool,
    ) -> str:
        """As the port says."""
        key_id = _issuing_key_id(issuer)
        _check_wishes(user, ttl_s, one_use)
        now_s = int(self._clock.wall())
        ticket = Ticket(
            ticket_id=self._new_ticket_id(),
            key_id=key_id,
            issued_s=now_s,
            expires_s=now_s + ttl_s,
            user=user if user is not None else issuer.user,
            team=issuer.team,
            models=tuple(models),
            budget=budget,
            one_use=one_use,
        )
        return tickets.sign(ticket, await self._vault.ticket_secret())

    async def aclose(self) -> None:
        """End lookups that are under way."""
        await self._cache.aclose()

    async def _principal_of_key(self, credential: str) -> Principal:
        key_id = keys.parse(credential)
        presented = keys.digest(credential)
        key = await self._cache.key(key_id)
        if key is not None and not self._fits(presented, key):
            key = await self._cache.recent_key(key_id)
        if key is None or not self._fits(presented, key):
            raise refusals.unknown_key()
        if key.revoked_s is not None:
            raise refusals.revoked_key(key_id)
        if self._is_expired(key):
            raise refusals.expired_key(key_id)
        return Principal(
            key_id=key_id,
            user=key.user,
            team=key.team,
            models=_restrictions(key.models),
            tags=key.tags,
        )

    async def _verified(self, token: str) -> Ticket:
        tickets.check_form(token)
        return tickets.verify(token, await self._vault.ticket_secret(), int(self._clock.wall()))

    async def _issuing_key(self, ticket: Ticket) -> VirtualKey:
        key = await self._cache.key(ticket.key_id)
        if key is None:
            raise refusals.ticket_of_unknown_key()
        if key.revoked_s is not None:
            raise refusals.ticket_of_revoked_key()
        if self._is_expired(key):
            raise refusals.ticket_of_expired_key()
        return key

    def _fits(self, presented: str, key: VirtualKey) -> bool:
        """Whether a digest is the key's, or the one before its rotation while that is still accepted."""
        if keys.same_digest(presented, key.digest):
            return True
        if key.previous_digest is None or key.previous_until_s is None:
            return False
        return self._clock.wall() < key.previous_until_s and keys.same_digest(presented, key.previous_digest)

    def _is_expired(self, key: VirtualKey) -> bool:
        return key.expires_s is not None and self._clock.wall() >= key.expires_s


def _ticket_principal(ticket: Ticket, key: VirtualKey) -> Principal:
    return Principal(
        key_id=ticket.key_id,
        user=ticket.user if ticket.user is not None else key.user,
        team=ticket.team if ticket.team is not None else key.team,
        ticket_id=ticket.ticket_id,
        models=_restrictions(key.models, ticket.models),
        tags=key.tags,
        ticket_budget=ticket.budget if ticket.budget != UNLIMITED else None,
    )


def _restrictions(*models: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Those lists of globs that restrict anything."""
    return tuple(globs for globs in models if globs)


def _issuing_key_id(issuer: Principal) -> str:
    if issuer.ticket_id is not None:
        # Or a browser could give itself another user, more time and no limits.
        raise AuthError(
            "A ticket cannot issue tickets; ask for one with the key itself, from your back end.",
            status=403,
            kind="permission_error",
            code="permission_denied",
            should_retry=False,
        )
    if issuer.key_id is None:
        raise refusals.foreign_credential()
    return issuer.key_id


def _check_wishes(user: str | None, ttl_s: int, one_use: bool) -> None:
    ttl_s_max = ONE_USE_TTL_S_MAX if one_use else TICKET_TTL_S_MAX
    if not 1 <= ttl_s <= ttl_s_max:
        kind = "a ticket for one use" if one_use else "a ticket"
        raise ClientError(f"ttl_s is {ttl_s!r}; {kind} lives 1 to {ttl_s_max} seconds.", param="ttl_s")
    if user is not None and not 1 <= len(user) <= USER_CHARS_MAX:
        raise ClientError(f"user has {len(user)} characters; 1 to {USER_CHARS_MAX} are possible.", param="user")
