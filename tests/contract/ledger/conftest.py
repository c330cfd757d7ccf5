"""A store of each kind, and keys that no other test uses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from rillgate.ledger.store import AdminStore, Store
from rillgate.ledger.writes import Key
from tests.contract.ledger.stores import ADMIN_STORES, STORES, params


@pytest.fixture(params=params(STORES))
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """A store for requests."""
    async with request.param.open() as opened:
        yield opened


@pytest.fixture(params=params(ADMIN_STORES))
def admin_store(request: pytest.FixtureRequest) -> Iterator[AdminStore]:
    """A store for operators."""
    with request.param.open() as opened:
        yield opened


@pytest.fixture
def key() -> Key:
    """A key where nothing is yet."""
    return Key(f"test|{uuid4().hex}")
