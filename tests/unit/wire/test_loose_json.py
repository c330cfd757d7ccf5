"""JSON as servers really send it: nothing that a client's parser takes is lost, nothing is written that it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rillgate.wire.loose_json import count, json_bytes, loads, loads_or_none, object_of, text

HALF = b'{"a":"x\\ud83d","b":[NaN,"\\ude00"]}'


def test_loads_half_of_a_character_is_one_that_can_be_written() -> None:
    """Two halves are one; a lone one says that something was here, in keys too."""
    assert loads(b'"\\ud83d\\ude00"') == "\U0001f600"
    found = loads(b'{"\\ud83d":["x\\ude00"]}')
    assert found == {"�": ["x�"]}
    assert json.dumps(found).encode()


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000])
def test_loads_what_is_no_json_is_an_error_or_none(data: bytes) -> None:
    """Whichever is asked for."""
    with pytest.raises((ValueError, RecursionError)):
        loads(data)
    assert loads_or_none(data) is None


def test_object_keeps_everything_that_is_written_again() -> None:
    """Halves and NaN as they came."""
    found = object_of(HALF)
    assert json.loads(json_bytes(found))["a"] == "x\ud83d"
    assert found["b"][1] == "\ude00"
    assert json_bytes({"a": "ö"}) == '{"a":"ö"}'.encode()
    assert object_of(b"[1]") == {}
    assert object_of(b'{"a":"\xff"}') == {"a": "�"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, 7),
        (0, 0),
        (10**8, 10**8),
        (10**8 + 1, None),
        (-1, None),
        (True, None),
        (1.5, None),
        ("7", None),
        (None, None),
    ],
)
def test_count_is_a_whole_number_of_tokens(value: Any, expected: int | None) -> None:
    """Nothing else is one: unknown is not zero."""
    assert count(value) == expected


def test_text_is_a_string() -> None:
    """Nothing for anything else."""
    assert [text(value) for value in ("a", None, 7, ["a"])] == ["a", "", "", ""]
