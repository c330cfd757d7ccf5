"""Reading a client's JSON body field by field, with errors that name the field, the value and the way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

import msgspec

from rillgate.domain.errors import ClientError

SHOWN_CHARS_MAX = 80


def json_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        ClientError: it is not JSON (the message says at which byte), or JSON but no object.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ClientError(f"The request body is not valid JSON: {error}.", code="invalid_json") from error
    except RecursionError as error:
        raise ClientError("The request body is nested too deeply.", code="invalid_json") from error
    if not isinstance(value, dict):
        raise ClientError(f"The request body must be a JSON object, not {json_type(value)}.", code="invalid_type")
    return value


def json_type(value: Any) -> str:
    """A JSON value's type in the words of the JSON specification."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def shown(value: Any) -> str:
    """A value short enough for a message."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 1] + "…"


def wrong_type(param: str, expected: str, value: Any) -> ClientError:
    """The 400 for a value of a wrong type."""
    return ClientError(
        f"Invalid type for '{param}': expected {expected}, got {json_type(value)}.", param=param, code="invalid_type"
    )


def missing(param: str, expected: str) -> ClientError:
    """The 400 for a field that must be there."""
    return ClientError(f"Missing required field '{param}': {expected}.", param=param, code="missing_required_parameter")


def invalid(param: str, value: Any, remedy: str) -> ClientError:
    """The 400 for a value that cannot be."""
    return ClientError(f"Invalid value for '{param}': {shown(value)}; {remedy}.", param=param, code="invalid_value")


def required_string(fields: Mapping[str, Any], key: str, where: str) -> str:
    """A string of the object at `where`."""
    value = fields.get(key)
    if value is None:
        raise missing(f"{where}.{key}", "a string")
    if not isinstance(value, str):
        raise wrong_type(f"{where}.{key}", "a string", value)
    return value


def optional_object(fields: Mapping[str, Any], param: str, where: str = "") -> Mapping[str, Any]:
    """An object, or {} where the field is absent or null. `where` stands before the name in messages."""
    value = fields.get(param)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong_type(f"{where}{param}", "an object", value)
    return value


def optional_array(fields: Mapping[str, Any], param: str, where: str = "") -> list[Any]:
    """An array, or [] where the field is absent or null. `where` as for an object."""
    value = fields.get(param)
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong_type(f"{where}{param}", "an array", value)
    return value


def optional_string(fields: Mapping[str, Any], param: str) -> str | None:
    """A string, or None where the field is absent or null."""
    value = fields.get(param)
    if value is not None and not isinstance(value, str):
        raise wrong_type(param, "a string", value)
    return value


def optional_bool(fields: Mapping[str, Any], param: str, *, default: bool = False) -> bool:
    """A boolean, or the default where the field is absent or null."""
    value = fields.get(param)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise wrong_type(param, "a boolean", value)
    return value


def optional_integer(fields: Mapping[str, Any], param: str, low: int, high: int, where: str = "") -> int | None:
    """An integer from `low` to `high`, or None where the field is absent or null. `where` as for an object."""
    value = fields.get(param)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(f"{where}{param}", "an integer", fields[param])
    return int(_within(f"{where}{param}", value, low, high))


def optional_number(fields: Mapping[str, Any], param: str, low: float, high: float) -> float | None:
    """A number from `low` to `high`, or None where the field is absent or null."""
    value = fields.get(param)
    if value is None:
        return None
    if not _is_number(value):
        raise wrong_type(param, "a number", value)
    return _within(param, value, low, high)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _within(param: str, value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise ClientError(
            f"Invalid value for '{param}': {shown(value)}; it must be between {low} and {high}.",
            param=param,
            code="invalid_value",
        )
    return value
