"""A client of Lambda's Runtime API: one kept connection to ask for invocations, a new one for everything else.

Each poller has a client of its own. Single mode allows one sequence only: next, the answer, its 202, then next again;
asking earlier is refused with 403 and costs the invocation.

Source: Lambda developer guide, "Using the Lambda runtime API", read 2026-11-21; the open source of AWS's emulator.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lambda_asgi import __version__
from lambda_asgi.clock import Clock
from lambda_asgi.failures import TRAILER_NAMES, Failure
from lambda_asgi.http1 import Answer, NoAnswer, connect, read_answer, request_head
from lambda_asgi.response_stream import ResponseStream

API = "/2018-06-01/runtime"
USER_AGENT = f"lambda-asgi/{__version__}"
HTTP_RESPONSE = "application/vnd.awslambda.http-integration-response"
_NAME = "lambda-runtime-"


class RuntimeApiError(Exception):
    """The Runtime API refuses to go on: this process can only end, so that Lambda starts a new one."""


@dataclass(frozen=True)
class Invocation:
    """What GET next gave.

    Attributes:
        deadline_s: wall-clock time at which Lambda ends the invocation; None where it did not say.
        invocation_id: echoed with every answer; "" where there is none to echo.
        payload: the event's JSON.
    """

    request_id: str
    payload: bytes
    deadline_s: float | None = None
    function_arn: str = ""
    trace_id: str = ""
    client_context: str = ""
    identity: str = ""
    tenant_id: str = ""
    invocation_id: str = ""
    echo: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, headers: Mapping[str, str], payload: bytes) -> Invocation:
        """From the headers of the answer. All but the request id may be absent, and some are sent empty."""

        def header(name: str) -> str:
            return headers.get(_NAME + name, "")

        deadline_ms = header("deadline-ms")
        invocation_id = header("invocation-id")
        return cls(
            request_id=header("aws-request-id"),
            payload=payload,
            deadline_s=int(deadline_ms) / 1000 if deadline_ms.isdigit() else None,
            function_arn=header("invoked-function-arn"),
            trace_id=header("trace-id"),
            client_context=header("client-context"),
            identity=header("cognito-identity"),
            tenant_id=header("aws-tenant-id"),
            invocation_id=invocation_id,
            echo=[("Lambda-Runtime-Invocation-Id", invocation_id)] if invocation_id else [],
        )


class RuntimeApi:
    """One poller's client.

    Args:
        address: AWS_LAMBDA_RUNTIME_API, host and port.
        clock: for the deadline of a stalled write.
        stall_s: how long a write may take; 0 = as long as it likes.
    """

    def __init__(self, address: str, *, clock: Clock, stall_s: float = 0.0) -> None:
        host, _, port = address.rpartition(":")
        self._address = address
        self._host, self._port = (host, int(port)) if host else (port, 80)
        self._clock = clock
        self._stall_s = stall_s
        self._kept: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def next(self) -> Invocation:
        """The next invocation, however long it takes: the environment is frozen while this waits.

        Raises:
            RuntimeApiError: refused, or nobody answers.
        """
        head = request_head("GET", f"{API}/invocation/next", self._headers())
        try:
            try:
                answer = await self._on_kept(head)
            except (NoAnswer, ConnectionResetError, BrokenPipeError):
                answer = await self._on_kept(head)  # a kept connection may have gone while the app was busy
        except OSError as error:
            raise RuntimeApiError(f"The Runtime API at {self._address} does not answer: {error}.") from error
        if answer.status != 200:
            raise RuntimeApiError(f"The Runtime API answered {answer.status} to GET next: {_text(answer)}")
        return Invocation.of(answer.headers, answer.body)

    async def respond(self, invocation: Invocation, body: bytes, content_type: str = "application/json") -> Answer:
        """A whole answer, for those who cannot take a stream.

        Raises: OSError: it could not be delivered.
        """
        headers = [("Content-Type", content_type), *invocation.echo]
        return await self._post(f"/invocation/{invocation.request_id}/response", headers, body)

    async def fail(self, invocation: Invocation, failure: Failure) -> Answer:
        """Report that an invocation failed. Never after the first byte of a streamed response: it would hang there.

        Raises: OSError: it could not be delivered.
        """
        headers = [*_error_headers(failure), *invocation.echo]
        return await self._post(f"/invocation/{invocation.request_id}/error", headers, failure.json())

    async def fail_init(self, failure: Failure) -> Answer:
        """Report that this environment cannot serve. The process has to end with an exit code other than 0.

        Raises: OSError: it could not be delivered.
        """
        return await self._post("/init/error", _error_headers(failure), failure.json())

    async def stream(
        self,
        invocation: Invocation,
        first: bytes,
        on_broken: Callable[[], None],
        content_type: str = HTTP_RESPONSE,
    ) -> ResponseStream:
        """Begin a streamed response with `first`, its first chunk.

        Raises: OSError: no connection.
        """
        headers = [
            *self._headers(),
            ("Connection", "close"),
            ("Content-Type", content_type),
            ("Lambda-Runtime-Function-Response-Mode", "streaming"),  # a capital letter costs the invocation
            ("Transfer-Encoding", "chunked"),
            ("Trailer", TRAILER_NAMES),
            *invocation.echo,
        ]
        head = request_head("POST", f"{API}/invocation/{invocation.request_id}/response", headers)
        reader, writer = await connect(self._host, self._port)
        return ResponseStream(
            reader, writer, head, first, clock=self._clock, stall_s=self._stall_s, on_broken=on_broken
        )

    async def aclose(self) -> None:
        """Close the kept connection."""
        if self._kept is not None:
            _, writer = self._kept
            self._kept = None
            await _close(writer)

    # Within

    def _headers(self) -> list[tuple[str, str]]:
        return [("Host", self._address), ("User-Agent", USER_AGENT)]

    async def _on_kept(self, request: bytes) -> Answer:
        if self._kept is None:
            self._kept = await connect(self._host, self._port)
        reader, writer = self._kept
        keep = False
        try:
            writer.write(request)
            answer = await read_answer(reader)
            keep = answer.keep
        finally:
            if not keep:
                await self.aclose()
        return answer

    async def _post(self, path: str, headers: list[tuple[str, str]], body: bytes) -> Answer:
        own = [*self._headers(), ("Connection", "close"), *headers, ("Content-Length", str(len(body)))]
        reader, writer = await connect(self._host, self._port)
        try:
            # Not waiting until it is written: a body that is too large is answered before it was read.
            writer.write(request_head("POST", API + path, own) + body)
            return await read_answer(reader)
        finally:
            await _close(writer)


def _error_headers(failure: Failure) -> list[tuple[str, str]]:
    return [
        ("Content-Type", "application/vnd.aws.lambda.error+json"),
        ("Lambda-Runtime-Function-Error-Type", failure.type),
    ]


def _text(answer: Answer) -> str:
    return answer.body[:200].decode("utf-8", "replace")


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()  # whole answers were read, or there is none: nothing waits to be written
    try:
        await writer.wait_closed()
    except OSError:
        pass  # it had broken before
