"""A gateway that says what a test tells it to say: for errors and pauses that a real one cannot be asked for.

It serves the real page, and `POST /v1/chat/completions` is answered by the test itself, one step at a time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from rillgate.app.page_routes import page_routes
from tests.e2e.watch import PATIENCE_S
from tests.fakes.server import serving

REQUEST_ID: Final = "req_5f0c1d"
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


@dataclass
class StubGateway:
    """The application. `models` is what `/v1/models` lists; a Response there is sent as it is."""

    url: str = ""
    models: list[str] | Response = field(default_factory=lambda: ["brook-1", "river-2"])
    models_asked: int = 0
    app: ASGIApp = field(init=False)
    _exchanges: asyncio.Queue[Exchange] = field(default_factory=asyncio.Queue)
    _open: list[Exchange] = field(default_factory=list)

    def __post_init__(self) -> None:
        routes: list[BaseRoute] = [
            *page_routes(),
            Route("/v1/models", self._list_models),
            Route("/v1/chat/completions", _Raw(self._complete), methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    async def exchange(self) -> Exchange:
        """The next request for an answer that the page sends."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._exchanges.get()

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


class _Raw:
    """An ASGI callable that Starlette's Route does not take for a request handler."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


@asynccontextmanager
async def stub_gateway() -> AsyncIterator[StubGateway]:
    """A stub gateway that listens; what a test left open is let go at its end."""
    stub = StubGateway()
    async with serving(stub.app) as address:
        stub.url = address.url
        try:
            yield stub
        finally:
            stub.release()
