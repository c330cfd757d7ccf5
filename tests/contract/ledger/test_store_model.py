"""Any sequence of writes does to every store what `Write.apply` does to a dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import uuid4

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rillgate.ledger.store import Store
from rillgate.ledger.writes import (
    Absent,
    Add,
    AtMost,
    Change,
    Condition,
    ConditionFailed,
    Equal,
    Item,
    Key,
    Put,
    Remove,
    Value,
    Write,
)
from tests.contract.ledger.stores import STORES, StoreEntry, params

NUMBERS: Final = ("n", "total")  # only these are added to: adding to a text is a mistake of the caller
MIXED: Final = ("v", "h-_0")
KEYS: Final = (Key("a"), Key("a", "b"))

numbers = st.integers(-3, 3) | st.sampled_from([2**53 + 1, -(10**18), 10**18])
texts = st.sampled_from(["", "0", "1", "ü", '"'])
values: st.SearchStrategy[Value] = numbers | texts


def change(name: str) -> st.SearchStrategy[Change]:
    """Any change of one attribute."""
    remove: st.SearchStrategy[Change] = st.just(Remove(name))
    if name in NUMBERS:
        return remove | st.builds(Add, st.just(name), numbers) | st.builds(Put, st.just(name), numbers)
    return remove | st.builds(Put, st.just(name), values)


names = st.sampled_from(NUMBERS + MIXED)
conditions: st.SearchStrategy[Condition] = (
    st.builds(Absent, names) | st.builds(Equal, names, values) | st.builds(AtMost, names, numbers)
)
writes = st.builds(
    Write,
    key=st.sampled_from(KEYS),
    changes=st.lists(names, min_size=1, max_size=3, unique=True)
    .flatmap(lambda chosen: st.tuples(*(change(name) for name in chosen)))
    .map(tuple),
    conditions=st.lists(conditions, max_size=2).map(tuple),
    returns=st.sampled_from(["nothing", "changed", "all"]),
)


class Model:
    """A store that is a dictionary."""

    def __init__(self) -> None:
        self.items: dict[Key, Item] = {}

    def outcome(self, write: Write) -> tuple[str, Item]:
        """Whether the write was done, and what it gives back or is refused with."""
        try:
            after = write.apply(self.items.get(write.key, {}))
        except ConditionFailed as refused:
            return "refused", refused.item
        self.items[write.key] = after
        return "done", write.returned(after)


async def compare(entry: StoreEntry, sequence: Sequence[Write]) -> None:
    """Do the same to a store and to the model; they say the same and hold the same."""
    model, prefix = Model(), uuid4().hex
    keys = [_own(prefix, key) for key in KEYS]
    async with entry.open() as store:
        for write in sequence:
            own = replace(write, key=_own(prefix, write.key))
            assert await _outcome(store, own) == model.outcome(own)
            assert await store.read(keys) == [model.items.get(key) for key in keys]


async def _outcome(store: Store, write: Write) -> tuple[str, Item]:
    try:
        return "done", await store.write(write)
    except ConditionFailed as refused:
        return "refused", refused.item


def _own(prefix: str, key: Key) -> Key:
    return Key(f"{prefix}|{key.pk}", key.sk)


@pytest.mark.parametrize("entry", params(STORES))
def test_random_writes_on_store_and_model_agree(entry: StoreEntry) -> None:
    """Outcomes, refusals and items are those of `Write.apply` on a dictionary, whatever the sequence."""

    @settings(max_examples=entry.examples)
    @given(st.lists(writes, min_size=1, max_size=8))
    def check(sequence: list[Write]) -> None:
        anyio.run(compare, entry, sequence)

    check()
