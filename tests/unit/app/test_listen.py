"""The listening socket: its address, its options, and what it says when it cannot be had."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rillgate.app import listen as module
from rillgate.app.listen import ListenError, listen, raise_open_files, socket_file_removed

Open = Callable[..., tuple[socket.socket, list[str]]]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


IPV6 = pytest.param("::1", marks=pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6"))


@pytest.fixture
def opened() -> Iterator[Open]:
    """`listen`, with its sockets closed at the end of the test."""
    with ExitStack() as stack:

        def open_(*args: object, **kwargs: object) -> tuple[socket.socket, list[str]]:
            kwargs.setdefault("stall_s", 30.0)
            sock, notices = listen(*args, **kwargs)  # type: ignore[arg-type]
            stack.enter_context(sock)
            return sock, notices

        yield open_


@pytest.mark.parametrize("host", ["127.0.0.1", IPV6, "localhost"])
def test_listen_host_takes_its_family(opened: Open, host: str) -> None:
    """The host decides between IPv4 and IPv6, and localhost is 127.0.0.1 first."""
    sock, _ = opened(host, 0)
    assert sock.family == (socket.AF_INET6 if ":" in host else socket.AF_INET)
    assert sock.getsockname()[0] == ("127.0.0.1" if host == "localhost" else host)


def test_listen_localhost_prefers_ipv4(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """localhost is 127.0.0.1, which all help texts say, also where the system names ::1 first."""
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: list(found))
    sock, _ = opened("localhost", 0)
    assert sock.getsockname()[0] == "127.0.0.1"


def test_listen_before_server_runs_takes_connections(opened: Open) -> None:
    """A client that comes before anything accepts is not refused."""
    sock, _ = opened("127.0.0.1", 0)
    with socket.create_connection(sock.getsockname()) as client:
        assert client.getpeername() == sock.getsockname()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this platform has no TCP_USER_TIMEOUT")
def test_listen_accepted_connection_inherits_options(opened: Open) -> None:
    """Each accepted connection has the bound on unsent bytes and twice the stall deadline, in milliseconds."""
    sock, notices = opened("127.0.0.1", 0, stall_s=7.5)
    with socket.create_connection(sock.getsockname()), sock.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 16_384
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000
    assert notices == []


def test_listen_option_missing_is_said_and_done_without(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform without an option still serves, with one line for each that it lacks."""
    monkeypatch.delattr(socket, "TCP_NOTSENT_LOWAT", raising=False)
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)
    sock, notices = opened("127.0.0.1", 0)
    assert [notice.split()[0] for notice in notices] == ["TCP_NOTSENT_LOWAT", "TCP_USER_TIMEOUT"]
    assert all("\n" not in notice for notice in notices)
    socket.create_connection(sock.getsockname()).close()


