"""The store for the request path: a file behind a thread, memory at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from rillgate.ledger.sqlite import SqliteStore
from rillgate.ledger.sqlite_table import SqliteTable
from rillgate.ledger.writes import Absent, Add, ConditionFailed, Item, Key, Put, StoreUnavailable, Write

pytestmark = pytest.mark.anyio

KEY = Key("k")
INCREMENT = Write(KEY, (Add("n", 1),), returns="changed")


def threads() -> list[str]:
    """The ledgers' threads that there are."""
    return [thread.name for thread in threading.enumerate() if thread.name == "ledger"]


T = TypeVar("T")


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    pytest.fail("it waited")


async def test_memory_answers_without_waiting_and_without_thread() -> None:
    """In memory everything is done when it is called, on the caller's thread."""
    async with contextlib.aclosing(SqliteStore(None)) as store:
        assert at_once(store.write(INCREMENT)) == {"n": 1}
        assert at_once(store.read([KEY])) == [{"n": 1}]
        with pytest.raises(ConditionFailed):
            at_once(store.write(Write(KEY, (Add("n", 1),), (Absent("n"),))))
        assert threads() == []


async def test_file_used_and_closed_leaves_no_thread(tmp_path: Path) -> None:
    """A file has one thread while it is used, and none afterwards."""
    store = SqliteStore(tmp_path / "rillgate.db")
    await asyncio.gather(*(store.write(INCREMENT) for _ in range(10)))
    assert threads() == ["ledger"]
    await store.aclose()
    assert threads() == []
    assert os.listdir(tmp_path) == ["rillgate.db"]


async def test_file_opened_again_has_every_acknowledged_write(tmp_path: Path) -> None:
    """What one store wrote the next one has."""
    for number in (1, 2, 3):
        async with contextlib.aclosing(SqliteStore(tmp_path / "rillgate.db")) as store:
            assert await store.write(INCREMENT) == {"n": number}


async def test_writes_at_once_share_transactions(tmp_path: Path) -> None:
    """A hundred writes that come together while the file is held by another take two transactions at most."""
    path = tmp_path / "rillgate.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        async with contextlib.aclosing(SqliteStore(path)) as store:
            begun: list[str] = []
            store._table._connection.set_trace_callback(begun.append)
            other.execute("BEGIN IMMEDIATE")
            writes = [asyncio.ensure_future(store.write(INCREMENT)) for _ in range(100)]
            while not begun:
                await asyncio.sleep(0)
            other.execute("ROLLBACK")
            assert [item["n"] for item in await asyncio.gather(*writes)] == list(range(1, 101))
            assert begun.count("COMMIT") <= 2


async def test_file_locked_does_not_hold_up_the_loop_and_is_unavailable(tmp_path: Path) -> None:
    """While a write waits for the file the loop turns; past its time the write is refused, and the next one done."""
    path = tmp_path / "rillgate.db"
    async with contextlib.aclosing(SqliteStore(path, busy_timeout_s=0.05)) as store:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            write = asyncio.ensure_future(store.write(INCREMENT))
            turns = 0
            while not write.done():
                await asyncio.sleep(0)
                turns += 1
            assert turns > 10
            with pytest.raises(StoreUnavailable, match="locked"):
                await write
            other.execute("ROLLBACK")
        assert await store.write(INCREMENT) == {"n": 1}


async def test_caller_that_is_cancelled_leaves_its_write_done(tmp_path: Path) -> None:
    """Cancelling a caller does not undo its write, nor break those beside it."""
    async with contextlib.aclosing(SqliteStore(tmp_path / "rillgate.db")) as store:
        tasks = [asyncio.ensure_future(store.write(INCREMENT)) for _ in range(10)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(outcome, asyncio.CancelledError) for outcome in outcomes] == [True, False] * 5
        assert await store.read([KEY]) == [{"n": 10}]


@pytest.mark.parametrize("used", [True, False], ids=["used", "unused"])
@pytest.mark.parametrize("name", ["rillgate.db", None], ids=["file", "memory"])
async def test_store_closed_is_unavailable(tmp_path: Path, name: str | None, used: bool) -> None:
    """A closed store says so, and may be closed again."""
    store = SqliteStore(None if name is None else tmp_path / name)
    if used:
        await store.write(INCREMENT)
    await store.aclose()
    await store.aclose()
    calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [lambda: store.write(INCREMENT), lambda: store.read([KEY])]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="closed"):
            await call()


async def test_write_that_cannot_be_stored_fails_alone(tmp_path: Path) -> None:
    """A text that UTF-8 cannot hold fails its own caller, whatever came with it."""
    async with contextlib.aclosing(SqliteStore(tmp_path / "rillgate.db")) as store:
        outcomes = await asyncio.gather(
            store.write(INCREMENT),
            store.write(Write(Key("other"), (Put("s", "\ud800"),))),
            store.write(INCREMENT),
            return_exceptions=True,
        )
    assert isinstance(outcomes[1], UnicodeEncodeError)
    assert [outcomes[0], outcomes[2]] == [{"n": 1}, {"n": 2}]


async def test_file_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    """A store is opened where it is made, so a program that cannot use its ledger ends at its start."""
    with pytest.raises(StoreUnavailable, match="no folder"):
        SqliteStore(tmp_path / "missing" / "rillgate.db")


async def test_command_line_beside_a_store_sees_its_writes(tmp_path: Path) -> None:
    """The table that the command line uses works on the same file at the same time."""
    path = tmp_path / "rillgate.db"
    async with contextlib.aclosing(SqliteStore(path)) as store:
        await store.write(INCREMENT)
        with contextlib.closing(SqliteTable(path)) as table:
            seen: list[Item | None] = table.read([KEY])
            table.write(INCREMENT)
        assert seen == [{"n": 1}]
        assert await store.read([KEY]) == [{"n": 2}]
