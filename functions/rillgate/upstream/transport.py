"""The seam between Rillgate and its HTTP client: one place that decides what carries the bytes.

Everything above speaks to an `httpx2.AsyncBaseTransport`. Below it is our own (`fast/`); httpcore's pool, as in
httpx2's own transport, on sockets that hold little (`network.py`); or httpx2's own client, where the environment names
a proxy or HTTP/2 is wanted, since it knows both. Each passes the suite in `tests/contract/transport`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.request import getproxies

import httpcore2
import httpx2

from rillgate.upstream.fast.transport import FastTransport
from rillgate.upstream.network import NetworkBackend

KEEPALIVE_EXPIRY_S = 30.0  # below what providers' load balancers keep, above the pause between two turns
WRITE_TIMEOUT_S = 30.0


def make_transport(
    ssl_context: ssl.SSLContext, connections_max: int, *, proxies: bool, http2: bool = False, fast: bool = True
) -> httpx2.AsyncBaseTransport:
    """What carries the requests to one origin.

    Args:
        proxies: whether a proxy that the environment names may stand in between.
        http2: whether HTTP/2 is offered; httpx2 needs the package h2 for it.
        fast: our own transport rather than httpcore's pool, where there is a choice.
    """
    if http2 or (proxies and getproxies().keys() & {"http", "https", "all"}):
        return StockTransport(ssl_context, _limits(connections_max), proxies=proxies, http2=http2)
    if fast:
        return FastTransport(ssl_context, connections_max=connections_max, keepalive_s=KEEPALIVE_EXPIRY_S)
    return PoolTransport(ssl_context, _limits(connections_max))


def _limits(connections_max: int) -> httpx2.Limits:
    """Idle connections are not limited below open ones: httpcore counts all connections against that limit and would
    close a connection after nearly every answer.
    """
    return httpx2.Limits(
        max_connections=connections_max,
        max_keepalive_connections=connections_max,
        keepalive_expiry=KEEPALIVE_EXPIRY_S,
    )


def timeouts(connect_s: float, pool_s: float) -> dict[str, float | None]:
    """No read timeout: silence is measured on whole events, by the pipeline, and frozen while reading is paused."""
    return {"connect": connect_s, "read": None, "write": WRITE_TIMEOUT_S, "pool": pool_s}


class StockTransport(httpx2.AsyncBaseTransport):
    """httpx2's own client, for what it alone can. It keeps no cookie, since requests of different people share it."""

    def __init__(self, ssl_context: ssl.SSLContext, limits: httpx2.Limits, *, proxies: bool, http2: bool) -> None:
        self._client = httpx2.AsyncClient(
            verify=ssl_context,
            limits=limits,
            http2=http2,
            trust_env=proxies,
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request and give the response when its headers are there."""
        return await self._client.send(request, stream=True)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


class PoolTransport(httpx2.AsyncBaseTransport):
    """httpcore's connection pool over our own sockets. Its exceptions are httpcore's; `exchange` maps both kinds."""

    def __init__(self, ssl_context: ssl.SSLContext, limits: httpx2.Limits) -> None:
        self.pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=NetworkBackend(),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request and give the response when its headers are there."""
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

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        await self._stream.aclose()
