"""What is known about one request, gathered on its way and written as one log line at its end."""

from __future__ import annotations

import re

import msgspec

from rillgate.domain.ends import End
from rillgate.domain.errors import RillgateError
from rillgate.domain.price import NANOS
from rillgate.domain.usage import Usage
from rillgate.telemetry.logs import RequestRecord
from rillgate.telemetry.trace import Trace

_WORD = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


def word_of(error: RillgateError) -> str:
    """An error's name for a log: its code, or its kind; where a provider put a text there, only that it did."""
    return next((name for name in (error.code, error.kind) if name and _WORD.fullmatch(name)), "other")


class Journal(msgspec.Struct):
    """Filled by whoever knows. Times in seconds of the clock; None where nothing is known.

    Attributes:
        request_id: ours; also the answer's `x-request-id`.
        began_s: when the request came.
        over_s: when it was over for the client; what is done for its books afterwards is not its duration.
        quiet: True for probes and for files of the page; a successful one leaves no line.
        queue_bytes_peak: the most that waited for the client to read; None where that is less than a client that keeps
            up may have waiting.
        ledger_s: until the ledger had authorized it, or had refused it.
        key_id, user: who asked.
        scopes: what is charged; of a request that a budget refused, the scope that refused it.
        cost_nanos: what it cost, in nano-dollars; None where no price is known.
        attempts: how many upstreams were asked, where it was more than one.
        unaccounted: whether it is served although the ledger's store failed.
        trace: its place in a distributed trace.
        upstream_span_id: of the last call to a provider, as that provider was told.
    """

    request_id: str
    method: str
    began_s: float
    client_request_id: str | None = None
    route: str = "unmatched"
    quiet: bool = False
    status: int | None = None
    end: End | None = None
    model: str | None = None
    routed_model: str | None = None
    provider: str | None = None
    dialect: str | None = None
    stream: bool | None = None
    first_content_s: float | None = None
    chunks: int | None = None
    bytes_sent: int | None = None
    usage: Usage | None = None
    stall_s: float | None = None
    pause_s: float | None = None
    queue_bytes_peak: int | None = None
    ledger_s: float | None = None
    error: str | None = None
    over_s: float | None = None
    key_id: str | None = None
    user: str | None = None
    scopes: tuple[str, ...] | None = None
    cost_nanos: int | None = None
    attempts: int | None = None
    unaccounted: bool = False
    trace: Trace | None = None
    upstream_span_id: str | None = None

    def failed(self, error: RillgateError) -> None:
        """Remember what the client was told."""
        self.error = word_of(error)

    def record(self, now_s: float) -> RequestRecord:
        """The log line."""
        usage = self.usage or Usage()
        return RequestRecord(
            request_id=self.request_id,
            method=self.method,
            route=self.route,
            status=self.status,
            end=self.end,
            client_request_id=self.client_request_id,
            model=self.model,
            routed_model=self.routed_model,
            provider=self.provider,
            dialect=self.dialect,
            stream=self.stream,
            ttft_ms=None if self.first_content_s is None else (self.first_content_s - self.began_s) * 1000,
            duration_ms=((now_s if self.over_s is None else self.over_s) - self.began_s) * 1000,
            chunks=self.chunks,
            bytes=self.bytes_sent,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_input_tokens=usage.cached_input_tokens or None,
            cache_write_tokens=usage.cache_write_tokens or None,
            reasoning_tokens=usage.reasoning_tokens or None,
            estimated=True if self.usage is not None and usage.estimated else None,
            stall_s=self.stall_s,
            pause_s=self.pause_s,
            queue_bytes_peak=self.queue_bytes_peak,
            ledger_ms=None if self.ledger_s is None else self.ledger_s * 1000,
            error=self.error,
            key_id=self.key_id,
            user=self.user,
            scopes=self.scopes,
            cost_usd=None if self.cost_nanos is None else self.cost_nanos / NANOS,
            attempts=self.attempts,
            unaccounted=True if self.unaccounted else None,
            trace_id=None if self.trace is None else self.trace.trace_id,
            span_id=None if self.trace is None else self.trace.span_id,
            parent_span_id=None if self.trace is None else self.trace.parent_id,
            upstream_span_id=self.upstream_span_id,
        )
