"""What operators do with virtual keys: create, find, revoke and rotate them.

Every step is one transaction over the key, the claim on its name, and the budget of its scope; one that is cut short
leaves nothing behind, and one that is done again either changes nothing or says what to do instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote
from typing import Literal

from msgspec.structs import replace

from rillgate.domain.limits import Budget
from rillgate.domain.principal import VirtualKey
from rillgate.ledger.admin_budgets import TRIES, all_budgets, budget_writes, read_state
from rillgate.ledger.admin_scopes import AdminError
from rillgate.ledger.keys import name_key, virtual_key_key, virtual_key_partitions
from rillgate.ledger.store import AdminStore
from rillgate.ledger.vault import key_changes, virtual_key
from rillgate.ledger.writes import Absent, Condition, ConditionFailed, Equal, Item, Put, Write

REVOKED = "the key was revoked"  # why the scope of a revoked key is blocked
CLAIM = "key_id"  # of a name's item: the key that has the name

State = Literal["active", "blocked", "expired", "revoked"]


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key and the budget of its scope."""

    key: VirtualKey
    budget: Budget

    def state(self, now_s: float) -> State:
        """What becomes of a request with this key; the first that applies of revoked, expired, blocked, active."""
        if self.key.revoked_s is not None:
            return "revoked"
        if self.key.expires_s is not None and self.key.expires_s <= now_s:
            return "expired"
        return "active" if self.budget.blocked is None else "blocked"


def key_scope(key_id: str) -> str:
    """The scope of a key."""
    return f"key:{key_id}"


def create_key(store: AdminStore, key: VirtualKey, budget: Budget | None) -> None:
    """Put a new key into the store, claim its name, and give its scope a budget if there is one.

    Raises: AdminError: a key of this name is there, and was not revoked.
    """
    claim, holder = _name_holder(store, key.name)
    if holder is not None and holder.revoked_s is None:
        expired = holder.expires_s is not None and holder.expires_s <= key.created_s
        remedy = (
            "it is expired, so first: rillgate keys revoke" if expired else "for a new secret: rillgate keys rotate"
        )
        raise AdminError(f"there is a key named {key.name!r} already ({holder.key_id}); {remedy} {quote(key.name)}")
    condition: Condition = Absent(CLAIM) if claim is None else Equal(CLAIM, claim)
    writes = [
        Write(virtual_key_key(key.key_id), key_changes(key), (Absent("digest"),)),
        Write(name_key(key.name), (Put(CLAIM, key.key_id),), (condition,)),
    ]
    if budget is not None:
        writes += budget_writes(key_scope(key.key_id), 0, replace(budget, version=1))
    try:
        store.write_all(writes)
    except ConditionFailed:
        raise AdminError(
            f"somebody else is creating a key named {key.name!r} at the same time, and nothing was changed; "
            "see rillgate keys list"
        ) from None


def find_key(store: AdminStore, text: str) -> VirtualKey:
    """A key by its id, else by its name.

    Raises: AdminError: there is none.
    """
    key = _read_key(store, text)
    if key is None:
        _, key = _name_holder(store, text)
    if key is None:
        raise AdminError(f"there is no key {text!r}; see rillgate keys list")
    return key


def list_keys(store: AdminStore) -> list[KeyEntry]:
    """All keys, revoked ones too, by name and then by age."""
    budgets = all_budgets(store)
    keys = [_key(sk, item) for pk in virtual_key_partitions() for sk, item in store.query(pk)]
    keys.sort(key=lambda key: (key.name, key.created_s, key.key_id))
    return [KeyEntry(key, budgets.get(key_scope(key.key_id), Budget())) for key in keys]


def revoke_key(store: AdminStore, text: str, now_s: float) -> VirtualKey:
    """Admit nothing more with this key, from the next request on. Done again it changes nothing.

    The key says so, which processes see when they read it again; and its scope is blocked, which they see at once.
    Raises: AdminError: there is none, or somebody else is changing it.
    """
    for _ in range(TRIES):
        key = find_key(store, text)
        if key.revoked_s is not None:
            return key
        revoked = replace(key, revoked_s=int(now_s))
        scope = key_scope(key.key_id)
        budget = read_state(store, scope, now_s).budget
        blocked = replace(budget, version=budget.version + 1, blocked=REVOKED)
        try:
            store.write_all([_key_write(revoked, key), *budget_writes(scope, budget.version, blocked)])
        except ConditionFailed:
            continue
        return revoked
    raise _contended(text)


def rotate_key(store: AdminStore, key: VirtualKey, digest: str, now_s: float, grace_s: int) -> VirtualKey:
    """Give a key a new secret under its old id.

    Args:
        digest: of the new secret.
        grace_s: how long the secret before stays valid; one that an earlier rotation left valid does not.
    Raises: AdminError: it is revoked or expired, or somebody else changed it meanwhile.
    """
    if key.revoked_s is not None:
        raise AdminError(
            f"the key {key.name!r} is revoked; make a new one: rillgate keys create --name {quote(key.name)}"
        )
    if key.expires_s is not None and key.expires_s <= now_s:
        raise AdminError(
            f"the key {key.name!r} is expired; make a new one after rillgate keys revoke {quote(key.name)}"
        )
    rotated = replace(
        key,
        digest=digest,
        previous_digest=key.digest if grace_s else None,
        previous_until_s=int(now_s) + grace_s if grace_s else None,
    )
    try:
        store.write_all([_key_write(rotated, key)])
    except ConditionFailed:
        raise _contended(key.name) from None
    return rotated


def _key_write(key: VirtualKey, before: VirtualKey) -> Write:
    """Replace a key that is still as it was read."""
    revoked: Condition = Absent("revoked") if before.revoked_s is None else Equal("revoked", before.revoked_s)
    return Write(virtual_key_key(key.key_id), key_changes(key), (Equal("digest", before.digest), revoked))


def _name_holder(store: AdminStore, name: str) -> tuple[str | None, VirtualKey | None]:
    """The id that claims a name, and its key."""
    (claim,) = store.read([name_key(name)])
    if claim is None:
        return None, None
    key_id = str(claim[CLAIM])
    return key_id, _read_key(store, key_id)


def _read_key(store: AdminStore, key_id: str) -> VirtualKey | None:
    (item,) = store.read([virtual_key_key(key_id)])
    return None if item is None else _key(key_id, item)


def _key(key_id: str, item: Item) -> VirtualKey:
    try:
        return virtual_key(item)
    except ValueError as error:
        raise AdminError(f"the stored key {key_id!r} cannot be read: {error}") from error


def _contended(text: str) -> AdminError:
    return AdminError(
        f"somebody else is changing the key {text!r} at the same time, and nothing was changed; "
        f"look at it with `rillgate keys show {quote(text)}` and repeat"
    )
