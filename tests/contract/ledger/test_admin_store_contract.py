"""What every `AdminStore` keeps to: the command line does the same to SQLite and to DynamoDB."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from rillgate.ledger.store import AdminStore, Check
from rillgate.ledger.writes import Absent, Add, AtMost, ConditionFailed, Equal, Key, Put, Remove, Write


def test_write_alone_changes_item_and_returns_it(admin_store: AdminStore, key: Key) -> None:
    """A single write does what a store for requests does."""
    assert admin_store.write(Write(key, (Put("s", "x"), Add("n", 2)), (Absent("s"),))) == {}
    assert admin_store.write(Write(key, (Add("n", 1),), (AtMost("n", 2),), "changed")) == {"n": 3}
    assert admin_store.write(Write(key, (Remove("s"), Put("t", "y")), (), "all")) == {"n": 3, "t": "y"}
    assert admin_store.read([key]) == [{"n": 3, "t": "y"}]


def test_write_refused_shows_item_and_changes_nothing(admin_store: AdminStore, key: Key) -> None:
    """A refused write shows what was there."""
    admin_store.write(Write(key, (Put("s", "x"),)))
    with pytest.raises(ConditionFailed) as caught:
        admin_store.write(Write(key, (Put("s", "y"),), (Absent("s"),)))
    assert caught.value.item == {"s": "x"}
    assert admin_store.read([key]) == [{"s": "x"}]


def test_read_of_missing_and_repeated_keys_answers_each(admin_store: AdminStore, key: Key) -> None:
    """One answer for each key, in order, also for more keys than one call takes."""
    missing = replace(key, sk="missing")
    admin_store.write(Write(key, (Put("n", 2**53 + 1),)))
    assert admin_store.read([missing, key, key]) == [None, {"n": 2**53 + 1}, {"n": 2**53 + 1}]
    many = [replace(key, sk=f"{number:03}") for number in range(120)]
    assert admin_store.read([*many, key]) == [None] * 120 + [{"n": 2**53 + 1}]


def test_write_all_with_conditions_that_hold_does_all(admin_store: AdminStore, key: Key) -> None:
    """All writes of a transaction are done; an item that is only checked stays as it is."""
    budget, scope, checked = (replace(key, sk=name) for name in ("budget", "scope", "checked"))
    admin_store.write(Write(checked, (Put("v", 7),)))
    admin_store.write(Write(scope, (Put("v", 1), Put("b", "why"))))
    admin_store.write_all(
        [
            Write(budget, (Put("limits", "[]"), Put("v", 2)), (Absent("v"),)),
            Write(scope, (Add("v", 1), Remove("b")), (Equal("v", 1),)),
            Check(checked, (Equal("v", 7), AtMost("n", 0), Absent("b"))),
        ]
    )
    assert admin_store.read([budget, scope, checked]) == [{"limits": "[]", "v": 2}, {"v": 2}, {"v": 7}]


def test_write_all_of_most_operations_does_all(admin_store: AdminStore, key: Key) -> None:
    """A transaction may have 25 operations."""
    keys = [replace(key, sk=f"{number:02}") for number in range(25)]
    admin_store.write_all([Write(each, (Put("n", 1),)) for each in keys])
    assert admin_store.read(keys) == [{"n": 1}] * 25


def _failing_transactions(first: Key, second: Key) -> list[Sequence[Write | Check]]:
    done, held = Write(first, (Add("n", 1), Put("new", 1))), Write(second, (Put("new", 1),), (Absent("s"),))
    return [
        [done, held],
        [held, done],
        [done, Check(second, (Equal("s", "y"),))],
        [Check(second, (AtMost("n", 1), Absent("s"))), done],
        [done, Write(second, (Put("new", 1),), (Equal("s", "x"), Equal("n", 3)))],
    ]


@pytest.mark.parametrize("number", range(5))
def test_write_all_with_condition_that_fails_does_nothing(admin_store: AdminStore, key: Key, number: int) -> None:
    """A write or a check that is refused, wherever it stands, takes all others along; the item shown is it or empty."""
    first, second = key, replace(key, sk="second")
    admin_store.write(Write(first, (Put("n", 1),)))
    admin_store.write(Write(second, (Put("s", "x"), Put("n", 2))))
    with pytest.raises(ConditionFailed) as caught:
        admin_store.write_all(_failing_transactions(first, second)[number])
    assert caught.value.item in ({}, {"s": "x", "n": 2})
    assert admin_store.read([first, second]) == [{"n": 1}, {"s": "x", "n": 2}]


def test_write_all_refused_makes_no_item(admin_store: AdminStore, key: Key) -> None:
    """A transaction that is refused leaves no empty items behind."""
    other = replace(key, sk="other")
    with pytest.raises(ConditionFailed):
        admin_store.write_all([Write(key, (Put("n", 1),)), Check(other, (Equal("n", 1),))])
    assert admin_store.read([key, other]) == [None, None]


def test_query_of_partition_gives_items_in_order_of_bytes(admin_store: AdminStore, key: Key) -> None:
    """All items of a partition and of no other come in the order of their sort key's UTF-8 bytes."""
    names = ["-", "B", "a", "aa", "a|b", "z", "é", "日", "🙂"]
    for number, name in enumerate(reversed(names)):
        admin_store.write(Write(replace(key, sk=name), (Put("number", number),)))
    admin_store.write(Write(Key(f"{key.pk}|more", "a"), (Put("number", -1),)))
    expected = [(name, {"number": len(names) - 1 - place}) for place, name in enumerate(names)]
    assert list(admin_store.query(key.pk)) == expected


def test_query_of_empty_partition_gives_nothing(admin_store: AdminStore, key: Key) -> None:
    """A partition where nothing is has no items."""
    assert list(admin_store.query(key.pk)) == []


def test_query_of_large_partition_gives_every_item_once(admin_store: AdminStore, key: Key) -> None:
    """A partition of more than a megabyte comes whole, which DynamoDB gives in pages."""
    text, names = "x" * 12_000, [f"{number:03}" for number in range(120)]
    for name in names:
        admin_store.write(Write(replace(key, sk=name), (Put("text", text),)))
    assert list(admin_store.query(key.pk)) == [(name, {"text": text}) for name in names]


def test_query_while_items_are_written_goes_on(admin_store: AdminStore, key: Key) -> None:
    """Who reads a partition may write to its items at the same time."""
    names = ["a", "b", "c"]
    for name in names:
        admin_store.write(Write(replace(key, sk=name), (Put("n", 1),)))
    for sk, _ in admin_store.query(key.pk):
        admin_store.write(Write(replace(key, sk=sk), (Add("n", 1),)))
    assert [item for _, item in admin_store.query(key.pk)] == [{"n": 2}] * 3
