"""Lambda's Runtime API as a test wants it: it hands out invocations and keeps every byte that comes back, as it came.

    async with FakeRuntimeApi() as api:
        post = api.invoke(function_url_event("/x"))   # GET next gets it
        ...                                           # a worker or a bootstrap at api.address
        await post.until(lambda: post.ended)
        assert post.chunks == [...]

Written apart from the layer's own HTTP, so that a mistake there does not meet the same mistake here.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Literal, Self

from tests.fakes.http import Headers

PATIENCE_S: Final = 20.0  # a guard against hanging tests, never what a test waits for
PREFIX: Final = "/2018-06-01/runtime"

Act = Literal["answer", "answer early", "close", "stop reading"]


def function_url_event(
    path: str = "/", *, method: str = "GET", query: str = "", body: str | None = None, **more: Any
) -> dict[str, Any]:
    """The event of a Function URL for one request."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"host": "abc.lambda-url.eu-central-1.on.aws", "x-forwarded-proto": "https"},
        "requestContext": {
            "domainName": "abc.lambda-url.eu-central-1.on.aws",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7"},
            "stage": "$default",
        },
        "isBase64Encoded": False,
        **({} if body is None else {"body": body}),
        **more,
    }


@dataclass
class Post:
    """What came back for one invocation.

    Attributes:
        request_id: of the invocation.
        target: path of the request that answered: …/response or …/error.
        headers: of that request.
        raw: its body, as it was on the wire.
        arrivals: time.monotonic() of each read of the body, and how many bytes there were by then.
        chunks, trailers: decoded so far; a body that is not chunked is one chunk.
        ended: whether the body was complete.
        gone: whether the connection closed before that.
        resume: set, it is read on after "stop reading".
    """

    request_id: str
    payload: bytes
    headers_sent: Mapping[str, str]
    status: int = 202
    act: Act = "answer"
    act_after: int = 0
    target: str = ""
    headers: Headers = field(default_factory=lambda: Headers([]))
    raw: bytes = b""
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    trailers: Headers = field(default_factory=lambda: Headers([]))
    ended: bool = False
    gone: bool = False
    resume: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def body(self) -> bytes:
        """All chunks in one."""
        return b"".join(self.chunks)

    @property
    def prelude(self) -> Any:
        """The decoded JSON before the eight NULs."""
        return json.loads(self.chunks[0].removesuffix(bytes(8)))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(condition)

    async def changed(self) -> None:
        """Wake whoever waits in `until`."""
        async with self._changed:
            self._changed.notify_all()


