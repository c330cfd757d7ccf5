"""Budgets of scopes, kept for a few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rillgate.domain.limits import UNLIMITED
from rillgate.ledger import budget_cache
from rillgate.ledger.budget_cache import AGE_S, BudgetCache
from rillgate.ledger.keys import budget_key
from rillgate.ledger.writes import Put, StoreUnavailable, Write
from tests.fakes.dynamodb import FakeDynamoDb, Fault, no_fault
from tests.unit.ledger.ledger_support import Desk, GatedStore, blocked, fake_store

pytestmark = pytest.mark.anyio


class CacheDesk(Desk):
    """A desk whose cache reads through a gate."""

    def __init__(self) -> None:
        self.table = FakeDynamoDb()
        super().__init__(fake_store(self.table))
        self.gated = GatedStore(self.store)
        self.cache = BudgetCache(self.gated, self.clock)


@pytest.fixture
async def desk() -> AsyncIterator[CacheDesk]:
    """Whatever a test left waiting goes on at its end."""
    desk = CacheDesk()
    yield desk
    desk.gated.gate.set()
    await blocked()


async def test_budgets_of_scopes_are_read_at_once_and_kept_for_ten_seconds(desk: CacheDesk) -> None:
    """One read for all that are missing; none as long as they are fresh; one more when they are ten seconds old."""
    budget = await desk.set_budget(desk.key, "tokens/day=5", streams_max=2, warn=(50, 80))
    expected = {desk.key: budget, desk.user: UNLIMITED}
    assert await desk.cache.of([desk.key, desk.user]) == expected
    assert desk.gated.reads == [[budget_key(desk.key), budget_key(desk.user)]]
    desk.clock.advance(AGE_S - 0.001)
    assert await desk.cache.of([desk.user, desk.key]) == expected
    assert len(desk.gated.reads) == 1
    desk.clock.advance(0.001)
    assert await desk.cache.of([desk.key]) == {desk.key: budget}
    assert desk.gated.reads[1:] == [[budget_key(desk.key)]]


async def test_budget_changed_by_operator_is_seen_after_ten_seconds(desk: CacheDesk) -> None:
    """A scope that had no budget is passed over no longer than that."""
    assert await desk.cache.of([desk.team]) == {desk.team: UNLIMITED}
    budget = await desk.set_budget(desk.team, "usd/month=1")
    assert await desk.cache.of([desk.team]) == {desk.team: UNLIMITED}
    desk.clock.advance(AGE_S)
    assert await desk.cache.of([desk.team]) == {desk.team: budget}


async def test_budget_asked_for_again_is_as_it_is_now(desk: CacheDesk) -> None:
    """Who was refused by a version reads past the cache, and everybody profits."""
    await desk.cache.of([desk.key])
    budget = await desk.set_budget(desk.key, "tokens/day=5")
    assert await desk.cache.again(desk.key) == budget
    assert await desk.cache.of([desk.key]) == {desk.key: budget}
    assert len(desk.gated.reads) == 2


async def test_concurrent_questions_for_one_scope_share_one_read(desk: CacheDesk) -> None:
    """A hundred requests of one key after a pause make one read; those of another scope read that alone."""
    budget = await desk.set_budget(desk.key, "tokens/day=5")
    desk.gated.waits = lambda call: True
    first = [asyncio.ensure_future(desk.cache.of([desk.key])) for _ in range(100)]
    second = asyncio.ensure_future(desk.cache.of([desk.key, desk.user]))
    await blocked()
    assert desk.gated.reads == [[budget_key(desk.key)], [budget_key(desk.user)]]
    desk.gated.gate.set()
    assert await asyncio.gather(*first) == [{desk.key: budget}] * 100
    assert await second == {desk.key: budget, desk.user: UNLIMITED}


async def test_caller_that_is_cancelled_leaves_the_read_to_the_others(desk: CacheDesk) -> None:
    """The first to ask may go away without taking the answer along."""
    budget = await desk.set_budget(desk.key, "tokens/day=5")
    desk.gated.waits = lambda call: True
    first = asyncio.ensure_future(desk.cache.of([desk.key]))
    second = asyncio.ensure_future(desk.cache.of([desk.key]))
    await blocked()
    first.cancel()
    await blocked()
    desk.gated.gate.set()
    assert await second == {desk.key: budget}
    assert first.cancelled()
    assert len(desk.gated.reads) == 1


async def test_read_that_fails_is_told_to_all_and_not_kept(desk: CacheDesk) -> None:
    """Everybody who waited learns of it; the next question asks anew."""
    desk.table.fault = lambda operation: Fault.LOST_REQUEST
    results = await asyncio.gather(*(desk.cache.of([desk.key]) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    with pytest.raises(StoreUnavailable):
        await desk.cache.again(desk.key)
    desk.table.fault = no_fault
    assert await desk.cache.of([desk.key]) == {desk.key: UNLIMITED}


async def test_fresh_budget_outlives_a_failed_read_of_another(desk: CacheDesk) -> None:
    """What is known is known."""
    await desk.cache.of([desk.key])
    desk.table.fault = lambda operation: Fault.LOST_REQUEST
    with pytest.raises(StoreUnavailable):
        await desk.cache.of([desk.key, desk.user])
    assert await desk.cache.of([desk.key]) == {desk.key: UNLIMITED}


async def test_cache_with_too_many_scopes_forgets_the_oldest(desk: CacheDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients name users and models: what they name does not fill the memory."""
    monkeypatch.setattr(budget_cache, "SCOPES_MAX", 3)
    for number in range(4):
        await desk.cache.of([f"model:{number}"])
    await desk.cache.of(["model:1", "model:2", "model:3"])
    assert len(desk.gated.reads) == 4
    await desk.cache.of(["model:0"])
    assert len(desk.gated.reads) == 5


async def test_fresh_budget_that_is_crowded_out_meanwhile_is_still_given(
    desk: CacheDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that makes the cache forget the oldest scope may be about that very scope."""
    budget = await desk.set_budget(desk.key, "tokens/day=5")
    monkeypatch.setattr(budget_cache, "SCOPES_MAX", 2)
    await desk.cache.of([desk.key])
    await desk.cache.of(["model:0"])
    assert await desk.cache.of([desk.key, "model:1"]) == {desk.key: budget, "model:1": UNLIMITED}


async def test_budget_that_cannot_be_read_fails_those_who_ask_for_it_alone(desk: CacheDesk) -> None:
    """Others that are read in the same breath get theirs; and it is not asked for again before its time."""
    budget = await desk.set_budget(desk.user, "tokens/day=5")
    await desk.store.write(Write(budget_key(desk.key), (Put("limits", "{"),)))
    asked = await asyncio.gather(
        desk.cache.of([desk.key, desk.user]), desk.cache.of([desk.user]), return_exceptions=True
    )
    assert isinstance(asked[0], ValueError)
    assert asked[1] == {desk.user: budget}
    with pytest.raises(ValueError, match=r"."):
        await desk.cache.of([desk.key])
    assert len(desk.gated.reads) == 1
