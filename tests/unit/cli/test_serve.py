"""`rillgate serve` without serving: flags, what is handed to the server, refusals."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rillgate.app import listeners
from rillgate.app.embedded import EmbeddedModel
from rillgate.app.gateway import Gateway
from rillgate.app.http_protocol import HttpLimits
from rillgate.app.listen import ListenError
from rillgate.cli import serve as command
from rillgate.cli.workers.command import Crew
from rillgate.cli.workers.messages import Orders


class Runs:
    """What would have been served: see the fixture."""

    def __init__(self) -> None:
        self.listened: list[tuple[str, int, float, str | None]] = []
        self.limits: HttpLimits | None = None
        self.grace_s: float | None = None
        self.drained: object = None
        self.refuse: ListenError | None = None
        self.said: list[str] = []
        self.crew: Crew | None = None


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Runs]:
    """In an empty folder with an empty environment, nothing listens and nothing runs."""
    found = Runs()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    sockets = [socket.socket() for _ in range(3)]
    unused = iter(sockets)

    def listen(host: str, port: int, *, stall_s: float, unix_socket: str | None) -> tuple[socket.socket, list[str]]:
        if found.refuse is not None:
            raise found.refuse
        found.listened.append((host, port, stall_s, unix_socket))
        return next(unused), ["this platform lacks something"]

    def run(app: Any, given: list[socket.socket], **options: Any) -> int:
        assert given[0] in sockets
        found.limits, found.grace_s, found.drained = options["limits"], options["grace_s"], options["drain"]
        return 5

    def keep(crew: Crew, given: list[socket.socket]) -> int:
        assert given[0] in sockets
        found.crew = crew
        return 6

    monkeypatch.setattr(listeners, "listen", listen)
    monkeypatch.setattr(command, "keep", keep)
    monkeypatch.setattr(command, "run", run)
    monkeypatch.setattr(command, "raise_open_files", lambda: (0, 0))
    monkeypatch.setattr(command, "configure_logs", lambda: None)
    yield found
    for sock in sockets:
        sock.close()


def serve(**options: Any) -> int:
    """The command with nothing given but `options`."""
    usual: dict[str, Any] = {
        "config": None,
        "host": None,
        "port": None,
        "allow_unauthenticated": False,
        "grace_s": 20.0,
    }
    return command.serve(**{**usual, **options})


def test_serve_with_nothing_given_listens_where_it_always_does(runs: Runs) -> None:
    """127.0.0.1:8000; the server's exit code is the command's."""
    assert serve(grace_s=3) == 5
    assert runs.listened == [("127.0.0.1", 8000, 30, None)]
    assert runs.grace_s == 3
    assert runs.limits == HttpLimits(linger_s=30)


def test_serve_with_a_limit_for_each_address_has_the_server_count_connections(runs: Runs) -> None:
    """The app refuses, but only the server sees who connects."""
    Path("rillgate.toml").write_text("[limits]\naddress_connections_max = 2000")
    serve()
    assert runs.limits is not None
    assert runs.limits.connections is not None


def test_serve_with_flags_prefers_them_to_file_and_environment(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags come last and win."""
    Path("rillgate.toml").write_text('[server]\nhost = "127.0.0.2"\nport = 1')
    monkeypatch.setenv("RILLGATE_SERVER__PORT", "2")
    serve()
    serve(host="127.0.0.3", port=0)
    assert [(host, port) for host, port, *_ in runs.listened] == [("127.0.0.2", 2), ("127.0.0.3", 0)]


def test_serve_gives_socket_and_connections_the_longest_stall_of_any_route(runs: Runs) -> None:
    """The kernel must not give a client up before the slowest route does."""
    Path("rillgate.toml").write_text(
        "[timeouts]\nstall_s = 10\n"
        '[providers.lab]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n'
        '[[routes]]\nmodel = "slow-*"\nupstream = ["lab/*"]\nstall_s = 70\n'
        '[[routes]]\nmodel = "fast-*"\nupstream = ["lab/*"]\nstall_s = 5\n'
    )
    serve()
    assert runs.listened[0][2] == 70
    assert runs.limits is not None
    assert runs.limits.linger_s == 70


