"""DynamoDB over real sockets that is slow, down, throttled, or does what it is told and does not say so."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from rillgate.ledger.admin_audit import audit
from rillgate.ledger.admin_records import Span
from tests.chaos.apis import INPUT_TOKENS
from tests.chaos.client import Ask, ChaosClient, Got, asked
from tests.chaos.dynamo import ChaosDynamoDb, Mood
from tests.chaos.gateway import PATIENCE_S, InChaos, in_chaos
from tests.chaos.plan import Plan
from tests.fakes.clock import FakeClock
from tests.fakes.dynamodb_admin import FakeAdminStore

pytestmark = pytest.mark.anyio

WORDS: Final = 12
STREAMS: Final = 8
PAUSE_S: Final = 31.0  # longer than any pause between two tries
SOCKETS_S: Final = 0.5  # real ones, for calls between two steps of the clock: after thirty steps holds expire


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "fakefakefake")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "fake-secret")


async def begun(chaos: InChaos, number: int) -> tuple[ChaosClient, Got]:
    """A stream whose first bytes have come."""
    client, got = await chaos.client(), Got(Ask(Plan(number, WORDS, gap_ms=20)))
    await client.send(got.ask.request(chaos.credential))
    assert not await client.read(got, bytes_max=0)
    chaos.got.append(got)
    return client, got


async def healed(chaos: InChaos, table: ChaosDynamoDb, clock: FakeClock) -> None:
    """The table answers again; what is owed is written within a pause, whatever it was."""
    table.mood = "up"
    gateway = chaos.inside.gateway
    async with asyncio.timeout(PATIENCE_S):
        while gateway.streams.running() or gateway.books.owed or not await gateway.streams.settled(SOCKETS_S):
            clock.advance(PAUSE_S)
            await asyncio.sleep(SOCKETS_S)
        assert await gateway.books.quiet(None)
    assert not gateway.books.owed


def books_are_explained(chaos: InChaos, table: ChaosDynamoDb, clock: FakeClock) -> bool:
    """As `rillgate audit` sees them."""
    today = datetime.fromtimestamp(clock.wall(), UTC).date()
    span = Span(today - timedelta(days=1), today)
    return audit(FakeAdminStore(table.table), span, chaos.scopes, clock.wall()).is_clean


@pytest.mark.parametrize("mood", ["throttled", "slow", "down", "deaf"])
async def test_store_that_fails_refuses_in_each_dialect_and_owes_what_was_spent(mood: Mood) -> None:
    """Streams that run end as they should, and are charged exactly once when it answers again. Nothing stays held."""
    clock = FakeClock()
    async with ChaosDynamoDb() as table, in_chaos(clock=clock, ledger=table.url) as chaos:
        await chaos.ask(Ask(Plan(100)))
        running = [await begun(chaos, number) for number in range(200, 200 + STREAMS)]
        table.mood = mood
        for number, dialect in enumerate(("chat", "messages", "plain")):
            got = await asked(chaos.port, Ask(Plan(300 + number), dialect), **chaos.credential)
            assert got.outcome == "503 budget_unavailable"
        for client, got in running:
            await client.finish(got)
            client.close()
            assert (got.outcome, got.words) == ("stop", WORDS)
        await healed(chaos, table, clock)
        await chaos.ask(Ask(Plan(400)))
        await chaos.settled()
        tokens = sum(INPUT_TOKENS + got.words for got in chaos.got)
        for scope in chaos.scopes:
            assert (await chaos.item(scope))["tT"] == tokens
        assert books_are_explained(chaos, table, clock)


@pytest.mark.slow
async def test_store_that_is_flaky_loses_and_doubles_nothing() -> None:
    """Any call may be refused, lost, late, or done and not heard of: what was delivered is charged, nothing else."""
    clock = FakeClock()
    async with ChaosDynamoDb(seed=7) as table, in_chaos(clock=clock, ledger=table.url) as chaos:
        await chaos.ask(Ask(Plan(100)))
        table.mood = "flaky"

        async def one(number: int) -> Got:
            return await asked(chaos.port, Ask(Plan(number, WORDS, gap_ms=5)), **chaos.credential)

        found = []
        for first in range(200, 320, 20):
            found += await asyncio.gather(*(one(number) for number in range(first, first + 20)))
            clock.advance(1)
        served = [got for got in found if got.status == 200]
        assert all(got.outcome in ("stop", "503 budget_unavailable") for got in found)
        assert 20 < len(served) <= len(found)
        chaos.got += served
        await healed(chaos, table, clock)
        await chaos.settled()
        tokens = sum(INPUT_TOKENS + got.words for got in chaos.got)
        for scope in chaos.scopes:
            assert (await chaos.item(scope))["tT"] == tokens
        assert books_are_explained(chaos, table, clock)
