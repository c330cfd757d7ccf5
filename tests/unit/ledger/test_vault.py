"""Keys, the secret of tickets and used tickets in a store."""

from __future__ import annotations

import asyncio
import string
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.domain.errors import BudgetUnavailable
from rillgate.domain.ports import KeyVault
from rillgate.domain.principal import VirtualKey
from rillgate.ledger.keys import ticket_secret_key, used_ticket_key, virtual_key_key
from rillgate.ledger.sqlite import SqliteStore
from rillgate.ledger.store import TTL, Store
from rillgate.ledger.vault import UNSURE_MAX, StoreKeyVault, key_changes, key_item, virtual_key
from rillgate.ledger.writes import EMPTY, Item, Key, StoreUnavailable, Value, Write

KEY = VirtualKey(
    key_id="4Vz0aHq8RtYb",
    name="shop",
    digest="ab" * 32,
    created_s=1_795_000_000,
    expires_s=1_796_000_000,
    revoked_s=1_795_500_000,
    user="ada",
    team="core",
    models=("gpt-*", "fast"),
    tags={"app": "shop", "größe": "✓"},
    previous_digest="cd" * 32,
    previous_until_s=1_795_100_000,
)
BARE = VirtualKey(key_id="4Vz0aHq8RtYb", name="bare", digest="ab" * 32, created_s=1_795_000_000)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
seconds = st.integers(0, 2**40)
virtual_keys = st.builds(
    VirtualKey,
    key_id=st.text(string.ascii_letters, min_size=12, max_size=12),
    name=texts,
    digest=texts,
    created_s=seconds,
    expires_s=st.none() | seconds,
    revoked_s=st.none() | seconds,
    user=st.none() | texts,
    team=st.none() | texts,
    models=st.lists(texts, max_size=3).map(tuple),
    tags=st.dictionaries(texts, texts, max_size=3),
    previous_digest=st.none() | texts,
    previous_until_s=st.none() | seconds,
)


class DictStore:
    """A store in memory that loses what a test tells it to lose.

    Attributes:
        lost: for the writes to come, in order: "request" is not done, "reply" is done and reported as no answer,
            "twice" is done and then tried again, as a store does after a lost reply of its own.
    """

    def __init__(self) -> None:
        self.items: dict[Key, Item] = {}
        self.lost: list[str] = []
        self.down = False
        self.reads = 0
        self.writes = 0

    async def write(self, write: Write) -> Item:
        self.writes += 1
        fault = self.lost.pop(0) if self.lost else ""
        if self.down or fault == "request":
            raise StoreUnavailable
        await asyncio.sleep(0)
        after = self._apply(write)
        if fault == "reply":
            raise StoreUnavailable
        if fault == "twice":
            after = self._apply(write)
        return write.returned(after)

    async def read(self, keys: Sequence[Key]) -> list[Item | None]:
        self.reads += 1
        await asyncio.sleep(0)
        if self.down:
            raise StoreUnavailable
        return [self.items.get(key) for key in keys]

    async def aclose(self) -> None:
        """Nothing to give up."""

    def _apply(self, write: Write) -> Item:
        after = self.items[write.key] = write.apply(self.items.get(write.key, EMPTY))
        return after


@given(key=virtual_keys)
def test_key_written_and_read_is_the_same(key: VirtualKey) -> None:
    """A key survives its item, which holds nothing but whole numbers and text."""
    item = key_item(key)
    assert all(type(value) in (int, str) for value in item.values())
    assert virtual_key(item) == key


def test_key_item_of_a_bare_key_has_only_what_is_known() -> None:
    """What is None, and an empty list or map, has no attribute."""
    assert set(key_item(BARE)) == {"key_id", "name", "digest", "created"}


def test_key_item_stays_as_it_was() -> None:
    """Items once written stay readable: the names of attributes are part of the table's layout."""
    assert key_item(KEY) == {
        "key_id": "4Vz0aHq8RtYb",
        "name": "shop",
        "digest": "ab" * 32,
        "created": 1_795_000_000,
        "expires": 1_796_000_000,
        "revoked": 1_795_500_000,
        "user": "ada",
        "team": "core",
        "models": '["gpt-*","fast"]',
        "tags": '{"app":"shop","größe":"✓"}',
        "previous_digest": "cd" * 32,
        "previous_until": 1_795_100_000,
    }