def test_serve_on_a_unix_socket_listens_on_its_path(runs: Runs, tmp_path: Path) -> None:
    """A path in a file starts at the file's folder."""
    Path("rillgate.toml").write_text('[server]\nunix_socket = "gate.sock"')
    serve(allow_unauthenticated=True)
    assert runs.listened[0][3] == str(tmp_path / "gate.sock")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_serve_beyond_loopback_needs_keys_or_the_flag(
    runs: Runs, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Others are served with keys, or without by the flag; the file alone switches keys off for nobody else."""
    assert serve(host=host) == 5
    assert serve(host=host, allow_unauthenticated=True) == 5
    assert [listened[0] for listened in runs.listened] == [host, host]
    Path("rillgate.toml").write_text("[auth]\nrequired = false")
    assert serve(host=host) == 2
    assert len(runs.listened) == 2
    assert "--allow-unauthenticated" in capsys.readouterr().err


def test_serve_makes_the_ledger_beside_its_configuration(runs: Runs, tmp_path: Path) -> None:
    """With nothing configured, what is spent is kept in the working directory, for this user alone to read."""
    assert serve() == 5
    assert (tmp_path / "rillgate.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sqlite:///no/such/folder/l.db", "there is no folder"),
        ("sqlite:///text.db", "it is no SQLite database"),
        ("sqlite:///.", "it cannot be opened"),
        ("dynamodb://ledger", "its region is not known"),
    ],
)
def test_serve_with_a_ledger_that_cannot_be_used_says_why_in_one_line(
    runs: Runs, url: str, problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything listens: the file or the table, what is wrong with it, and exit code 2."""
    Path("text.db").write_text("not a database, and longer than the header of one: " * 20)
    monkeypatch.setenv("RILLGATE_LEDGER__URL", url)
    assert serve() == 2
    assert runs.listened == []
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rillgate: ")
    assert problem in err
    assert err.count("\n") == 1


def test_serve_that_cannot_listen_says_why_in_one_line(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    """The reason of the socket, on standard error, and exit code 2."""
    runs.refuse = ListenError("cannot listen on 127.0.0.1:8000: the port is in use; take another")
    assert serve() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "rillgate: cannot listen on 127.0.0.1:8000: the port is in use; take another\n"


def test_serve_drains_the_streams_of_its_gateway(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server waits for at its end is what the gateway runs."""
    made: list[Gateway] = []

    def make(settings: Any, **options: Any) -> Gateway:
        made.append(Gateway(settings, **options))
        return made[0]

    monkeypatch.setattr(command, "Gateway", make)
    serve()
    assert runs.drained is made[0].streams


def test_serve_with_several_workers_has_them_kept_instead_of_serving(runs: Runs, tmp_path: Path) -> None:
    """What holds is decided once: each worker is told what it cannot see for itself."""
    Path("x.toml").write_text("[server]\nport = 1")
    assert serve(workers=3, host="0.0.0.0", port=0, grace_s=7, config=Path("x.toml")) == 6
    assert runs.drained is None
    crew = runs.crew
    assert crew is not None
    assert (crew.workers, crew.model) == (3, None)
    assert crew.orders == Orders(
        number=0,
        config="x.toml",
        host="0.0.0.0",
        port=0,
        allow_unauthenticated=False,
        keys_required=True,
        grace_s=7,
    )
    assert serve(workers=2, allow_unauthenticated=True) == 6
    assert runs.crew is not None
    assert (runs.crew.orders.allow_unauthenticated, runs.crew.orders.keys_required) == (True, False)


def test_serve_with_several_workers_and_the_embedded_model_has_one_of_it(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is kept beside them."""
    monkeypatch.setattr("os.environ", {"RILLGATE_PROVIDERS__SMALL__KIND": "embedded"})
    serve(workers=2)
    assert runs.crew is not None
    assert runs.crew.model is not None
    assert runs.crew.model.state == "starting"


def test_serve_with_several_workers_and_a_ledger_in_memory_is_refused(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything listens; one worker may have it."""
    monkeypatch.setenv("RILLGATE_LEDGER__URL", "memory:")
    assert serve(workers=2) == 2
    assert runs.listened == []
    assert capsys.readouterr().err.startswith("rillgate: --workers: a ledger in memory")
    assert serve(workers=1) == 5


def test_model_that_changes_is_said_in_its_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Ready, or why not and what to set."""
    model = EmbeddedModel()
    command._model_changed(model)
    assert capsys.readouterr().out == "The embedded model smollm2-135m is ready.\n"
    model._cause = "cannot be started"
    command._model_changed(model)
    out = capsys.readouterr().out
    assert out.startswith("The embedded model cannot be started.")
    assert "OPENAI_API_KEY" in out


def test_line_said_to_nobody_is_dropped_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the reader of standard output has gone, neither this line nor a later one fails, nor the last flush."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        command.say("nobody reads this")
        command.say("nor this")
