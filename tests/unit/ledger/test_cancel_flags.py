"""Wishes to end a request, in a store that several processes share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from rillgate.domain.errors import BudgetUnavailable
from rillgate.domain.ports import CancelFlags
from rillgate.ledger.cancel_flags import KEPT_S, StoreCancelFlags
from rillgate.ledger.keys import cancel_key
from rillgate.ledger.sqlite import SqliteStore
from rillgate.ledger.store import TTL
from rillgate.ledger.writes import Item, Key, StoreUnavailable, Write

pytestmark = pytest.mark.anyio

NOW_S = 1_795_000_000.5
ID = "req_AAAAAAAAAAAAAAAA"


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    """A store in memory."""
    store = SqliteStore(None, wall=lambda: NOW_S)
    yield store
    await store.aclose()


class Silent:
    """A store that does not answer."""

    async def write(self, write: Write) -> Item:
        """Never."""
        raise StoreUnavailable("no answer")

    async def read(self, keys: Sequence[Key]) -> list[Item | None]:
        """Never."""
        raise StoreUnavailable("no answer")

    async def aclose(self) -> None:
        """Nothing to give up."""


async def test_cancel_flag_is_seen_by_another_process_of_the_same_owner(store: SqliteStore) -> None:
    """Put up by one, read by the other: over the store and nothing else."""
    here: CancelFlags = StoreCancelFlags(store, lambda: NOW_S)
    there: CancelFlags = StoreCancelFlags(store, lambda: NOW_S)
    assert not await there.is_up([ID], "a1")
    await here.put_up(ID, "a1")
    assert await there.is_up([ID], "a1")
    assert await there.is_up(["req_BBBBBBBBBBBBBBBB", ID], "a1")


@pytest.mark.parametrize("stranger", ["", "a2", "a1/ada"])
async def test_cancel_flag_of_a_stranger_ends_nothing(store: SqliteStore, stranger: str) -> None:
    """Whose request it is, only its owner's wish counts, and a stranger's neither replaces nor hides it."""
    flags = StoreCancelFlags(store, lambda: NOW_S)
    await flags.put_up(ID, stranger)
    assert not await flags.is_up([ID], "a1")
    await flags.put_up(ID, "a1")
    await flags.put_up(ID, stranger)
    assert await flags.is_up([ID], "a1")


async def test_cancel_flag_of_one_request_is_not_anothers(store: SqliteStore) -> None:
    """The id is looked at as a whole."""
    flags = StoreCancelFlags(store, lambda: NOW_S)
    await flags.put_up(ID, "a1")
    assert not await flags.is_up([ID[:-1], ID + "A"], "a1")


async def test_cancel_flag_is_forgotten_by_the_table_in_time(store: SqliteStore) -> None:
    """Flags would pile up otherwise: nobody takes them down."""
    await StoreCancelFlags(store, lambda: NOW_S).put_up(ID, "a1")
    (item,) = await store.read([cancel_key(ID, "a1")])
    assert item is not None
    assert item[TTL] == int(NOW_S) + KEPT_S


async def test_cancel_flags_say_when_the_store_does_not_answer() -> None:
    """Whoever asks is told; whether to go on is theirs."""
    flags = StoreCancelFlags(Silent(), lambda: NOW_S)
    with pytest.raises(BudgetUnavailable):
        await flags.put_up(ID, "a1")
    with pytest.raises(BudgetUnavailable):
        await flags.is_up([ID], "a1")
