"""A request's place in a distributed trace: the caller's continued where it sent one, else one that begins here.

Our span is the request in this gateway; every call to a provider is a span of its own under it. All of them are known
by their ids in the log lines of the request; nothing else is sent to anybody. A caller's ids are never trusted with
more than being passed on and logged: they decide about no sampling, no charge and no right.

Where X-Ray has a trace of the invocation and the caller has none, ours has the same id, so that log and X-Ray agree:
`1-5759e988-bd862e3fe1be46a994272793` is `5759e988bd862e3fe1be46a994272793`.
Source: X-Ray developer guide, "Tracing header"; W3C Trace Context; read 2026-11-21.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from rillgate.telemetry.ids import new_span_id, new_trace_id
from rillgate.wire.trace_context import RANDOM, SAMPLED, parse_traceparent, parse_tracestate, traceparent

_XRAY_ROOT: Final = re.compile("1-([0-9a-f]{8})-([0-9a-f]{24})")


class Trace(msgspec.Struct, frozen=True):
    """Where one request stands.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: of the request in this gateway, 16 of them.
        parent_id: the caller's span; None where the trace begins here.
        flags: as they are passed on.
        state: `tracestate`, "" for none.
    """

    trace_id: str
    span_id: str
    parent_id: str | None = None
    flags: int = SAMPLED | RANDOM
    state: str = ""

    def headers(self, span_id: str) -> tuple[tuple[str, str], ...]:
        """What a call to a provider carries; `span_id` is that call's own."""
        parent = ("traceparent", traceparent(self.trace_id, span_id, self.flags))
        return (parent, ("tracestate", self.state)) if self.state else (parent,)


def begin_trace(headers: Iterable[tuple[bytes, bytes]], xray_header: str | None = None) -> Trace:
    """The place of a request that has just come.

    Args:
        headers: the request's, names in lower case.
        xray_header: X-Ray's own of the invocation, `Root=1-…;Parent=…;Sampled=1`; None where there is none.
    """
    parents, states = [], []
    for name, value in headers:
        if name == b"traceparent":
            parents.append(value.decode("latin-1"))
        elif name == b"tracestate":
            states.append(value.decode("latin-1"))
    parent = parse_traceparent(parents) if parents else None
    if parent is not None:
        return Trace(parent.trace_id, new_span_id(), parent.span_id, parent.flags, parse_tracestate(states))
    # What begins here is recorded, in the log: a provider that traces has no reason to leave it out.
    return _of_xray(xray_header) if xray_header else Trace(new_trace_id(), new_span_id())


def _of_xray(header: str) -> Trace:
    fields = xray_fields(header)
    root = _XRAY_ROOT.fullmatch(fields.get("Root", ""))
    if root is None or not int(root[1] + root[2], 16):
        return Trace(new_trace_id(), new_span_id())
    # Half of the id is a time; what follows was chosen at random, but Level 2 counts 7 bytes of it, and so it is.
    flags = RANDOM | (SAMPLED if fields.get("Sampled") == "1" else 0)
    return Trace(root[1] + root[2], new_span_id(), flags=flags)


def xray_fields(header: str) -> dict[str, str]:
    """The parts of X-Ray's header by name: "Root=1-…;Sampled=1" → {"Root": "1-…", "Sampled": "1"}."""
    return {name.strip(): value for name, _, value in (part.partition("=") for part in header.split(";"))}
