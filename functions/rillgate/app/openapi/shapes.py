"""JSON Schema, a few words at a time. Place: below `schemas`; nothing here knows the API.

Source: JSON Schema 2020-12, which OpenAPI 3.1 takes over as it is; read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """A schema of the document, by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(description: str = "", **more: Any) -> Schema:
    """A string."""
    return _described({"type": "string", **more}, description)


def integer(description: str = "", low: int | None = None, high: int | None = None, **more: Any) -> Schema:
    """A whole number from `low` to `high`."""
    return _described({"type": "integer", **_bounds(low, high), **more}, description)


def number(description: str = "", low: float | None = None, high: float | None = None, **more: Any) -> Schema:
    """A number from `low` to `high`."""
    return _described({"type": "number", **_bounds(low, high), **more}, description)


def boolean(description: str = "", **more: Any) -> Schema:
    """True or false."""
    return _described({"type": "boolean", **more}, description)


def array(items: Schema, description: str = "", **more: Any) -> Schema:
    """A list."""
    return _described({"type": "array", "items": items, **more}, description)


def one_of(*values: Any, description: str = "") -> Schema:
    """One of these values."""
    return _described({"enum": list(values)}, description)


def either(*schemas: Schema, description: str = "") -> Schema:
    """At least one of these fits."""
    return _described({"anyOf": list(schemas)}, description)


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    if isinstance(kind := schema.get("type"), str):
        return {**schema, "type": [kind, "null"]}
    return either(schema, {"type": "null"})


def optional(**properties: Schema) -> Mapping[str, Schema]:
    """Fields of a request that may be left out, for which null says the same."""
    return {name: nullable(schema) for name, schema in properties.items()}


def closed(
    properties: Mapping[str, Schema], required: Iterable[str] | None = None, description: str = "", **more: Any
) -> Schema:
    """An object with these fields and no others; all of them unless `required` names some."""
    return {**opened(properties, properties if required is None else required, description, **more)} | {
        "additionalProperties": False
    }


def opened(
    properties: Mapping[str, Schema], required: Iterable[str] = (), description: str = "", **more: Any
) -> Schema:
    """An object with these fields, and others beside them."""
    names = list(required)
    shape: Schema = {"type": "object", "properties": dict(properties), **more}
    return _described(shape | ({"required": names} if names else {}), description)


def _bounds(low: float | None, high: float | None) -> Schema:
    return {name: bound for name, bound in (("minimum", low), ("maximum", high)) if bound is not None}


def _described(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description} if description else schema
