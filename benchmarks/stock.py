"""`rillgate` with httpx2's own client in place of our transport, for the comparison alone: the same words after it."""

from __future__ import annotations

import ssl
import sys
from typing import Any

import httpx2

from rillgate.cli.main import main
from rillgate.upstream import exchange
from rillgate.upstream.transport import KEEPALIVE_EXPIRY_S, StockTransport


def make_transport(ssl_context: ssl.SSLContext, connections_max: int, **_: Any) -> httpx2.AsyncBaseTransport:
    """As `rillgate.upstream.transport.make_transport` where a proxy stands in between, without the proxy.

    Idle connections are kept as there: fewer than open ones would be closed after nearly every answer.
    """
    limits = httpx2.Limits(
        max_connections=connections_max,
        max_keepalive_connections=connections_max,
        keepalive_expiry=KEEPALIVE_EXPIRY_S,
    )
    return StockTransport(ssl_context, limits, proxies=False, http2=False)


if __name__ == "__main__":
    vars(exchange)["make_transport"] = make_transport
    sys.exit(main())
