"""The app that runs under AWS's emulator: each path does something else. Written to a task root as `fn.py`.

Only the standard library: that is what a function has beside its layers.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import time
from typing import Any

STARTED: list[float] = []
API = "/2018-06-01/runtime"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Routes by the path."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    else:
        await ROUTES[scope["path"]](scope, receive, send)


async def lifespan(receive: Any, send: Any) -> None:
    """Counts its starts, and says when it ends."""
    await receive()
    STARTED.append(time.time())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    say("lifespan ended")
    await send({"type": "lifespan.shutdown.complete"})


async def start(send: Any, status: int = 200, content_type: bytes = b"text/plain") -> None:
    """The head of a response."""
    headers = [(b"content-type", content_type), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def body(send: Any, data: bytes, more: bool = True) -> None:
    """A piece of it."""
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def about(scope: Any, receive: Any, send: Any) -> None:
    """What the process is, and what came."""
    message = await receive()
    context = scope["extensions"]["lambda_asgi"]["context"]
    found = {
        "pid": os.getpid(),
        "starts": len(STARTED),
        "request_id": context.aws_request_id,
        "remaining_ms": context.get_remaining_time_in_millis(),
        "method": scope["method"],
        "query": scope["query_string"].decode(),
        "body": message["body"].decode("latin-1"),
    }
    await start(send)
    await body(send, json.dumps(found).encode(), more=False)


async def many(scope: Any, receive: Any, send: Any) -> None:
    """Ten thousand small pieces."""
    await start(send)
    for number in range(10_000):
        await body(send, b"data: %d\n\n" % number)
    await body(send, b"", more=False)


async def large(scope: Any, receive: Any, send: Any) -> None:
    """As many MiB as the query says."""
    await start(send)
    for _ in range(int(scope["query_string"])):
        await body(send, b"x" * 1024 * 1024)
    await body(send, b"", more=False)


async def inflated(scope: Any, receive: Any, send: Any) -> None:
    """5 MiB that are more than 6 as base64."""
    await start(send, content_type=b"image/png")
    await body(send, bytes(5 * 1024 * 1024), more=False)


async def raises_before(scope: Any, receive: Any, send: Any) -> None:
    """Fails with nothing sent."""
    raise ValueError("before")


async def raises_after(scope: Any, receive: Any, send: Any) -> None:
    """Fails in the middle."""
    await start(send)
    await body(send, b"half")
    raise ValueError("after")


async def listens(scope: Any, receive: Any, send: Any) -> None:
    """Ends in-band when it is told to."""
    await receive()
    await start(send)
    await body(send, b"first,")
    await receive()
    await body(send, b"sorry", more=False)


async def hangs(scope: Any, receive: Any, send: Any) -> None:
    """Never ends by itself."""
    await start(send)
    await body(send, b"first")
    await asyncio.Event().wait()


async def later(scope: Any, receive: Any, send: Any) -> None:
    """Goes on after its response."""
    await start(send)
    await body(send, b"all", more=False)
    await asyncio.to_thread(time.sleep, 0.2)
    say("work after the response done")


async def intrudes(scope: Any, receive: Any, send: Any) -> None:
    """Asks the Runtime API for what it must refuse: before its own stream, in the middle, and after it."""
    request_id = scope["extensions"]["lambda_asgi"]["context"].aws_request_id
    wrong_id = await asyncio.to_thread(ask, "POST", "/invocation/00000000-wrong/response")
    await start(send)
    await body(send, b" " * 5 * 2**20)  # more than sockets hold, so the Runtime API has begun to read when this returns
    too_early = await asyncio.to_thread(ask, "GET", "/invocation/next")
    await body(send, json.dumps({"wrong id": wrong_id, "next": too_early}).encode(), more=False)
    say(f"second response: {await asyncio.to_thread(ask, 'POST', f'/invocation/{request_id}/response')}")


def ask(method: str, path: str) -> int:
    """The status of one request to the Runtime API."""
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"], timeout=5)
    try:
        connection.request(method, API + path, body=b"{}" if method == "POST" else None)
        return connection.getresponse().status
    finally:
        connection.close()


def say(text: str) -> None:
    """A line of the function's output."""
    print(text)  # noqa: T201 (what is printed is what is tested)


ROUTES = {
    "/about": about,
    "/many": many,
    "/large": large,
    "/inflated": inflated,
    "/raises-before": raises_before,
    "/raises-after": raises_after,
    "/listens": listens,
    "/hangs": hangs,
    "/later": later,
    "/intrudes": intrudes,
}
