"""JSON of providers' own frames and answers, read as loosely as clients read it, and written anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec


def object_of(data: bytes) -> dict[str, Any]:
    """A JSON object, with half a surrogate pair or NaN in it where they are; {} for any other JSON."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = json.loads(data.decode("utf-8", "replace"))
    return value if isinstance(value, dict) else {}


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Compact JSON; escapes stand where UTF-8 has no bytes for half a surrogate pair."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()
