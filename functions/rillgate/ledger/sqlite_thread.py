"""The thread that keeps the event loop off the file: what queues up while it works is committed together.

One transaction costs the file's lock and a commit, whether it holds one write or a hundred; so under load the cost of a
write falls just when there are many. Nothing waits for company: a write that comes alone is committed alone.

A thread that waits for the interpreter's lock can starve beside a busy event loop: the loop lets go of the lock at each
poll and has it back before the thread wakes, so the thread never waits the 5 ms after which it may ask for it. Measured
with turns of 2 ms: 4 ms for the median write, 10 s for the slowest in a hundred. So a loop that sees its jobs wait
stands still for a moment, until the batch is done.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol

from rillgate.ledger.writes import Item, Key, StoreUnavailable, Write

JOBS_MAX: Final = 256  # in one transaction: bounds how long other processes wait for the file
LEND_AFTER_S: Final = 0.002  # an idle loop's jobs are done long before
LEND_AFTER_S_MAX: Final = 0.2  # it is the file that is slow, not the thread: stand still ever more rarely
LEND_S: Final = 0.001


class Table(Protocol):
    """What the thread works on: `SqliteTable`."""

    def apply(self, writes: Sequence[Write]) -> Sequence[Item | Exception]:
        """See `SqliteTable.apply`."""

    def read(self, keys: Sequence[Key]) -> list[Item | None]:
        """See `SqliteTable.read`."""

    def close(self) -> None:
        """See `SqliteTable.close`."""


@dataclass(frozen=True, slots=True)
class _WriteJob:
    write: Write
    future: asyncio.Future[Item]


@dataclass(frozen=True, slots=True)
class _ReadJob:
    keys: tuple[Key, ...]
    future: asyncio.Future[list[Item | None]]


_Job = _WriteJob | _ReadJob
_Outcomes = Sequence[tuple[asyncio.Future[Any], object]]  # what each is told: a result, or an exception


class SqliteThread:
    """Runs a table's calls in a thread of its own. For one event loop, the running one where it is made.

    What was taken on is done, also when nobody waits for its outcome any more.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._stopping = False
        self._taken = 0  # counted by the loop
        self._done = 0  # counted by the thread
        self._batch_done = threading.Event()
        self._lending: asyncio.TimerHandle | None = None
        # A daemon: a program that ends without `aclose` shall not hang. What is lost then was never acknowledged.
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def write(self, write: Write) -> asyncio.Future[Item]:
        """Take on a write; its outcome is as of `Store.write`. Cancelling the future does not undo it.

        Raises:
            RuntimeError: on another event loop.
            StoreUnavailable: closed.
        """
        future: asyncio.Future[Item] = self._loop.create_future()
        self._take_on(_WriteJob(write, future))
        return future

    def read(self, keys: Sequence[Key]) -> asyncio.Future[list[Item | None]]:
        """Take on a read; its outcome is as of `Store.read`. It sees all writes that were taken on before it.

        Raises: as `write`.
        """
        future: asyncio.Future[list[Item | None]] = self._loop.create_future()
        self._take_on(_ReadJob(tuple(keys), future))
        return future

    async def aclose(self) -> None:
        """Do what was taken on, close the table, end the thread."""
        if not self._stopping:
            self._stopping = True
            self._jobs.put(None)
            self._taken += 1
            self._lend_later(LEND_AFTER_S)
        await asyncio.shield(self._ended)  # whoever closes may be cancelled; the end comes all the same
        self._thread.join()
        if self._lending is not None:
            self._lending.cancel()

    def _take_on(self, job: _Job) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("a ledger's store belongs to the event loop that used it first")
        if self._stopping:
            raise StoreUnavailable("the ledger's store is closed")
        self._jobs.put(job)
        self._taken += 1
        self._lend_later(LEND_AFTER_S)

    def _lend_later(self, after_s: float) -> None:
        if self._lending is None:
            self._lending = self._loop.call_later(after_s, self._lend, after_s)

    def _lend(self, after_s: float) -> None:
        """Leave the interpreter to the thread, where jobs have been waiting."""
        self._lending = None
        self._batch_done.clear()
        if self._done < self._taken:
            self._batch_done.wait(LEND_S)
        if self._done < self._taken:
            self._lend_later(min(2 * after_s, LEND_AFTER_S_MAX))

    def _run(self) -> None:
        more = True
        try:
            while more:
                jobs, more = self._next_jobs()
                self._do_writes([job for job in jobs if isinstance(job, _WriteJob)])
                self._do_reads([job for job in jobs if isinstance(job, _ReadJob)])
                self._count(len(jobs))
            self._table.close()
        finally:
            self._tell([(self._ended, None)])
            self._count(1)

    def _count(self, done: int) -> None:
        self._done += done
        self._batch_done.set()

    def _next_jobs(self) -> tuple[list[_Job], bool]:
        """All that is waiting, at least one job or the end; and whether more may come."""
        jobs: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == JOBS_MAX:
                return jobs, True
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return jobs, True
        return jobs, False

    def _do_writes(self, jobs: Sequence[_WriteJob]) -> None:
        if not jobs:
            return
        outcomes: Sequence[Item | Exception]
        try:
            outcomes = self._table.apply([job.write for job in jobs])
        except Exception as error:
            outcomes = [error] * len(jobs)
        self._tell([(job.future, outcome) for job, outcome in zip(jobs, outcomes, strict=True)])

    def _do_reads(self, jobs: Sequence[_ReadJob]) -> None:
        outcomes: list[tuple[asyncio.Future[Any], object]] = []
        for job in jobs:
            try:
                outcomes.append((job.future, self._table.read(job.keys)))
            except Exception as error:
                outcomes.append((job.future, error))
        if outcomes:
            self._tell(outcomes)

    def _tell(self, outcomes: _Outcomes) -> None:
        try:
            self._loop.call_soon_threadsafe(_settle, outcomes)
        except RuntimeError:  # the loop is closed, so nobody waits
            pass


def _settle(outcomes: _Outcomes) -> None:
    """On the loop: hand out results and exceptions, but for those who went away."""
    for future, outcome in outcomes:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
