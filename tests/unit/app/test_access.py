"""Who may speak to a gateway without keys: this machine and the gateway's own page, and no page of a stranger."""

from __future__ import annotations

from typing import Any

import pytest

from rillgate.app.access import AccessGuard, is_forwarded, is_loopback_name
from rillgate.app.loopback import is_loopback_address
from rillgate.domain.errors import ClientError

pytestmark = pytest.mark.anyio

OWN = "127.0.0.1:8000"
FRONT_END = "https://app.example"


async def refused(
    headers: dict[str, str],
    *,
    origins: list[str] | None = None,
    allow_unauthenticated: bool = False,
    host: str | None = OWN,
    kind: str = "http",
) -> ClientError | None:
    """The refusal of a request with these headers; None where the app behind the guard was called, once."""
    calls: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        calls.append(scope["type"])

    async def nothing(*_: Any) -> Any:
        raise AssertionError("the guard reads and sends nothing")

    named = ({} if host is None else {"host": host}) | headers
    scope = {"type": kind, "headers": [(key.encode(), value.encode("latin-1")) for key, value in named.items()]}
    guard = AccessGuard(app, origins=origins or [], allow_unauthenticated=allow_unauthenticated)
    try:
        await guard(scope, nothing, nothing)
    except ClientError as error:
        assert calls == []
        return error
    assert calls == [kind]
    return None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": f"http://{OWN}"},
        {"origin": f"http://{OWN}", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
        {"authorization": "Bearer whatever", "user-agent": "curl"},
        {"x-real-ip": "10.0.0.1"},
    ],
)
async def test_access_of_this_machine_is_allowed(headers: dict[str, str]) -> None:
    """curl, an SDK with any key, the gateway's own page, its address typed into the browser."""
    assert await refused(headers) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:8000"},
        {"host": "192.168.1.5:8000"},
        {"x-forwarded-for": "203.0.113.9"},
        {"x-forwarded-for": "127.0.0.1"},
        {"x-forwarded-for": ""},
        {"forwarded": "for=203.0.113.9"},
        {"origin": "https://evil.example"},
        {"origin": f"https://evil.example/{OWN}"},
        {"origin": f"http://{OWN}.evil.example"},
        {"origin": f"http://{OWN}@evil.example"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "http://localhost:8000"},
        {"origin": "http://127.0.0.1"},
        {"origin": f"ftp://{OWN}"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://["},
        {"origin": "\xff\xfe"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
        {"sec-fetch-site": "cross-site", "origin": f"http://{OWN}"},
        {"sec-fetch-site": ""},
        {"sec-fetch-site": "something-new"},
    ],
)
async def test_access_of_whatever_shows_a_stranger_is_refused_with_403(headers: dict[str, str]) -> None:
    """A rebound name, a proxy, a foreign page by fetch, form, link, frame or `<img>`, which sends no Origin."""
    error = await refused(headers)
    assert error is not None
    assert (error.status, error.kind, error.code) == (403, "permission_error", "stranger_refused")
    assert "--allow-unauthenticated" in error.message


async def test_access_refusal_names_its_reason_in_bounded_words() -> None:
    """The operator reads what to change; a stranger's long header is not repeated whole."""
    error = await refused({"origin": "https://evil.example"})
    assert error is not None
    assert "server.cors_origins" in error.message
    error = await refused({"origin": "https://" + "x" * 5000})
    assert error is not None
    assert len(error.message) < 500


