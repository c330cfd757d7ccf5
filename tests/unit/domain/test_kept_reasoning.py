"""What one family wants back, in the keeping of another family's client."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.domain.delta import ANTHROPIC_ORIGIN, GOOGLE_ORIGIN
from rillgate.domain.kept_reasoning import holds, seal, unseal

BASE64 = st.text("abcXYZ019+/=_-")


@given(st.none() | st.text(), BASE64)
def test_seal_gives_back_what_was_sealed(call_id: str | None, data: str) -> None:
    """Whatever the call's id is; no id is the empty one."""
    sealed = seal(GOOGLE_ORIGIN, call_id, data)
    assert sealed is not None
    assert unseal(sealed) == (GOOGLE_ORIGIN, call_id or "", data)


@given(BASE64)
def test_anthropics_own_is_kept_as_it_is(data: str) -> None:
    """Its clients' own API gets it back byte for byte."""
    assert seal(ANTHROPIC_ORIGIN, None, data) == data
    assert unseal(data) == (ANTHROPIC_ORIGIN, "", data)


def test_family_that_nobody_serves_is_not_kept() -> None:
    """It would come back to the wrong one."""
    assert seal("xai-responses-v1", None, "x") is None
    assert unseal("xai-responses-v1::x") == (ANTHROPIC_ORIGIN, "", "xai-responses-v1::x")


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        ([{"format": GOOGLE_ORIGIN}], True),
        ([{"format": ANTHROPIC_ORIGIN}, {"format": GOOGLE_ORIGIN}], True),
        ([{"format": ANTHROPIC_ORIGIN}, {}, "x"], False),
        ([], False),
        ("x", False),
        (None, False),
    ],
)
def test_message_holds_what_a_family_made_where_an_entry_names_it(kept: Any, found: bool) -> None:
    """Whatever a client wrote there."""
    assert holds({"role": "assistant", "reasoning_details": kept}, GOOGLE_ORIGIN) is found
