"""The table on SQLite: many writes in one transaction, pages, and what is forgotten when."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from rillgate.ledger.sqlite_table import PURGE_EVERY_S, PURGE_ROWS_MAX, SqliteTable
from rillgate.ledger.store import TTL, Check
from rillgate.ledger.writes import Absent, Add, AtMost, ConditionFailed, Key, Put, Remove, Write
from tests.fakes.clock import FakeClock

KEY = Key("k")


@pytest.fixture
def clock() -> FakeClock:
    """The table's wall clock."""
    return FakeClock()


@pytest.fixture
def table(clock: FakeClock) -> Iterator[SqliteTable]:
    """A table in memory."""
    with contextlib.closing(SqliteTable(None, wall=clock.wall)) as opened:
        yield opened


@contextlib.contextmanager
def statements(table: SqliteTable) -> Iterator[list[str]]:
    """The first words of all statements that the table runs meanwhile."""
    seen: list[str] = []
    table._connection.set_trace_callback(lambda statement: seen.append(statement.split()[0]))
    yield seen
    table._connection.set_trace_callback(None)


def test_apply_of_many_writes_takes_one_transaction(table: SqliteTable) -> None:
    """A batch is begun and committed once, and an item in it is read once and stored once."""
    with statements(table) as seen:
        table.apply([Write(KEY, (Add("n", 1),)) for _ in range(100)])
    assert seen == ["BEGIN", "SELECT", "INSERT", "COMMIT"]


def test_apply_of_writes_to_one_item_is_done_in_order(table: SqliteTable) -> None:
    """Later writes of a batch see what earlier ones did; refused ones change nothing and show what they met."""
    outcomes = table.apply(
        [
            Write(KEY, (Add("n", 1),), (Absent("n"),), "all"),
            Write(KEY, (Add("n", 5),), (Absent("n"),), "all"),
            Write(KEY, (Add("n", 1),), (AtMost("n", 1),), "all"),
            Write(Key("other"), (Put("s", "x"),), (), "all"),
            Write(KEY, (Add("n", 1), Put("m", 1)), (AtMost("n", 1),), "all"),
            Write(KEY, (Remove("n"),), (), "all"),
        ]
    )
    refused = [outcome.item for outcome in outcomes if isinstance(outcome, ConditionFailed)]
    assert refused == [{"n": 1}, {"n": 2}]
    assert [outcome for outcome in outcomes if not isinstance(outcome, Exception)] == [
        {"n": 1},
        {"n": 2},
        {"s": "x"},
        {},
    ]
    assert table.read([KEY, Key("other")]) == [{}, {"s": "x"}]


def test_apply_of_images_given_out_keeps_them_unchanged(table: SqliteTable) -> None:
    """What one write gives back is not changed by the next one of the batch."""
    first, second = table.apply([Write(KEY, (Add("n", 1),), returns="all"), Write(KEY, (Add("n", 1),), returns="all")])
    assert (first, second) == ({"n": 1}, {"n": 2})


def test_apply_of_mistaken_write_does_the_others(table: SqliteTable) -> None:
    """Adding to a text is the fault of that write alone."""
    table.write(Write(KEY, (Put("s", "text"), Put("n", 1))))
    mistake, done = table.apply([Write(KEY, (Add("n", 5), Add("s", 1))), Write(KEY, (Add("n", 1),), returns="changed")])
    assert isinstance(mistake, TypeError)
    assert done == {"n": 2}
    assert table.read([KEY]) == [{"s": "text", "n": 2}]


@pytest.mark.parametrize(
    "broken", [Write(Key("\ud800"), (Add("n", 1),)), Write(Key("other"), (Put("s", "\ud800"),))], ids=["key", "value"]
)
def test_apply_of_write_that_cannot_be_stored_does_the_others(table: SqliteTable, broken: Write) -> None:
    """Half a surrogate pair, which JSON may carry and UTF-8 may not, fails its own write and no other's."""
    write = Write(KEY, (Add("n", 1),), returns="changed")
    before, failed, after = table.apply([write, broken, write])
    assert isinstance(failed, UnicodeEncodeError)
    assert (before, after) == ({"n": 1}, {"n": 2})
    assert table.read([KEY, Key("other")]) == [{"n": 2}, None]


