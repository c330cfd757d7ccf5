"""`rillgate ledger backup`: a whole copy of a ledger that others write to."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rillgate.ledger.sqlite_table import SqliteTable
from rillgate.ledger.writes import Key, Put, Write
from tests.unit.cli.control_support import Operator


def test_ledger_backup_put_in_the_place_of_the_ledger_is_the_ledger(operator: Operator) -> None:
    """Keys and budgets are all there, and nothing that came later; only this user can read it."""
    operator.json("keys create --name before --limit tokens/day=1000")
    answer = operator.json("ledger backup copy.db")
    copy = operator.folder / "copy.db"
    assert answer["bytes"] == copy.stat().st_size > 0
    assert copy.stat().st_mode & 0o777 == 0o600
    operator.json("keys create --name after")
    assert [key["name"] for key in operator.json("keys list")["keys"]] == ["after", "before"]
    operator.ledger = "--ledger sqlite:///copy.db"
    (key,) = operator.json("keys list")["keys"]
    assert (key["name"], key["limits"]) == ("before", ["tokens/day=1000"])
    operator.json("keys create --name more")


def test_ledger_backup_while_others_write_is_one_moment(operator: Operator) -> None:
    """What a transaction has not committed is not in it, and the writer is not disturbed."""
    path = operator.folder / "rillgate.db"
    with closing(SqliteTable(path)) as table:
        table.write(Write(Key("a", "1"), (Put("n", 1),)))
        with closing(sqlite3.connect(path, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("INSERT INTO items VALUES ('a', '2', '{}', NULL)")
            assert operator.run("ledger backup copy.db").code == 0
            writer.execute("COMMIT")
        assert [sk for sk, _ in table.query("a")] == ["1", "2"]
    with closing(SqliteTable(operator.folder / "copy.db")) as copy:
        assert [sk for sk, _ in copy.query("a")] == ["1"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("ledger backup taken.db", "'taken.db' is there already; name another file"),
        ("ledger backup no/folder.db", "'no/folder.db' cannot be written: No such file or directory"),
    ],
)
def test_ledger_backup_that_cannot_be_written_says_why(operator: Operator, words: str, problem: str) -> None:
    """One line, and what is there stays as it is."""
    operator.json("ledger init")
    (operator.folder / "taken.db").write_text("mine")
    answer = operator.run(words)
    assert (answer.code, answer.err) == (1, f"rillgate: {problem}\n")
    assert (operator.folder / "taken.db").read_text() == "mine"


def test_ledger_backup_without_a_ledger_makes_none(operator: Operator, tmp_path: Path) -> None:
    """Neither of the two files."""
    assert operator.run("ledger backup copy.db").code == 1
    assert list(tmp_path.iterdir()) == []


def test_ledger_backup_of_a_table_names_what_does_that(dynamodb_operator: Operator) -> None:
    """DynamoDB has its own."""
    answer = dynamodb_operator.run("ledger backup copy.db")
    assert answer.code == 2
    assert "point-in-time recovery" in answer.err
