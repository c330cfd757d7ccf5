"""Opening and keeping the file: its mode, its version, and what is said when it cannot be used."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rillgate.ledger.sqlite_file import SqliteFile
from rillgate.ledger.sqlite_table import SqliteTable
from rillgate.ledger.writes import Add, Key, Put, StoreUnavailable, Write

KEY = Key("k")


@contextlib.contextmanager
def opened(path: Path | None, busy_timeout_s: float = 5.0) -> Iterator[SqliteTable]:
    """A table, closed at the end."""
    with contextlib.closing(SqliteTable(path, busy_timeout_s=busy_timeout_s)) as table:
        yield table


@contextlib.contextmanager
def foreign(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program's connection to the file, closed at the end."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def complaint(path: Path) -> str:
    """What is said when the file is opened."""
    with pytest.raises(StoreUnavailable) as caught:
        SqliteTable(path, busy_timeout_s=0.01)
    message = str(caught.value)
    assert repr(str(path)) in message
    return message


def test_file_made_new_is_its_owners_alone(tmp_path: Path) -> None:
    """The file and those that SQLite lays beside it have mode 0600, whatever the umask."""
    before = os.umask(0)
    try:
        with opened(tmp_path / "rillgate.db") as table:
            table.write(Write(KEY, (Put("n", 1),)))
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"rillgate.db": 0o600, "rillgate.db-wal": 0o600, "rillgate.db-shm": 0o600}


def test_file_opened_again_has_what_was_written(tmp_path: Path) -> None:
    """What one process wrote the next one finds, also under a name with characters that mean something in a URL."""
    path = tmp_path / "a b?c#d%20é.db"
    for number in range(1, 4):
        with opened(path) as table:
            assert table.write(Write(KEY, (Add("n", 1),), returns="changed")) == {"n": number}
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_file_is_in_write_ahead_mode_and_labelled(tmp_path: Path) -> None:
    """Others can tell what the file is; readers do not hold up writers."""
    with opened(tmp_path / "rillgate.db"), foreign(tmp_path / "rillgate.db") as connection:
        pragmas = ("journal_mode", "application_id", "user_version")
        found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
    assert found == ["wal", 0x52494C4C, 1]


def test_file_opened_twice_shows_each_the_others_writes(tmp_path: Path) -> None:
    """A command line sees at once what a gateway wrote, and the other way round."""
    with opened(tmp_path / "rillgate.db") as one, opened(tmp_path / "rillgate.db") as other:
        one.write(Write(KEY, (Add("n", 1),)))
        assert other.read([KEY]) == [{"n": 1}]
        other.write(Write(KEY, (Add("n", 1),)))
        assert one.read([KEY]) == [{"n": 2}]


def test_memory_opened_twice_is_two_stores() -> None:
    """A store in memory is private."""
    with opened(None) as one, opened(None) as other:
        one.write(Write(KEY, (Add("n", 1),)))
        assert other.read([KEY]) == [None]


def test_folder_missing_is_named(tmp_path: Path) -> None:
    """A folder that is not there is not made, it is asked for."""
    message = complaint(tmp_path / "missing" / "rillgate.db")
    assert f"no folder {str(tmp_path / 'missing')!r}" in message
    assert not (tmp_path / "missing").exists()


def test_folder_instead_of_file_is_refused(tmp_path: Path) -> None:
    """A path that is a folder is not opened."""
    assert "must be a file" in complaint(tmp_path)


def test_file_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A file that is no database is not overwritten."""
    path = tmp_path / "rillgate.db"
    path.write_bytes(b"[server]\nport = 8000\n" * 100)
    assert "no SQLite database" in complaint(path)
    assert path.read_bytes() == b"[server]\nport = 8000\n" * 100


