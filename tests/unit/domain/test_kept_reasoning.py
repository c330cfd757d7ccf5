"""What one family wants back, in the keeping of another family's client."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rillgate.domain.delta import ANTHROPIC_ORIGIN, GOOGLE_ORIGIN
from rillgate.domain.kept_reasoning import seal, unseal

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
