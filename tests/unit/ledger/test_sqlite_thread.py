"""The thread: what is committed together, what a cancelled caller leaves behind, and how it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import anyio
import pytest

from rillgate.ledger.sqlite_thread import JOBS_MAX, LEND_S, SqliteThread
from rillgate.ledger.writes import Add, ConditionFailed, Item, Key, StoreUnavailable, Write

pytestmark = pytest.mark.anyio


class GatedTable:
    """A table that notes its batches and works only while its gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.batches: list[int] = []
        self.items: dict[Key, Item] = {}
        self.closed = False
        self.broken: Exception | None = None

    def apply(self, writes: Sequence[Write]) -> list[Item | Exception]:
        """Do them when the gate is open."""
        self.begun.set()
        assert self.gate.wait(30)
        if self.broken is not None:
            raise self.broken
        self.batches.append(len(writes))
        return [self._do(write) for write in writes]

    def _do(self, write: Write) -> Item | Exception:
        try:
            after = write.apply(self.items.get(write.key, {}))
        except ConditionFailed as refused:
            return refused
        self.items[write.key] = after
        return write.returned(after)

    def read(self, keys: Sequence[Key]) -> list[Item | None]:
        """At once."""
        if self.broken is not None:
            raise self.broken
        return [self.items.get(key) for key in keys]

    def close(self) -> None:
        """Noted."""
        self.closed = True


KEY = Key("k")
INCREMENT = Write(KEY, (Add("n", 1),), returns="changed")


async def occupied(table: GatedTable, thread: SqliteThread) -> asyncio.Future[Item]:
    """A write that the thread is at work on, behind the closed gate."""
    table.gate.clear()
    table.begun.clear()
    first = thread.write(INCREMENT)
    assert await anyio.to_thread.run_sync(table.begun.wait, 30)
    return first


async def test_writes_that_queue_up_are_committed_together() -> None:
    """What comes while a transaction runs is one transaction afterwards, in the order it came."""
    table = GatedTable()
    thread = SqliteThread(table)
    first = await occupied(table, thread)
    others = [thread.write(INCREMENT) for _ in range(20)]
    table.gate.set()
    assert [item["n"] for item in await asyncio.gather(first, *others)] == list(range(1, 22))
    assert table.batches == [1, 20]
    await thread.aclose()


async def test_writes_past_the_bound_make_another_transaction() -> None:
    """A transaction has a bounded number of writes, so that other processes get their turn."""
    table = GatedTable()
    thread = SqliteThread(table)
    first = await occupied(table, thread)
    others = [thread.write(INCREMENT) for _ in range(JOBS_MAX + 10)]
    table.gate.set()
    await asyncio.gather(first, *others)
    assert table.batches == [1, JOBS_MAX, 10]
    await thread.aclose()


async def test_write_whose_caller_is_cancelled_is_done_all_the_same() -> None:
    """Cancelling a caller, whether its write runs or waits, loses neither it nor its neighbours."""
    table = GatedTable()
    thread = SqliteThread(table)
    running = await occupied(table, thread)
    outcomes: list[Item] = []

    async def wait_for(future: asyncio.Future[Item]) -> None:
        outcomes.append(await future)

    async with anyio.create_task_group() as kept, anyio.create_task_group() as cancelled:
        cancelled.start_soon(wait_for, running)
        cancelled.start_soon(wait_for, thread.write(INCREMENT))
        kept.start_soon(wait_for, thread.write(INCREMENT))
        await anyio.wait_all_tasks_blocked()
        cancelled.cancel_scope.cancel()
        table.gate.set()
    assert outcomes == [{"n": 3}]
    assert await thread.read([KEY]) == [{"n": 3}]
    await thread.aclose()


async def test_read_sees_writes_taken_on_before() -> None:
    """A read that waits behind writes sees them done."""
    table = GatedTable()
    thread = SqliteThread(table)
    first = await occupied(table, thread)
    second, read = thread.write(INCREMENT), thread.read([KEY, Key("missing")])
    table.gate.set()
    assert await read == [{"n": 2}, None]
    assert (first.done(), second.done()) == (True, True)
    await thread.aclose()


async def test_table_that_fails_tells_every_waiting_caller_and_works_on() -> None:
    """A failed transaction is every one of its callers' failure; the thread goes on."""
    table = GatedTable()
    thread = SqliteThread(table)
    table.broken = StoreUnavailable("locked")
    failures = await asyncio.gather(
        *(thread.write(INCREMENT) for _ in range(3)), thread.read([KEY]), return_exceptions=True
    )
    assert failures == [table.broken] * 4
    table.broken = None
    assert await thread.write(INCREMENT) == {"n": 1}
    await thread.aclose()


async def test_close_with_writes_under_way_does_them_first() -> None:
    """Closing does what was taken on, closes the table, and ends the thread; what comes later is refused."""
    table = GatedTable()
    thread = SqliteThread(table)
    assert "ledger" in [each.name for each in threading.enumerate()]
    first = await occupied(table, thread)
    second = thread.write(INCREMENT)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(thread.aclose)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(StoreUnavailable, match="closed"):
            thread.write(INCREMENT)
        with pytest.raises(StoreUnavailable, match="closed"):
            thread.read([KEY])
        table.gate.set()
    assert [await first, await second] == [{"n": 1}, {"n": 2}]
    assert table.closed
    assert "ledger" not in [each.name for each in threading.enumerate()]
    await thread.aclose()


async def test_close_that_is_cancelled_ends_all_the_same() -> None:
    """Who closes may be cancelled while writes are under way; closing again waits for the end."""
    table = GatedTable()
    thread = SqliteThread(table)
    first = await occupied(table, thread)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(thread.aclose)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert not table.closed
    table.gate.set()
    await thread.aclose()
    assert await first == {"n": 1}
    assert table.closed


async def test_loop_that_never_rests_stands_still_for_waiting_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop whose jobs have been waiting leaves the interpreter to the thread for a moment, ever more rarely."""
    table = GatedTable()
    thread = SqliteThread(table)
    await thread.write(INCREMENT)
    first = await occupied(table, thread)
    stood_still: list[float] = []

    def stand_still(timeout_s: float) -> bool:
        assert not thread._batch_done.is_set()  # that of an earlier batch would end the wait at once
        stood_still.append(timeout_s)
        if len(stood_still) == 3:
            table.gate.set()
        return False

    monkeypatch.setattr(thread._batch_done, "wait", stand_still)
    while not first.done():
        await asyncio.sleep(0)
    assert stood_still == [LEND_S] * 3
    await thread.aclose()
    assert thread._lending is None or thread._lending.cancelled()


async def test_thread_on_another_loop_is_refused() -> None:
    """A store made on one event loop says so when it is used on another."""
    thread = SqliteThread(GatedTable())

    async def use() -> None:
        await thread.write(INCREMENT)

    with pytest.raises(RuntimeError, match="event loop that used it first"):
        await anyio.to_thread.run_sync(asyncio.run, use())
    await thread.aclose()
