"""`rillgate healthcheck` against servers that answer in every way."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import rillgate
from rillgate.app.settings.load import load_settings
from rillgate.app.settings.types import ServerSettings
from rillgate.cli import healthcheck as command
from rillgate.cli.context import Context
from rillgate.cli.main import main

READY = b'{"status":"ready"}'
NOT_READY = b'{"status":"not_ready","waiting_for":["encoder","embedded model"]}'


class Gateway(HTTPServer):
    """Answers every request alike, and remembers what it was asked."""

    status = 200
    body = READY
    asked: list[tuple[str, str]]  # path and Host


class Handler(BaseHTTPRequestHandler):
    """One answer, as the gateway's `status` and `body` say."""

    server: Gateway

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Host"]))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def address_string(self) -> str:
        return "a client"  # a unix socket's has no address to show

    def log_message(self, format: str, *args: object) -> None:
        pass


class UnixGateway(Gateway):
    """The same on a unix socket."""

    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(str(self.server_address))


@contextmanager
def running(server: Gateway) -> Iterator[Gateway]:
    """Serve in a thread."""
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """On a free loopback port."""
    with running(Gateway(("127.0.0.1", 0), Handler)) as server:
        yield server


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port on which nobody listens, kept from others."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def check(folder: Path, *words: str, **environ: str) -> int:
    """The command, in an empty folder and in this environment alone."""
    return main(["healthcheck", *words], Context(environ=environ, cwd=folder))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_healthcheck_asks_the_gateway_that_its_environment_describes(
    gateway: Gateway, tmp_path: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Listening on every address it is asked on loopback, so that no check of `Host` refuses it."""
    port = str(gateway.server_port)
    assert check(tmp_path, RILLGATE_SERVER__HOST=host, RILLGATE_SERVER__PORT=port) == 0
    assert gateway.asked == [("/readyz", f"127.0.0.1:{port}")]
    out, err = capsys.readouterr()
    assert (out, err) == (f"The gateway at http://127.0.0.1:{port} is ready.\n", "")


def test_healthcheck_of_one_that_is_not_ready_gives_its_reasons(
    gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code 1 and one line on standard error: what it waits for."""
    gateway.status, gateway.body = 503, NOT_READY
    assert check(tmp_path, RILLGATE_SERVER__PORT=str(gateway.server_port)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"rillgate: the gateway at http://127.0.0.1:{gateway.server_port} is not ready: " + (
        "encoder, embedded model\n"
    )


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"waiting_for":null}', b"\xff"])
def test_healthcheck_of_something_else_says_its_status(
    gateway: Gateway, tmp_path: Path, body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever listens there is not taken for a gateway by an answer that is none of its."""
    gateway.status, gateway.body = 404, body
    assert check(tmp_path, RILLGATE_SERVER__PORT=str(gateway.server_port)) == 1
    assert capsys.readouterr().err.endswith("answers 404 to /readyz\n")


def test_healthcheck_where_nobody_listens_says_so_in_one_line(
    nobody: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code 1, the address, and the reason."""
    assert check(tmp_path, RILLGATE_SERVER__PORT=str(nobody)) == 1
    err = capsys.readouterr().err
    assert err == f"rillgate: the gateway at http://127.0.0.1:{nobody} does not answer (Connection refused)\n"


def test_healthcheck_that_gets_no_answer_gives_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that accepts and says nothing is not healthy."""
    monkeypatch.setattr(command, "TIMEOUT_S", 0.05)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert check(tmp_path, RILLGATE_SERVER__PORT=str(silent.getsockname()[1])) == 1
    assert "does not answer (timed out)" in capsys.readouterr().err


@pytest.mark.parametrize("by", ["option", "environment"])
def test_healthcheck_on_a_unix_socket_asks_there(tmp_path: Path, by: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By path, with a `Host` that is this machine."""
    path = str(tmp_path / "gate.sock")
    with running(UnixGateway(path, Handler)) as server:  # type: ignore[arg-type]  # HTTPServer is typed for TCP alone
        if by == "option":
            assert check(tmp_path, "--unix-socket", path) == 0
        else:
            assert check(tmp_path, RILLGATE_SERVER__UNIX_SOCKET=path) == 0
        assert server.asked == [("/readyz", "localhost")]
    assert capsys.readouterr().out == f"The gateway at unix:{path} is ready.\n"
    assert check(tmp_path, "--unix-socket", str(tmp_path / "none.sock")) == 1
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(("prefix", "path"), [("", "/readyz"), ("/", "/readyz"), ("/gate/", "/gate/readyz")])
def test_healthcheck_by_url_asks_there_whatever_is_configured(
    gateway: Gateway, tmp_path: Path, prefix: str, path: str
) -> None:
    """The option wins, and a path before the gateway's own is kept."""
    url = f"http://127.0.0.1:{gateway.server_port}{prefix}"
    assert check(tmp_path, "--url", url, RILLGATE_SERVER__PORT="no port") == 0
    assert gateway.asked[0][0] == path


@pytest.mark.parametrize(
    "words",
    [
        ["--url", "127.0.0.1:8000"],
        ["--url", "ftp://127.0.0.1"],
        ["--url", "http://127.0.0.1:many"],
        ["--url", "http://127.0.0.1", "--unix-socket", "/run/rillgate.sock"],
    ],
    ids=" ".join,
)
def test_healthcheck_asked_wrongly_exits_with_usage(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No address of a gateway, or two ways to one."""
    with pytest.raises(SystemExit) as exit_:
        check(tmp_path, *words)
    assert exit_.value.code == 2
    assert "usage: rillgate healthcheck" in capsys.readouterr().err


def test_healthcheck_without_a_usable_configuration_is_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Docker keeps every other code to itself; the line says what to correct."""
    assert check(tmp_path, RILLGATE_SERVER__PORT="many") == 1
    err = capsys.readouterr().err
    assert "RILLGATE_SERVER__PORT" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("file", ["", 'host = "192.0.2.1"\nport = 9', 'unix_socket = "gate.sock"'])
@pytest.mark.parametrize("variable", ["", "HOST=::", "PORT=7", "UNIX_SOCKET=/run/gate.sock"])
def test_healthcheck_finds_the_gateway_as_the_gateway_finds_itself(tmp_path: Path, file: str, variable: str) -> None:
    """File and environment over each other, in every order: the same host, port or socket."""
    (tmp_path / "rillgate.toml").write_text(f"[server]\n{file}")
    name, _, value = variable.partition("=")
    environ = {f"RILLGATE_SERVER__{name}": value} if variable else {}
    found = command.configured(Context(environ=environ, cwd=tmp_path))
    assert found == load_settings(config=None, flags={}, environ=environ, cwd=tmp_path).server


@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("localhost", "localhost"), ("192.0.2.7", "192.0.2.7"), ("::1", "::1")],
)
def test_server_on_all_addresses_is_reached_by_loopback(host: str, reached: str) -> None:
    """Of the same family; every other address as it is."""
    assert command.reached_by(ServerSettings(host=host)) == reached


def test_healthcheck_as_a_module_is_the_command_without_the_gateway(gateway: Gateway, tmp_path: Path) -> None:
    """What a container runs every few seconds imports neither the server nor the provider's client."""
    source = str(Path(rillgate.__file__).parents[1])
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": source, "RILLGATE_SERVER__PORT": str(gateway.server_port)}
    program = [sys.executable, "-X", "importtime", "-m", "rillgate.cli.healthcheck"]
    done = subprocess.run(program, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "is ready" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert imported & {"uvicorn", "starlette", "httpx2", "tiktoken", "rillgate.app.gateway"} == set()
