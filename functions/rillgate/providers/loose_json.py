"""JSON as providers really send it, read into what JSON can say in UTF-8."""

from __future__ import annotations

import json
from typing import Any


def loads(data: bytes) -> Any:
    """Any JSON, as loosely as clients read it (NaN, a character spelled as half of a pair).

    Raises: ValueError, RecursionError: it is not JSON, or nested beyond reason.
    """
    return _whole_characters(json.loads(data))


def loads_or_none(data: bytes) -> Any:
    """Any JSON; None where it is none."""
    try:
        return loads(data)
    except (ValueError, RecursionError):
        return None


def text(value: Any) -> str:
    """A string; "" for anything else."""
    return value if isinstance(value, str) else ""


def count(value: Any) -> int | None:
    """A count of tokens; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _whole_characters(value: Any) -> Any:
    """The value with lone surrogates replaced: JSON can spell them, UTF-8 cannot. Some servers cut emoji in two."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {_whole_characters(key): _whole_characters(item) for key, item in value.items()}
    return value