def test_write_all_of_too_many_or_repeated_items_is_refused(table: SqliteTable) -> None:
    """What DynamoDB would not do is refused here too."""
    with pytest.raises(ValueError, match="at most 25"):
        table.write_all([Write(Key("k", str(number)), (Add("n", 1),)) for number in range(26)])
    with pytest.raises(ValueError, match="an item of its own"):
        table.write_all([Write(KEY, (Add("n", 1),)), Check(KEY, (Absent("n"),))])
    assert list(table.query("k")) == []


def test_query_past_one_page_gives_every_item_once(table: SqliteTable) -> None:
    """A partition of several pages comes whole and in order."""
    names = [f"{number:05}" for number in range(2_500)]
    table.apply([Write(Key("k", name), (Put("n", 1),)) for name in names])
    assert [sk for sk, _ in table.query("k")] == names


def expiring(name: str, at_s: float) -> Write:
    """A write of an item that may be forgotten after `at_s`."""
    return Write(Key("x", name), (Put(TTL, int(at_s)),))


def left(table: SqliteTable) -> list[str]:
    """Which of the expiring items are there."""
    return [sk for sk, _ in table.query("x")]


def test_expired_items_are_forgotten_when_the_file_is_opened(tmp_path: Path, clock: FakeClock) -> None:
    """Opening forgets what has expired, and nothing else; an item is there up to its last second."""
    path = tmp_path / "rillgate.db"
    with contextlib.closing(SqliteTable(path, wall=clock.wall)) as table:
        table.apply([expiring("sooner", clock.wall() + 10), expiring("later", clock.wall() + 11)])
        table.apply([Write(Key("x", "never"), (Put("n", 1),)), Write(Key("x", "text"), (Put(TTL, "0"),))])
    clock.advance(11)
    with contextlib.closing(SqliteTable(path, wall=clock.wall)) as table:
        assert left(table) == ["later", "never", "text"]


def test_expired_items_are_forgotten_once_an_hour(table: SqliteTable, clock: FakeClock) -> None:
    """A write forgets what has expired when the last time was an hour ago."""
    table.write(expiring("a", clock.wall() + 10))
    clock.advance(PURGE_EVERY_S - 1)
    table.write(Write(KEY, (Add("n", 1),)))
    assert left(table) == ["a"]
    clock.advance(1)
    table.write(Write(KEY, (Add("n", 1),)))
    assert left(table) == []


def test_expired_items_of_great_number_are_forgotten_bit_by_bit(table: SqliteTable, clock: FakeClock) -> None:
    """One transaction forgets a bounded number, the oldest first, and the following ones the rest."""
    table.apply([expiring(f"{number:03}", clock.wall() + number) for number in range(2 * PURGE_ROWS_MAX + 50)])
    clock.advance(PURGE_EVERY_S)
    counts = []
    for _ in range(4):
        table.write(Write(KEY, (Add("n", 1),)))
        counts.append(len(left(table)))
    assert counts == [PURGE_ROWS_MAX + 50, 50, 0, 0]


def test_expired_item_that_is_prolonged_stays(table: SqliteTable, clock: FakeClock) -> None:
    """A write that gives an expired item more time comes before forgetting."""
    table.write(Write(Key("x", "a"), (Put(TTL, int(clock.wall()) + 10), Put("n", 1))))
    clock.advance(PURGE_EVERY_S)
    table.write(expiring("a", clock.wall() + 10))
    assert table.read([Key("x", "a")]) == [{TTL: int(clock.wall()) + 10, "n": 1}]


def test_item_that_lost_its_expiry_stays(table: SqliteTable, clock: FakeClock) -> None:
    """An item whose expiry was taken away is never forgotten."""
    table.write(expiring("a", clock.wall() + 10))
    table.write(Write(Key("x", "a"), (Remove(TTL),)))
    clock.advance(PURGE_EVERY_S)
    table.write(Write(KEY, (Add("n", 1),)))
    assert left(table) == ["a"]
