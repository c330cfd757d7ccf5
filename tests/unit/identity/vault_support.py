"""A vault in memory that counts, waits and fails as a test says, and keys to put into it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import anyio
from msgspec.structs import replace

from rillgate.domain.errors import BudgetUnavailable
from rillgate.domain.principal import VirtualKey
from rillgate.identity import keys

SECRET = bytes(range(32))


def choose_by(seed: int) -> Callable[[str], str]:
    """Repeatable stand-in for `secrets.choice`."""
    return random.Random(seed).choice


class FakeVault:
    """`domain.ports.KeyVault` over dictionaries.

    Attributes:
        reads: key ids that were asked for, in order.
        down: whether every call fails.
        door: what a read of a key waits at before it looks.
    """

    def __init__(self) -> None:
        self.keys: dict[str, VirtualKey] = {}
        self.used: set[str] = set()
        self.reads: list[str] = []
        self.secret_calls = 0
        self.down = False
        self.door = anyio.Event()
        self.door.set()

    def issue(self, seed: int = 1, **changes: Any) -> str:
        """Make a key and keep what is stored of it; gives the key."""
        key = keys.new_key(choose=choose_by(seed))
        key_id = keys.parse(key)
        stored = VirtualKey(key_id=key_id, name=f"key {seed}", digest=keys.digest(key), created_s=1_790_000_000)
        self.keys[key_id] = replace(stored, **changes)
        return key

    def change(self, key: str, **changes: Any) -> None:
        """Change what is stored of a key."""
        key_id = keys.parse(key)
        self.keys[key_id] = replace(self.keys[key_id], **changes)

    async def key(self, key_id: str) -> VirtualKey | None:
        self.reads.append(key_id)
        await self.door.wait()
        self._answer()
        return self.keys.get(key_id)

    async def ticket_secret(self) -> bytes:
        self.secret_calls += 1
        self._answer()
        return SECRET

    async def use_ticket(self, ticket_id: str, expires_s: int) -> bool:
        self._answer()
        if ticket_id in self.used:
            return False
        self.used.add(ticket_id)
        return True

    def _answer(self) -> None:
        if self.down:
            raise BudgetUnavailable("the vault is down", retry_after_s=1)
