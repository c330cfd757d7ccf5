"""X-Ray's view of a function's requests: a finished subsegment for each, under Lambda's own segment.

It is made from the record of the log line when the request is over, so nothing is carried through the request, several
may run at once, and a trace holds nothing that a log may not. Lambda says with each invocation whether it is sampled;
of the others nothing is kept.

Powertools' Tracer writes it, with X-Ray's SDK from the layer `tracing`. They are imported when the first sampled
request is over (some 10 ms), so that neither INIT nor a first byte waits for them.

Source: X-Ray developer guide, "X-Ray segment documents" and "Tracing header"; read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from importlib import import_module
from typing import Any, Final, NamedTuple

from rillgate.telemetry.logs import RequestRecord, is_trouble, log_exception, shown
from rillgate.telemetry.redaction import redacted
from rillgate.telemetry.trace import xray_fields

HEADER_VARIABLE: Final = "_X_AMZN_TRACE_ID"  # where Lambda's runtimes put an invocation's header
NAME: Final = "gateway"
WAIT_NAME: Final = "first_token"
NAMESPACE: Final = "rillgate"

# Fields of the record, by their names in the log. X-Ray finds traces by annotations; the rest is to read.
ANNOTATIONS: Final = (
    *("request_id", "trace_id", "route", "status", "end", "model", "routed_model", "provider", "stream", "error"),
)
METADATA: Final = (
    *(
        "parent_span_id",
        "upstream_span_id",
        "dialect",
        "ttft_ms",
        "chunks",
        "bytes",
        "input_tokens",
        "output_tokens",
        "estimated",
        "cost_usd",
    ),
    *("stall_s", "pause_s", "unaccounted"),
)


class Begun(NamedTuple):
    """A sampled request: its trace, Lambda's segment in it, and when it began, in seconds since 1970."""

    trace_id: str
    parent_id: str
    wall_s: float


_begun: ContextVar[Begun | None] = ContextVar("begun", default=None)


class RequestTraces:
    """Tells X-Ray's daemon, which Lambda runs beside a function.

    Args:
        service: the name of what serves, such as the stack's.
        environ: where an invocation's header stands when nothing else tells it.
    """

    def __init__(self, service: str, environ: Mapping[str, str]) -> None:
        self._service = service
        self._environ = environ
        self._tracer: Any = None
        self._failed = False

    def begin(self, header: str | None, wall_s: float) -> str | None:
        """The request that this task serves begins.

        Args:
            header: of its invocation, `Root=1-…;Parent=…;Sampled=1`; None where the environment has it.
            wall_s: now, seconds since 1970.
        Returns: the trace's id; None where it is not sampled.
        """
        begun = _sampled(header or self._environ.get(HEADER_VARIABLE, ""), wall_s)
        _begun.set(begun)
        return None if begun is None else begun.trace_id

    def request(self, record: RequestRecord) -> None:
        """A request is over, in the task that it began in, and its client has the whole answer.

        Never raises: what goes wrong is one line in the log, and the end of tracing in this process.
        """
        begun = _begun.get()
        if begun is None or self._failed:
            return
        try:
            self._tracer = self._tracer or _tracer(self._service)
            if not self._tracer.disabled:  # by POWERTOOLS_TRACE_DISABLED, or under `sam local`, which has no daemon
                _tell(self._tracer, record, begun)
        except Exception as error:
            self._failed = True
            log_exception("tracing_failed", error)


def _tracer(service: str) -> Any:
    """Powertools' Tracer, over the SDK of the layer.

    The SDK's own context for Lambda looks for the trace in the environment, which is right for one request at a time.
    This one is told it.
    """
    from aws_lambda_powertools.tracing import Tracer  # noqa: PLC0415 (neither INIT nor a first byte waits)

    tracer: Any = Tracer(service=service, auto_patch=False)
    tracer.provider.configure(context=import_module("aws_xray_sdk.core.context").Context())
    return tracer


def _sampled(header: str, wall_s: float) -> Begun | None:
    """What a header says; None where the trace is not sampled, or the header is none."""
    fields = xray_fields(header)
    root, parent = fields.get("Root"), fields.get("Parent")
    if fields.get("Sampled") != "1" or not root or not parent:
        return None
    return Begun(root, parent, wall_s)


def _tell(tracer: Any, record: RequestRecord, begun: Begun) -> None:
    """Send a request's subsegment, and in it the one of the wait for its first token."""
    recorder = tracer.provider
    segment = import_module("aws_xray_sdk.core.models.facade_segment").FacadeSegment
    recorder.set_trace_entity(segment(NAME, begun.parent_id, begun.trace_id, True))
    try:
        request = recorder.begin_subsegment(NAME)
        request.start_time = begun.wall_s
        if record.span_id is not None:  # the request has one id, here as in its log lines and in what it sends on
            request.id = record.span_id
        _describe(tracer, request, record)
        if record.ttft_ms is not None:
            recorder.begin_subsegment(WAIT_NAME).start_time = begun.wall_s
            recorder.end_subsegment(begun.wall_s + record.ttft_ms / 1000)
        recorder.end_subsegment(begun.wall_s + (record.duration_ms or 0.0) / 1000)
    finally:
        recorder.clear_trace_entities()


def _describe(tracer: Any, request: Any, record: RequestRecord) -> None:
    fields: dict[str, Any] = redacted(shown(record))
    tracer.put_annotation("service", tracer.service)
    for name in ANNOTATIONS:
        if name in fields:
            tracer.put_annotation(name, fields[name])
    for name in METADATA:
        if name in fields:
            tracer.put_metadata(name, fields[name], NAMESPACE)
    request.put_http_meta("method", record.method)
    request.put_http_meta("status", record.status)  # which also says whose fault it was
    if is_trouble(record):
        request.add_fault_flag()  # an error in-band has status 200