class FakeRuntimeApi:
    """One Runtime API on loopback.

    Attributes:
        happened: what came in, in order: "next", "response ID", "end ID", "error ID", "init/error".
        init_errors: headers and decoded body of each report.
        next_statuses: answered to GET next instead of an invocation, first to last.
        connections: how many were accepted.
    """

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.init_errors: list[tuple[Headers, Any]] = []
        self.next_statuses: list[int] = []
        self.connections = 0
        self._waiting: asyncio.Queue[Post] = asyncio.Queue()
        self._posts: dict[str, Post] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Condition()

    @property
    def address(self) -> str:
        """For AWS_LAMBDA_RUNTIME_API."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    def invoke(
        self,
        event: Any,
        *,
        deadline_s: float | None = None,
        headers: Mapping[str, str] | None = None,
        status: int = 202,
        act: Act = "answer",
        act_after: int = 0,
    ) -> Post:
        """Queue an invocation.

        Args:
            event: becomes the payload as JSON; bytes stay as they are.
            headers: of GET next, beside the usual ones and instead of them.
            status: of the answer to what comes back.
            act: what is done when `act_after` bytes of the body have come, for all but "answer".
        """
        request_id = f"id-{len(self._posts) + 1}"
        given = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:123456789012:function:f:live",
            "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
        }
        if deadline_s is not None:
            given["Lambda-Runtime-Deadline-Ms"] = str(round(deadline_s * 1000))
        payload = event if isinstance(event, bytes) else json.dumps(event).encode()
        post = Post(request_id, payload, {**given, **(headers or {})}, status, act, act_after)
        self._posts[request_id] = post
        self._waiting.put_nowait(post)
        return post

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds, looked at whenever something has come in."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(condition)

    async def polled(self, times: int) -> None:
        """Wait until GET next has come so many times."""
        await self.until(lambda: self.happened.count("next") >= times)

    def drop_connections(self) -> None:
        """Close all that are open, as a server closes idle ones."""
        for writer in self._writers:
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.drop_connections()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Within

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                request_line, *lines = head.decode().rstrip("\r\n").split("\r\n")
                headers = Headers((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
                method, target, _ = request_line.split(" ")
                await self._request(f"{method} {target.removeprefix(PREFIX)}", headers, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the other side has closed, or we have
        finally:
            self._writers.discard(writer)
            writer.transport.abort()
            try:
                await writer.wait_closed()
            except OSError:
                pass

    async def _request(
        self, what: str, headers: Headers, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if what == "GET /invocation/next":
            await self._next(writer)
        elif what == "POST /init/error":
            body = await reader.readexactly(int(headers["content-length"]))
            self.init_errors.append((headers, json.loads(body)))
            await self._note("init/error")
            await _answer(writer, 202)
        else:
            _, _, request_id, kind = what.split("/")
            await self._note(f"{kind} {request_id}")
            await self._take(self._posts[request_id], what, headers, reader, writer)

    async def _next(self, writer: asyncio.StreamWriter) -> None:
        await self._note("next")
        if self.next_statuses:
            await _answer(writer, self.next_statuses.pop(0), b'{"errorType":"InvalidStateTransition"}')
            return
        post = await self._waiting.get()
        await _answer(writer, 200, post.payload, post.headers_sent)

    async def _take(
        self, post: Post, what: str, headers: Headers, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        post.target, post.headers = what, headers
        try:
            if headers.get("transfer-encoding") == "chunked":
                await self._read_chunked(post, reader, writer)
            else:
                post.raw = await reader.readexactly(int(headers["content-length"]))
                post.chunks = [post.raw]
                post.ended = True
        except (OSError, asyncio.IncompleteReadError):
            post.gone = True
            await post.changed()
            raise
        await self._note(f"end {post.request_id}")
        await post.changed()
        if post.act != "answer early":
            await _answer(writer, post.status)

    async def _read_chunked(self, post: Post, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        acted = False
        while not post.ended:
            if post.act != "answer" and len(post.raw) >= post.act_after and not acted:
                acted = True
                await _act(post, writer)
            data = await reader.read(65_536)
            if not data:
                raise asyncio.IncompleteReadError(b"", None)
            post.raw += data
            post.arrivals.append((time.monotonic(), len(post.raw)))
            post.chunks, trailers = dechunk(post.raw)
            if trailers is not None:
                post.trailers, post.ended = trailers, True
            await post.changed()

    async def _note(self, what: str) -> None:
        self.happened.append(what)
        async with self._changed:
            self._changed.notify_all()


def dechunk(raw: bytes) -> tuple[list[bytes], Headers | None]:
    """The chunks of a body as far as it has come, and its trailers when it is complete."""
    chunks: list[bytes] = []
    at = 0
    while (end := raw.find(b"\r\n", at)) >= 0:
        size = int(raw[at:end], 16)
        if size == 0:
            rest = raw[end + 2 :]
            if not rest.endswith(b"\r\n") or (rest != b"\r\n" and not rest.endswith(b"\r\n\r\n")):
                break
            lines = [line.partition(":") for line in rest.decode().split("\r\n") if line]
            return chunks, Headers((name, value.strip()) for name, _, value in lines)
        if len(raw) < end + 2 + size + 2:
            break
        chunks.append(raw[end + 2 : end + 2 + size])
        assert raw[end + 2 + size : end + 4 + size] == b"\r\n"
        at = end + 4 + size
    return chunks, None


async def _act(post: Post, writer: asyncio.StreamWriter) -> None:
    if post.act == "answer early":
        await _answer(writer, post.status)
    elif post.act == "close":
        writer.transport.abort()
    else:
        await post.resume.wait()


async def _answer(
    writer: asyncio.StreamWriter,
    status: int,
    body: bytes = b'{"status":"OK"}',
    headers: Mapping[str, str] | None = None,
) -> None:
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    writer.write(head.encode() + body)
    await writer.drain()
