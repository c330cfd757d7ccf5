"""The second transport: httpcore's pool, as in httpx2's own, over sockets that hold little (`network.py`).

One of these serves one origin: httpcore's pool looks at all its connections whenever a request starts or ends. It is
what the fast transport is measured against and held to, and what takes its place where that should ever be needed.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import httpcore2
import httpx2

from rillgate.upstream.network import NetworkBackend


class PoolTransport(httpx2.AsyncBaseTransport):
    """httpcore's connection pool over our own sockets."""

    def __init__(self, ssl_context: ssl.SSLContext, limits: httpx2.Limits) -> None:
        self.pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=NetworkBackend(),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request and give the response when its headers are there.

        Raises:
            httpx2.RequestError: what failed, by its subclass.
        """
        outgoing = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _renamed():
            response = await self.pool.handle_async_request(outgoing)
        return httpx2.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response.stream),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self.pool.aclose()


class _Body(httpx2.AsyncByteStream):
    """A response's body, closed with the response: httpcore's pool learns by it that the connection is free."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _renamed():
            async with aclosing(aiter(self._stream)) as pieces:
                async for piece in pieces:
                    yield piece

    async def aclose(self) -> None:
        with _renamed():
            await self._stream.aclose()


@contextmanager
def _renamed() -> Iterator[None]:
    """httpcore's exceptions as httpx2's, which have the same names."""
    try:
        yield
    except (
        httpcore2.TimeoutException,
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.ProxyError,
        httpcore2.UnsupportedProtocol,
    ) as error:
        named: type[httpx2.RequestError] = getattr(httpx2, type(error).__name__)
        raise named(str(error)) from error
