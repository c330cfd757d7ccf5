"""The Function URL: an ASGI app that makes an event of each request, and a response of what the function streams.

As on Lambda, the function goes on when its client has left, unless the URL was told to pass that on. A stream that
breaks off after its status line ends as if it were complete: a real URL gives its client no other sign either.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from rillgate.cli.local.answers import (
    HTTP_RESPONSE,
    BadAnswer,
    UrlAnswer,
    bare_stream,
    read_prelude,
    whole_answer,
)
from rillgate.cli.local.console import Console
from rillgate.cli.local.events import EVENT_BYTES_MAX, UrlRequest, url_event
from rillgate.cli.local.fleet import Throttled
from rillgate.cli.local.invocation import Invocation

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_JSON = [(b"content-type", b"application/json")]
_TOO_LARGE = UrlAnswer(
    413, _JSON, b'{"Message":"Request must be smaller than 6291556 bytes for the InvokeFunction operation"}'
)
_THROTTLED = UrlAnswer(
    429,
    [*_JSON, (b"x-amzn-errortype", b"TooManyRequestsException")],
    b'{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}',
)
_FAILED = UrlAnswer(502, _JSON, b"Internal Server Error")


class Platform(Protocol):
    """What runs functions, and its life."""

    async def start(self) -> None: ...
    async def run(self, invocation: Invocation) -> None: ...
    def terminate(self) -> None: ...
    async def aclose(self) -> None: ...


class FunctionUrl:
    """ASGI app, and the server's `Drain`.

    Args:
        platform: runs invocations.
        console: takes the platform's lines.
        region: of the function.
        propagate_disconnect: whether a client that leaves breaks the response's connection, which a real one does not.
        wall: seconds since 1970.
    """

    def __init__(
        self,
        platform: Platform,
        console: Console,
        *,
        region: str,
        propagate_disconnect: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._platform = platform
        self._console = console
        self._region = region
        self._propagate_disconnect = propagate_disconnect
        self._wall = wall
        self._running = 0
        self.on_started: list[Callable[[], None]] = []

    # Drain

    def begin(self) -> None:
        """Nothing to be told: whoever comes now finds no listening socket."""

    def running(self) -> int:
        """Invocations that have not ended."""
        return self._running

    def end_all(self) -> None:
        """SIGTERM for every environment."""
        self._platform.terminate()

    # ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: lifespan and http."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        self._running += 1
        try:
            await self._serve(scope, receive, send)
        finally:
            self._running -= 1

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await self._platform.start()
        await send({"type": "lifespan.startup.complete"})
        for callback in self.on_started:
            callback()
        await receive()
        await self._platform.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read_body(receive)
        if body is None:
            await _send_whole(send, _TOO_LARGE, "")
            return
        request_id, trace_id = str(uuid.uuid4()), f"Root=1-{int(self._wall()):08x}-{uuid.uuid4().hex[:24]}"
        event = url_event(_request(scope, body, self._region), request_id, trace_id, self._wall())
        invocation = Invocation(event, request_id=request_id, trace_id=trace_id)
        if len(event) > EVENT_BYTES_MAX:
            await _send_whole(send, _TOO_LARGE, invocation.request_id)
            return
        watch = asyncio.create_task(self._watch(receive, invocation)) if self._propagate_disconnect else None
        work = asyncio.create_task(self._platform.run(invocation))
        work.add_done_callback(lambda _: invocation.end())  # a start that failed leaves it as it was
        try:
            await self._answer(invocation, work, send)
        finally:
            if watch is not None:
                watch.cancel()
            await asyncio.wait({work})

    async def _watch(self, receive: Receive, invocation: Invocation) -> None:
        if (await receive())["type"] == "http.disconnect":
            invocation.leave()

    async def _answer(self, invocation: Invocation, work: asyncio.Task[None], send: Send) -> None:
        try:
            answer = await _begin(invocation)
        except BadAnswer as bad:
            self._console.say(f"RequestId: {invocation.request_id} The Function URL cannot pass this answer on: {bad}")
            answer = None
        if answer is None:
            await _send_whole(send, _refusal(work), invocation.request_id)
            while await invocation.read():
                pass  # the function may go on; nobody takes what it says
            return
        await send(_start(answer, invocation.request_id))
        piece = answer.body or await invocation.read()
        while piece:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await invocation.read()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _begin(invocation: Invocation) -> UrlAnswer | None:
    """Status and headers; None where the function failed before there were any.

    Raises: BadAnswer: it answered something else.
    """
    head = await invocation.head()
    if head is None:
        return None
    if not head.streaming:
        return whole_answer(await _whole(invocation))
    if head.content_type.partition(";")[0].strip().lower() != HTTP_RESPONSE:
        return bare_stream(head.content_type)
    return await read_prelude(invocation.read)


async def _whole(invocation: Invocation) -> bytes:
    parts: list[bytes] = []
    while piece := await invocation.read():
        parts.append(piece)
    return b"".join(parts)


def _refusal(work: asyncio.Task[None]) -> UrlAnswer:
    throttled = work.done() and not work.cancelled() and isinstance(work.exception(), Throttled)
    return _THROTTLED if throttled else _FAILED


def _start(answer: UrlAnswer, request_id: str) -> Message:
    headers = [*answer.headers, (b"x-amzn-requestid", request_id.encode())]
    return {"type": "http.response.start", "status": answer.status, "headers": headers}


async def _send_whole(send: Send, answer: UrlAnswer, request_id: str) -> None:
    length = (b"content-length", str(len(answer.body)).encode())
    await send(_start(UrlAnswer(answer.status, [*answer.headers, length]), request_id))
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body; None where it is larger than any event can be, of which the rest is not kept."""
    body = bytearray()
    fits = True
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body) if fits else None
        fits = fits and len(body) + len(message.get("body", b"")) <= EVENT_BYTES_MAX
        if fits:
            body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body) if fits else None


def _request(scope: Scope, body: bytes, region: str) -> UrlRequest:
    client = scope.get("client") or ("127.0.0.1", 0)
    server = scope.get("server") or ("127.0.0.1", 0)
    return UrlRequest(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]),
        body=body,
        source_ip=client[0],
        port=server[1],
        region=region,
        protocol=f"HTTP/{scope['http_version']}",
    )