def test_key_item_with_unknown_attributes_is_read() -> None:
    """A later version may write more; this one passes it over."""
    assert virtual_key({**key_item(KEY), "later": 1, TTL: 5}) == KEY


@pytest.mark.parametrize(
    "changes",
    [{"created": "today"}, {"digest": 5}, {"models": "gpt-*"}, {"tags": "[]"}, {"user": 7}, {"expires": "x"}],
)
def test_key_item_of_something_else_is_an_error(changes: dict[str, Value]) -> None:
    """An item that is none of a key is not half believed."""
    with pytest.raises(ValueError, match=r"."):
        virtual_key({**key_item(KEY), **changes})


@pytest.mark.parametrize("missing", ["key_id", "name", "digest", "created"])
def test_key_item_without_what_it_needs_is_an_error(missing: str) -> None:
    """Nor is one that lacks what every key has."""
    with pytest.raises(ValueError, match=missing):
        virtual_key({name: value for name, value in key_item(KEY).items() if name != missing})


@given(before=virtual_keys, after=virtual_keys)
def test_key_changes_leave_nothing_of_what_was(before: VirtualKey, after: VirtualKey) -> None:
    """Written over another, a key is itself: no old digest, expiry or model stays behind."""
    key = virtual_key_key("k")
    assert virtual_key(Write(key, key_changes(after)).apply(key_item(before))) == after


@pytest.mark.anyio
@pytest.mark.parametrize("make", [DictStore, lambda: SqliteStore(None)])
async def test_vault_over_a_store_keeps_its_promises(make: Callable[[], Store]) -> None:
    """A key that is there is given, revoked or not, and another is None; one secret for all; a ticket is used once."""
    store = make()
    vault: KeyVault = StoreKeyVault(store)
    other: KeyVault = StoreKeyVault(store)
    await store.write(Write(virtual_key_key(KEY.key_id), key_changes(KEY)))
    assert await vault.key(KEY.key_id) == KEY
    assert await vault.key("nobody") is None
    assert await vault.ticket_secret() == await other.ticket_secret()
    assert await vault.use_ticket("t", 2**33)
    assert not await other.use_ticket("t", 2**33)
    await store.aclose()


@pytest.mark.anyio
async def test_vault_without_store_says_so_without_internals() -> None:
    """A store that does not answer is a 503 that may be tried again in a second."""
    store = DictStore()
    store.down = True
    vault = StoreKeyVault(store)
    for call in (vault.key("k"), vault.ticket_secret(), vault.use_ticket("t", 5)):
        with pytest.raises(BudgetUnavailable) as refused:
            await call
        assert (refused.value.status, refused.value.retry_after_s) == (503, 1)
        assert "store" not in refused.value.message.lower()


@pytest.mark.anyio
async def test_ticket_secret_is_made_once_for_everybody() -> None:
    """Processes that race for the first use agree on one secret of 32 bytes, and later ones find it."""
    store = DictStore()
    racing = [StoreKeyVault(store) for _ in range(10)]
    made = await asyncio.gather(*(vault.ticket_secret() for vault in racing for _ in range(3)))
    assert len(set(made)) == 1
    assert len(made[0]) == 32
    assert await StoreKeyVault(store).ticket_secret() == made[0]
    assert await StoreKeyVault(DictStore()).ticket_secret() != made[0]


@pytest.mark.anyio
async def test_ticket_secret_made_by_somebody_faster_is_everybodys() -> None:
    """Who finds none, and is overtaken before its own is written, takes the other's."""
    store = DictStore()
    theirs = bytes(range(32))

    def overtaken(size: int) -> bytes:
        store.items[ticket_secret_key()] = {"secret": theirs.hex()}
        return bytes(size)

    assert await StoreKeyVault(store, random_bytes=overtaken).ticket_secret() == theirs
    assert store.items[ticket_secret_key()] == {"secret": theirs.hex()}


