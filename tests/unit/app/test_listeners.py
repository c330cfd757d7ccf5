"""What a gateway listens on: what is configured, what a supervisor hands over, what a platform asks for."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rillgate.app import inherited
from rillgate.app.inherited import take_over
from rillgate.app.listen import ListenError
from rillgate.app.listeners import listening
from rillgate.app.settings.types import ServerSettings

STALL_S = 30.0
AS_SUPERVISOR = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True); "
    "os.execv(sys.executable, [sys.executable, '-c', sys.argv[2]])"
)


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """Two sockets that a supervisor made, at the descriptors where one expects them: 3 and 4 are this process's own."""
    made = [socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))]
    first = 200
    for number, sock in enumerate(made):
        os.dup2(sock.fileno(), first + number)
    monkeypatch.setattr(inherited, "FIRST_FD", first)
    yield made
    for sock in made:
        sock.close()


def test_listening_on_a_unix_socket_removes_its_file_at_the_end(tmp_path: Path) -> None:
    """It is there while it is listened on."""
    path = tmp_path / "gate.sock"
    with listening(ServerSettings(unix_socket=path), {}, stall_s=STALL_S) as (sockets, _):
        assert [sock.getsockname() for sock in sockets] == [str(path)]
    assert not path.exists()
    assert sockets[0].fileno() == -1


def test_listening_with_an_endpoint_of_the_platform_has_it_beside_the_configured_one() -> None:
    """Both are served, and the operator is told of the second."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    server = ServerSettings(port=0, http_endpoint=("127.0.0.1", port))
    with listening(server, {}, stall_s=STALL_S) as (sockets, notices):
        assert len(sockets) == 2
        assert sockets[1].getsockname() == ("127.0.0.1", port)
        assert notices == [f"It listens on 127.0.0.1:{port} too (AWS_LAMBDA_HTTP_ENDPOINT)."]
        same = ServerSettings(port=port, http_endpoint=("127.0.0.1", port))
        sockets[1].close()
        with listening(same, {}, stall_s=STALL_S) as (once, told):
            assert (len(once), told) == (1, [])


def test_listening_that_fails_for_the_second_closes_the_first() -> None:
    """Nothing is left open, and no warning of it: those are errors here."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        server = ServerSettings(port=0, http_endpoint=taken.getsockname())
        with pytest.raises(ListenError, match="the port is in use"), listening(server, {}, stall_s=STALL_S):
            pass


def test_listening_on_a_supervisor_s_sockets_makes_none(supervisor: list[socket.socket]) -> None:
    """They get the options that only a listening socket can pass on, and the variables are gone for children."""
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b", "HOME": "/"}
    with listening(ServerSettings(port=1, inherited=2), environ, stall_s=STALL_S) as (sockets, notices):
        assert [sock.getsockname() for sock in sockets] == [sock.getsockname() for sock in supervisor]
        assert not any(os.get_inheritable(sock.fileno()) for sock in sockets)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            assert sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 16_384
        assert environ == {"HOME": "/"}
        assert notices == []


def test_take_over_of_what_does_not_listen_says_what_the_unit_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection (Accept=yes) and a file are no listening sockets."""
    ours, theirs = socket.socketpair()
    with closing(theirs):
        monkeypatch.setattr(inherited, "FIRST_FD", ours.detach())
        with pytest.raises(ListenError, match="does not listen; the socket unit needs ListenStream= and Accept=no"):
            take_over(1, {})
    reading, writing = os.pipe()
    monkeypatch.setattr(inherited, "FIRST_FD", reading)
    with pytest.raises(ListenError, match="should be a socket of the socket unit"):
        take_over(1, {})
    os.close(reading)
    os.close(writing)


def test_socket_of_a_supervisor_serves_in_a_new_process(tmp_path: Path) -> None:
    """As systemd does it: descriptor 3, and the variables name the process that they are for."""
    code = (
        "import os, socket\n"
        "from rillgate.app.listeners import listening\n"
        "from rillgate.app.settings.load import load_settings\n"
        "from pathlib import Path\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "settings = load_settings(config=None, flags={}, environ=os.environ, cwd=Path.cwd())\n"
        "assert settings.keys_required\n"
        "with listening(settings.server, os.environ, stall_s=30) as (sockets, _):\n"
        "    sockets[0].accept()[0].sendall(b'here')\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as sock:
        process = subprocess.Popen(
            [sys.executable, "-c", AS_SUPERVISOR, str(sock.fileno()), code],
            pass_fds=[sock.fileno()],
            cwd=tmp_path,
            env={**os.environ, "LISTEN_FDS": "1", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"},
        )
        with socket.create_connection(sock.getsockname(), timeout=60) as client:
            assert client.recv(4) == b"here"
        assert process.wait(60) == 0
