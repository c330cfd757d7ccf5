"""What the ledger needs of a store, in two forms: one that awaits, for requests, and one that blocks, for operators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from rillgate.ledger.writes import Condition, Item, Key, Write

TTL = "x"  # seconds since 1970 after which a store may forget the item; nothing may depend on when it does


class Store(Protocol):
    """Linearizable conditional writes to single items. Two writes of one item never interleave."""

    async def write(self, write: Write) -> Item:
        """Do one write; gives what `write.returns` says.

        A caller that is cancelled leaves the write to be done, and what it writes to the same item next comes after it.

        Raises:
            ConditionFailed: nothing was changed, and this is what was there. After a lost reply it may be our own
                write that is seen there.
            StoreUnavailable: no answer in time, after all tries.
        """

    async def read(self, keys: Sequence[Key]) -> list[Item | None]:
        """Items as they are now (strongly consistent each, not as a set), without their keys; None for none.

        Raises: StoreUnavailable: no answer in time, after all tries.
        """

    async def aclose(self) -> None:
        """Give up connections and threads. Writes under way are done first."""


class Check(msgspec.Struct, frozen=True):
    """A condition on an item that a transaction leaves as it is."""

    key: Key
    conditions: tuple[Condition, ...]


class AdminStore(Protocol):
    """The same items for the command line: slower, and with what requests never need."""

    def write(self, write: Write) -> Item:
        """As `Store.write`."""

    def write_all(self, operations: Sequence[Write | Check]) -> None:
        """Do all of these writes or none, at most 25.

        Raises: ConditionFailed: one of the conditions did not hold; `item` is empty where the store cannot say.
        """

    def read(self, keys: Sequence[Key]) -> list[Item | None]:
        """As `Store.read`."""

    def query(self, pk: str) -> Iterable[tuple[str, Item]]:
        """All items of one partition, as (sk, item), in order of sk."""

    def close(self) -> None:
        """Give up connections."""