@pytest.mark.parametrize("version", [0, 1])
def test_file_of_another_program_is_refused_and_left_alone(tmp_path: Path, version: int) -> None:
    """Another program's database gets no table of ours, and keeps its journal mode."""
    path = tmp_path / "rillgate.db"
    with foreign(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    assert "another program's" in complaint(path)
    assert path.read_bytes() == before


def test_file_of_newer_version_is_refused(tmp_path: Path) -> None:
    """A ledger that a newer Rillgate laid out is not written to by an older one."""
    path = tmp_path / "rillgate.db"
    with opened(path):
        pass
    with foreign(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    assert "version 2, and this Rillgate knows up to 1" in complaint(path)


def test_file_locked_while_opened_is_unavailable(tmp_path: Path) -> None:
    """Opening waits no longer than it may for another process's lock."""
    path = tmp_path / "rillgate.db"
    with foreign(path) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert "another process has it locked" in complaint(path)
        connection.execute("COMMIT")
    with opened(path) as table:
        assert table.read([KEY]) == [None]


def test_file_locked_past_timeout_is_unavailable_and_unchanged(tmp_path: Path) -> None:
    """A write that gets no lock in time is not done; afterwards the store works on. Reads need no lock."""
    path = tmp_path / "rillgate.db"
    with opened(path, busy_timeout_s=0.01) as table, foreign(path) as connection:
        table.write(Write(KEY, (Add("n", 1),)))
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="another process has it locked"):
            table.write(Write(KEY, (Add("n", 1),)))
        with pytest.raises(StoreUnavailable, match="another process has it locked"):
            table.write_all([Write(KEY, (Add("n", 1),))])
        assert table.read([KEY]) == [{"n": 1}]
        connection.execute("ROLLBACK")
        assert table.write(Write(KEY, (Add("n", 1),), returns="all")) == {"n": 2}


def test_disk_full_is_unavailable_and_nothing_half_done(tmp_path: Path) -> None:
    """A batch that has no room is undone whole, and the store works on when there is room again."""
    with opened(tmp_path / "rillgate.db") as table:
        table.write(Write(KEY, (Add("n", 1),)))
        (pages,) = table._connection.execute("PRAGMA page_count").fetchone()
        table._connection.execute(f"PRAGMA max_page_count = {pages}")
        large = Write(Key("large"), (Put("s", "x" * 100_000),))
        with pytest.raises(StoreUnavailable, match="disk is full"):
            table.apply([Write(KEY, (Add("n", 1),)), large])
        assert table.read([KEY, large.key]) == [{"n": 1}, None]
        table._connection.execute("PRAGMA max_page_count = 1000000")
        table.write(large)
        assert table.write(Write(KEY, (Add("n", 1),), returns="all")) == {"n": 2}


def test_failure_in_mid_transaction_undoes_what_came_before(tmp_path: Path) -> None:
    """When the second item cannot be stored, the first one is not either."""
    with opened(tmp_path / "rillgate.db") as table:
        table._connection.execute(
            "CREATE TEMP TRIGGER refuse BEFORE INSERT ON items WHEN NEW.pk = 'bad'"
            " BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
        writes = [Write(KEY, (Add("n", 1),)), Write(Key("bad"), (Add("n", 1),))]
        with pytest.raises(StoreUnavailable, match="refused"):
            table.apply(writes)
        with pytest.raises(StoreUnavailable, match="refused"):
            table.write_all(writes)
        assert table.read([KEY, Key("bad")]) == [None, None]
        assert table.write(Write(KEY, (Add("n", 1),), returns="all")) == {"n": 1}


def test_file_made_by_another_process_meanwhile_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that find no ledger, the slower one uses what the faster one made."""
    path = tmp_path / "rillgate.db"
    begin = SqliteFile._begin

    def begin_late(file: SqliteFile) -> None:
        monkeypatch.setattr(SqliteFile, "_begin", begin)
        with opened(path) as faster:
            faster.write(Write(KEY, (Add("n", 1),)))
        begin(file)

    monkeypatch.setattr(SqliteFile, "_begin", begin_late)
    with opened(path) as table:
        assert table.read([KEY]) == [{"n": 1}]


def test_read_that_meets_a_lock_is_tried_again() -> None:
    """While another process recovers the file, reads wait too."""
    locked = sqlite3.OperationalError("database is locked")
    locked.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY
    answers: list[Exception | str] = [locked, locked, "there"]

    def look() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    file = SqliteFile(None, busy_timeout_s=5.0)
    try:
        assert file.read(look) == "there"
    finally:
        file.close()
    assert answers == []


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """As a user whom file modes apply to: root may write to anything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("folder_mode", [0o555, 0o777], ids=["folder-read-only", "folder-writable"])
def test_file_that_may_not_be_written_is_refused_when_opened(folder_mode: int) -> None:
    """A read-only file is noticed at the start, not at the first request."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders let no other user through
        folder = Path(name)
        with opened(folder / "rillgate.db"):
            pass
        (folder / "rillgate.db").chmod(0o444)
        folder.chmod(folder_mode)
        try:
            with without_privileges():
                message = complaint(folder / "rillgate.db")
        finally:
            folder.chmod(0o755)
    assert "give this user write access" in message or "folder that this user may write to" in message


def test_folder_that_may_not_be_written_is_refused() -> None:
    """Where no file can be made, the message names it."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        try:
            with without_privileges():
                message = complaint(Path(name) / "rillgate.db")
        finally:
            Path(name).chmod(0o755)
    assert "Permission denied" in message


def test_table_closed_is_unavailable(tmp_path: Path) -> None:
    """After it was closed, once or twice, every call says so."""
    for path in (tmp_path / "rillgate.db", None):
        table = SqliteTable(path)
        table.close()
        table.close()
        for call in (
            lambda table=table: table.write(Write(KEY, (Add("n", 1),))),
            lambda table=table: table.write_all([Write(KEY, (Add("n", 1),))]),
            lambda table=table: table.read([KEY]),
            lambda table=table: list(table.query("k")),
        ):
            with pytest.raises(StoreUnavailable, match="closed"):
                call()
