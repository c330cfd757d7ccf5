"""A worker of the layer against a fake Runtime API, with a clock that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from lambda_asgi.cycle import App, Receive, Send
from lambda_asgi.runtime_api import RuntimeApi
from lambda_asgi.settings import Settings
from lambda_asgi.worker import Worker
from tests.fakes.clock import FakeClock
from tests.fakes.runtime_api import FakeRuntimeApi

Scope = MutableMapping[str, Any]

TEXT = [(b"content-type", b"text/plain")]


@dataclass
class Served:
    """A worker that runs.

    Attributes:
        clock: what its deadlines are measured with.
        task: ends when the worker does.
        environ: what it reads, and sets the trace in.
    """

    worker: Worker
    clock: FakeClock
    task: asyncio.Task[None]
    environ: dict[str, str] = field(default_factory=dict)


@asynccontextmanager
async def serving(
    app: App, api: FakeRuntimeApi, state: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Served]:
    """Serve until the end of the block; the worker is stopped there, and may not have failed."""
    clock = FakeClock()
    chosen = Settings(**settings)
    environ = {"AWS_LAMBDA_FUNCTION_NAME": "f"}
    client = RuntimeApi(api.address, clock=clock, stall_s=chosen.stall_s)
    worker = Worker(app, client, settings=chosen, clock=clock, environ=environ, state=state or {})
    task = asyncio.create_task(worker.run())
    try:
        yield Served(worker, clock, task, environ)
    finally:
        worker.stop()
        clock.advance(chosen.shutdown_grace_s)
        await task


async def start(send: Send, status: int = 200, headers: list[tuple[bytes, bytes]] = TEXT) -> None:
    """The head of a response."""
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def body(send: Send, data: bytes, *, more: bool = True) -> None:
    """A piece of a response."""
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that says hello."""
    await start(send)
    await body(send, b"hello", more=False)