@pytest.mark.anyio
async def test_ticket_secret_is_kept_in_memory() -> None:
    """The store is asked once in the life of a process, and its failure later does no harm."""
    store = DictStore()
    vault = StoreKeyVault(store)
    secret = await vault.ticket_secret()
    store.down = True
    assert await vault.ticket_secret() == secret


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["request", "reply"])
async def test_ticket_secret_after_a_lost_write_is_what_the_store_has(fault: str) -> None:
    """Whether the write was done or not, the next call agrees with everybody else."""
    store = DictStore()
    store.lost = [fault]
    vault = StoreKeyVault(store)
    with pytest.raises(BudgetUnavailable):
        await vault.ticket_secret()
    assert await vault.ticket_secret() == await StoreKeyVault(store).ticket_secret()


@pytest.mark.anyio
async def test_ticket_secret_of_a_write_done_twice_is_the_first() -> None:
    """A store's own second try does not make a second secret."""
    store = DictStore()
    store.lost = ["twice"]
    secret = await StoreKeyVault(store).ticket_secret()
    assert store.items[ticket_secret_key()] == {"secret": secret.hex()}


@pytest.mark.anyio
async def test_ticket_is_used_once_whoever_asks() -> None:
    """Of many who present one ticket at once, in any process, one gets it."""
    store = DictStore()
    vaults = [StoreKeyVault(store) for _ in range(5)]
    got = await asyncio.gather(*(vault.use_ticket("t", 100) for vault in vaults for _ in range(4)))
    assert sorted(got) == [False] * 19 + [True]
    assert await vaults[0].use_ticket("other", 100)


@pytest.mark.anyio
async def test_ticket_used_is_kept_a_day_past_its_expiry() -> None:
    """The store may forget it when no clock could take the ticket for a good one."""
    store = DictStore()
    await StoreKeyVault(store).use_ticket("t", 1_795_000_060)
    assert store.items[used_ticket_key("t")][TTL] == 1_795_000_060 + 86_400


@pytest.mark.anyio
async def test_ticket_use_tried_twice_by_the_store_is_ours() -> None:
    """A condition that fails on our own first try does not make the ticket somebody else's."""
    store = DictStore()
    store.lost = ["twice"]
    vault = StoreKeyVault(store)
    assert await vault.use_ticket("t", 100)
    assert not await vault.use_ticket("t", 100)


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["request", "reply"])
async def test_ticket_use_repeated_after_no_answer_is_ours_once(fault: str) -> None:
    """After a call without an answer, one later call gets the ticket, whether the first was done or not; no two do."""
    store = DictStore()
    store.lost = [fault]
    vault = StoreKeyVault(store)
    with pytest.raises(BudgetUnavailable):
        await vault.use_ticket("t", 100)
    got = await asyncio.gather(*(vault.use_ticket("t", 100) for _ in range(5)))
    assert sorted(got) == [False] * 4 + [True]
    assert not await StoreKeyVault(store).use_ticket("t", 100)


@pytest.mark.anyio
async def test_ticket_use_lost_to_another_process_is_not_ours() -> None:
    """What somebody else used while we had no answer is theirs."""
    store = DictStore()
    store.lost = ["request"]
    vault, other = StoreKeyVault(store), StoreKeyVault(store)
    with pytest.raises(BudgetUnavailable):
        await vault.use_ticket("t", 100)
    assert await other.use_ticket("t", 100)
    assert not await vault.use_ticket("t", 100)


@pytest.mark.anyio
async def test_ticket_uses_without_answer_are_remembered_within_a_bound() -> None:
    """A long outage does not fill the memory: the oldest is forgotten, and then reads as used."""
    store = DictStore()
    store.lost = ["reply"] * (UNSURE_MAX + 1)
    vault = StoreKeyVault(store)
    for number in range(UNSURE_MAX + 1):
        with pytest.raises(BudgetUnavailable):
            await vault.use_ticket(f"t{number}", 100)
    assert not await vault.use_ticket("t0", 100)
    assert await vault.use_ticket("t1", 100)
