"""What X-Ray is told of a request, as its daemon receives it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from io import StringIO
from typing import Any, Final

import pytest

from rillgate.domain.ends import End
from rillgate.telemetry.lambda_logs import configure_lambda_logs
from rillgate.telemetry.logs import RequestRecord
from rillgate.telemetry.tracing import RequestTraces
from tests.fakes.xray import PARENT_ID, SAMPLED, TRACE_ID, FakeDaemon
from tests.unit.telemetry.lambda_logging import logging_restored
from tests.unit.telemetry.tracing_support import forget, traced

BEGAN_S: Final = 1_795_000_000.25
REQUIRED: Final[dict[str, Any]] = {
    "request_id": "req_1",
    "method": "POST",
    "route": "/v1/chat/completions",
    "duration_ms": 1_500.0,
}


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    """X-Ray's, with nothing received."""
    with traced(monkeypatch) as daemon:
        yield daemon


@pytest.fixture
def log() -> Iterator[StringIO]:
    """What is logged meanwhile."""
    with logging_restored() as buffer:
        configure_lambda_logs(buffer)
        yield buffer


def tell(header: str | None = SAMPLED, traces: RequestTraces | None = None, **fields: Any) -> None:
    """One request, begun and over."""
    traces = traces or RequestTraces("my-stack", {})
    traces.begin(header, BEGAN_S)
    traces.request(RequestRecord(**{**REQUIRED, **fields}))


def test_trace_of_a_stream_is_a_subsegment_with_its_wait_for_the_first_token(daemon: FakeDaemon) -> None:
    """Under Lambda's own segment, with true times; what is looked for is annotated, the rest is metadata."""
    tell(
        status=200,
        end=End.FINISHED,
        model="small",
        routed_model="small-2026",
        provider="lab",
        dialect="chat_completions",
        stream=True,
        ttft_ms=250.0,
        chunks=7,
        input_tokens=11,
        output_tokens=13,
        cost_usd=0.25,
        key_id="k1",
        user="someone",
        scopes=("key:k1",),
        client_request_id="theirs",
    )
    wait, request = daemon.documents()
    assert (request["trace_id"], request["parent_id"]) == (TRACE_ID, PARENT_ID)
    assert (request["type"], request["name"]) == ("subsegment", "gateway")
    assert (request["start_time"], request["end_time"]) == (BEGAN_S, BEGAN_S + 1.5)
    assert request["annotations"] == {
        "service": "my-stack",
        "request_id": "req_1",
        "route": "/v1/chat/completions",
        "status": 200,
        "end": "finished",
        "model": "small",
        "routed_model": "small-2026",
        "provider": "lab",
        "stream": True,
    }
    assert request["metadata"] == {
        "rillgate": {
            "dialect": "chat_completions",
            "ttft_ms": 250.0,
            "chunks": 7,
            "input_tokens": 11,
            "output_tokens": 13,
            "cost_usd": 0.25,
        }
    }
    assert request["http"] == {"request": {"method": "POST"}, "response": {"status": 200}}
    assert request.keys() & {"fault", "error", "throttle"} == set()
    assert (wait["trace_id"], wait["parent_id"], wait["name"]) == (TRACE_ID, request["id"], "first_token")
    assert (wait["start_time"], wait["end_time"]) == (BEGAN_S, BEGAN_S + 0.25)
    assert len({request["id"], wait["id"], PARENT_ID}) == 3
    text = json.dumps([wait, request])
    assert not [who for who in ("k1", "someone", "theirs") if who in text]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        ";=;;",
        f"Root={TRACE_ID}",
        f"Root={TRACE_ID};Parent={PARENT_ID}",
        f"Root={TRACE_ID};Parent={PARENT_ID};Sampled=0",
        f"Root={TRACE_ID};Parent={PARENT_ID};Sampled=?",
        f"Root={TRACE_ID};Sampled=1",
        f"Parent={PARENT_ID};Sampled=1",
    ],
)
def test_trace_that_is_not_sampled_is_not_sent(daemon: FakeDaemon, header: str | None) -> None:
    """Lambda decides; a header that says nothing else is a no."""
    traces = RequestTraces("my-stack", {})
    assert traces.begin(header, BEGAN_S) is None
    tell(header, traces, status=200)
    assert daemon.documents() == []


