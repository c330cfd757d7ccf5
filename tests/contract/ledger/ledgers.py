"""The ledgers that the contract is checked on: the one there is, over every store.

Scopes, holds and records have names of their own in each test, so a table may be shared.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from rillgate.domain.errors import BudgetError
from rillgate.domain.ports import Ledger
from rillgate.ledger.sqlite import SqliteStore
from rillgate.ledger.store import Store
from tests.contract.ledger.dynamodb_stores import dynamodb_local_store
from tests.fakes.clock import FakeClock
from tests.fakes.dynamodb import FakeDynamoDb
from tests.unit.ledger.ledger_support import (
    Desk,
    fake_store,
)

StoreOf = Callable[[FakeClock], AbstractAsyncContextManager[Store]]


@contextlib.asynccontextmanager
async def _sqlite_file(clock: FakeClock) -> AsyncIterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        async with contextlib.aclosing(SqliteStore(Path(folder) / "rillgate.db", wall=clock.wall)) as store:
            yield store


@contextlib.asynccontextmanager
async def _sqlite_memory(clock: FakeClock) -> AsyncIterator[Store]:
    async with contextlib.aclosing(SqliteStore(None, wall=clock.wall)) as store:
        yield store


@contextlib.asynccontextmanager
async def _fake(clock: FakeClock) -> AsyncIterator[Store]:
    yield fake_store(FakeDynamoDb())


def _dynamodb_local(clock: FakeClock) -> AbstractAsyncContextManager[Store]:
    return dynamodb_local_store()


# Here the clock is the test's, also for what a store may forget.
STORES: dict[str, StoreOf] = {
    "sqlite-file": _sqlite_file,
    "sqlite-memory": _sqlite_memory,
    "fake": _fake,
    "dynamodb-local": _dynamodb_local,
}


@pytest.fixture(name="desk", params=list(STORES.values()), ids=list(STORES))
async def ledger_desk(request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    """A ledger over a store of each kind, at 11:06:40 of a day; nothing goes on in the background at its end."""
    clock = FakeClock()
    async with request.param(clock) as store:
        desk = Desk(store, clock)
        yield desk
        await desk.rest()


async def refusal(desk: Desk, *scopes: str, ledger: Ledger | None = None, **more: Any) -> BudgetError:
    """The error of a request that is refused."""
    with pytest.raises(BudgetError) as caught:
        await (ledger or desk.ledger).authorize(desk.ask(*scopes, **more))
    await desk.rest()
    return caught.value


def told(error: BudgetError) -> tuple[int, str, str | None, float | None, bool | None]:
    """What decides about a client's next attempt."""
    return error.status, error.kind, error.code, error.retry_after_s, error.should_retry
