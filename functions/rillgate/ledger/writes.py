"""One conditional write to one item, as a value: what DynamoDB is told, and what SQLite does in its transaction.

A write is a conjunction of conditions and a list of changes. `render` spells it as an UpdateItem request, `apply` does
it to an item in memory; both mean the same, which the contract suite checks on AWS's own DynamoDB Local.

Items hold whole numbers and text only, so that every store keeps them exactly.
Source: Amazon DynamoDB API reference, UpdateItem and "Condition and filter expressions", read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Value = int | str
Item = Mapping[str, Value]
EMPTY: Item = {}

Returns = Literal["nothing", "changed", "all"]


class Key(msgspec.Struct, frozen=True):
    """The primary key of the one table."""

    pk: str
    sk: str = "-"


class Absent(msgspec.Struct, frozen=True):
    """The attribute is not there."""

    name: str

    def holds(self, item: Item) -> bool:
        """Whether it is so."""
        return self.name not in item


class Equal(msgspec.Struct, frozen=True):
    """The attribute has exactly this value."""

    name: str
    value: Value

    def holds(self, item: Item) -> bool:
        """Whether it is so; a number never equals a text."""
        found = item.get(self.name)
        return type(found) is type(self.value) and found == self.value


class AtMost(msgspec.Struct, frozen=True):
    """The attribute is a number and not above this one, or is not there: a counter that nobody began is zero."""

    name: str
    bound: int

    def holds(self, item: Item) -> bool:
        """Whether it is so."""
        found = item.get(self.name)
        return found is None or (isinstance(found, int) and found <= self.bound)


Condition = Absent | Equal | AtMost


class Add(msgspec.Struct, frozen=True):
    """Add to a number; one that is not there is zero."""

    name: str
    amount: int


class Put(msgspec.Struct, frozen=True):
    """Set an attribute, whatever it was."""

    name: str
    value: Value


class Remove(msgspec.Struct, frozen=True):
    """Take an attribute away; harmless where there is none."""

    name: str


Change = Add | Put | Remove


class ConditionFailed(Exception):
    """A condition did not hold and nothing was changed. `item` is what was there, without its key; empty for none."""

    def __init__(self, item: Item) -> None:
        super().__init__("a condition did not hold")
        self.item = item


class StoreUnavailable(Exception):
    """The store gave no answer that says whether the write was done: it was, or was not, or will be."""


class Write(msgspec.Struct, frozen=True):
    """One conditional write. No attribute stands in two changes. The item is made where there was none.

    Attributes:
        key: of the item.
        changes: done together, or not at all.
        conditions: all must hold.
        returns: what `Store.write` gives back: nothing, the attributes that changed, or the whole item, both as they
            are afterwards.
    """

    key: Key
    changes: tuple[Change, ...]
    conditions: tuple[Condition, ...] = ()
    returns: Returns = "nothing"

    def apply(self, item: Item) -> dict[str, Value]:
        """The item afterwards. `item` is as it is, without its key; empty where there is none.

        Raises:
            ConditionFailed: with `item`.
        """
        if not all(condition.holds(item) for condition in self.conditions):
            raise ConditionFailed(item)
        after = dict(item)
        for change in self.changes:
            match change:
                case Add(name, amount):
                    before = after.get(name, 0)
                    if not isinstance(before, int):
                        raise TypeError(f"attribute {name!r} of {self.key} is no number")
                    after[name] = before + amount
                case Put(name, value):
                    after[name] = value
                case Remove(name):
                    after.pop(name, None)
        return after

    def returned(self, after: Item) -> Item:
        """What `Store.write` gives back, from the item afterwards."""
        if self.returns == "all":
            return after
        if self.returns == "nothing":
            return EMPTY
        return {change.name: after[change.name] for change in self.changes if change.name in after}

    def render(self, table: str) -> dict[str, Any]:
        """The UpdateItem request. All names are aliased, since `n` and `v` are short but `total` is reserved.

        Shape: {"TableName": …, "Key": {"pk": {"S": …}, "sk": {"S": …}}, "UpdateExpression": "SET #0 = …", …}
        """
        return _Rendering(self).request(table)


class _Rendering:
    """Collects aliases while a write is spelled."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._names: dict[str, str] = {}
        self._values: dict[str, dict[str, str]] = {}
        self._value_aliases: dict[Value, str] = {}

    def request(self, table: str) -> dict[str, Any]:
        write = self._write
        sets = [self._set(change) for change in write.changes if not isinstance(change, Remove)]
        removes = [self._name(change.name) for change in write.changes if isinstance(change, Remove)]
        conditions = [self._condition(condition) for condition in write.conditions]
        parts = [f"SET {', '.join(sets)}"] if sets else []
        parts += [f"REMOVE {', '.join(removes)}"] if removes else []
        request: dict[str, Any] = {
            "TableName": table,
            "Key": key_attributes(write.key),
            "ReturnValues": {"nothing": "NONE", "changed": "UPDATED_NEW", "all": "ALL_NEW"}[write.returns],
        }
        if parts:  # empty expressions and empty maps are refused
            request["UpdateExpression"] = " ".join(parts)
        if self._names:
            request["ExpressionAttributeNames"] = {alias: name for name, alias in self._names.items()}
        if conditions:
            request["ConditionExpression"] = " AND ".join(conditions)
            request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        if self._values:
            request["ExpressionAttributeValues"] = self._values
        return request

    def _set(self, change: Add | Put) -> str:
        name = self._name(change.name)
        if isinstance(change, Put):
            return f"{name} = {self._value(change.value)}"
        return f"{name} = if_not_exists({name}, {self._value(0)}) + {self._value(change.amount)}"

    def _condition(self, condition: Condition) -> str:
        name = self._name(condition.name)
        match condition:
            case Absent():
                return f"attribute_not_exists({name})"
            case Equal(_, value):
                return f"{name} = {self._value(value)}"
            case AtMost(_, bound):
                return f"(attribute_not_exists({name}) OR {name} <= {self._value(bound)})"

    def _name(self, name: str) -> str:
        return self._names.setdefault(name, f"#{len(self._names)}")

    def _value(self, value: Value) -> str:
        alias = self._value_aliases.get(value)
        if alias is None:
            alias = self._value_aliases[value] = f":{len(self._value_aliases)}"
            self._values[alias] = attribute(value)
        return alias


def attribute(value: Value) -> dict[str, str]:
    """A value as DynamoDB's JSON has it."""
    return {"S": value} if isinstance(value, str) else {"N": str(value)}


def key_attributes(key: Key) -> dict[str, dict[str, str]]:
    """A primary key as DynamoDB's JSON has it."""
    return {"pk": {"S": key.pk}, "sk": {"S": key.sk}}


def read_attributes(attributes: Mapping[str, Mapping[str, str]]) -> dict[str, Value]:
    """An item from DynamoDB's JSON, its key left out."""
    return {
        name: int(value["N"]) if "N" in value else value["S"]
        for name, value in attributes.items()
        if name not in ("pk", "sk")
    }
