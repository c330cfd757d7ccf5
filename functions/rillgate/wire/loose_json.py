"""JSON as servers really send it: read as loosely as clients read it, written so that no client fails on it.

NaN, and a character that was cut in two (half of a surrogate pair, which JSON can spell and UTF-8 cannot), are no
reason to lose an answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

TOKENS_MAX: Final = 100_000_000
"""What one request can have is a hundredth of it. A server that miscounts must not use up a budget of years, nor have a
number written that no store keeps."""
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What `msgspec.json.decode` raises for bytes that somebody else wrote: no JSON, JSON of another shape, text that is
not UTF-8, or brackets nested beyond reason. The latter two are no errors of msgspec's own."""


def loads(data: bytes) -> Any:
    """Any JSON, in whole characters.

    Raises: ValueError, RecursionError: it is not JSON, or nested beyond reason.
    """
    return _whole_characters(json.loads(data))


def loads_or_none(data: bytes) -> Any:
    """Any JSON, in whole characters; None where it is none."""
    try:
        return loads(data)
    except (ValueError, RecursionError):
        return None


def object_of(data: bytes) -> dict[str, Any]:
    """A JSON object with everything that is in it, for `json_bytes` to write again; {} for any other JSON.

    Raises: ValueError, RecursionError: as `loads`.
    """
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


def text(value: Any) -> str:
    """A string; "" for anything else."""
    return value if isinstance(value, str) else ""


def count(value: Any) -> int | None:
    """A count of tokens; None for anything else, and for more than any request can have."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= TOKENS_MAX else None


def _whole_characters(value: Any) -> Any:
    """The value with lone halves replaced."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {_whole_characters(key): _whole_characters(item) for key, item in value.items()}
    return value
