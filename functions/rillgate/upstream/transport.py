"""The seam between Rillgate and its HTTP client: one place that decides what carries the bytes.

Everything above speaks to `httpx2.AsyncBaseTransport`; today that is httpx2's stock transport. One client serves
one origin: httpcore's pool looks at all its connections whenever a request starts or ends.
"""

from __future__ import annotations

import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

KEEPALIVE_EXPIRY_S = 30.0  # below what providers' load balancers keep, above the pause between two turns
WRITE_TIMEOUT_S = 30.0


def make_client(ssl_context: ssl.SSLContext, connections_max: int) -> httpx2.AsyncClient:
    """A client for one origin.

    Idle connections are not limited below open ones: httpcore counts all connections against that limit and
    would close a connection after nearly every answer. Proxies come from the environment. No cookie is kept:
    requests of different people share the client.
    """
    return httpx2.AsyncClient(
        verify=ssl_context,
        limits=httpx2.Limits(
            max_connections=connections_max,
            max_keepalive_connections=connections_max,
            keepalive_expiry=KEEPALIVE_EXPIRY_S,
        ),
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
    )


def timeout(connect_s: float, pool_s: float) -> httpx2.Timeout:
    """No read timeout: silence is measured on whole events, by the pipeline, and frozen while reading is paused."""
    return httpx2.Timeout(connect=connect_s, read=None, write=WRITE_TIMEOUT_S, pool=pool_s)
