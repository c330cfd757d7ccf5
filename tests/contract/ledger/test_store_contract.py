"""What every `Store` keeps to, so that the ledger above behaves the same on each.

The changes and conditions alone and together are listed here; `test_store_model.py` mixes them at random.
"""

from __future__ import annotations

import anyio
import pytest
from msgspec.structs import replace

from rillgate.ledger.store import Store
from rillgate.ledger.writes import (
    Absent,
    Add,
    AtMost,
    Change,
    Condition,
    ConditionFailed,
    Equal,
    Item,
    Key,
    Put,
    Remove,
    Returns,
    Value,
    Write,
)

pytestmark = pytest.mark.anyio

PRESENT: Item = {"n": 5, "s": "text", "zero": 0, "empty": ""}


async def prepare(store: Store, key: Key, item: Item | None) -> None:
    """Let `item` be there, or nothing for None."""
    if item is not None:
        await store.write(Write(key, tuple(Put(name, value) for name, value in item.items())))


async def failure(store: Store, write: Write) -> Item:
    """The item that a refused write shows."""
    with pytest.raises(ConditionFailed) as caught:
        await store.write(write)
    return caught.value.item


@pytest.mark.parametrize("there", ["absent", "present"])
@pytest.mark.parametrize(
    ("conditions", "holds_on"),
    [
        ((Absent("n"),), "absent"),
        ((Absent("other"),), "absent, present"),
        ((Absent("empty"),), "absent"),
        ((Equal("n", 5),), "present"),
        ((Equal("n", 6),), ""),
        ((Equal("n", "5"),), ""),
        ((Equal("s", "text"),), "present"),
        ((Equal("s", "Text"),), ""),
        ((Equal("zero", 0),), "present"),
        ((Equal("empty", ""),), "present"),
        ((Equal("other", ""),), ""),
        ((AtMost("n", 5),), "absent, present"),
        ((AtMost("n", 4),), "absent"),
        ((AtMost("n", -1),), "absent"),
        ((AtMost("zero", 0),), "absent, present"),
        ((AtMost("s", 10**18),), "absent"),
        ((AtMost("other", -1),), "absent, present"),
        ((Absent("other"), Equal("n", 5), AtMost("n", 9)), "present"),
        ((Absent("other"), Equal("n", 5), AtMost("n", 4)), ""),
        ((Absent("s"), AtMost("n", 9)), "absent"),
        ((AtMost("n", 9), AtMost("n", 4)), "absent"),
        ((), "absent, present"),
    ],
    ids=str,
)
async def test_condition_on_item_decides_write(
    store: Store,
    key: Key,
    there: str,
    conditions: tuple[Condition, ...],
    holds_on: str,
) -> None:
    """A write is done when all its conditions hold; else nothing is changed and the item as it was is shown."""
    item = PRESENT if there == "present" else None
    await prepare(store, key, item)
    write = Write(key, (Put("done", 1), Add("n", 1)), conditions, "all")
    before = item or {}
    if there in holds_on:
        after = {**before, "done": 1, "n": 6 if item else 1}
        assert await store.write(write) == after
        assert await store.read([key]) == [after]
    else:
        assert await failure(store, write) == before
        assert await store.read([key]) == [item]


@pytest.mark.parametrize(
    ("item", "changes", "after"),
    [
        (None, (Add("n", 3),), {"n": 3}),
        (None, (Add("n", -3),), {"n": -3}),
        (None, (Add("n", 0),), {"n": 0}),
        (None, (Put("n", 3),), {"n": 3}),
        (None, (Put("s", "x"),), {"s": "x"}),
        (None, (Remove("n"),), {}),
        (PRESENT, (Add("n", 3),), {**PRESENT, "n": 8}),
        (PRESENT, (Add("n", -9),), {**PRESENT, "n": -4}),
        (PRESENT, (Add("other", 3),), {**PRESENT, "other": 3}),
        (PRESENT, (Put("n", 3),), {**PRESENT, "n": 3}),
        (PRESENT, (Put("n", "three"),), {**PRESENT, "n": "three"}),
        (PRESENT, (Put("s", 3),), {**PRESENT, "s": 3}),
        (PRESENT, (Put("s", "text"),), PRESENT),
        (PRESENT, (Remove("other"),), PRESENT),
        (PRESENT, (Remove("n"), Remove("s")), {"zero": 0, "empty": ""}),
        ({"n": 5}, (Remove("n"),), {}),
        (PRESENT, (Remove("n"), Put("s", "y"), Add("zero", 1)), {"s": "y", "zero": 1, "empty": ""}),
    ],
    ids=str,
)
async def test_changes_on_item_give_new_item(
    store: Store, key: Key, item: Item | None, changes: tuple[Change, ...], after: Item
) -> None:
    """Changes are done together, other attributes stay; an item that was not there is made, if need be an empty one."""
    await prepare(store, key, item)
    assert await store.write(Write(key, changes)) == {}
    assert await store.read([key]) == [after]


