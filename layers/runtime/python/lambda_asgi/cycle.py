"""One request's `receive` and `send`, as the ASGI HTTP specification 2.4 has them.

`receive` gives the body once, then waits: `http.disconnect` comes when the response cannot be delivered, when the
deadline is near, on SIGTERM and after the response is complete, never while all is well. After a disconnect for want of
time `send` still works, so that the app can end its stream in-band; where nothing can be delivered it raises OSError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from lambda_asgi.answers import checked
from lambda_asgi.failures import Failure
from lambda_asgi.response_stream import StreamBroken
from lambda_asgi.sinks import Sink

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class HttpCycle:
    """Between an app and a sink.

    Args:
        body: of the request.
        sink: where the response goes.
        without_body: the response has none (HEAD), whatever the app sends.

    Attributes:
        started, complete: how far the response is.
    """

    def __init__(self, body: bytes, sink: Sink, *, without_body: bool = False) -> None:
        self.started = False
        self.complete = False
        self._body: bytes | None = body
        self._sink = sink
        self._without_body = without_body
        self._gone = asyncio.Event()
        self._closed = False

    async def receive(self) -> Message:
        """The whole body as one message, then `http.disconnect` when there is a reason for it."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Pass one message on; returns when there is room for more.

        Raises:
            OSError: the response cannot be delivered any more.
            RuntimeError, ValueError: the message is not one that may come now, or is broken.
        """
        if self._closed:
            raise StreamBroken("The invocation is over.")
        kind = message["type"]
        if kind == "http.response.start" and not self.started:
            await self._sink.start(int(message["status"]), checked(message.get("headers", ())))
            self.started = True
        elif kind == "http.response.body" and self.started and not self.complete:
            await self._send_body(message)
        else:
            raise RuntimeError(f"{kind!r} may not be sent now.")

    def disconnect(self) -> None:
        """Tell the app to end."""
        self._gone.set()

    def close(self) -> None:
        """Nothing is passed on from here on: the app was given up."""
        self._closed = True
        self._gone.set()

    async def fail(self, failure: Failure) -> None:
        """End a response that the app did not complete."""
        self.close()
        await self._sink.fail(failure)

    async def _send_body(self, message: Message) -> None:
        data = message.get("body", b"")
        if data and not self._without_body:
            await self._sink.body(bytes(data))
        if not message.get("more_body", False):
            await self._sink.end()
            self.complete = True
            self._gone.set()
