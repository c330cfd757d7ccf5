"""W3C Trace Context: the headers `traceparent` and `tracestate`, parsed as strictly as their specification says.

Nothing in them is ever an error: what is not valid is as if it had not been sent, and a new trace begins.

    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
                 version, trace-id, parent-id (the caller's span), flags

Source: W3C Trace Context, Recommendation of 2021-11-23, and Level 2 for keys of `tracestate` and the flag
`random`; read 2026-11-21.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SAMPLED: Final = 0x01  # the caller may have recorded this trace
RANDOM: Final = 0x02  # the last 7 bytes of the trace-id were chosen at random (Level 2)
FLAGS_KNOWN: Final = SAMPLED | RANDOM  # "MUST set to zero" holds for all others

MEMBERS_MAX: Final = 32  # of `tracestate`; more than these, and all of it is ignored
STATE_CHARS_MAX: Final = 512  # what everybody has to pass on; nobody has to take more
MEMBER_CHARS_MAX: Final = 128  # of `tracestate`'s members those above this length go first

_PARENT: Final = re.compile(
    "(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?"
)
_KEY: Final = "[a-z0-9][a-z0-9_\\-*/@]{0,255}"
_VALUE: Final = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"  # printable but "," and "="
_MEMBER: Final = re.compile(f"({_KEY})={_VALUE}")


@dataclass(frozen=True, slots=True)
class Parent:
    """The caller's side of a trace: 32 and 16 hexadecimal digits in lower case, and the flags that are known here."""

    trace_id: str
    span_id: str
    flags: int


def parse_traceparent(values: Iterable[str]) -> Parent | None:
    """The caller's trace.

    Shape:   ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"] → Parent("0af…", "b7a…", 1)
    Args:    values: of every `traceparent` header that came.
    Returns: None where there is none, more than one, or one that is not valid. A version above 00 is read by the rules
        of 00, as far as these go.
    """
    found = list(values)
    match = _PARENT.fullmatch(found[0].strip(" \t")) if len(found) == 1 else None
    if match is None or match["version"] == "ff" or (match["version"] == "00" and match["rest"]):
        return None
    if not int(match["trace"], 16) or not int(match["span"], 16):
        return None
    return Parent(match["trace"], match["span"], int(match["flags"], 16) & FLAGS_KNOWN)


def parse_tracestate(values: Iterable[str]) -> str:
    """What vendors have said of the trace, in one line; "" where there is nothing, or it is not valid.

    Shape:   ["rojo=1, congo=2", "a@b=c"] → "rojo=1,congo=2,a@b=c"
    Args:    values: of every `tracestate` header, in order. Only with a valid `traceparent` do they mean anything.
    """
    members: dict[str, str] = {}
    for member in (part.strip(" \t") for value in values for part in value.split(",")):
        if not member:  # allowed: it is hard to avoid when lists are joined
            continue
        match = _MEMBER.fullmatch(member)
        if match is None or match[1] in members or len(members) == MEMBERS_MAX:
            return ""
        members[match[1]] = member
    return ",".join(_shortened(list(members.values())))


def traceparent(trace_id: str, span_id: str, flags: int) -> str:
    """The header, version 00."""
    return f"00-{trace_id}-{span_id}-{flags:02x}"


def _shortened(members: list[str]) -> list[str]:
    """Whole members only: long ones are left out first, then those on the right."""
    if _length(members) > STATE_CHARS_MAX:
        members = [member for member in members if len(member) <= MEMBER_CHARS_MAX]
    while _length(members) > STATE_CHARS_MAX:
        members.pop()
    return members


def _length(members: list[str]) -> int:
    return sum(map(len, members)) + len(members) - 1