@pytest.mark.parametrize(
    ("returns", "expected"),
    [("nothing", {}), ("changed", {"n": 6, "new": "x"}), ("all", {"n": 6, "new": "x", "zero": 0, "empty": ""})],
)
async def test_write_returning_some_gives_values_afterwards(
    store: Store, key: Key, returns: Returns, expected: Item
) -> None:
    """A write gives back nothing, what it changed, or everything, as it is afterwards and without the key."""
    await prepare(store, key, PRESENT)
    write = Write(key, (Add("n", 1), Put("new", "x"), Remove("s"), Remove("never")), (AtMost("n", 5),), returns)
    assert await store.write(write) == expected


@pytest.mark.parametrize("returns", ["nothing", "changed", "all"])
async def test_refused_write_returning_anything_shows_whole_item(store: Store, key: Key, returns: Returns) -> None:
    """A refusal shows the whole item as it was, whatever the write would have given back."""
    await prepare(store, key, PRESENT)
    assert await failure(store, Write(key, (Add("n", 1),), (Absent("n"),), returns)) == PRESENT


async def test_condition_on_item_emptied_by_removal_holds_as_on_absent(store: Store, key: Key) -> None:
    """An item without attributes meets the conditions that one that is not there meets."""
    await prepare(store, key, {"n": 1})
    await store.write(Write(key, (Remove("n"),)))
    assert await failure(store, Write(key, (Put("s", "x"),), (Equal("n", 1),))) == {}
    assert await store.write(Write(key, (Put("s", "x"),), (Absent("n"), AtMost("n", 0)), "all")) == {"s": "x"}


