"""`traceparent` and `tracestate`: what is valid and what is as if it had not come.

The cases are those of W3C's own test suite for services, and the grammar's edges.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.wire.trace_context import (
    STATE_CHARS_MAX,
    Parent,
    parse_traceparent,
    parse_tracestate,
    traceparent,
)

TRACE = "12345678901234567890123456789012"
SPAN = "1234567890123456"
VALID = f"00-{TRACE}-{SPAN}-01"


def test_parent_valid_is_read() -> None:
    """Trace, span and flags."""
    assert parse_traceparent([VALID]) == Parent(TRACE, SPAN, 1)
    assert parse_traceparent([f" \t{VALID} "]) == Parent(TRACE, SPAN, 1)


@pytest.mark.parametrize(
    ("sent", "flags"), [("00", 0), ("01", 1), ("02", 2), ("03", 3), ("09", 1), ("ff", 3), ("f4", 0), ("fe", 2)]
)
def test_parent_flags_that_nobody_knows_are_zero(sent: str, flags: int) -> None:
    """Whatever else is set is not passed on."""
    parent = parse_traceparent([f"00-{TRACE}-{SPAN}-{sent}"])
    assert parent is not None
    assert parent.flags == flags
    assert traceparent(parent.trace_id, parent.span_id, parent.flags) == f"00-{TRACE}-{SPAN}-0{flags}"


@pytest.mark.parametrize("value", [f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"])
def test_parent_of_a_later_version_is_read_by_the_rules_of_this_one(value: str) -> None:
    """What is behind the flags is for those who know it."""
    assert parse_traceparent([value]) == Parent(TRACE, SPAN, 1)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        VALID + ".",
        VALID + "-what-the-future-will-be-like",
        f"cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like",
        f"ff-{TRACE}-{SPAN}-01",
        f".0-{TRACE}-{SPAN}-01",
        f"0.-{TRACE}-{SPAN}-01",
        f"000-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}.-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN[:-1]}.-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{TRACE}-{SPAN[:-1]}-01",
        f"00-{TRACE}-{SPAN}-.0",
        f"00-{TRACE}-{SPAN}-001",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE[:-1]}A-{SPAN}-01",
        f"00-{TRACE}-{SPAN[:-1]}F-01",
        f"00-{TRACE}-{SPAN}-0A",
        f"00-{TRACE[:-1]}\u0661-{SPAN}-01",  # a digit to Unicode, not to us
        f"00-{TRACE}-{SPAN}-01\n",
        f"00_{TRACE}_{SPAN}_01",
    ],
)
def test_parent_invalid_is_none(value: str) -> None:
    """Not read, and nothing raised."""
    assert parse_traceparent([value]) is None


def test_parent_that_came_twice_is_none() -> None:
    """Nobody can say which of the two it is."""
    assert parse_traceparent([VALID, VALID]) is None
    assert parse_traceparent([]) is None


@given(st.text(max_size=80))
def test_parent_of_any_text_is_none_or_valid(value: str) -> None:
    """Nothing raises, and what is read can be written."""
    parent = parse_traceparent([value])
    assert parent is None or parse_traceparent([traceparent(parent.trace_id, parent.span_id, parent.flags)]) == parent


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        ([""], ""),
        (["foo=1"], "foo=1"),
        (["foo=1,bar=2"], "foo=1,bar=2"),
        (["foo=1", "bar=2"], "foo=1,bar=2"),
        (["foo=1", "", "bar=2"], "foo=1,bar=2"),
        ([" foo=1 \t,\t bar=2,"], "foo=1,bar=2"),
        (["foo= 1"], "foo= 1"),  # a space in front is part of the value
        (["0foo=1"], "0foo=1"),
        (["foo@=1,bar@vendor=2,a_-*/0=3"], "foo@=1,bar@vendor=2,a_-*/0=3"),
        ([f"{'z' * 256}=1"], f"{'z' * 256}=1"),
        ([f"a={'v' * 256}"], f"a={'v' * 256}"),
        ([",".join(f"k{number}=1" for number in range(32))], ",".join(f"k{number}=1" for number in range(32))),
    ],
)
def test_state_valid_is_passed_on(values: list[str], expected: str) -> None:
    """All of it in one line, in its order, without white space around members and without empty ones."""
    assert parse_tracestate(values) == expected


@pytest.mark.parametrize(
    "value",
    [
        "foo",
        "foo=",
        "=1",
        "foo =1",
        "FOO=1",
        "foo.bar=1",
        "@foo=1",
        "_foo=1",
        "foo=1=2",
        "foo=bar=2",
        "foo=\u00e9",
        "foo=a\tb",
        "foo=\x7f",
        "foo@=1,bar=2,foo@=3",
        "foo=1,foo=2",
        "foo=1,foo=1",
        f"{'z' * 257}=1",
        f"a={'v' * 257}",
        ",".join(f"k{number}=1" for number in range(33)),
        "foo=1;bar=2=3",
    ],
)
def test_state_invalid_is_nothing(value: str) -> None:
    """One member that is not valid, and all of it is ignored."""
    assert parse_tracestate([value]) == ""
    assert parse_tracestate(["ok=1", value]) == ""


def test_state_that_is_long_loses_whole_members_the_longest_and_the_last_ones_first() -> None:
    """A client cannot have us send kilobytes; what is left stays whole and in order."""
    members = [f"k{number}={'v' * 30}" for number in range(30)]
    shortened = parse_tracestate([",".join([f"big={'v' * 200}", *members])])
    assert len(shortened) <= STATE_CHARS_MAX
    assert shortened == ",".join(members[: shortened.count(",") + 1])
    assert len(shortened) > STATE_CHARS_MAX - len(members[0]) - 2


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=600), max_size=4))
def test_state_of_any_text_is_valid_or_nothing(values: list[str]) -> None:
    """Nothing raises, what comes out is printable, bounded and read again as it is."""
    state = parse_tracestate(values)
    assert len(state) <= STATE_CHARS_MAX
    assert state.isascii()
    assert state == "" or state.isprintable()
    assert parse_tracestate([state]) == state
