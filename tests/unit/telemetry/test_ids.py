"""Names of requests."""

from __future__ import annotations

import re

import pytest

from rillgate.telemetry.ids import new_request_id, safe_client_id


def test_request_id_new_is_unique_and_well_formed() -> None:
    """ "req_" and 16 characters of base64url, never the same twice."""
    ids = {new_request_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"req_[0-9A-Za-z_-]{16}", each) for each in ids)


@pytest.mark.parametrize("value", ["a", "0198-abc", "with space ~!", "x" * 128])
def test_client_id_printable_is_kept(value: str) -> None:
    """What can be logged and compared as it stands is kept as it stands."""
    assert safe_client_id(value) == value


@pytest.mark.parametrize("value", [None, "", "x" * 129, "tab\t", "line\n", "\x7f", "é", "\u2028", "nul\0"])
def test_client_id_odd_is_refused(value: str | None) -> None:
    """Missing, empty, too long, control characters, beyond ASCII: None."""
    assert safe_client_id(value) is None
