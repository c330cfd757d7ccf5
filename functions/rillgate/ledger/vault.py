"""Virtual keys, the secret of tickets and used tickets, as items of the one table.

A key's item holds one attribute for each thing that is known of the key; what is None has none, lists and maps are
JSON. Nothing here remembers keys: whoever asks often does that itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TypeVar

import msgspec

from rillgate.domain.errors import BudgetUnavailable, BudgetUnreadable
from rillgate.domain.principal import VirtualKey
from rillgate.ledger.keys import ticket_secret_key, used_ticket_key, virtual_key_key
from rillgate.ledger.store import TTL, Store
from rillgate.ledger.writes import (
    Absent,
    Change,
    ConditionFailed,
    Item,
    Key,
    Put,
    Remove,
    StoreUnavailable,
    Value,
    Write,
)

SECRET_BYTES = 32
KEEP_USED_S = 86_400  # past a ticket's expiry, so that no clock that is a little late takes it for unused
UNSURE_MAX = 1_000

JsonT = TypeVar("JsonT")
ValueT = TypeVar("ValueT", int, str)

_KEY_ATTRIBUTES = (
    "key_id",
    "name",
    "digest",
    "created",
    "expires",
    "revoked",
    "user",
    "team",
    "models",
    "tags",
    "previous_digest",
    "previous_until",
)


class StoreKeyVault:
    """`domain.ports.KeyVault` over a store.

    Args:
        store: where the items are.
        random_bytes: gives so many bytes that nobody can foresee.
    """

    def __init__(self, store: Store, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._store = store
        self._random_bytes = random_bytes
        self._secret: bytes | None = None
        self._unsure: dict[str, str] = {}  # ticket id → what we wrote into it, where no answer came

    async def key(self, key_id: str) -> VirtualKey | None:
        """As the port says."""
        item = await self._read(virtual_key_key(key_id))
        try:
            return None if item is None else virtual_key(item)
        except ValueError as error:
            raise BudgetUnreadable(f"The key {key_id!r} cannot be read: {error}.", should_retry=False) from error

    async def ticket_secret(self) -> bytes:
        """As the port says. Asks the store once in the life of a process."""
        if self._secret is None:
            self._secret = await self._stored_secret() or await self._made_secret()
        return self._secret

    async def use_ticket(self, ticket_id: str, expires_s: int) -> bool:
        """As the port says.

        A write may be done though no answer came, be it a try of the store's own or the last call for this ticket.
        So the item says who made it: what is found there is only somebody else's use if it is not ours. What we
        wrote is handed on to one later call, no more, or two would take the same use for theirs.
        """
        mark = self._unsure.pop(ticket_id, None) or self._random_bytes(16).hex()
        changes = (Put("by", mark), Put(TTL, expires_s + KEEP_USED_S))
        try:
            await self._store.write(Write(used_ticket_key(ticket_id), changes, (Absent("by"),)))
        except ConditionFailed as failed:
            return failed.item.get("by") == mark
        except StoreUnavailable:
            self._remember_unsure(ticket_id, mark)
            raise _unavailable() from None
        return True

    def _remember_unsure(self, ticket_id: str, mark: str) -> None:
        self._unsure[ticket_id] = mark
        if len(self._unsure) > UNSURE_MAX:
            del self._unsure[next(iter(self._unsure))]

    async def _stored_secret(self) -> bytes | None:
        item = await self._read(ticket_secret_key())
        return None if item is None else bytes.fromhex(_text(item, "secret"))

    async def _made_secret(self) -> bytes:
        """Ours, or that of whoever was faster: what is in the store afterwards is everybody's."""
        made = Put("secret", self._random_bytes(SECRET_BYTES).hex())
        try:
            await self._store.write(Write(ticket_secret_key(), (made,), (Absent("secret"),)))
        except ConditionFailed:
            pass  # it is there by now
        except StoreUnavailable:
            raise _unavailable() from None
        stored = await self._stored_secret()
        if stored is None:
            raise _unavailable()  # somebody took it away just now
        return stored

    async def _read(self, key: Key) -> Item | None:
        try:
            (item,) = await self._store.read([key])
        except StoreUnavailable:
            raise _unavailable() from None
        return item


def key_item(key: VirtualKey) -> Item:
    """A virtual key as an item: {"key_id": "4Vz0…", "created": 1795000000, "models": "[\"gpt-*\"]", …}."""
    values: dict[str, Value | None] = {
        "key_id": key.key_id,
        "name": key.name,
        "digest": key.digest,
        "created": key.created_s,
        "expires": key.expires_s,
        "revoked": key.revoked_s,
        "user": key.user,
        "team": key.team,
        "models": _json(key.models) if key.models else None,
        "tags": _json(key.tags) if key.tags else None,
        "previous_digest": key.previous_digest,
        "previous_until": key.previous_until_s,
    }
    return {name: value for name, value in values.items() if value is not None}


def key_changes(key: VirtualKey) -> tuple[Change, ...]:
    """What makes any item that of this key: what the key does not have is taken away, an old digest above all."""
    item = key_item(key)
    return tuple(Put(name, item[name]) if name in item else Remove(name) for name in _KEY_ATTRIBUTES)


def virtual_key(item: Item) -> VirtualKey:
    """A virtual key from its item; attributes of later versions are passed over.

    Raises:
        ValueError: the item is none of a key; something else wrote it.
    """
    return VirtualKey(
        key_id=_text(item, "key_id"),
        name=_text(item, "name"),
        digest=_text(item, "digest"),
        created_s=_required(_number_or_none(item, "created"), "created"),
        expires_s=_number_or_none(item, "expires"),
        revoked_s=_number_or_none(item, "revoked"),
        user=_text_or_none(item, "user"),
        team=_text_or_none(item, "team"),
        models=_from_json(item, "models", tuple[str, ...], ()),
        tags=_from_json(item, "tags", dict[str, str], {}),
        previous_digest=_text_or_none(item, "previous_digest"),
        previous_until_s=_number_or_none(item, "previous_until"),
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _from_json(item: Item, name: str, kind: type[JsonT], default: JsonT) -> JsonT:
    text = _text_or_none(item, name)
    return default if text is None else msgspec.json.decode(text, type=kind)


def _text(item: Item, name: str) -> str:
    return _required(_text_or_none(item, name), name)


def _text_or_none(item: Item, name: str) -> str | None:
    value = item.get(name)
    if isinstance(value, int):
        raise ValueError(f"attribute {name!r} is a number and should be text")
    return value


def _number_or_none(item: Item, name: str) -> int | None:
    value = item.get(name)
    if isinstance(value, str):
        raise ValueError(f"attribute {name!r} is text and should be a number")
    return value


def _required(value: ValueT | None, name: str) -> ValueT:
    if value is None:
        raise ValueError(f"attribute {name!r} is missing")
    return value


def _unavailable() -> BudgetUnavailable:
    return BudgetUnavailable("Keys cannot be checked right now; try again in a second.", retry_after_s=1)
