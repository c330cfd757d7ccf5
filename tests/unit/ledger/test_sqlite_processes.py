"""Several processes on one file, and processes that are killed."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import rillgate
from rillgate.ledger.sqlite_table import SqliteTable
from rillgate.ledger.writes import Add, Key, Write
from tests.unit.ledger.sqlite_worker import COUNTERS, LIMIT

REPOSITORY = Path(__file__).parents[3]


def start(mode: str, path: Path) -> subprocess.Popen[str]:
    """A process of its own on the file."""
    source_root = str(Path(rillgate.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.ledger.sqlite_worker", mode, str(path)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([source_root, str(REPOSITORY)])},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_racing_for_one_limit_admit_exactly_the_limit(tmp_path: Path) -> None:
    """Four processes open a file that is not there yet and ask 400 times for room for 250: 250 are admitted."""
    path = tmp_path / "rillgate.db"
    processes = [start("compete", path) for _ in range(4)]
    admitted = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sum(admitted) == LIMIT
    with contextlib.closing(SqliteTable(path)) as table:
        assert table.read([Key("shared")]) == [{"n": LIMIT}]


@pytest.mark.parametrize("lines", [1, 50, 500])
def test_process_killed_in_mid_work_loses_nothing_acknowledged(tmp_path: Path, lines: int) -> None:
    """After `kill -9` the file is whole, and every counter is at what was acknowledged, or at the write in the air."""
    path = tmp_path / "rillgate.db"
    with start("count", path) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        told += [line for line in process.stdout if line.endswith("\n")]
    acknowledged = [0] * len(COUNTERS)
    for line in told:
        number, value = map(int, line.split())
        acknowledged[number] = value
    with contextlib.closing(SqliteTable(path)) as table:
        counted = [(item or {}).get("n", 0) for item in table.read(COUNTERS)]
        assert all(value in (known, known + 1) for value, known in zip(counted, acknowledged, strict=True)), (
            counted,
            acknowledged,
        )
        assert table.write(Write(COUNTERS[0], (Add("n", 1),), returns="changed")) == {"n": int(counted[0]) + 1}
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
