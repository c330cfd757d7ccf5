"""Reads the expressions that the ledger sends to DynamoDB, from their text: a second opinion beside `Write.apply`.

It knows the grammar that is used and no more, and refuses what DynamoDB refuses: names and values that are not used or
not defined, one path in two clauses, two operators in one operand, arithmetic on what is not there.
Source: Amazon DynamoDB developer guide, "Condition and filter expressions" and "Update expressions", read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Attributes = dict[str, dict[str, str]]

_TOKEN = re.compile(r"\s*(attribute_not_exists|if_not_exists|SET|REMOVE|AND|OR|<=|[#:]\w+|[=,()+\-])")


class ValidationError(Exception):
    """DynamoDB would answer ValidationException."""


class Expressions:
    """One UpdateItem request, read and applied to items.

    Raises: ValidationError: it is not one that DynamoDB takes.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self._names: dict[str, str] = request.get("ExpressionAttributeNames", {})
        self._values: Attributes = request.get("ExpressionAttributeValues", {})
        self._used: set[str] = set()
        self._paths: set[str] = set()
        self._update: str = request["UpdateExpression"]
        self._condition: str | None = request.get("ConditionExpression")

    def holds(self, item: Attributes) -> bool:
        """Whether the condition holds."""
        if self._condition is None:
            return True
        tokens = _Tokens(self._condition)
        result = self._disjunction(tokens, item)
        tokens.end()
        return result

    def updated(self, item: Attributes) -> tuple[Attributes, list[str]]:
        """The item afterwards, and the names of what was set."""
        tokens = _Tokens(self._update)
        after = dict(item)
        changed: list[str] = []
        while (clause := tokens.peek()) is not None:
            tokens.take(clause)
            if clause not in ("SET", "REMOVE"):
                raise ValidationError(f"a clause begins with {clause}")
            while True:
                name = self._path(tokens)
                if clause == "SET":
                    tokens.take("=")
                    after[name] = self._operand(tokens, item)
                    changed.append(name)
                else:
                    after.pop(name, None)
                if tokens.peek() != ",":
                    break
                tokens.take(",")
        if not self._paths:
            raise ValidationError("the update changes nothing")
        return after, changed

    def check_use(self) -> None:
        """Every alias is used; call after `holds` and `updated`."""
        unused = (self._names.keys() | self._values.keys()) - self._used
        if unused:
            raise ValidationError(f"not used: {sorted(unused)}")

    def _disjunction(self, tokens: _Tokens, item: Attributes) -> bool:
        result = self._conjunction(tokens, item)
        while tokens.peek() == "OR":
            tokens.take("OR")
            result = self._conjunction(tokens, item) or result
        return result

    def _conjunction(self, tokens: _Tokens, item: Attributes) -> bool:
        result = self._predicate(tokens, item)
        while tokens.peek() == "AND":
            tokens.take("AND")
            result = self._predicate(tokens, item) and result
        return result

    def _predicate(self, tokens: _Tokens, item: Attributes) -> bool:
        if tokens.peek() == "(":
            tokens.take("(")
            result = self._disjunction(tokens, item)
            tokens.take(")")
            return result
        if tokens.peek() == "attribute_not_exists":
            tokens.take("attribute_not_exists")
            tokens.take("(")
            name = self._name(tokens)
            tokens.take(")")
            return name not in item
        found = item.get(self._name(tokens))
        operator = tokens.any("=", "<=")
        value = self._value(tokens)
        if found is None or found.keys() != value.keys():
            return False
        return found == value if operator == "=" else _number(found) <= _number(value)

    def _operand(self, tokens: _Tokens, item: Attributes) -> dict[str, str]:
        """A value, or `if_not_exists(path, value)`, plus or minus at most one more value."""
        left = self._term(tokens, item)
        if tokens.peek() not in ("+", "-"):
            return left
        sign = 1 if tokens.any("+", "-") == "+" else -1
        total = _number(left) + sign * _number(self._term(tokens, item))
        if tokens.peek() in ("+", "-"):
            raise ValidationError("two operators in one operand")
        return {"N": str(total)}

    def _term(self, tokens: _Tokens, item: Attributes) -> dict[str, str]:
        if tokens.peek() != "if_not_exists":
            return self._value(tokens)
        tokens.take("if_not_exists")
        tokens.take("(")
        name = self._name(tokens)
        tokens.take(",")
        default = self._value(tokens)
        tokens.take(")")
        return item.get(name, default)

    def _path(self, tokens: _Tokens) -> str:
        """A path that is written: once at most in one request."""
        name = self._name(tokens)
        if name in self._paths:
            raise ValidationError(f"two changes of {name!r}")
        self._paths.add(name)
        return name

    def _name(self, tokens: _Tokens) -> str:
        return str(self._look_up(self._names, tokens))

    def _value(self, tokens: _Tokens) -> dict[str, str]:
        value: dict[str, str] = self._look_up(self._values, tokens)
        return value

    def _look_up(self, aliases: dict[str, Any], tokens: _Tokens) -> Any:
        alias = tokens.next()
        if alias not in aliases:
            raise ValidationError(f"{alias} is not defined")
        self._used.add(alias)
        return aliases[alias]


class _Tokens:
    """The words of one expression."""

    def __init__(self, text: str) -> None:
        self._words: list[str] = list(_words(text))

    def peek(self) -> str | None:
        return self._words[0] if self._words else None

    def next(self) -> str:
        if not self._words:
            raise ValidationError("the expression ends too early")
        return self._words.pop(0)

    def take(self, word: str) -> None:
        self.any(word)

    def any(self, *words: str) -> str:
        found = self.next()
        if found not in words:
            raise ValidationError(f"{found!r} where {words} belongs")
        return found

    def end(self) -> None:
        if self._words:
            raise ValidationError(f"{self._words[0]!r} after the end")


def _words(text: str) -> Iterator[str]:
    position = 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValidationError(f"cannot read {text[position : position + 20]!r}")
        yield match[1]
        position = match.end()


def _number(value: dict[str, str]) -> int:
    if "N" not in value:
        raise ValidationError("arithmetic on what is no number")
    return int(value["N"])
