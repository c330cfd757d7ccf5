"""One client connection over HTTP/1.1: uvicorn's httptools protocol with bounds on what a client may do.

What it adds, all on the connection and so before any route:

- The write buffer pauses a stream at 8 KiB instead of 64: a thousand clients that read nothing must stay cheap.
- The head of a request is bounded in bytes, in headers and in time. Everything is counted that the parser takes in
  without getting anywhere, so endless trailers, chunk extensions and blank lines meet the same bound.
- What cannot be parsed is answered in the client's dialect, in its turn: never into the middle of another answer.
- A body that nobody reads, since its request is answered, has `UNREAD_BODY_S` to end.
- A connection that is one too many of its address says so to the application: see `address_limits`.
- `Upgrade` is ignored (RFC 9110, 7.8 allows it). The parser stops at such a request and drops its body, so the
  request is parsed again without the header.
- A stream that ended because its client stalled is let go: see `STALLED_EXTENSION`.
- A client that keeps up gets each piece of a body without a task having to wake up for it: see `STRAIGHT_EXTENSION`.
- Every way in which a connection can idle has a timer; a lost connection ends the request that is running, also when
  later ones are queued behind it.

Sources: RFC 9110, 7.8 and 15.5; RFC 9112, 9.3 and 9.6; RFC 6585, 5; uvicorn 0.54, `protocols/http/httptools_impl.py`.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from rillgate.app.address_limits import CROWDED_EXTENSION, Connections, Seat
from rillgate.app.spoken import dialect_of, id_headers
from rillgate.delivery.responses import JSON, UNSHARED
from rillgate.domain.errors import ClientError
from rillgate.domain.ports import TimerHandle
from rillgate.telemetry.ids import new_request_id
from rillgate.telemetry.logs import log_event

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

STALLED_EXTENSION = "rillgate.stalled"
"""`scope["extensions"]["rillgate.stalled"]["release"]()`: this response's client reads nothing; do not wait for it.

Afterwards no `send` of this response waits, the one that is blocked included. So the in-band end of the stream gets
into the connection, and a client that wakes up within `linger_s` reads everything, in order. Then the connection is
aborted: a close would wait for ever, and not every platform has TCP_USER_TIMEOUT.
"""

STRAIGHT_EXTENSION = "rillgate.straight"
"""`scope["extensions"]["rillgate.straight"]["write"](body) -> bool`: write a part of the body now, awaiting nothing.

False, and nothing was written, where it has to go by `send`: the response has not begun, is over or has a length, or
its client is gone or behind. To be called between two `send`s only, whose order it is part of.
"""

UNREAD_BODY_S = 10.0  # how long the rest of a body may go on coming behind its answer; nginx gives 30 s, Go 256 KB
REFUSED_LINGER_S = 2.0  # how long a refused client may go on sending: closing at once would reset its answer away


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one connection may take.

    Attributes:
        head_bytes_max: request line and headers. nginx takes 32 KiB, Node 16, Go 1 MiB; cookies of a shared domain and
            long `EventSource` URLs need room.
        headers_max: Apache takes 100; browsers and SDKs send about 30.
        head_timeout_s: from the first byte of a request to the end of its headers, and from connecting to a first byte.
        pipeline_max: requests that may wait behind the one that is answered; each costs some kilobytes.
        write_high_bytes: above it `send` waits.
        write_low_bytes: at or below it `send` goes on.
        linger_s: how long a stalled client is kept after its stream ended, the server's `stall_s`.
        connections: counts those of each address; None where nobody does.
    """

    head_bytes_max: int = 65_536
    headers_max: int = 200
    head_timeout_s: float = 10.0
    pipeline_max: int = 16
    write_high_bytes: int = 8_192
    write_low_bytes: int = 2_048
    linger_s: float = 30.0
    connections: Connections | None = None


class GatewayHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol within `limits`; `bound()` makes the class for other limits."""

    limits: ClassVar[HttpLimits] = HttpLimits()

    @classmethod
    def bound(cls, limits: HttpLimits) -> type[GatewayHttpProtocol]:
        """The same protocol with these limits, as a class: that is what uvicorn takes."""
        return type(cls.__name__, (cls,), {"limits": limits})

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.url, self.headers = b"", []  # until a request begins
        self._answering: RequestResponseCycle | None = None  # whose turn it is to write; `cycle` is the newest one
        self._in_head = False
        self._upgrading = False
        self._progressed = False
        self._idle_bytes = 0  # taken in since the parser last got anywhere
        self._refusal: ClientError | None = None
        self._released = False
        self._head_timer: TimerHandle | None = None
        self._abort_timer: TimerHandle | None = None
        self._seat: Seat | None = None

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> TimerHandle:
        """The loop's; tests put a clock of their own here."""
        return self.loop.call_later(delay_s, callback)

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Bound the write buffer, and wait only so long for a first byte."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=self.limits.write_high_bytes, low=self.limits.write_low_bytes)
        self._await_head()
        if self.limits.connections is not None:
            self._seat = self.limits.connections.opened(self.client)
            if self._seat is not None and self._seat.hopeless:
                transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the running request, which uvicorn does only for the newest, and leave nothing behind."""
        super().connection_lost(exc)
        if self._seat is not None:
            self._seat.leave()
            self._seat = None
        self._unset_keepalive_if_required()  # after a reset uvicorn keeps it, and this object with it, until it is due
        self._stop_head_timer()
        if self._abort_timer is not None:
            self._abort_timer.cancel()
            self._abort_timer = None
        if self._answering is not None:
            self._disconnect(self._answering)
        self._answering = None
        self.pipeline.clear()
        # scope → release → protocol → scope would keep a dead connection's memory until the next garbage collection.
        self.cycle = self.scope = self.headers = None  # type: ignore[assignment]

    def eof_received(self) -> None:
        """The client has said goodbye: its request ends now. The close that follows waits for what it has not read."""
        if self._answering is not None and not self._answering.response_complete:
            self._disconnect(self._answering)

    def shutdown(self) -> None:
        """Close when idle; else close after the answer that is being written, whatever is queued behind it."""
        super().shutdown()
        if self._answering is not None:
            self._answering.keep_alive = False

    def pause_writing(self) -> None:
        """The client is behind: `send` waits, unless this client has been given up."""
        if not self._released:
            super().pause_writing()

    def _release(self, ref: weakref.ref[RequestResponseCycle]) -> None:
        cycle = ref()
        if self._released or cycle is None or cycle.response_complete or cycle.disconnected:
            return
        self._released = True
        cycle.keep_alive = False
        self.flow.resume_writing()
        self._abort_timer = self.call_later(self.limits.linger_s, self.transport.abort)

    def _write_straight(self, ref: weakref.ref[RequestResponseCycle], body: bytes) -> bool:
        cycle = ref()
        if (
            cycle is None
            or self.flow.write_paused
            or not cycle.chunked_encoding
            or cycle.response_complete
            or cycle.disconnected
            or self.transport.is_closing()
        ):
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
        return True

    # Bytes of requests

    def data_received(self, data: bytes) -> None:
        """Feed the parser in pieces no larger than what it may still take in without getting anywhere."""
        if self._refusal is not None:
            return  # already refused: read only so that the answer is not reset away
        view, position = memoryview(data), 0
        try:
            while position < len(view):
                end = min(len(view), position + self.limits.head_bytes_max - self._idle_bytes)
                position = self._feed(view, position, end)
        except httptools.HttpParserError as error:
            reason = error.__context__
            self._refuse(reason if isinstance(reason, ClientError) else _malformed())
        except ClientError as error:
            self._refuse(error)

    def _feed(self, view: memoryview, position: int, end: int) -> int:
        self._progressed = False
        try:
            self.parser.feed_data(view[position:end])
        except httptools.HttpParserUpgrade as upgrade:
            end = position + upgrade.args[0]
            self._parse_again_without_upgrade()
        self._idle_bytes = 0 if self._progressed else self._idle_bytes + end - position
        if self._idle_bytes >= self.limits.head_bytes_max:
            raise self._too_large()
        return end

    def _parse_again_without_upgrade(self) -> None:
        version = self.scope["http_version"].encode()
        lines = [self.scope["method"].encode(), b" ", self.url, b" HTTP/", version, b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                lines += [name, b": ", value, b"\r\n"]
        lines.append(b"\r\n")
        self._upgrading = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it
        self.parser.feed_data(b"".join(lines))

    # The parser's callbacks

    def on_message_begin(self) -> None:
        """A request begins: from here on its head has a deadline."""
        super().on_message_begin()
        self._in_head = True
        self._unset_keepalive_if_required()
        self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header of the head. Trailers are dropped: the request is already being served without them."""
        if not self._in_head:
            return
        if len(self.headers) >= self.limits.headers_max:
            raise self._too_large()
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, or queue it; both as uvicorn does."""
        self._progressed = True
        self._in_head = False
        self._stop_head_timer()
        self._unset_keepalive_if_required()  # the answer before may have ended while this head was coming in
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ClientError("CONNECT is for proxies, which this is not.", code="method_not_allowed")
            self._upgrading = True
            self.scope["method"] = self.parser.get_method().decode("ascii")
            self.scope["http_version"] = self.parser.get_http_version()
            return
        if len(self.pipeline) >= self.limits.pipeline_max:
            raise ClientError(
                f"More than {self.limits.pipeline_max} requests wait on one connection; "
                "wait for their answers, or use more connections.",
                code="too_many_pipelined_requests",
            )
        super().on_headers_complete()
        ref = weakref.ref(self.cycle)  # weak: the cycle holds this scope
        self.scope["extensions"] = {
            STALLED_EXTENSION: {"release": partial(self._release, ref)},
            STRAIGHT_EXTENSION: {"write": partial(self._write_straight, ref)},
        }
        if self._seat is not None and self._seat.crowded:
            self.scope["extensions"][CROWDED_EXTENSION] = {}

    def on_body(self, body: bytes) -> None:
        """A part of a body, to the newest request."""
        self._progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request, unless it is about to be parsed again."""
        self._progressed = True
        if not self._upgrading:
            super().on_message_complete()
            self._stop_head_timer()  # that of a body which was answered before it had come

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """An answer is written: the next request's turn, or that of a refusal that had to wait for it."""
        unread = self._answering is not None and self._answering.more_body
        super().on_response_complete()
        if unread and not self.transport.is_closing() and self._refusal is None:
            # Nobody wants the rest of this body; closing at once would reset its answer away.
            self._head_timer = self.call_later(UNREAD_BODY_S, self.transport.abort)
        if self._refusal is None or self.transport.is_closing():
            return
        if self._answering is None or self._answering.response_complete:
            self._unset_keepalive_if_required()
            self._answer_refusal(self._refusal)

    # Deadlines and refusals

    def _await_head(self) -> None:
        self._stop_head_timer()
        self._head_timer = self.call_later(self.limits.head_timeout_s, self._head_is_late)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._in_head:
            message = f"The headers took longer than {self.limits.head_timeout_s:g} s to come; send them at once."
            self._refuse(ClientError(message, status=408, code="request_timeout"))
        else:
            # It connected ahead of need, as browsers do, and has asked nothing: an answer would be taken for the
            # answer to its first request.
            self.transport.close()

    def _too_large(self) -> ClientError:
        message = (
            f"The request line and headers are more than {self.limits.head_bytes_max} bytes or "
            f"{self.limits.headers_max} headers; send fewer or shorter ones."
        )
        return ClientError(message, status=431, code="headers_too_large")

    def _refuse(self, error: ClientError) -> None:
        """Parse nothing more on this connection, say why when it is its turn, and close."""
        self._refusal = error
        self._in_head = False
        self._stop_head_timer()
        self._unset_keepalive_if_required()
        answering = self._answering
        if self.transport.is_closing():
            return  # the last answer of this connection is on its way
        if answering is None or answering.response_complete:
            self._answer_refusal(error)
        elif answering.more_body:  # the request that is being served is the broken one
            if answering.response_started:
                self.transport.close()
            else:
                self._disconnect(answering)
                self._answer_refusal(error)

    def _disconnect(self, cycle: RequestResponseCycle) -> None:
        """Let the application know that nobody will read its answer."""
        if not cycle.response_complete:
            cycle.disconnected = True
        cycle.message_event.set()

    def _answer_refusal(self, error: ClientError) -> None:
        # As far as its head has come: the path and the headers say which dialect it is.
        scope = {"path": self.url.partition(b"?")[0].decode("latin-1"), "headers": self.headers}
        request_id = new_request_id()
        log_event("request_refused", request_id=request_id, status=error.status, error=error.code)
        body = dialect_of(scope).error_body(error)
        headers = [
            *self.server_state.default_headers,
            JSON,
            *UNSHARED,
            (b"content-length", b"%d" % len(body)),
            *id_headers(scope, request_id),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[error.status] + lines + b"\r\n" + body)
        # Closing while the client still sends makes its kernel drop our answer unread (RFC 9112, 9.6). So only our
        # side is closed, what comes is thrown away, and the connection ends with the client's close or the timer.
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._abort_timer = self.call_later(REFUSED_LINGER_S, self.transport.abort)


def _malformed() -> ClientError:
    return ClientError("This is not HTTP/1.1 as it is written in RFC 9112.", code="malformed_http")
