"""Whom a proxy speaks for: believed over a unix socket, and from networks that the operator trusts."""

from __future__ import annotations

from typing import Any

import pytest

from rillgate.app.addresses import Networks
from rillgate.app.forwarded import HOPS_MAX, Forwarded, is_unix_socket

pytestmark = pytest.mark.anyio

UNIX = ("/run/rillgate/gateway.sock", None)
TCP = ("127.0.0.1", 8000)


async def seen(server: Any, *headers: tuple[str, str], client: Any = None, trusted: Any = ()) -> tuple[Any, str]:
    """Address and scheme as the app behind it has them."""
    found: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(scope)

    async def nothing(*_: Any) -> Any:
        raise AssertionError("it reads and sends nothing")

    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "scheme": "http", "server": server, "client": client, "headers": raw}
    await Forwarded(app, Networks(trusted))(scope, nothing, nothing)
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


PROXIES = ("10.0.0.0/8", "2001:db8:ffff::/48")
PEER = ("10.0.0.1", 5)


async def forwarded_for(*values: str, client: Any = PEER, server: Any = TCP, trusted: Any = PROXIES) -> Any:
    """Whom the app takes for the client."""
    headers = [("x-forwarded-for", value) for value in values]
    return (await seen(server, *headers, client=client, trusted=trusted))[0]


async def test_forwarded_by_a_trusted_proxy_over_tcp_is_believed() -> None:
    """Address and scheme, also where the socket is one for both versions."""
    headers = (("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https"))
    for client in (PEER, ("::ffff:10.0.0.1", 5), ("2001:db8:ffff::1", 5)):
        assert await seen(TCP, *headers, client=client, trusted=PROXIES) == (("203.0.113.9", 0), "https")


@pytest.mark.parametrize("client", [("203.0.113.1", 5), ("::1", 5), None, ("nonsense", 5)])
async def test_forwarded_by_anybody_else_over_tcp_is_not_believed(client: Any) -> None:
    """Whoever reaches the gateway past its proxies writes what they like."""
    assert await forwarded_for("198.51.100.1", client=client) == client


@pytest.mark.parametrize(
    ("values", "address"),
    [
        (["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        (["1.1.1.1, 203.0.113.9, 10.0.0.2,10.0.0.3"], "203.0.113.9"),
        (["1.1.1.1", "203.0.113.9", "10.0.0.2"], "203.0.113.9"),
        (["spoofed, 203.0.113.9, 2001:db8:ffff::9"], "203.0.113.9"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["10.0.0.7, 10.0.0.2"], "10.0.0.7"),
        (["unknown, 10.0.0.2"], "10.0.0.2"),
        ([", 10.0.0.2"], "10.0.0.2"),
    ],
)
async def test_forwarded_through_several_proxies_takes_the_rightmost_stranger(values: list[str], address: str) -> None:
    """What stands before it was written by that stranger; where there is none, or no address, the last proxy known."""
    assert await forwarded_for(*values) == (address, 0)
    assert await forwarded_for(*values, server=UNIX, client=None) == (address, 0)


async def test_forwarded_chain_without_end_is_looked_at_up_to_its_bound() -> None:
    """A header of sixty kilobytes costs no more than a few hops."""
    chain = ", ".join(["203.0.113.9"] + ["10.0.0.2"] * 6_000)
    assert await forwarded_for(chain) == ("10.0.0.2", 0)
    within = ", ".join(["203.0.113.9"] + ["10.0.0.2"] * (HOPS_MAX - 1))
    assert await forwarded_for(within) == ("203.0.113.9", 0)
