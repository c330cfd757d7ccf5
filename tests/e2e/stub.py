"""A gateway that says what a test tells it to say: for errors and pauses that a real one cannot be asked for.

It serves the real page. `POST /v1/chat/completions` is answered by the test itself, one step at a time; `/chat` answers
a browser's EventSource by the gateway's rules, with words that the test sets.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rillgate.app.page_routes import page_routes
from tests.fakes.server import serving

REQUEST_ID: Final = "req_5f0c1d"
PATIENCE_S: Final = 15.0  # for what a browser does in milliseconds, on a busy machine
_STREAM_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-request-id": REQUEST_ID,
}


class Exchange:
    """One request for a streamed answer. The test sends each piece; nothing goes out by itself."""

    def __init__(self, request: dict[str, Any], headers: Mapping[str, str], send: Send) -> None:
        self.request = request
        self.headers = headers
        self.gone = asyncio.Event()
        self.over = asyncio.Event()
        self._send = send
        self._started = False

    @property
    def messages(self) -> list[tuple[str, str]]:
        """What was sent as the conversation: (role, content), oldest first."""
        return [(message["role"], message["content"]) for message in self.request["messages"]]

    async def start(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send the status line and the headers; a stream's by default."""
        self._started = True
        fields = _STREAM_HEADERS if headers is None else {"x-request-id": REQUEST_ID, **headers}
        raw = [(name.encode(), value.encode()) for name, value in fields.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def raw(self, chunk: bytes) -> None:
        """Send `chunk` as it is, after the head if that is still to come."""
        if not self._started:
            await self.start()
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def frame(self, payload: object) -> None:
        """Send one event with `payload` as compact JSON."""
        await self.raw(b"data: " + json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n")

    async def delta(self, **delta: str) -> None:
        """Send one chunk whose first choice carries `delta`."""
        await self.frame(chunk([{"index": 0, "delta": delta, "finish_reason": None}]))

    async def text(self, *words: str) -> None:
        """Send one chunk for each word."""
        for word in words:
            await self.delta(content=word)

    async def finish(self, reason: str = "stop", usage: tuple[int, int] | None = None, **extra: object) -> None:
        """Send the finish reason, usage as (input, output) tokens, `[DONE]`, and end the response."""
        await self.frame({**chunk([{"index": 0, "delta": {}, "finish_reason": reason}]), **extra})
        if usage is not None:
            counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
            await self.frame({**chunk([]), "usage": counts})
        await self.raw(b"data: [DONE]\n\n")
        await self.end()

    async def end(self) -> None:
        """End the response properly, whatever was sent."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        self.over.set()

    async def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole response that is not a stream."""
        await self.start(status, headers or {"content-type": "application/json"})
        await self.raw(body)
        await self.end()

    def drop(self) -> None:
        """Lose the connection: the response stops without its end."""
        self.over.set()


def chunk(choices: list[dict[str, Any]], model: str = "brook-1") -> dict[str, Any]:
    """One chunk in OpenAI's shape."""
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices}


@dataclass(frozen=True)
class Visit:
    """One request that asked for an answer of a model, and the status it got."""

    method: str
    path: str
    status: int
    headers: Mapping[str, str]


class Watch:
    """An ASGI application around a gateway's, which sees what browsers hide: statuses of other origins' answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._visits: asyncio.Queue[Visit] = asyncio.Queue()

    @property
    def unseen(self) -> int:
        """How many visits `visit` has not given yet."""
        return self._visits.qsize()

    async def visit(self) -> Visit:
        """The next request to `/chat…` or `/v1/chat…`, once its status is known."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._visits.get()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(("/chat", "/v1/chat")):
            await self._app(scope, receive, send)
            return

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                request = Request(scope)
                self._visits.put_nowait(Visit(request.method, scope["path"], message["status"], request.headers))
            await send(message)

        await self._app(scope, receive, watched)


@dataclass
class StubGateway:
    """The application. `models` is what `/v1/models` lists; a Response there is sent as it is."""

    url: str = ""
    models: list[str] | Response = field(default_factory=lambda: ["brook-1", "river-2"])
    models_asked: int = 0
    generations: int = 0  # what a provider would have been paid for
    watch: Watch = field(init=False)
    _words: tuple[str, ...] = ()
    _error: str | None = None
    _exchanges: asyncio.Queue[Exchange] = field(default_factory=asyncio.Queue)
    _open: list[Exchange] = field(default_factory=list)

    def __post_init__(self) -> None:
        routes: list[BaseRoute] = [
            *page_routes(),
            Route("/v1/models", self._list_models),
            Route("/v1/chat/completions", _Raw(self._complete), methods=["POST"]),
            Route("/chat", self._chat),
            Route("/chat/stream", self._chat, methods=["POST"]),
        ]
        self.watch = Watch(Starlette(routes=routes))

    async def exchange(self) -> Exchange:
        """The next request for an answer that the page sends."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._exchanges.get()

    def say(self, *words: str) -> None:
        """Answer `/chat` with one chunk for each word and a proper end."""
        self._words, self._error = words, None

    def fail_after(self, *words: str, message: str) -> None:
        """Answer `/chat` with the words and then an error; without words by HTTP status 502."""
        self._words, self._error = words, message

    def release(self) -> None:
        """Let go of all that is still open, so that the server can end."""
        for exchange in self._open:
            exchange.over.set()

    async def _list_models(self, _: Request) -> Response:
        self.models_asked += 1
        if isinstance(self.models, Response):
            return self.models
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})

    async def _complete(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if _is_foreign(request):
            await _refusal()(scope, receive, send)
            return
        self.generations += 1
        exchange = Exchange(await request.json(), request.headers, send)
        self._open.append(exchange)
        self._exchanges.put_nowait(exchange)

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            exchange.gone.set()
            exchange.over.set()

        watcher = asyncio.create_task(watch())
        await exchange.over.wait()
        watcher.cancel()

    async def _chat(self, request: Request) -> Response:
        if _is_foreign(request):
            return _refusal()
        if "last-event-id" in request.headers:
            return Response(status_code=204, headers={"x-request-id": REQUEST_ID})
        self.generations += 1
        failure = {"error": {"message": self._error, "type": "server_error", "param": None, "code": "upstream_error"}}
        if self._error is not None and not self._words:
            return JSONResponse(failure, status_code=502)
        events = [f"data: {json.dumps(chunk([{'index': 0, 'delta': {'content': word}}]))}\n" for word in self._words]
        if self._error is None:
            events += ["event: done\ndata: {}\n", "data: [DONE]\n"]
        else:
            events.append(f"data: {json.dumps(failure)}\n")
        body = "".join(f"id: {REQUEST_ID}:{number}\n{event}\n" for number, event in enumerate(events))
        return Response(body, headers=_STREAM_HEADERS)


class _Raw:
    """An ASGI callable that Starlette's Route does not take for a request handler."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _is_foreign(request: Request) -> bool:
    host = request.headers["host"]
    origin = request.headers.get("origin", f"http://{host}")
    own_site = request.headers.get("sec-fetch-site", "none") in {"same-origin", "none"}
    return not own_site or urlsplit(origin).netloc != host or urlsplit(f"//{host}").hostname != "127.0.0.1"


def _refusal() -> Response:
    error = {"message": "Another site asked.", "type": "invalid_request_error", "param": None, "code": "forbidden"}
    return JSONResponse({"error": error}, status_code=403)


@asynccontextmanager
async def stub_gateway() -> AsyncIterator[StubGateway]:
    """A stub gateway that listens; what a test left open is let go at its end."""
    stub = StubGateway()
    async with serving(stub.watch) as address:
        stub.url = address.url
        try:
            yield stub
        finally:
            stub.release()
