"""The transports that pass this suite, and the little that differs between them."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import httpx2

from rillgate.upstream.fast.transport import FastTransport
from rillgate.upstream.pooled import PoolTransport
from rillgate.upstream.transport import make_transport

KINDS = ("pool", "fast")
TIMEOUTS: dict[str, float | None] = {"connect": 5, "read": None, "write": 5, "pool": 5}


class Carrier:
    """Opens requests on one transport, as `upstream.exchange` does."""

    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        self.transport = transport

    async def open(
        self,
        url: str,
        method: str = "GET",
        *,
        content: Any = None,
        headers: list[tuple[str, str]] | None = None,
        trace: Callable[..., Any] | None = None,
        **timeouts: float | None,
    ) -> httpx2.Response:
        """Send a request; the response is open."""
        extensions: dict[str, Any] = {"timeout": TIMEOUTS | timeouts}
        if trace is not None:
            extensions["trace"] = trace
        request = httpx2.Request(method, url, headers=headers, content=content, extensions=extensions)
        return await self.transport.handle_async_request(request)

    async def fetch(self, url: str, method: str = "GET", **options: Any) -> tuple[int, bytes]:
        """The status and the whole body of one request."""
        response = await self.open(url, method, **options)
        try:
            return response.status_code, await body_of(response)
        finally:
            await response.aclose()

    @property
    def busy(self) -> int:
        """Slots that are taken and not idle."""
        if isinstance(self.transport, FastTransport):
            return self.transport.slots - self.transport.idle
        assert isinstance(self.transport, PoolTransport)
        return sum(not connection.is_idle() for connection in self.transport.pool.connections)


async def body_of(response: httpx2.Response) -> bytes:
    """All of an open response's body."""
    return b"".join([chunk async for chunk in response.aiter_raw()])


def make(kind: str, *, connections_max: int = 10, context: ssl.SSLContext | None = None) -> Carrier:
    """A carrier of that kind."""
    trusting = context or ssl.create_default_context()
    return Carrier(make_transport(trusting, connections_max, proxies=False, fast=kind == "fast"))
