"""The one table on SQLite, synchronously: what the command line uses as it is, and the request path through a thread.

An item is one row, its attributes as JSON. A write is evaluated by `Write.apply`, in a transaction that holds the
file's lock for writing, so two writes never interleave, whatever process they come from. Many writes share one
transaction: an item is read once and stored once, and each write sees what the ones before it did.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from rillgate.ledger.sqlite_file import SqliteFile
from rillgate.ledger.store import TTL, Check
from rillgate.ledger.writes import EMPTY, ConditionFailed, Item, Key, StoreUnavailable, Value, Write

BUSY_TIMEOUT_S: Final = 5.0  # other processes' transactions take milliseconds, their checkpoints on slow disks more
OPERATIONS_MAX: Final = 25
PAGE_ROWS: Final = 1_000
PURGE_ROWS_MAX: Final = 100  # below a millisecond, so that no request feels it
PURGE_EVERY_S: Final = 3_600.0

SELECT: Final = "SELECT body FROM items WHERE pk = ? AND sk = ?"
SELECT_PAGE: Final = "SELECT sk, body FROM items WHERE pk = ? AND sk > ? ORDER BY sk LIMIT ?"
UPSERT: Final = (
    "INSERT INTO items (pk, sk, body, expires) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (pk, sk) DO UPDATE SET body = excluded.body, expires = excluded.expires"
)
PURGE: Final = (
    "DELETE FROM items WHERE (pk, sk) IN"
    " (SELECT pk, sk FROM items WHERE expires IS NOT NULL AND expires < ? ORDER BY expires LIMIT ?)"
)

_DECODE: Final = msgspec.json.Decoder(dict[str, Value]).decode
_ENCODE: Final = msgspec.json.Encoder().encode


class SqliteTable:
    """The ledger's items in a SQLite file; an `AdminStore`. For one thread at a time.

    Args:
        path: of the file; None for a private table in memory.
        wall: seconds since 1970; only for forgetting items whose `store.TTL` has passed.
        busy_timeout_s: how long to wait for other processes before `StoreUnavailable`.
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
        self._wall = wall
        self._purge_due_s = 0.0
        self._file = SqliteFile(path, busy_timeout_s)
        self._connection = self._file.connection
        try:
            self.apply(())  # forgets what has expired, and shows now rather than later a file that cannot be written
        except BaseException:
            self.close()
            raise

    def apply(self, writes: Sequence[Write]) -> list[Item | Exception]:
        """Do many writes in one transaction; later ones see what earlier ones did.

        Returns: for each write what `Store.write` gives, or the exception that it raises; a write that was refused
            changed nothing and does not keep the others from being done.
        Raises: StoreUnavailable: none of them was done.
        """
        try:
            with self._file.transaction():
                images = _Images(self._connection)
                outcomes = [_evaluate(images, write) for write in writes]
                images.store()
                self._purge_if_due()
                return outcomes
        except StoreUnavailable:
            raise
        except Exception as broken:  # what SQLite or JSON cannot hold, such as half a surrogate pair
            if len(writes) == 1:
                return [broken]
            return [outcome for write in writes for outcome in self.apply((write,))]

    def write(self, write: Write) -> Item:
        """As `Store.write`."""
        (outcome,) = self.apply((write,))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def write_all(self, operations: Sequence[Write | Check]) -> None:
        """Do all of these writes or none.

        Raises:
            ConditionFailed: one of the conditions did not hold; `item` is what stands there.
            ValueError: more than 25 operations, or two on one item, which DynamoDB would refuse too.
            StoreUnavailable: nothing was done.
        """
        if len(operations) > OPERATIONS_MAX or len({operation.key for operation in operations}) < len(operations):
            raise ValueError(f"at most {OPERATIONS_MAX} operations, each on an item of its own, not {len(operations)}")
        with self._file.transaction():
            images = _Images(self._connection)
            for operation in operations:
                _do(images, operation)
            images.store()

    def read(self, keys: Sequence[Key]) -> list[Item | None]:
        """As `Store.read`."""
        return self._file.read(lambda: _Images(self._connection).get_all(keys))

    def query(self, pk: str) -> Iterator[tuple[str, Item]]:
        """All items of one partition, as (sk, item), in order of sk. Read page by page: it never holds up writers.

        Raises: StoreUnavailable: while iterating.
        """
        after = ""
        while True:
            page = self._file.read(partial(self._page, pk, after))
            yield from ((sk, _DECODE(body)) for sk, body in page)
            if len(page) < PAGE_ROWS:
                return
            after = page[-1][0]

    def close(self) -> None:
        """Give up the file; harmless when done before."""
        self._file.close()

    def _page(self, pk: str, after: str) -> list[tuple[str, str]]:
        return self._connection.execute(SELECT_PAGE, (pk, after, PAGE_ROWS)).fetchall()

    def _purge_if_due(self) -> None:
        """Forget some expired items; as long as there are more, each transaction forgets some."""
        now_s = self._wall()
        if now_s < self._purge_due_s:
            return
        forgotten = self._connection.execute(PURGE, (int(now_s), PURGE_ROWS_MAX)).rowcount
        if forgotten < PURGE_ROWS_MAX:
            self._purge_due_s = now_s + PURGE_EVERY_S


class _Images:
    """Items as one transaction sees and changes them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._items: dict[Key, Item | None] = {}
        self._changed: dict[Key, Item] = {}

    def get(self, key: Key) -> Item | None:
        """The item as it is by now."""
        if key not in self._items:
            row = self._connection.execute(SELECT, (key.pk, key.sk)).fetchone()
            self._items[key] = None if row is None else _DECODE(row[0])
        return self._items[key]

    def get_all(self, keys: Sequence[Key]) -> list[Item | None]:
        """Several items."""
        return [self.get(key) for key in keys]

    def put(self, key: Key, item: Item) -> None:
        """The item from now on."""
        self._items[key] = self._changed[key] = item

    def store(self) -> None:
        """Write down what changed."""
        if self._changed:
            self._connection.executemany(UPSERT, [_row(key, item) for key, item in self._changed.items()])


def _row(key: Key, item: Item) -> tuple[str, str, str, int | None]:
    expires = item.get(TTL)
    return key.pk, key.sk, _ENCODE(item).decode(), expires if isinstance(expires, int) else None


def _evaluate(images: _Images, write: Write) -> Item | Exception:
    try:
        return _do(images, write)
    except (ConditionFailed, TypeError) as refused:  # nothing was put into the images
        return refused


def _do(images: _Images, operation: Write | Check) -> Item:
    before = images.get(operation.key) or EMPTY
    if isinstance(operation, Check):
        if not all(condition.holds(before) for condition in operation.conditions):
            raise ConditionFailed(before)
        return EMPTY
    after = operation.apply(before)
    images.put(operation.key, after)
    return operation.returned(after)
