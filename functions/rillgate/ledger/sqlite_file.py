"""Opening the ledger's SQLite file, and saying in plain words what is wrong with it.

Many processes of one machine share the file, so it is in write-ahead mode, on a local disk. `synchronous=NORMAL` leaves
a commit with the operating system: a process killed at any instruction loses nothing that was acknowledged. When the
machine itself loses power, the last commits since a checkpoint may be gone, the file stays whole.
Source: SQLite documentation, "Write-Ahead Logging", "PRAGMA Statements", "Result and Error Codes", read 2026-11.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from rillgate.ledger.writes import StoreUnavailable

SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x52494C4C  # "RILL": tells our file from another program's
PAUSE_S_MIN: Final = 0.000_2
PAUSE_S_MAX: Final = 0.005

T = TypeVar("T")

SCHEMA: Final = (
    "CREATE TABLE items (pk TEXT NOT NULL, sk TEXT NOT NULL, body TEXT NOT NULL, expires INTEGER,"
    " PRIMARY KEY (pk, sk)) WITHOUT ROWID",
    "CREATE INDEX items_expire ON items (expires) WHERE expires IS NOT NULL",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

REMEDIES: Final = {
    sqlite3.SQLITE_BUSY: "another process has it locked for too long: end that process, or give this one its own file",
    sqlite3.SQLITE_FULL: "the disk is full: make room, or move the file",
    sqlite3.SQLITE_READONLY: "it may not be written: give this user write access to the file and to its folder",
    sqlite3.SQLITE_PERM: "it may not be opened: give this user access to the file and to its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: the path must be a file, in a folder that this user may write to",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database: move it away, or name another path",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore it from a backup, or move it away to begin a new ledger",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write it: look at the system's log",
}


class SqliteFile:
    """A connection to a ledger, made where there is none yet. For one thread at a time, whichever it is.

    Args:
        path: of the file, made with mode 0600; its folder must be there. None for a private one in memory.
        busy_timeout_s: how long to wait for other processes that hold the file's lock.
    Raises:
        StoreUnavailable: it cannot be opened, is another program's, or a newer Rillgate's. The message names the file
            and the remedy.
    """

    def __init__(self, path: Path | None, busy_timeout_s: float) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._closed = False
        with self._naming():
            if path is not None:
                _create(path)
            self.connection = sqlite3.connect(
                ":memory:" if path is None else f"{path.absolute().as_uri()}?mode=rw",
                uri=path is not None,
                timeout=0,  # we wait ourselves, see `_patiently`
                isolation_level=None,  # transactions begin where we say so
                check_same_thread=False,
            )
            try:
                self._patiently(self._prepare)
            except BaseException:
                self.close()
                raise

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing. The lock for writing is taken at once: who reads first could lose it to another.

        Raises: StoreUnavailable: nothing was done; or the commit itself failed, then most likely nothing.
        """
        with self._naming():
            self._patiently(self._begin)
            with self._committing():
                yield

    def read(self, look: Callable[[], T]) -> T:
        """What `look` finds; it may be called several times.

        Raises: StoreUnavailable: as it says.
        """
        with self._naming():
            return self._patiently(look)

    def copy_to(self, target: Path) -> None:
        """Write what it holds now into another file, whoever goes on writing to this one meanwhile.

        Raises:
            OSError: there is such a file, or it cannot be made.
            StoreUnavailable: it could not be written; nothing is left of it.
        """
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        try:
            with self._naming():
                self._patiently(lambda: self.connection.execute("VACUUM INTO ?", (str(target),)))
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def close(self) -> None:
        """Give up the file; harmless when done before."""
        self._closed = True
        self.connection.close()

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Turn errors into `StoreUnavailable` with the name of the file and the remedy."""
        if self._closed:
            raise StoreUnavailable("the ledger's store is closed")
        try:
            yield
        except sqlite3.Error as error:
            remedy = REMEDIES.get(_primary_code(error), "see SQLite's message")
            raise StoreUnavailable(f"ledger {self._name}: {remedy} ({error})") from error
        except OSError as error:
            raise StoreUnavailable(f"ledger {self._name}: {error.strerror}: name a path that can be written") from error

    def _patiently(self, act: Callable[[], T]) -> T:
        """Do it when no other process has the file locked.

        SQLite's own waiting asks every 100 ms in the end, and not at all where it switches to write-ahead mode. Asking
        often is what gets a lock from a busy process: with 8 that did nothing else, its waits went past 2 s.
        """
        give_up_at, pause_s = time.monotonic() + self._busy_timeout_s, PAUSE_S_MIN
        while True:
            try:
                return act()
            except sqlite3.OperationalError as error:
                if _primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= give_up_at:
                    raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    def _begin(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    @contextlib.contextmanager
    def _committing(self) -> Iterator[None]:
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # the first error says more
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
            raise

    def _prepare(self) -> None:
        if self._is_new():
            self._begin()
            with self._committing():
                if self._is_new():  # or another process was faster
                    for statement in SCHEMA:
                        self.connection.execute(statement)
        if self._path is not None:
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = NORMAL")

    def _is_new(self) -> bool:
        """Whether nothing is in it yet."""
        application_id, version = self._pragma("application_id"), self._pragma("user_version")
        if application_id == 0 and not self.connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            return True
        if application_id != APPLICATION_ID:
            raise StoreUnavailable(f"ledger {self._name}: it is another program's database: name another path")
        if version > SCHEMA_VERSION:
            raise StoreUnavailable(
                f"ledger {self._name}: it is of version {version}, and this Rillgate knows up to {SCHEMA_VERSION}: "
                "use the newer Rillgate, or name another path"
            )
        return False

    def _pragma(self, name: str) -> int:
        (value,) = self.connection.execute(f"PRAGMA {name}").fetchone()
        return int(value)

    @property
    def _name(self) -> str:
        return "in memory" if self._path is None else repr(str(self._path))


def _create(path: Path) -> None:
    if not path.parent.is_dir():
        raise StoreUnavailable(f"ledger {str(path)!r}: there is no folder {str(path.parent)!r}: make it first")
    # Only where there is none: closing a descriptor of a file drops the locks that this process holds on it.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _primary_code(error: sqlite3.Error) -> int:
    """Without the detail of an extended code; 0 where SQLite was not asked at all."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
