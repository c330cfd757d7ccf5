"""Where a request stands in a distributed trace, and how X-Ray's ids map to W3C's."""

from __future__ import annotations

import re

import pytest

from rillgate.telemetry.ids import new_span_id, new_trace_id
from rillgate.telemetry.trace import Trace, begin_trace
from rillgate.wire.trace_context import parse_traceparent

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = (b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())
XRAY = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:0"


def test_trace_of_a_caller_is_continued() -> None:
    """Its id, flags and state; the caller's span is the parent of one of ours."""
    trace = begin_trace([(b"host", b"x"), PARENT, (b"tracestate", b"a=1"), (b"tracestate", b"b=2")])
    assert (trace.trace_id, trace.parent_id, trace.flags, trace.state) == (TRACE, SPAN, 1, "a=1,b=2")
    assert re.fullmatch("[0-9a-f]{16}", trace.span_id)
    assert trace.span_id != SPAN
    call = new_span_id()
    assert trace.headers(call) == (("traceparent", f"00-{TRACE}-{call}-01"), ("tracestate", "a=1,b=2"))


@pytest.mark.parametrize("value", [b"00-x", b"\xff", b""])
def test_trace_begins_anew_where_the_callers_is_not_valid(value: bytes) -> None:
    """And its state is not even looked at."""
    trace = begin_trace([(b"traceparent", value), (b"tracestate", b"a=1")])
    assert re.fullmatch("[0-9a-f]{32}", trace.trace_id)
    assert (trace.parent_id, trace.state, trace.flags) == (None, "", 3)
    (header,) = trace.headers(new_span_id())
    assert parse_traceparent([header[1]]) is not None


def test_trace_without_a_state_sends_none() -> None:
    """An empty header would be allowed, and is not wanted."""
    assert [name for name, _ in Trace(TRACE, SPAN).headers(SPAN)] == ["traceparent"]
    broken = begin_trace([PARENT, (b"tracestate", b"broken")])
    assert (broken.trace_id, broken.state) == (TRACE, "")


def test_traces_are_never_the_same() -> None:
    """Each request is one of its own."""
    assert len({begin_trace([]).trace_id for _ in range(100)} | {new_trace_id() for _ in range(100)}) == 200
    assert len({begin_trace([PARENT]).span_id for _ in range(100)}) == 100


@pytest.mark.parametrize(("sampled", "flags"), [("1", 3), ("0", 2), ("?", 2)])
def test_trace_of_xray_has_the_same_id(sampled: str, flags: int) -> None:
    """Without its dashes and version; whether X-Ray records it is what a provider is told."""
    trace = begin_trace([], XRAY.replace("Sampled=1", f"Sampled={sampled}"))
    assert (trace.trace_id, trace.parent_id, trace.flags) == ("5759e988bd862e3fe1be46a994272793", None, flags)


def test_trace_of_a_caller_comes_before_that_of_xray() -> None:
    """A client's trace goes on through the gateway; the log has X-Ray's id beside it."""
    assert begin_trace([PARENT], XRAY).trace_id == TRACE


@pytest.mark.parametrize("header", ["", "Root=", "Root=1-0-0", "Sampled=1", f"Root=1-{'0' * 8}-{'0' * 24}", "Root=1-é"])
def test_trace_of_a_broken_xray_header_begins_anew(header: str) -> None:
    """As if there were none."""
    trace = begin_trace([], header)
    assert re.fullmatch("[0-9a-f]{32}", trace.trace_id)
    assert int(trace.trace_id, 16)
