"""The embedded store for the request path: SQLite behind a thread for a file, at once for one in memory.

It serves one machine: any number of processes may share the file, which must be on a local disk. For the command
line there is `sqlite_table.SqliteTable`, on the same file at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rillgate.ledger.sqlite_table import BUSY_TIMEOUT_S, SqliteTable
from rillgate.ledger.sqlite_thread import SqliteThread
from rillgate.ledger.writes import Item, Key, StoreUnavailable, Write


class SqliteStore:
    """A `Store` on SQLite. For one event loop, and for the process that made it: a forked child makes its own.

    The file is opened here, while the program starts; its later use never blocks the event loop. A caller that is
    cancelled while it waits does not undo its write. In memory, nothing ever waits.

    Args:
        path: of the file; None for a private store in memory, which is forgotten when it is closed.
        wall: seconds since 1970; only for forgetting items whose `store.TTL` has passed.
        busy_timeout_s: how long a transaction waits for other processes before `StoreUnavailable`.
    Raises:
        StoreUnavailable: the file cannot be used; the message says what to do.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        wall: Callable[[], float] = time.time,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        self._table = SqliteTable(path, wall=wall, busy_timeout_s=busy_timeout_s)
        self._in_memory = path is None
        self._started: SqliteThread | None = None
        self._closed = False

    async def write(self, write: Write) -> Item:
        """As `Store.write`.

        Raises: besides, TypeError: a number is added to a text.
        """
        if self._in_memory:
            return self._table.write(write)
        return await self._thread().write(write)

    async def read(self, keys: Sequence[Key]) -> list[Item | None]:
        """As `Store.read`."""
        if self._in_memory:
            return self._table.read(keys)
        return await self._thread().read(keys)

    async def aclose(self) -> None:
        """Do what was begun, then give up thread and file; harmless when done before."""
        self._closed = True
        if self._started is None:
            self._table.close()
        else:
            await self._started.aclose()

    def _thread(self) -> SqliteThread:
        """Started at first use, since only then a loop is sure to run."""
        if self._closed:
            raise StoreUnavailable("the ledger's store is closed")
        if self._started is None:
            self._started = SqliteThread(self._table)
        return self._started