def test_trace_of_the_stock_runtime_is_the_one_of_its_environment(daemon: FakeDaemon) -> None:
    """Read anew for each request."""
    environ = {"_X_AMZN_TRACE_ID": SAMPLED}
    traces = RequestTraces("my-stack", environ)
    assert traces.begin(None, BEGAN_S) == TRACE_ID
    tell(None, traces, status=200)
    environ["_X_AMZN_TRACE_ID"] = SAMPLED.replace("Sampled=1", "Sampled=0")
    tell(None, traces, status=200)
    assert [each["trace_id"] for each in daemon.documents()] == [TRACE_ID]


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({"status": 200, "end": End.BUDGET}, set()),
        ({"status": 200, "end": End.CLIENT_GONE}, set()),
        ({"status": 404}, {"error"}),
        ({"status": 429}, {"error", "throttle"}),
        ({"status": 503}, {"fault"}),
        ({"status": 200, "end": End.TRUNCATED}, {"fault"}),
        ({}, set()),
    ],
)
def test_trace_says_whose_fault_it_was(daemon: FakeDaemon, fields: dict[str, Any], flags: set[str]) -> None:
    """Also of an error that came in-band, behind a status of 200."""
    tell(**fields)
    (request,) = daemon.documents()
    assert request.keys() & {"fault", "error", "throttle"} == flags


def test_trace_shows_what_a_client_chose_as_the_log_does(daemon: FakeDaemon) -> None:
    """With length and hash in the place of keys, and of what is no name."""
    tell(model="rill_0123456789abcdef0123", routed_model="m" * 5_000)
    (request,) = daemon.documents()
    assert request["annotations"]["model"].startswith("[masked 25 ")
    assert request["annotations"]["routed_model"].startswith("[masked 5000 ")


def test_trace_has_the_requests_own_ids(daemon: FakeDaemon) -> None:
    """The log's span is X-Ray's subsegment; W3C's trace, which may be a client's, can be looked for."""
    tell(trace_id="0af7651916cd43dd8448eb211c80319c", span_id="b7ad6b7169203331", upstream_span_id="00f067aa0ba902b7")
    (request,) = daemon.documents()
    assert request["id"] == "b7ad6b7169203331"
    assert (request["trace_id"], request["parent_id"]) == (TRACE_ID, PARENT_ID)
    assert request["annotations"]["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert request["metadata"]["rillgate"]["upstream_span_id"] == "00f067aa0ba902b7"


@pytest.mark.anyio
async def test_traces_of_requests_side_by_side_do_not_mix(daemon: FakeDaemon) -> None:
    """Each task is under the trace that it began with."""
    traces, both_began = RequestTraces("my-stack", {}), asyncio.Barrier(2)

    async def serve(number: int) -> None:
        traces.begin(f"Root=1-{number};Parent=p{number};Sampled=1", BEGAN_S)
        await both_began.wait()
        traces.request(RequestRecord(**{**REQUIRED, "request_id": f"req_{number}", "ttft_ms": 1.0}))

    await asyncio.gather(serve(1), serve(2))
    found = [each for each in daemon.documents() if each["name"] == "gateway"]
    told = {(each["trace_id"], each["parent_id"], each["annotations"]["request_id"]) for each in found}
    assert told == {("1-1", "p1", "req_1"), ("1-2", "p2", "req_2")}


def test_trace_without_a_daemon_hurts_nobody(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, log: StringIO
) -> None:
    """Nothing listens at the address, and then nothing can even be sent: a line, with nothing of the trace in it."""
    core = pytest.importorskip("aws_xray_sdk.core")
    with FakeDaemon() as gone:
        monkeypatch.setenv("AWS_XRAY_DAEMON_ADDRESS", gone.address)
        core.xray_recorder.configure(daemon_address=gone.address)
    traces = RequestTraces("my-stack", {})
    tell(traces=traces, status=200)
    assert log.getvalue() == ""
    core.xray_recorder.emitter._socket.close()
    tell(traces=traces, status=200)
    (line,) = [json.loads(each) for each in log.getvalue().splitlines()]
    assert (line["logger"], line["exception"]) == ("aws_xray_sdk.core.emitters.udp_emitter", "OSError")
    assert TRACE_ID not in log.getvalue()


def test_trace_without_the_layer_is_one_line_in_the_log(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, log: StringIO
) -> None:
    """The request is served like any other, and the next one does not try again."""
    forget()
    monkeypatch.setitem(sys.modules, "aws_xray_sdk.core", None)
    traces = RequestTraces("my-stack", {})
    for _ in range(3):
        tell(traces=traces, status=200)
    (line,) = [json.loads(each) for each in log.getvalue().splitlines()]
    assert (line["event"], line["exception"]) == ("tracing_failed", "ModuleNotFoundError")
    assert daemon.documents() == []


@pytest.mark.parametrize(("name", "value"), [("POWERTOOLS_TRACE_DISABLED", "true"), ("AWS_SAM_LOCAL", "true")])
def test_trace_is_sent_nowhere_where_powertools_is_told_so(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """By its own switch, and under `sam local`."""
    monkeypatch.setenv(name, value)
    tell(status=200)
    assert daemon.documents() == []
