"""The Runtime API of one environment, as AWS's own has it: states, refusals, trailers after a streamed response.

    starting ── next ──> idle ── an invocation ──> invoked ── response ──> responding ──> responded ── next ──> idle
                                                      └────────── error ──────────────────────^

Whatever comes in another state is 403 InvalidStateTransition. An invocation ends when the next one is asked for.
Source: Lambda developer guide, "Using the Lambda runtime API"; behaviour of AWS's Runtime Interface Emulator in
aws-sam-cli 1.170, observed 2026-11-21.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import socket
from collections.abc import Awaitable, Callable
from enum import Enum, auto

import h11

from rillgate.cli.local.invocation import TRUNCATED, Failure, Head, Invocation, Over
from rillgate.cli.local.wire import Wire, error_body, status_body

PREFIX = "/2018-06-01/runtime"
RESPONSE_BYTES_MAX = 6 * 1024 * 1024 + 100  # of a whole response; a streamed one is bounded by the platform, not here
ERROR_BYTES_MAX = 256 * 1024
BUFFER_BYTES = 16_384  # asyncio stops reading at twice this
KERNEL_BUFFER_BYTES = 131_072  # left to itself the kernel would take some megabytes for a client that reads nothing
UNORDERED_S = 0.5  # for the end of one connection to show before a request on another counts as too early
_NAME = "lambda-runtime-"
_ERROR_TYPE = _NAME + "function-error-type"
_ERROR_BODY = _NAME + "function-error-body"


class State(Enum):
    """Where the runtime is."""

    STARTING = auto()
    IDLE = auto()
    INVOKED = auto()
    RESPONDING = auto()
    RESPONDED = auto()


class _Refused(Exception):
    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


class RuntimeApi:
    """Listens for one runtime.

    Args:
        function_arn: in every invocation.
        on_idle: the runtime asks for work: its INIT, or its invocation, is over.
        on_init_error: its INIT failed.

    Attributes:
        address: host and port, once started.
        state: where the runtime is.
    """

    def __init__(
        self, *, function_arn: str, on_idle: Callable[[], None], on_init_error: Callable[[Failure], None]
    ) -> None:
        self.address = ""
        self.state = State.STARTING
        self._function_arn = function_arn
        self._on_idle = on_idle
        self._on_init_error = on_init_error
        self._given: asyncio.Future[Invocation] | None = None
        self._responded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._deadline_ms = 0
        self._current: Invocation | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a free loopback port."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER_BYTES)  # accepted sockets inherit it
        sock.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._connected, sock=sock, limit=BUFFER_BYTES)
        host, port = sock.getsockname()
        self.address = f"{host}:{port}"

    async def aclose(self) -> None:
        """Close everything, with what is still under way."""
        self._stop_listening()
        for task in list(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def drained(self) -> None:
        """Wait until all that a dead runtime had sent is handed on, however slowly its client reads."""
        self._stop_listening()
        if self._given is not None:
            self._given.cancel()  # it asked for work and will not take any
        if self._connections:
            await asyncio.wait(self._connections)

    def give(self, invocation: Invocation, deadline_ms: int) -> None:
        """Hand an invocation to the runtime, which is idle.

        Args: deadline_ms: when it will be ended, milliseconds since 1970.
        """
        if self.state is not State.IDLE or self._given is None:
            raise RuntimeError(f"the runtime is not idle but {self.state.name}")
        self._deadline_ms = deadline_ms
        self._current = invocation
        self.state = State.INVOKED
        self._given.set_result(invocation)

    # Connections

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        wire = Wire(reader, writer)
        try:
            while (request := await wire.request()) is not None:
                await self._serve(wire, request)
        except (h11.ProtocolError, OSError):
            pass  # the runtime broke off; what that means for its invocation was said where it was noticed
        except asyncio.CancelledError:
            wire.abort()  # this environment is closed
        finally:
            await wire.aclose()

    async def _serve(self, wire: Wire, request: h11.Request) -> None:
        try:
            await self._route(request)(wire, request)
        except _Refused as refused:
            await wire.answer(refused.status, error_body(refused.kind, str(refused)))

    def _route(self, request: h11.Request) -> Callable[[Wire, h11.Request], Awaitable[None]]:
        method, path = request.method.decode(), request.target.decode()
        if path.startswith(f"{PREFIX}/invocation/"):
            what = path.removeprefix(f"{PREFIX}/invocation/").split("/")
            match method, what:
                case "GET", ["next"]:
                    return self._next
                case "POST", [request_id, "response" | "error" as answer]:
                    self._check(request_id, _headers(request))
                    return self._response if answer == "response" else self._error
        if (method, path) == ("POST", f"{PREFIX}/init/error"):
            return self._init_error
        raise _Refused(404, "NotFound", f"There is no {method} {path}.")

    def _check(self, request_id: str, headers: dict[str, str]) -> None:
        """Whether an answer is to the invocation that runs, and may come now."""
        current = self._current
        if current is None or request_id != current.request_id:
            raise _Refused(400, "InvalidRequestID", "Invalid request ID")
        if headers.get(f"{_NAME}invocation-id", current.invocation_id) != current.invocation_id:
            raise _Refused(410, "InvokeTimeout", "The invocation has ended")
        self._expect(State.INVOKED)

    def _expect(self, *states: State) -> None:
        if self.state not in states:
            raise _Refused(403, "InvalidStateTransition", f"Not allowed in state {self.state.name}")

    # Requests

    async def _next(self, wire: Wire, request: h11.Request) -> None:
        await _read(wire, 0)
        if self.state is State.RESPONDING:  # it may have broken its response off just now, on another connection
            await asyncio.wait({self._responded}, timeout=UNORDERED_S)
        self._expect(State.STARTING, State.RESPONDED)
        self.state = State.IDLE
        self._current = None
        self._given = asyncio.get_running_loop().create_future()
        self._on_idle()
        invocation = await self._given
        headers = [
            ("Lambda-Runtime-Aws-Request-Id", invocation.request_id),
            ("Lambda-Runtime-Deadline-Ms", str(self._deadline_ms)),
            ("Lambda-Runtime-Invoked-Function-Arn", self._function_arn),
            ("Lambda-Runtime-Invocation-Id", invocation.invocation_id),
            ("Lambda-Runtime-Trace-Id", invocation.trace_id),
        ]
        await wire.answer(200, invocation.event, headers)

    async def _response(self, wire: Wire, request: h11.Request) -> None:
        headers = _headers(request)
        mode = headers.get(f"{_NAME}function-response-mode", "buffered")
        if mode not in ("buffered", "streaming"):
            raise _Refused(400, "InvalidFunctionResponseMode", f"Invalid function response mode {mode!r}")
        invocation = self._now()
        self.state = State.RESPONDING
        self._responded = asyncio.get_running_loop().create_future()
        head = Head(mode == "streaming", headers.get("content-type", ""))
        if head.streaming:
            await self._stream(wire, invocation, head)
        else:
            await self._whole(wire, invocation, head)

    async def _stream(self, wire: Wire, invocation: Invocation, head: Head) -> None:
        invocation.on_left = wire.abort
        if invocation.left:
            wire.abort()
        invocation.begin(head)
        try:
            async for data in wire.body():
                await invocation.write(data)
        except (h11.ProtocolError, OSError):
            invocation.end(Failure(TRUNCATED, "the response ended without its last chunk"))
            raise
        except Over:
            wire.abort()
            raise ConnectionAbortedError("nobody takes this response") from None
        finally:
            invocation.on_left = None
            self._end_response()
        invocation.end(_trailed(wire.trailers))
        await wire.answer(202, status_body("OK"))

    async def _whole(self, wire: Wire, invocation: Invocation, head: Head) -> None:
        try:
            body = await _read(wire, RESPONSE_BYTES_MAX)
        finally:
            self._end_response()
        if body is None:
            failure = Failure("Function.ResponseSizeTooLarge", f"more than {RESPONSE_BYTES_MAX} bytes")
            invocation.end(failure)
            raise _Refused(413, "RequestEntityTooLarge", f"Exceeded maximum allowed payload size: {failure.message}")
        invocation.begin(head)
        try:
            await invocation.write(body)
        except Over:
            pass
        invocation.end()
        await wire.answer(202, status_body("OK"))

    def _end_response(self) -> None:
        self.state = State.RESPONDED
        if not self._responded.done():
            self._responded.set_result(None)

    async def _error(self, wire: Wire, request: h11.Request) -> None:
        invocation = self._now()
        invocation.end(await _reported(wire, request))
        self.state = State.RESPONDED
        await wire.answer(202, status_body("OK"))

    async def _init_error(self, wire: Wire, request: h11.Request) -> None:
        self._expect(State.STARTING)
        failure = await _reported(wire, request)
        await wire.answer(202, status_body("OK"))
        self._on_init_error(failure)

    def _now(self) -> Invocation:
        if self._current is None:
            raise RuntimeError("no invocation runs")
        return self._current


def _headers(request: h11.Request) -> dict[str, str]:
    return {name.decode(): value.decode("latin-1") for name, value in request.headers}


async def _read(wire: Wire, bytes_max: int) -> bytes | None:
    """A whole body; None where it is longer. Read to its end either way, so that the answer is heard."""
    body = bytearray()
    fits = True
    async for data in wire.body():
        fits = fits and len(body) + len(data) <= bytes_max
        if fits:
            body += data
    return bytes(body) if fits else None


async def _reported(wire: Wire, request: h11.Request) -> Failure:
    kind = _headers(request).get(_ERROR_TYPE, "")
    return Failure.reported(kind, _message(await _read(wire, ERROR_BYTES_MAX) or b""))


def _trailed(trailers: dict[str, str]) -> Failure | None:
    """The error that stands behind a streamed response, where one does."""
    if _ERROR_TYPE not in trailers:
        return None
    try:
        body = base64.b64decode(trailers.get(_ERROR_BODY, ""))
    except binascii.Error:
        body = b""
    return Failure.reported(trailers[_ERROR_TYPE], _message(body))


def _message(body: bytes) -> str:
    try:
        document = json.loads(body)
    except ValueError:
        return ""
    return str(document.get("errorMessage", "")) if isinstance(document, dict) else ""
