"""The stores that the contract is checked on, by name. A new one is one more line in a registry.

A factory gives a fresh store, or one more view of a table that is shared: the suite uses keys of its own in each test.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rillgate.ledger.sqlite import SqliteStore
from rillgate.ledger.sqlite_table import SqliteTable
from rillgate.ledger.store import AdminStore, Store
from tests.contract.ledger.dynamodb_stores import dynamodb_local_admin_store, dynamodb_local_store, moto_admin_store
from tests.fakes.dynamodb import FakeDynamoDb
from tests.unit.ledger.ledger_support import fake_store


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """One implementation of `Store`.

    Attributes:
        open: gives a store that is closed at the end.
        examples: how many sequences of writes are compared with the model: fewer for a slow one.
        marks: such as `pytest.mark.slow`, or a `skipif` with its reason.
    """

    open: Callable[[], AbstractAsyncContextManager[Store]]
    examples: int = 100
    marks: Sequence[pytest.MarkDecorator] = ()


@dataclass(frozen=True, slots=True)
class AdminStoreEntry:
    """One implementation of `AdminStore`; attributes as of `StoreEntry`."""

    open: Callable[[], AbstractContextManager[AdminStore]]
    marks: Sequence[pytest.MarkDecorator] = ()


@contextlib.asynccontextmanager
async def _sqlite_file() -> AsyncIterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        async with contextlib.aclosing(SqliteStore(Path(folder) / "rillgate.db")) as store:
            yield store


@contextlib.asynccontextmanager
async def _sqlite_memory() -> AsyncIterator[Store]:
    async with contextlib.aclosing(SqliteStore(None)) as store:
        yield store


@contextlib.asynccontextmanager
async def _fake() -> AsyncIterator[Store]:
    yield fake_store(FakeDynamoDb())


@contextlib.contextmanager
def _sqlite_file_admin() -> Iterator[AdminStore]:
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(SqliteTable(Path(folder) / "rillgate.db")) as table,
    ):
        yield table


@contextlib.contextmanager
def _sqlite_memory_admin() -> Iterator[AdminStore]:
    with contextlib.closing(SqliteTable(None)) as table:
        yield table


STORES: dict[str, StoreEntry] = {
    "sqlite-file": StoreEntry(_sqlite_file),
    "sqlite-memory": StoreEntry(_sqlite_memory),
    "dynamodb-local": StoreEntry(dynamodb_local_store, examples=60),
    "fake": StoreEntry(_fake),
}

ADMIN_STORES: dict[str, AdminStoreEntry] = {
    "sqlite-file": AdminStoreEntry(_sqlite_file_admin),
    "sqlite-memory": AdminStoreEntry(_sqlite_memory_admin),
    "moto": AdminStoreEntry(moto_admin_store),
    "dynamodb-local": AdminStoreEntry(dynamodb_local_admin_store),
}


def params(entries: dict[str, Any]) -> list[Any]:
    """A registry as parameters of a test or a fixture."""
    return [pytest.param(entry, id=name, marks=entry.marks) for name, entry in entries.items()]
