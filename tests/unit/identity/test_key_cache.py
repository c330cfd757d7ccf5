"""The cache of keys: its age, its size, and one lookup for all who ask at once."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import anyio
import pytest

from rillgate.domain.errors import BudgetUnavailable
from rillgate.identity import keys
from rillgate.identity.key_cache import KeyCache
from tests.fakes.clock import FakeClock
from tests.unit.identity.vault_support import FakeVault

pytestmark = pytest.mark.anyio


def made(**options: Any) -> tuple[KeyCache, FakeVault, FakeClock]:
    """A cache, the vault behind it, and its clock."""
    vault, clock = FakeVault(), FakeClock()
    return KeyCache(vault, clock, **options), vault, clock


async def test_cache_within_its_age_asks_once() -> None:
    """A key, and a key id that no key has, are asked for once in ten seconds."""
    cache, vault, clock = made()
    key_id = keys.parse(vault.issue())
    for _ in range(10):
        assert await cache.key(key_id) == vault.keys[key_id]
        assert await cache.key("nobody") is None
        clock.advance(0.999)
    assert vault.reads == [key_id, "nobody"]
    clock.advance(0.02)
    await cache.key(key_id)
    await cache.key("nobody")
    assert vault.reads == [key_id, "nobody"] * 2


async def test_cache_age_counts_from_the_question() -> None:
    """A slow answer is as old as the question: what was changed while it travelled is seen in time."""
    cache, vault, clock = made()
    key_id = keys.parse(vault.issue())
    vault.door = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cache.key, key_id)
        await anyio.wait_all_tasks_blocked()
        clock.advance(4)
        vault.door.set()
    clock.advance(5.9)
    await cache.key(key_id)
    assert len(vault.reads) == 1
    clock.advance(0.1)
    await cache.key(key_id)
    assert len(vault.reads) == 2


async def test_cache_stampede_makes_one_read() -> None:
    """A hundred who ask for one key at once share one read and its answer."""
    cache, vault, _ = made()
    key_id = keys.parse(vault.issue())
    vault.door = anyio.Event()
    asking = [asyncio.ensure_future(cache.key(key_id)) for _ in range(100)]
    await anyio.wait_all_tasks_blocked()
    vault.door.set()
    assert await asyncio.gather(*asking) == [vault.keys[key_id]] * 100
    assert vault.reads == [key_id]


async def test_cache_failure_reaches_all_who_asked_and_is_not_remembered() -> None:
    """A store that does not answer fails those who wait for it; the next one asks again."""
    cache, vault, _ = made()
    key_id = keys.parse(vault.issue())
    vault.down = True
    answers = await asyncio.gather(*(cache.key(key_id) for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [BudgetUnavailable] * 5
    assert len(vault.reads) == 1
    vault.down = False
    assert await cache.key(key_id) == vault.keys[key_id]


async def test_cache_first_asker_cancelled_leaves_the_others_their_answer() -> None:
    """A lookup belongs to nobody: when the request that began it goes, the others still get its answer."""
    cache, vault, _ = made()
    key_id = keys.parse(vault.issue())
    vault.door = anyio.Event()
    first, second = (asyncio.ensure_future(cache.key(key_id)) for _ in range(2))
    await anyio.wait_all_tasks_blocked()
    first.cancel()
    await anyio.wait_all_tasks_blocked()
    vault.door.set()
    assert await second == vault.keys[key_id]
    assert first.cancelled()
    assert len(vault.reads) == 1


async def test_cache_failure_that_nobody_waits_for_is_no_complaint() -> None:
    """A lookup that fails after everybody left is not reported as an error that nobody looked at."""
    cache, vault, _ = made()
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    vault.door, vault.down = anyio.Event(), True
    asking = asyncio.ensure_future(cache.key("k"))
    await anyio.wait_all_tasks_blocked()
    asking.cancel()
    await anyio.wait_all_tasks_blocked()
    vault.door.set()
    await anyio.wait_all_tasks_blocked()
    await asyncio.sleep(0)  # one turn for what runs when a task has ended
    del asking  # it keeps the lookup alive, and asyncio complains when that dies
    gc.collect()
    assert complaints == []


async def test_cache_closed_ends_its_lookups() -> None:
    """No lookup outlives the cache, not even one that had no time to begin."""
    cache, vault, _ = made()
    vault.door = anyio.Event()
    asking = asyncio.ensure_future(cache.key("k"))
    await anyio.wait_all_tasks_blocked()
    barely = asyncio.ensure_future(cache.key("l"))
    await asyncio.sleep(0)
    await cache.aclose()
    await asyncio.wait([asking, barely])
    assert asking.cancelled()
    assert barely.cancelled()
    assert vault.reads == ["k"]
    await cache.aclose()


async def test_cache_full_forgets_the_least_recently_asked() -> None:
    """It holds so many keys and no more; what was asked for lately stays."""
    cache, vault, _ = made(size_max=3)
    ids = [keys.parse(vault.issue(seed)) for seed in range(4)]
    for key_id in [*ids[:3], ids[0], ids[3]]:
        await cache.key(key_id)
    assert cache.size == 3
    vault.reads.clear()
    for key_id in [ids[0], ids[2], ids[3], ids[1]]:
        await cache.key(key_id)
    assert vault.reads == [ids[1]]


async def test_cache_flooded_with_unknown_ids_keeps_the_keys() -> None:
    """Made-up key ids are remembered within a bound of their own, and push out no key."""
    cache, vault, _ = made(size_max=3)
    key_id = keys.parse(vault.issue())
    await cache.key(key_id)
    for number in range(100):
        await cache.key(f"junk{number}")
    vault.reads.clear()
    await cache.key(key_id)
    await cache.key("junk99")
    assert vault.reads == []
    assert cache.size == 4


async def test_cache_stale_key_serves_while_the_store_is_down() -> None:
    """With `stale_ok` a key goes on past its age, asked for once a second, and the truth is taken when it is back."""
    cache, vault, clock = made(stale_ok=True)
    key_id = keys.parse(key := vault.issue())
    before = await cache.key(key_id)
    vault.down = True
    clock.advance(3600)
    for _ in range(10):
        assert await cache.key(key_id) == before
    assert len(vault.reads) == 2
    clock.advance(1)
    assert await cache.key(key_id) == before
    assert len(vault.reads) == 3
    vault.down = False
    vault.change(key, revoked_s=1)
    clock.advance(1)
    assert await cache.key(key_id) == vault.keys[key_id] != before


async def test_cache_stale_without_leave_is_refused() -> None:
    """Without `stale_ok` nothing is taken past its age."""
    cache, vault, clock = made()
    key_id = keys.parse(vault.issue())
    await cache.key(key_id)
    vault.down = True
    clock.advance(10)
    with pytest.raises(BudgetUnavailable):
        await cache.key(key_id)


async def test_cache_stale_unknown_is_not_called_unknown() -> None:
    """Even with `stale_ok`: a key may have been made since, and "unknown" is final to a client where 503 is not."""
    cache, vault, clock = made(stale_ok=True)
    assert await cache.key("k") is None
    vault.down = True
    clock.advance(10)
    with pytest.raises(BudgetUnavailable):
        await cache.key("k")


async def test_cache_recent_key_is_at_most_a_second_old() -> None:
    """The stricter question is answered from memory for a second, then from the store, and never by an old answer."""
    cache, vault, clock = made(stale_ok=True)
    key_id = keys.parse(vault.issue())
    await cache.key(key_id)
    clock.advance(0.9)
    await cache.recent_key(key_id)
    assert len(vault.reads) == 1
    clock.advance(0.1)
    await cache.recent_key(key_id)
    assert len(vault.reads) == 2
    vault.down = True
    clock.advance(1)
    with pytest.raises(BudgetUnavailable):
        await cache.recent_key(key_id)
