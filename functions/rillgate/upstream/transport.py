"""The seam between Rillgate and its HTTP client: one place that decides what carries the bytes.

Everything above speaks to an `httpx2.AsyncBaseTransport` that raises httpx2's exceptions. Below it is our own
(`fast/`); or httpcore's pool (`pooled.py`), which passes the same suite, `tests/contract/transport`; or httpx2's own
client, where the environment names a proxy or HTTP/2 is wanted, since it knows both. What is not used is not imported:
httpcore alone costs a cold start some 40 ms.
"""

from __future__ import annotations

import os
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.request import getproxies

import httpx2

from rillgate.upstream.fast.transport import FastTransport

KEEPALIVE_EXPIRY_S = 30.0  # below what providers' load balancers keep, above the pause between two turns
WRITE_TIMEOUT_S = 30.0


def make_ssl_context() -> ssl.SSLContext:
    """The authorities that are trusted: those of the file that SSL_CERT_FILE names, else the system's.

    Where a file is named, as on Lambda always, httpx2's own way would import its pool and parser for nothing: 30 ms.
    """
    file = os.environ.get("SSL_CERT_FILE")
    return ssl.create_default_context(cafile=file) if file else httpx2.create_ssl_context()


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
    from rillgate.upstream.pooled import PoolTransport  # noqa: PLC0415 (see above)

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