@pytest.mark.parametrize(
    "value",
    [
        *(sign * number for number in (2**31, 2**53, 2**53 + 1, 10**18 - 1, 10**18) for sign in (1, -1)),
        "",
        " ",
        "0",
        "5",
        "null",
        'quotes " \' ` \\ and {"json": [1]}',
        "line\nbreak\ttab\r\u2028",
        "\x00\x01\x7f",
        "Grüße, 日本語, 🙂👩‍👩‍👧",
        "x" * 5_000,
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_value_of_any_form_comes_back_exactly(store: Store, key: Key, value: Value) -> None:
    """Whole numbers far above a float's 53 bits and texts of any characters are kept as they are, and compared so."""
    write = Write(key, (Put("value", value), Put("other", 1)), returns="changed")
    assert await store.write(write) == {"value": value, "other": 1}
    assert await store.read([key]) == [{"value": value, "other": 1}]
    assert await store.write(Write(key, (Add("other", 1),), (Equal("value", value),), "changed")) == {"other": 2}
    assert await failure(store, Write(key, (Add("other", 1),), (Absent("value"),))) == {"value": value, "other": 2}


async def test_large_numbers_added_up_stay_exact(store: Store, key: Key) -> None:
    """Counters of nano-dollars are added and compared exactly, one apart at 10**18."""
    await store.write(Write(key, (Put("c", 10**18 - 2**53),)))
    await store.write(Write(key, (Add("c", 2**53 - 1),)))
    assert await store.read([key]) == [{"c": 10**18 - 1}]
    assert await failure(store, Write(key, (Add("c", 1),), (AtMost("c", 10**18 - 2),))) == {"c": 10**18 - 1}
    assert await store.write(Write(key, (Add("c", 1),), (AtMost("c", 10**18 - 1),), "all")) == {"c": 10**18}


async def test_keys_alike_name_different_items(store: Store, key: Key) -> None:
    """Items differ where either part of the key does; case and order count."""
    keys = [key, replace(key, sk="a"), replace(key, sk="A"), Key("a", key.pk), replace(key, pk=key.pk.upper())]
    for number, each in enumerate(keys):
        await store.write(Write(each, (Put("number", number),)))
    assert await store.read(keys) == [{"number": number} for number in range(len(keys))]


async def test_names_with_meaning_elsewhere_are_plain(store: Store, key: Key) -> None:
    """Attribute names that are reserved words, or look like expressions, are names like others."""
    names = ("total", "n", "SELECT", "h-_Az09", "a.b", "a[0]", "#0", ":0", "x y")
    await store.write(Write(key, tuple(Put(name, number) for number, name in enumerate(names))))
    write = Write(key, tuple(Add(name, 1) for name in names), tuple(AtMost(name, 99) for name in names), "all")
    assert await store.write(write) == {name: number + 1 for number, name in enumerate(names)}


async def test_read_of_missing_and_repeated_keys_answers_each(store: Store, key: Key) -> None:
    """One answer for each key, in order: None for an item that is not there, the same twice for a repeated key."""
    missing = replace(key, sk="missing")
    await prepare(store, key, PRESENT)
    assert await store.read([missing, key, key, missing]) == [None, PRESENT, PRESENT, None]


async def test_read_of_no_keys_gives_nothing(store: Store) -> None:
    """Nothing asked, nothing given."""
    assert await store.read([]) == []


async def test_read_of_many_keys_answers_all_in_order(store: Store, key: Key) -> None:
    """More keys than one call of DynamoDB takes are read all the same."""
    keys = [replace(key, sk=f"{number:03}") for number in range(230)]
    for number in range(0, 230, 10):
        await store.write(Write(keys[number], (Put("number", number),)))
    expected = [{"number": number} if number % 10 == 0 else None for number in range(230)]
    assert await store.read(keys) == expected


async def test_concurrent_increments_under_limit_admit_exactly_the_limit(store: Store, key: Key) -> None:
    """Of 50 writers at once exactly as many get through as the limit has room for, the others change nothing."""
    admitted: list[int] = []
    refused: list[Item] = []

    async def ask(number: int) -> None:
        try:
            item = await store.write(Write(key, (Add("n", 3), Put(f"h{number}", 3)), (AtMost("n", 58),), "changed"))
        except ConditionFailed as full:
            refused.append(full.item)
        else:
            assert isinstance(item["n"], int)
            admitted.append(item["n"])

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(ask, number)
    (item,) = await store.read([key])
    assert sorted(admitted) == list(range(3, 61, 3))
    assert item is not None
    assert (item["n"], len(item)) == (60, 21)
    assert refused == [item] * 30


async def test_concurrent_writes_of_different_items_are_independent(store: Store, key: Key) -> None:
    """A write that is refused takes none of those around it along."""
    keys = [replace(key, sk=f"{number:02}") for number in range(40)]
    for each in keys[::4]:
        await store.write(Write(each, (Put("taken", 1),)))
    refused: list[Key] = []

    async def claim(each: Key) -> None:
        try:
            await store.write(Write(each, (Put("mine", each.sk),), (Absent("taken"),)))
        except ConditionFailed:
            refused.append(each)

    async with anyio.create_task_group() as tasks:
        for each in keys:
            tasks.start_soon(claim, each)
    assert sorted(refused, key=lambda each: each.sk) == keys[::4]
    expected = [{"taken": 1} if number % 4 == 0 else {"mine": each.sk} for number, each in enumerate(keys)]
    assert await store.read(keys) == expected


async def test_writes_one_after_another_see_each_other(store: Store, key: Key) -> None:
    """What was acknowledged is there for the next write and the next read."""
    for number in range(10):
        conditions = (Equal("n", number),) if number else (Absent("n"),)
        assert await store.write(Write(key, (Add("n", 1),), conditions, "changed")) == {"n": number + 1}
        assert await store.read([key]) == [{"n": number + 1}]