@pytest.mark.parametrize(
    "host",
    [
        OWN,
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1:",
        "127.255.0.9:80",
        "localhost",
        "localhost:8000",
        "LocalHost:8000",
        "[::1]",
        "[::1]:8000",
        "[0:0:0:0:0:0:0:1]:8000",
        "[::ffff:127.0.0.1]:8000",
    ],
)
async def test_access_by_a_loopback_host_is_allowed_whatever_its_port(host: str) -> None:
    """Port forwarding changes the port and nothing else."""
    assert is_loopback_name(host)
    assert await refused({}, host=host) is None


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        ":8000",
        "127.0.0.1.evil.example",
        "127.0.0.1.evil.example:8000",
        "localhost.evil.example",
        "localhost.",
        "localhost.:8000",
        "evil.localhost",
        "notlocalhost",
        "0.0.0.0",
        "0.0.0.0:8000",
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "127.000.000.001",
        "128.0.0.1",
        "10.0.0.1:8000",
        "169.254.169.254",
        "::1",
        "[::1",
        "::1]:8000",
        "[::]",
        "[::2]:8000",
        "[localhost]:8000",
        "[::1]evil.example",
        "evil.example@127.0.0.1",
        "127.0.0.1@evil.example",
        "127.0.0.1:8000@evil.example",
        "127.0.0.1/evil.example",
        "127.0.0.1?evil.example",
        "127.0.0.1#evil.example",
        "127.0.0.1:80:80",
        "127.0.0.1:http",
        "127.0.0.1, evil.example",
        " 127.0.0.1",
        "127.0.0.1 ",
        "local\thost",
        "127.0.0.1\n",
        "127。0。0。1".encode().decode("latin-1"),
        "\xbd",
        "unix",
    ],
)
async def test_access_by_any_other_host_is_refused(host: str | None) -> None:
    """A name that only looks like loopback, an address that only some resolver takes for it, none at all."""
    assert not is_loopback_name(host or "")
    assert await refused({}, host=host) is not None


@pytest.mark.parametrize("host", ["[::1]:8000", "localhost:8000", "LOCALHOST:8000"])
async def test_access_of_the_own_page_is_allowed_under_each_of_its_names(host: str) -> None:
    """The page's origin is the host that it was loaded from."""
    assert await refused({"origin": f"http://{host.lower()}", "sec-fetch-site": "same-origin"}, host=host) is None


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin"])
async def test_access_from_a_listed_origin_is_allowed(site: str) -> None:
    """The operator's own front end is no stranger, wherever the browser says that it stands."""
    assert await refused({"origin": FRONT_END, "sec-fetch-site": site}, origins=[FRONT_END]) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://app.example.evil"},
        {"origin": "http://app.example"},
        {"origin": "https://app.example:444"},
        {"origin": "https://sub.app.example"},
        {"sec-fetch-site": "cross-site"},
        {"origin": FRONT_END, "host": "evil.example"},
        {"origin": FRONT_END, "x-forwarded-for": "203.0.113.9"},
    ],
)
async def test_access_from_nearly_a_listed_origin_is_refused(headers: dict[str, str]) -> None:
    """An origin is listed as a whole; it lifts nothing but the check of pages."""
    assert await refused(headers, origins=[FRONT_END]) is not None


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("gateway.example", {}),
        ("192.168.1.5:8000", {}),
        (None, {}),
        ("gateway.example", {"x-forwarded-for": "203.0.113.9", "forwarded": "for=203.0.113.9"}),
        ("gateway.example", {"origin": "https://gateway.example", "sec-fetch-site": "same-origin"}),
        (OWN, {"x-forwarded-for": "203.0.113.9"}),
    ],
)
async def test_access_unauthenticated_on_purpose_serves_others(host: str | None, headers: dict[str, str]) -> None:
    """`--allow-unauthenticated` lifts the checks of Host and of forwarding."""
    assert await refused(headers, host=host, allow_unauthenticated=True) is None


@pytest.mark.parametrize("host", ["gateway.example", OWN, "", None])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://"},
        {"origin": "https://gateway.example.evil"},
        {"sec-fetch-site": "cross-site"},
    ],
)
async def test_access_unauthenticated_on_purpose_still_refuses_pages_of_strangers(
    host: str | None, headers: dict[str, str]
) -> None:
    """Serving the neighbours is not serving every page that they visit."""
    assert await refused(headers, host=host, allow_unauthenticated=True) is not None


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_access_of_what_is_no_http_request_is_not_judged(kind: str) -> None:
    """Start and end of the app have no headers to judge; there are no other routes."""
    assert await refused({}, host=None, kind=kind) is None


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_loopback_address_is_told_from_others(address: str, expected: bool) -> None:
    """Also as a socket for both versions of IP writes it."""
    assert is_loopback_address(address) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [(b"x-forwarded-for", True), (b"forwarded", True), (b"x-forwarded-host", False), (b"via", False)],
)
def test_forwarded_is_what_a_proxy_says_of_its_client(name: bytes, expected: bool) -> None:
    """The two headers that name a client; their value does not matter."""
    assert is_forwarded({"headers": [(b"host", b"x"), (name, b"")]}) is expected