def test_listen_option_refused_is_said_and_done_without(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that the platform names and then refuses counts as missing."""
    monkeypatch.setattr(socket, "TCP_USER_TIMEOUT", 9_999, raising=False)
    _, notices = opened("127.0.0.1", 0)
    assert [notice.split()[0] for notice in notices] == ["TCP_USER_TIMEOUT"]


@pytest.mark.parametrize("host", ["127.0.0.1", IPV6])
def test_listen_port_in_use_names_another(opened: Open, host: str) -> None:
    """A port in use is one line with address and remedy."""
    port = opened(host, 0)[0].getsockname()[1]
    with pytest.raises(ListenError) as caught:
        opened(host, port)
    line = str(caught.value)
    shown = f"[{host}]" if ":" in host else host
    assert line.startswith(f"cannot listen on {shown}:{port}: the port is in use")
    assert "--port " in line
    assert "PORT=" in line
    assert "\n" not in line


@pytest.mark.parametrize("host", ["nowhere.invalid", "x" * 300, "203.0.113.1"])
def test_listen_foreign_host_is_refused(opened: Open, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is unknown, and an address that is not this machine's, are one line with the remedy."""
    resolve = socket.getaddrinfo

    def unknown(name: str, *args: Any, **kwargs: Any) -> object:
        if name == "nowhere.invalid":  # not asked of a name server
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(name, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ListenError) as caught:
        opened(host, 0)
    assert host in str(caught.value)
    assert "--host 127.0.0.1" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("port", [-1, 65_536])
def test_listen_port_out_of_range_is_refused(opened: Open, port: int) -> None:
    """A number that is no port is refused before the system sees it, which would take it modulo 65536."""
    with pytest.raises(ListenError, match="from 0 to 65535"):
        opened("127.0.0.1", port)


def test_listen_without_permission_names_an_allowed_port(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that belongs to root is one line that names one that does not."""

    def bind(self: socket.socket, address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", bind)
    with pytest.raises(ListenError, match=r"127\.0\.0\.1:80: no permission .* --port 8000 \(make: PORT=8000\)$"):
        opened("127.0.0.1", 80)


def test_listen_unix_socket_is_for_owner_and_group(opened: Open, tmp_path: Path) -> None:
    """Others cannot connect, whatever the umask says, and the umask is as before."""
    before = os.umask(0)
    try:
        sock, notices = opened("127.0.0.1", 0, unix_socket=str(tmp_path / "gate.sock"))
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert sock.family == socket.AF_UNIX
    assert stat.S_IMODE((tmp_path / "gate.sock").stat().st_mode) == 0o660
    assert notices == []


def test_listen_unix_socket_stale_is_replaced(opened: Open, tmp_path: Path) -> None:
    """The file that a killed process left behind is no obstacle."""
    path = str(tmp_path / "gate.sock")
    listen("", 0, stall_s=30.0, unix_socket=path)[0].close()
    opened("", 0, unix_socket=path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_listen_unix_socket_in_use_is_refused(opened: Open, tmp_path: Path) -> None:
    """A socket that another process serves keeps being served by it."""
    path = str(tmp_path / "gate.sock")
    first, _ = opened("", 0, unix_socket=path)
    with pytest.raises(ListenError, match="another process listens there"):
        opened("", 0, unix_socket=path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        first.accept()[0].close()


def test_listen_unix_socket_with_full_backlog_is_in_use(opened: Open, tmp_path: Path) -> None:
    """A server too busy to accept is not taken for a dead one, and is not waited for."""
    path = str(tmp_path / "gate.sock")
    opened("", 0, unix_socket=path, backlog=0)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        with pytest.raises(ListenError, match="another process listens there"):
            opened("", 0, unix_socket=path)


def test_listen_unix_socket_on_other_file_is_refused(opened: Open, tmp_path: Path) -> None:
    """A file that is no socket is never removed."""
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(ListenError, match="is not a socket"):
        opened("", 0, unix_socket=str(path))
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["missing/gate.sock", "x" * 120])
def test_listen_unix_socket_impossible_path_is_refused(opened: Open, tmp_path: Path, name: str) -> None:
    """A missing folder and a name too long for a socket are one line."""
    with pytest.raises(ListenError) as caught:
        opened("", 0, unix_socket=str(tmp_path / name))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_socket_file_removed_own_file_is_gone(opened: Open, tmp_path: Path) -> None:
    """A server that ends takes its socket file with it."""
    path = tmp_path / "gate.sock"
    sock, _ = opened("", 0, unix_socket=str(path))
    with socket_file_removed(sock):
        assert path.exists()
    assert not path.exists()


def test_socket_file_removed_file_of_successor_stays(opened: Open, tmp_path: Path) -> None:
    """A server that drains while the next one already listens leaves the next one's file alone."""
    path = tmp_path / "gate.sock"
    sock, _ = opened("", 0, unix_socket=str(path))
    with socket_file_removed(sock):
        kept = path.rename(tmp_path / "kept.sock")  # keeps the first inode from being used again
        opened("", 0, unix_socket=str(path))
    assert path.exists()
    assert kept.exists()


def test_socket_file_removed_on_tcp_does_nothing(opened: Open) -> None:
    """A socket without a file has none to remove."""
    with socket_file_removed(opened("127.0.0.1", 0)[0]):
        pass


def test_raise_open_files_soft_limit_becomes_hard_limit() -> None:
    """The limit that is really in force is the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowered = min(soft, 1_024 if hard == resource.RLIM_INFINITY else hard - 1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowered, hard))
    try:
        before, now = raise_open_files()
        assert before == lowered
        assert now > lowered
        assert now == hard or now >= 10_240
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (now, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class FakeLimits:
    """A system that says `hard` and refuses more than `allowed`."""

    RLIMIT_NOFILE = resource.RLIMIT_NOFILE
    RLIM_INFINITY = resource.RLIM_INFINITY

    def __init__(self, soft: int, hard: int, allowed: int) -> None:
        self.soft, self.hard, self.allowed = soft, hard, allowed

    def getrlimit(self, which: int) -> tuple[int, int]:
        return self.soft, self.hard

    def setrlimit(self, which: int, limits: tuple[int, int]) -> None:
        if limits[0] > self.allowed:
            raise ValueError("current limit exceeds maximum limit")
        self.soft = limits[0]


@pytest.mark.parametrize(
    ("limits", "result"),
    [
        pytest.param(FakeLimits(256, resource.RLIM_INFINITY, 61_440), (256, 24_576), id="macos"),
        pytest.param(FakeLimits(256, resource.RLIM_INFINITY, 1 << 40), (256, 1 << 20), id="unlimited"),
        pytest.param(FakeLimits(1_024, 1 << 30, 1 << 30), (1_024, 1 << 20), id="absurd"),
        pytest.param(FakeLimits(1_024, 4_096, 4_096), (1_024, 4_096), id="low"),
        pytest.param(FakeLimits(4_096, 4_096, 4_096), (4_096, 4_096), id="already"),
        pytest.param(FakeLimits(256, resource.RLIM_INFINITY, 256), (256, 256), id="refused"),
        pytest.param(
            FakeLimits(resource.RLIM_INFINITY, resource.RLIM_INFINITY, 0), (resource.RLIM_INFINITY,) * 2, id="boundless"
        ),
    ],
)
def test_raise_open_files_takes_what_the_system_allows(
    limits: FakeLimits, result: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endless hard limit is not believed, a refusal is not fatal, and nothing is ever lowered."""
    monkeypatch.setattr(module, "resource", limits)
    assert raise_open_files() == result
    assert limits.soft == result[1]
