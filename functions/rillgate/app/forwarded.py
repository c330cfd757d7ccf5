"""Whom a reverse proxy speaks for: believed over a unix socket, where only a proxy of this machine's can be, and over
TCP from the networks in `server.trusted_proxies`; elsewhere anybody may write what they like into a header.

The proxy must overwrite `X-Forwarded-For`, or add to its end, as nginx does: the last address is the one that the
proxy itself saw, and those before it are hearsay, unless that address is a trusted proxy's too. So the client is the
rightmost address that is not trusted. `Forwarded` (RFC 7239) is not read: a proxy that writes one header passes the
other on as a stranger wrote it.
"""

from __future__ import annotations

from rillgate.app.addresses import Networks, parse_address
from rillgate.app.context import App, Receive, Scope, Send, header

SCHEMES = frozenset({"http", "https"})
HOPS_MAX = 32  # looked at from the right; no chain of one's own proxies is longer


class Forwarded:
    """Puts the forwarded address and scheme in place of the socket's own.

    Args:
        app: what is served behind it.
        trusted: networks of proxies that are believed over TCP.
    """

    def __init__(self, app: App, trusted: Networks | None = None) -> None:
        self._app = app
        self._trusted = trusted or Networks(())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and (is_unix_socket(scope) or self._is_trusted(scope)):
            if (address := client_address(scope, self._trusted)) is not None:
                scope["client"] = (address, 0)
            if (scheme := header(scope, b"x-forwarded-proto")) in SCHEMES:
                scope["scheme"] = scheme
        await self._app(scope, receive, send)

    def _is_trusted(self, scope: Scope) -> bool:
        client = scope.get("client")
        if not self._trusted or not client:
            return False
        address = parse_address(client[0])
        return address is not None and address in self._trusted


def is_unix_socket(scope: Scope) -> bool:
    """Whether the request came over one: its server is a path, which has no port."""
    server = scope.get("server")
    return server is not None and server[1] is None


def client_address(scope: Scope, trusted: Networks) -> str | None:
    """The rightmost address in `X-Forwarded-For` that is no trusted proxy's; None where the last one is no address.

    Where what stands before a trusted proxy is none, or nothing stands there, it is that proxy's.
    """
    given = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    found: str | None = None
    for hop in reversed(given.rsplit(b",", HOPS_MAX)[-HOPS_MAX:]):
        address = parse_address(str(hop, "latin-1").strip())
        if address is None:
            break
        found = str(address)
        if address not in trusted:
            break
    return found
