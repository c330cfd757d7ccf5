"""Addresses and keys: who is served without a key, and who never is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rillgate.app.settings.load import is_loopback
from tests.unit.app.settings.settings_support import load, refusal

ALLOWED = {"allow_unauthenticated": True}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.255.0.9", "::1", "[::1]", "localhost", "LocalHost", "::ffff:127.0.0.1", " 127.0.0.1 "]
)
def test_is_loopback_own_addresses_are(host: str) -> None:
    """127.0.0.0/8, ::1 and localhost can only be reached from this machine."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "0.0.0.0",
            "::",
            "",
            "10.0.0.1",
            "128.0.0.1",
            "::2",
            "::ffff:10.0.0.1",
            "example.org",
            "localhost.example.org",
        ),
        *(
            "127.0.0.1.example.org",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "127.0.0.1:8000",
            "local host",
            "[",
            "127.0.0.01",
        ),
    ],
)
def test_is_loopback_anything_else_is_not(host: str) -> None:
    """What is not surely loopback counts as not: a refusal is the safe error."""
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_keys_on_loopback_are_required_only_where_set(tmp_path: Path, host: str) -> None:
    """This machine needs none, unless it is told to."""
    assert not load(tmp_path, flags={"server.host": host}).keys_required
    assert not load(tmp_path, "[auth]\nrequired = false", flags={"server.host": host}).keys_required
    assert load(tmp_path, "[auth]\nrequired = true", flags={"server.host": host}).keys_required
    assert load(tmp_path, "", environ={"RILLGATE_AUTH__REQUIRED": "1"}).keys_required


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gateway.example"])
def test_keys_beyond_loopback_are_required(tmp_path: Path, host: str) -> None:
    """Whoever can reach it needs a key, wherever the address was set."""
    for settings in (
        load(tmp_path, flags={"server.host": host}),
        load(tmp_path, environ={"RILLGATE_SERVER__HOST": host}),
        load(tmp_path, f"[server]\nhost = '{host}'"),
        load(tmp_path, f"[server]\nhost = '{host}'\n[auth]\nrequired = true"),
    ):
        assert settings.keys_required
        assert not settings.allow_unauthenticated


def test_keys_beyond_loopback_with_required_false_are_refused(tmp_path: Path) -> None:
    """The flag is the one way: the file cannot switch keys off for others."""
    toml = "[server]\nhost = '0.0.0.0'\n[auth]\nrequired = false"
    expected = (
        "rillgate.toml: auth.required: false, but '0.0.0.0' may be reached by others; "
        "take it out, or pass --allow-unauthenticated, the one way to serve others without keys"
    )
    assert refusal(tmp_path, toml) == expected
    assert refusal(tmp_path, toml, flags={"allow_unauthenticated": False}) == expected
    environ = {"RILLGATE_AUTH__REQUIRED": "false"}
    message = refusal(tmp_path, "", environ=environ, flags={"server.host": "::"})
    assert message.startswith("RILLGATE_AUTH__REQUIRED: auth.required: false, but '::' may be reached")
    assert not load(tmp_path, toml, flags=ALLOWED).keys_required


@pytest.mark.parametrize("variable", ["RILLGATE_ALLOW_UNAUTHENTICATED", "ALLOW_UNAUTHENTICATED"])
def test_access_flag_is_not_read_from_variables(tmp_path: Path, variable: str) -> None:
    """No variable switches keys off for others."""
    assert load(tmp_path, environ={variable: "1", "RILLGATE_SERVER__HOST": "0.0.0.0"}).keys_required


@pytest.mark.parametrize("toml", ["allow_unauthenticated = true", "[auth]\nallow_unauthenticated = true"])
def test_access_flag_is_not_read_from_the_file(tmp_path: Path, toml: str) -> None:
    """In the file it is an unknown key."""
    assert "allow_unauthenticated: unknown" in refusal(tmp_path, toml)


def test_access_beyond_loopback_with_flag_is_served_without_keys(tmp_path: Path) -> None:
    """The flag serves others, and what checks requests can see it."""
    settings = load(tmp_path, flags={"server.host": "0.0.0.0", "server.port": 9000, **ALLOWED})
    assert (settings.server.host, settings.server.port) == ("0.0.0.0", 9000)
    assert settings.allow_unauthenticated
    assert not settings.keys_required


def test_access_flag_beats_required_true(tmp_path: Path) -> None:
    """Flags come last and win."""
    assert not load(tmp_path, "[auth]\nrequired = true", flags=ALLOWED).keys_required
    settings = load(tmp_path, "[auth]\nrequired = true\n[server]\nhost = '0.0.0.0'", flags=ALLOWED)
    assert (settings.keys_required, settings.allow_unauthenticated) == (False, True)


def test_keys_on_a_unix_socket_are_required(tmp_path: Path) -> None:
    """Whoever may open the file is served, so it is not loopback; a relative path gets its folder."""
    toml = "[server]\nunix_socket = 'run/r.sock'"
    settings = load(tmp_path, toml)
    assert settings.server.unix_socket == tmp_path / "run/r.sock"
    assert settings.keys_required
    assert not load(tmp_path, toml, flags=ALLOWED).keys_required
    message = refusal(tmp_path, f"{toml}\n[auth]\nrequired = false")
    assert message.startswith("rillgate.toml: auth.required: false, but a unix socket may be reached by others; take")


