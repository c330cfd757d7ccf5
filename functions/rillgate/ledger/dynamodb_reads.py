"""Reads of DynamoDB as requests and answers, for the store that awaits and for the one that blocks. Pure.

Source: Amazon DynamoDB API reference, BatchGetItem (at most 100 keys, none twice; answers in any order, and not always
whole), read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rillgate.ledger.writes import Item, Key, key_attributes, read_attributes

KEYS_MAX = 100  # of one BatchGetItem


def one_request(table: str, key: Key) -> dict[str, Any]:
    """The GetItem request of one key."""
    return {"TableName": table, "Key": key_attributes(key), "ConsistentRead": True}


class BatchRead:
    """One block of keys: asked for until nothing is left over.

    Shape:   while batch.left: batch.take(answer to batch.request())
    """

    def __init__(self, table: str, keys: Sequence[Key]) -> None:
        self._table = table
        self._found: dict[Key, Item] = {}
        self.left = list(keys)

    def request(self) -> dict[str, Any]:
        """The BatchGetItem request of what is left."""
        keys = [key_attributes(key) for key in self.left]
        return {"RequestItems": {self._table: {"Keys": keys, "ConsistentRead": True}}}

    def take(self, answer: Mapping[str, Any]) -> bool:
        """Keep what an answer brought; False where it brought nothing and left as much as there was."""
        asked = len(self.left)
        for items in answer.get("Responses", {}).values():
            for attributes in items:
                self._found[_key(attributes)] = read_attributes(attributes)
        left = answer.get("UnprocessedKeys", {}).values()
        self.left = [_key(attributes) for request in left for attributes in request["Keys"]]
        return len(self.left) < asked

    def item(self, key: Key) -> Item | None:
        """What was found."""
        return self._found.get(key)


def batches(table: str, keys: Sequence[Key]) -> Iterator[BatchRead]:
    """Blocks that a request may have, no key twice."""
    wanted = list(dict.fromkeys(keys))
    for start in range(0, len(wanted), KEYS_MAX):
        yield BatchRead(table, wanted[start : start + KEYS_MAX])


def _key(attributes: Mapping[str, Mapping[str, str]]) -> Key:
    return Key(attributes["pk"]["S"], attributes["sk"]["S"])
