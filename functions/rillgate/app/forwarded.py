"""Whom a reverse proxy speaks for: believed over a unix socket, where only a proxy of this machine's can be, never
over TCP, where anybody may write what they like into a header.

The proxy must overwrite `X-Forwarded-For`, or add to its end, as nginx does: the last address is the one that the
proxy itself saw, and those before it are hearsay.
"""

from __future__ import annotations

from ipaddress import ip_address

from rillgate.app.context import App, Receive, Scope, Send, header

SCHEMES = frozenset({"http", "https"})


class Forwarded:
    """Puts the forwarded address and scheme in place of the socket's own.

    Args:
        app: what is served behind it.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and is_unix_socket(scope):
            if (address := _last_address(scope)) is not None:
                scope["client"] = (address, 0)
            if (scheme := header(scope, b"x-forwarded-proto")) in SCHEMES:
                scope["scheme"] = scheme
        await self._app(scope, receive, send)


def is_unix_socket(scope: Scope) -> bool:
    """Whether the request came over one: its server is a path, which has no port."""
    server = scope.get("server")
    return server is not None and server[1] is None


def _last_address(scope: Scope) -> str | None:
    """The address that the proxy saw; None where it names none, or something else."""
    given = [str(value, "latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    if not given:
        return None
    try:
        return str(ip_address(given[-1].rpartition(",")[2].strip()))
    except ValueError:
        return None