def test_server_unix_socket_beside_host_in_one_source_is_refused(tmp_path: Path) -> None:
    """Which of the two is meant cannot be known."""
    toml = "[server]\nunix_socket = '/r.sock'\nport = 8001"
    assert refusal(tmp_path, toml, flags=ALLOWED) == (
        "rillgate.toml: server.unix_socket: host or port stands beside it; give host and port, or unix_socket"
    )


def test_server_unix_socket_and_address_from_two_sources_later_wins(tmp_path: Path) -> None:
    """A flag's port replaces the file's socket, and a variable's socket replaces the file's port."""
    socket = load(tmp_path, "[server]\nunix_socket = '/r.sock'", flags={"server.port": 8001}).server
    assert (socket.unix_socket, socket.port) == (None, 8001)
    environ = {"RILLGATE_SERVER__UNIX_SOCKET": "/r.sock"}
    assert load(tmp_path, "[server]\nport = 1", environ=environ, flags=ALLOWED).server.unix_socket == Path("/r.sock")


def test_server_cors_origins_take_the_form_that_browsers_send(tmp_path: Path) -> None:
    """Lower case, no default port, no slash: then a comparison of texts is enough."""
    toml = (
        "[server]\ncors_origins = ['https://App.Example:443/', 'http://localhost:3000', 'http://[::1]:80', 'tauri://x']"
    )
    assert load(tmp_path, toml).server.cors_origins == (
        "https://app.example",
        "http://localhost:3000",
        "http://[::1]",
        "tauri://x",
    )


def test_keys_are_required_where_a_platform_or_a_supervisor_opens_another_door(tmp_path: Path) -> None:
    """What the configuration says of loopback does not hold then."""
    endpoint = load(tmp_path, environ={"AWS_LAMBDA_HTTP_ENDPOINT": "0.0.0.0:3000"})
    assert (endpoint.server.http_endpoint, endpoint.keys_required) == (("0.0.0.0", 3000), True)
    assert not load(tmp_path, environ={"AWS_LAMBDA_HTTP_ENDPOINT": "[::1]:3000"}).keys_required
    passed = load(tmp_path, environ={"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
    assert (passed.server.inherited, passed.keys_required) == (1, True)
    other = load(tmp_path, environ={"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid() + 1)})
    assert (other.server.inherited, other.keys_required) == (0, False)


@pytest.mark.parametrize("text", ["3000", "0.0.0.0:", ":3000", "0.0.0.0:http"])
def test_endpoint_of_the_platform_that_is_no_address_is_one_line(tmp_path: Path, text: str) -> None:
    """It names the variable."""
    message = refusal(tmp_path, environ={"AWS_LAMBDA_HTTP_ENDPOINT": text})
    assert message == f"AWS_LAMBDA_HTTP_ENDPOINT: {text!r} is no address; give HOST:PORT, such as 0.0.0.0:3000"


@pytest.mark.parametrize(
    ("environ", "where"),
    [
        ({"AWS_LAMBDA_HTTP_ENDPOINT": "0.0.0.0:3000"}, "'0.0.0.0' (AWS_LAMBDA_HTTP_ENDPOINT)"),
        ({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}, "a socket of the supervisor's"),
    ],
)
def test_keys_switched_off_behind_another_door_is_refused_by_its_name(
    tmp_path: Path, environ: dict[str, str], where: str
) -> None:
    """Whoever switched them off was thinking of loopback."""
    message = refusal(tmp_path, "[auth]\nrequired = false", environ=environ)
    assert message.startswith(f"rillgate.toml: auth.required: false, but {where} may be reached by others; take")


@pytest.mark.parametrize(
    ("key", "value"),
    [("address_connections_max", 0), ("address_connections_max", 2000), ("address_burst_max", 2000)],
)
def test_limits_of_an_address_at_two_thousand_or_off_are_taken(tmp_path: Path, key: str, value: int) -> None:
    """One address may always hold 2,000 streams, so that is the lowest limit."""
    assert getattr(load(tmp_path, f"[limits]\n{key} = {value}").limits, key) == value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("address_connections_max", 1999),
        ("address_connections_max", 1),
        ("address_connections_max", -1),
        ("address_burst_max", 1999),
        ("address_burst_max", 0),
    ],
)
def test_limits_of_an_address_below_two_thousand_are_refused(tmp_path: Path, key: str, value: int) -> None:
    """In a line that says the bound and the reason."""
    message = refusal(tmp_path, f"[limits]\n{key} = {value}")
    assert f"limits.{key}: {value} is out of range (2000 or more" in message
    assert "one address may always have so many streams" in message
    assert key in refusal(tmp_path, environ={f"RILLGATE_LIMITS__{key.upper()}": str(value)})


def test_trusted_proxies_are_networks_and_single_addresses(tmp_path: Path) -> None:
    """Of both versions; from a variable separated by commas."""
    toml = '[server]\ntrusted_proxies = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]'
    expected = ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32")
    assert load(tmp_path, toml).server.trusted_proxies == expected
    environ = {"RILLGATE_SERVER__TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.7,2001:db8::/32"}
    assert load(tmp_path, "", environ=environ).server.trusted_proxies == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("10.0.0.1/8", "without bits beyond its prefix"),
        ("nginx.internal", "expected a network, got 'nginx.internal'"),
        ("0.0.0.0/0", "is everybody"),
        ("::/0", "is everybody"),
        ("", "expected a network"),
    ],
)
def test_trusted_proxies_that_are_none_are_refused(tmp_path: Path, value: str, words: str) -> None:
    """Names are not looked up, and nobody trusts everybody: then anyone could name any address."""
    assert words in refusal(tmp_path, f'[server]\ntrusted_proxies = ["{value}"]')
