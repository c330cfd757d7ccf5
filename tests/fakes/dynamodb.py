"""A DynamoDB in memory behind `domain.ports.AwsCalls`: linearizable, and able to fail in every way a network can.

The production store speaks to it, so what is tested is the production path from the expression builder through its
rendered text and its repeats to the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import msgspec

from rillgate.domain.errors import UpstreamError, UpstreamTimeout
from tests.fakes.dynamodb_text import Attributes, Expressions, ValidationError

Key = tuple[str, str]


class Fault(Enum):
    """What becomes of one call."""

    NONE = auto()
    LOST_REQUEST = auto()  # never arrives
    LOST_REPLY = auto()  # is done; nobody hears of it
    SERVER_ERROR = auto()  # is not done, and an error 500 says nothing about that
    SERVER_ERROR_DONE = auto()  # is done, and an error 500 says nothing about that
    DOUBLED = auto()  # arrives twice, one right after the other; the second answer is heard
    DELAYED = auto()  # arrives some time after its caller gave up
    THROTTLED = auto()  # is refused


class Crash(BaseException):
    """The caller's process dies here: nothing of its own code may run any more."""


def no_fault(operation: str) -> Fault:
    """Everything works."""
    return Fault.NONE


@dataclass
class FakeDynamoDb:
    """One table.

    Attributes:
        fault: asked at every call, with the operation's name, what becomes of it; may raise Crash.
        items: by primary key, as DynamoDB's JSON has them, without the key.
        delayed: writes that are still to arrive.
        calls: operations that arrived, in order.
        on_write: called after every write that was done, with the primary key.
    """

    fault: Callable[[str], Fault] = no_fault
    items: dict[Key, Attributes] = field(default_factory=dict)
    delayed: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    on_write: Callable[[Key], None] = lambda key: None

    async def call(self, target: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        """`domain.ports.AwsCalls`."""
        operation = target.partition(".")[2]
        request: dict[str, Any] = msgspec.json.decode(body)
        match self.fault(operation):
            case Fault.LOST_REQUEST:
                raise UpstreamError("the connection was refused")
            case Fault.LOST_REPLY:
                self._do(operation, request)
                raise UpstreamTimeout("no answer in time")
            case Fault.SERVER_ERROR:
                return _error(500, "InternalServerError")
            case Fault.SERVER_ERROR_DONE:
                self._do(operation, request)
                return _error(500, "InternalServerError")
            case Fault.THROTTLED:
                return _error(400, "ThrottlingException")
            case Fault.DELAYED if operation == "UpdateItem":
                self.delayed.append(request)
                raise UpstreamTimeout("no answer in time")
            case Fault.DOUBLED:
                self._do(operation, request)
        return self._do(operation, request)

    def deliver(self, index: int = 0) -> None:
        """One of the delayed writes arrives."""
        self._do("UpdateItem", self.delayed.pop(index))

    def item(self, pk: str, sk: str = "-") -> dict[str, int | str]:
        """An item in plain values; empty where there is none."""
        attributes = self.items.get((pk, sk), {})
        return {name: int(value["N"]) if "N" in value else value["S"] for name, value in attributes.items()}

    def _do(self, operation: str, request: dict[str, Any]) -> tuple[int, bytes]:
        self.calls.append(operation)
        try:
            match operation:
                case "UpdateItem":
                    return self._update(request)
                case "GetItem":
                    return _ok({"Item": found} if (found := self._get(request["Key"])) is not None else {})
                case "BatchGetItem":
                    return self._batch_get(request)
        except ValidationError as error:
            return _error(400, "ValidationException", str(error))
        raise AssertionError(f"{operation} is not known here")

    def _update(self, request: dict[str, Any]) -> tuple[int, bytes]:
        key = _key(request["Key"])
        before = self.items.get(key, {})
        expressions = Expressions(request)
        holds = expressions.holds(before)
        after, changed = expressions.updated(before)
        expressions.check_use()
        if not holds:
            shown = request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and key in self.items
            return _error(400, "ConditionalCheckFailedException", item={**request["Key"], **before} if shown else None)
        self.items[key] = after
        self.on_write(key)
        match request.get("ReturnValues", "NONE"):
            case "ALL_NEW":
                return _ok({"Attributes": {**request["Key"], **after}})
            case "UPDATED_NEW":
                return _ok({"Attributes": {name: after[name] for name in changed}})
        return _ok({})

    def _get(self, key: Attributes) -> Attributes | None:
        found = self.items.get(_key(key))
        return None if found is None else {**key, **found}

    def _batch_get(self, request: dict[str, Any]) -> tuple[int, bytes]:
        ((table, asked),) = request["RequestItems"].items()
        keys = asked["Keys"]
        if len(keys) > 100 or len({_key(key) for key in keys}) < len(keys):
            raise ValidationError("too many keys, or one twice")
        found = [item for key in keys if (item := self._get(key)) is not None]
        return _ok({"Responses": {table: found}, "UnprocessedKeys": {}})


def _key(key: Attributes) -> Key:
    return key["pk"]["S"], key["sk"]["S"]


def _ok(answer: dict[str, Any]) -> tuple[int, bytes]:
    return 200, msgspec.json.encode(answer)


def _error(status: int, kind: str, message: str = "", item: Attributes | None = None) -> tuple[int, bytes]:
    body: dict[str, Any] = {"__type": f"com.amazonaws.dynamodb.v20120810#{kind}", "message": message}
    if item is not None:
        body["Item"] = item
    return status, msgspec.json.encode(body)
