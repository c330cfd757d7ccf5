"""Sees the requests that browsers make of a gateway, from the gateway's side."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATIENCE_S: Final = 15.0  # for what a browser does in milliseconds, on a busy machine

ASKS: Final = (
    "/chat",
    "/v1/chat",
    "/v1/messages",
    "/v1/responses",
    "/v1/ui-stream",
)  # how the paths begin that ask for an answer of a model


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
        """The next request to one of `ASKS`, once its status is known."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._visits.get()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(ASKS):
            await self._app(scope, receive, send)
            return

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                request = Request(scope)
                self._visits.put_nowait(Visit(request.method, scope["path"], message["status"], request.headers))
            await send(message)

        await self._app(scope, receive, watched)
