"""Whom a proxy speaks for: believed over a unix socket alone."""

from __future__ import annotations

from typing import Any

import pytest

from rillgate.app.forwarded import Forwarded, is_unix_socket

pytestmark = pytest.mark.anyio

UNIX = ("/run/rillgate/gateway.sock", None)
TCP = ("127.0.0.1", 8000)


async def seen(server: Any, *headers: tuple[str, str], client: Any = None) -> tuple[Any, str]:
    """Address and scheme as the app behind it has them."""
    found: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(scope)

    async def nothing(*_: Any) -> Any:
        raise AssertionError("it reads and sends nothing")

    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "scheme": "http", "server": server, "client": client, "headers": raw}
    await Forwarded(app)(scope, nothing, nothing)
    return found[0]["client"], found[0]["scheme"]


@pytest.mark.parametrize("address", ["203.0.113.9", "2001:db8::1"])
async def test_forwarded_over_unix_socket_is_believed(address: str) -> None:
    """The proxy's own word: address and scheme."""
    assert await seen(UNIX, ("x-forwarded-for", address), ("x-forwarded-proto", "https")) == ((address, 0), "https")


async def test_forwarded_over_tcp_is_never_believed() -> None:
    """Anybody may write it, from loopback too."""
    peer = ("127.0.0.1", 5)
    headers = (("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https"))
    assert await seen(TCP, *headers, client=peer) == (peer, "http")
    assert await seen(None, *headers) == (None, "http")


@pytest.mark.parametrize(
    "headers",
    [
        [("x-forwarded-for", "198.51.100.1, 203.0.113.9")],
        [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "203.0.113.9")],
    ],
)
async def test_forwarded_with_several_addresses_takes_the_last(headers: list[tuple[str, str]]) -> None:
    """The proxy adds at the end what it saw itself; what stands before it came from the client."""
    assert (await seen(UNIX, *headers))[0] == ("203.0.113.9", 0)


@pytest.mark.parametrize("value", ["", "unknown", "203.0.113.9:80", "evil, _hidden", "\xff"])
async def test_forwarded_without_an_address_leaves_the_socket_s_own(value: str) -> None:
    """Nonsense is no address."""
    assert await seen(UNIX, ("x-forwarded-for", value), ("x-forwarded-proto", "gopher")) == (None, "http")


async def test_forwarded_ignores_what_is_not_http() -> None:
    """A lifespan has no headers."""
    assert not is_unix_socket({"type": "lifespan"})
