"""The reader of DynamoDB's expressions, which the fake table stands on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.ledger.writes import (
    Absent,
    Add,
    AtMost,
    ConditionFailed,
    Equal,
    Item,
    Key,
    Put,
    Remove,
    Write,
    read_attributes,
)
from tests.fakes.dynamodb_admin import item_attributes
from tests.fakes.dynamodb_text import Attributes, Expressions, ValidationError

ITEM: Attributes = {"n": {"N": "5"}, "s": {"S": "text"}}
NAMES = {"#n": "n", "#s": "s", "#x": "x"}
VALUES: Attributes = {":0": {"N": "0"}, ":4": {"N": "4"}, ":5": {"N": "5"}, ":t": {"S": "text"}}

names = st.sampled_from(["n", "m", "v"])
texts = st.sampled_from(["s", "h-_0"])
numbers = st.integers(-9, 9) | st.sampled_from([2**63, -(10**18)])
items = st.dictionaries(names, numbers).flatmap(
    lambda counters: st.dictionaries(texts, st.sampled_from(["", "5", "ü"])).map(lambda words: {**counters, **words})
)
conditions = st.lists(
    st.builds(Absent, names | texts)
    | st.builds(Equal, names | texts, numbers | st.sampled_from(["", "5", "ü"]))
    | st.builds(AtMost, names | texts, numbers),
    max_size=3,
).map(tuple)
one_change = st.one_of(
    st.builds(Add, names, numbers),
    st.builds(Put, names, numbers),
    st.builds(Put, texts, st.sampled_from(["", "5", "ü"])),
    st.builds(Remove, names | texts),
)
changes = st.lists(one_change, min_size=1, unique_by=lambda change: change.name).map(tuple)


def read(update: str, condition: str | None = None, *, unused: bool = True) -> Expressions:
    """Expressions with all aliases there are; without those that do not stand in the text unless `unused`."""
    text = f"{update} {condition}"
    request: dict[str, Any] = {
        "UpdateExpression": update,
        "ExpressionAttributeNames": {alias: name for alias, name in NAMES.items() if unused or alias in text},
        "ExpressionAttributeValues": {alias: value for alias, value in VALUES.items() if unused or alias in text},
    }
    if condition is not None:
        request["ConditionExpression"] = condition
    return Expressions(request)


@given(items, changes, conditions)
def test_expressions_of_any_write_mean_what_apply_means(
    item: Item, some_changes: tuple[Any, ...], some_conditions: tuple[Any, ...]
) -> None:
    """The text that a write is rendered to, read back, does what the write says it does."""
    write = Write(Key("a"), some_changes, some_conditions)
    expressions = Expressions(write.render("table"))
    attributes = item_attributes(item)
    holds = expressions.holds(attributes)
    after, _ = expressions.updated(attributes)
    expressions.check_use()
    try:
        expected = write.apply(item)
    except ConditionFailed:
        assert not holds
    else:
        assert holds
        assert read_attributes(after) == expected


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("#n = :5", True),
        ("#n = :4", False),
        ("#n = :t", False),
        ("#n <= :5", True),
        ("#n <= :4", False),
        ("#x <= :5", False),
        ("#s <= :5", False),
        ("attribute_not_exists(#x)", True),
        ("attribute_not_exists(#n)", False),
        ("attribute_not_exists(#n) OR #n <= :5", True),
        ("#n = :4 AND #n = :5 OR #s = :t", True),  # AND binds closer
        ("#n = :4 AND (#n = :5 OR #s = :t)", False),
    ],
)
def test_condition_on_item_holds_as_dynamodb_says(condition: str, holds: bool) -> None:
    """Numbers compare with numbers, what is not there with nothing, and AND comes before OR."""
    assert read("SET #n = :5", condition).holds(ITEM) is holds


@pytest.mark.parametrize(
    ("update", "changed", "after"),
    [
        ("SET #x = :t", ["x"], {**ITEM, "x": {"S": "text"}}),
        ("SET #n = if_not_exists(#n, :0) + :4", ["n"], {**ITEM, "n": {"N": "9"}}),
        ("SET #x = if_not_exists(#x, :0) - :4", ["x"], {**ITEM, "x": {"N": "-4"}}),
        ("SET #x = :5, #n = :0 REMOVE #s", ["x", "n"], {"n": {"N": "0"}, "x": {"N": "5"}}),
        ("REMOVE #x", [], ITEM),
        ("SET #n = :0, #x = if_not_exists(#n, :4) + :0", ["n", "x"], {**ITEM, "n": {"N": "0"}, "x": {"N": "5"}}),
    ],
)
def test_update_of_item_sets_and_removes(update: str, changed: list[str], after: Attributes) -> None:
    """All operands are of the item as it was before; what was set is named in order."""
    assert read(update).updated(ITEM) == (after, changed)
    assert ITEM == {"n": {"N": "5"}, "s": {"S": "text"}}


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        ("", "changes nothing"),
        ("SET", "ends too early"),
        ("SET #n = :5, #n = :4", "two changes"),
        ("SET #n = :5 REMOVE #n", "two changes"),
        ("SET #n = if_not_exists(#n, :0) + :4 - :5", "two operators"),
        ("SET #s = if_not_exists(#s, :0) + :4", "no number"),
        ("SET #y = :5", "#y is not defined"),
        ("SET #n = :9", ":9 is not defined"),
        ("SET n = :5", "cannot read"),
        ("ADD #n :5", "cannot read"),
        ("SET #n :5", "belongs"),
        ("#n = :5", "begins with"),
    ],
)
def test_update_that_dynamodb_refuses_is_refused(update: str, reason: str) -> None:
    """A mistake in the production rendering must not pass in tests."""
    with pytest.raises(ValidationError, match=reason):
        read(update).updated(ITEM)


@pytest.mark.parametrize("condition", ["", "#n", "#n = :5 #s", "(#n = :5", "#n = :5 AND", "#n < :5", "NOT #n = :5"])
def test_condition_that_cannot_be_read_is_refused(condition: str) -> None:
    """Nothing that is not understood counts as fulfilled."""
    with pytest.raises(ValidationError):
        read("SET #n = :5", condition).holds(ITEM)


def test_alias_that_is_not_used_is_refused() -> None:
    """DynamoDB takes no name or value that stands in no expression."""
    tight = read("SET #n = :5", "#s = :t", unused=False)
    assert tight.holds(ITEM)
    tight.updated(ITEM)
    tight.check_use()
    loose = read("SET #n = :5", "#s = :t")
    loose.holds(ITEM)
    loose.updated(ITEM)
    with pytest.raises(ValidationError, match=r"not used: \['#x', ':0', ':4'\]"):
        loose.check_use()
