"""Who may speak to a gateway that asks for no keys: the person at this machine, and no web page of somebody else's.

A page that this person happens to visit can send requests to 127.0.0.1, by a form, an image, an `EventSource` or a
name of its own that resolves to it, and would spend their tokens. Whatever shows such a stranger is refused: a
`Host` that is not loopback, a foreign `Origin`, a `Sec-Fetch-Site` from elsewhere, a forwarded request.

Origins that the operator lists in `server.cors_origins` are not foreign. `--allow-unauthenticated`, which serves
others on purpose, lifts the checks of `Host` and of forwarding; pages of strangers are refused all the same. Where
keys are required none of this is needed: a stranger's page has no key, and browsers attach none by themselves.
Source: https://www.w3.org/TR/fetch-metadata/, read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from rillgate.app.context import App, Receive, Scope, Send, header
from rillgate.app.loopback import is_loopback_address
from rillgate.domain.errors import ClientError

OWN_SITES = frozenset({"same-origin", "none"})
HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[0-9A-Za-z.-]+))(?::[0-9]*)?")  # as browsers write it


class AccessGuard:
    """Refuses strangers with 403.

    Args:
        app: what is guarded.
        origins: origins whose pages may use this gateway beside its own.
        allow_unauthenticated: serve others than this machine.
    """

    def __init__(self, app: App, *, origins: Collection[str], allow_unauthenticated: bool) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._allow_unauthenticated = allow_unauthenticated

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI.

        Raises:
            ClientError: 403, for the layer above to answer.
        """
        if scope["type"] == "http":
            self._check(scope)
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        host = (header(scope, b"host") or "").lower()
        if not self._allow_unauthenticated:
            if not is_loopback_name(host):
                raise _refused(f"the Host {host!r} is not this machine")
            if is_forwarded(scope):
                raise _refused("the request was forwarded by a proxy")
        origin = header(scope, b"origin")
        if origin is not None:
            if origin in self._origins:
                return
            if not host or origin.lower() not in (f"http://{host}", f"https://{host}"):
                raise _refused(f"the Origin {origin!r} is foreign; list it in server.cors_origins if it is yours")
        site = header(scope, b"sec-fetch-site")
        if site is not None and site not in OWN_SITES:
            raise _refused(f"a page of another site sent it (Sec-Fetch-Site: {site})")


def is_forwarded(scope: Scope) -> bool:
    """Whether a proxy says that it passed the request on."""
    return any(name in (b"x-forwarded-for", b"forwarded") for name, _ in scope["headers"])


def is_loopback_name(host: str) -> bool:
    """Whether a `Host` header names this machine; its port does not matter."""
    match = HOST.fullmatch(host)
    if match is None:
        return False
    if match["address"]:
        return is_loopback_address(match["address"])
    return match["name"].lower() == "localhost" or is_loopback_address(match["name"])


def _refused(why: str) -> ClientError:
    return ClientError(
        f"Refused: keys are off and {why[:200]}. A gateway without keys serves only this machine "
        "and its own page (see --allow-unauthenticated).",
        status=403,
        kind="permission_error",
        code="stranger_refused",
    )
