"""What a write costs by its size."""

from __future__ import annotations

from benchmarks.ledger_parts import item_bytes

from rillgate.ledger.writes import Key


def test_item_bytes_count_names_texts_and_digits() -> None:
    """Names and texts by their bytes, numbers by pairs of digits and one byte, one more for a sign; the key as well."""
    key = Key("p", "-")
    assert item_bytes(key, {}) == len("pkpsk-")
    assert item_bytes(key, {"b": "ärger"}) == 6 + 1 + 6
    assert item_bytes(key, {"n": 7}) == 6 + 1 + 2
    assert item_bytes(key, {"n": 123456}) == 6 + 1 + 4
    assert item_bytes(key, {"n": -123456}) == 6 + 1 + 5
