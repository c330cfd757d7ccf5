"""The operator's side of `FakeDynamoDb`: `ledger.store.AdminStore` without faults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rillgate.ledger.store import Check
from rillgate.ledger.writes import ConditionFailed, Item, Key, Write, attribute
from tests.fakes.dynamodb import FakeDynamoDb
from tests.fakes.dynamodb_text import Attributes


def item_attributes(item: Item) -> Attributes:
    """An item as DynamoDB's JSON has it, without its key."""
    return {name: attribute(value) for name, value in item.items()}


class FakeAdminStore:
    """Writes straight into the table; transactions are writes one after the other, when all conditions hold."""

    def __init__(self, table: FakeDynamoDb) -> None:
        self._table = table

    def write(self, write: Write) -> Item:
        """As `AdminStore.write`."""
        after = write.apply(self._table.item(write.key.pk, write.key.sk))
        self._table.items[write.key.pk, write.key.sk] = item_attributes(after)
        self._table.on_write((write.key.pk, write.key.sk))
        return write.returned(after)

    def write_all(self, operations: Sequence[Write | Check]) -> None:
        """As `AdminStore.write_all`."""
        for operation in operations:
            item = self._table.item(operation.key.pk, operation.key.sk)
            if not all(condition.holds(item) for condition in operation.conditions):
                raise ConditionFailed(item)
        for operation in operations:
            if isinstance(operation, Write):
                self.write(operation)

    def read(self, keys: Sequence[Key]) -> list[Item | None]:
        """As `AdminStore.read`."""
        return [self._table.item(key.pk, key.sk) if (key.pk, key.sk) in self._table.items else None for key in keys]

    def query(self, pk: str) -> Iterator[tuple[str, Item]]:
        """As `AdminStore.query`."""
        for found, sk in sorted(self._table.items):
            if found == pk:
                yield sk, self._table.item(pk, sk)

    def close(self) -> None:
        """Nothing to give up."""
