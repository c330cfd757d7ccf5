"""Words of the command line to arguments of the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rillgate import __version__
from rillgate.cli import main as cli
from rillgate.cli.context import Context


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `serve` was called with, instead of serving."""
    found: list[dict[str, Any]] = []

    def serve(**arguments: Any) -> int:
        found.append(arguments)
        return 7

    monkeypatch.setattr(cli, "serve", serve)
    return found


def test_main_serve_alone_leaves_everything_to_the_configuration(calls: list[dict[str, Any]]) -> None:
    """None is not given; the exit code is the command's."""
    assert cli.main(["serve"]) == 7
    (call,) = calls
    assert isinstance(call.pop("context"), Context)
    assert call == {
        "config": None,
        "host": None,
        "port": None,
        "allow_unauthenticated": False,
        "grace_s": 20.0,
        "workers": 1,
        "make_first_key": False,
    }


def test_main_serve_with_every_option_passes_it_on(calls: list[dict[str, Any]]) -> None:
    """Each under its name and with its type."""
    words = ["--config", "x/y.toml", "--host", "::1", "--port", "0", "--allow-unauthenticated", "--grace-s", "1.5"]
    words += ["--first-key", "--workers", "3"]
    cli.main(["serve", *words])
    (call,) = calls
    del call["context"]
    assert call == {
        "config": Path("x/y.toml"),
        "host": "::1",
        "port": 0,
        "allow_unauthenticated": True,
        "grace_s": 1.5,
        "workers": 3,
        "make_first_key": True,
    }


@pytest.mark.parametrize(
    "words",
    [[], ["srve"], ["serve", "--port", "many"], ["serve", "--grace-s", "soon"], ["serve", "extra"], ["--port", "1"]],
    ids=" ".join,
)
def test_main_asked_wrongly_exits_with_usage(
    words: list[str], calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Code 2, how to ask on standard error, and nothing is started."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(words)
    assert exit_.value.code == 2
    assert "usage: rillgate" in capsys.readouterr().err
    assert calls == []


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf"])
def test_main_grace_that_is_no_duration_is_refused(
    seconds: str, calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Seconds from 0 up, and finite: a process that never ends is no drain."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(["serve", f"--grace-s={seconds}"])
    assert exit_.value.code == 2
    assert "--grace-s" in capsys.readouterr().err
    assert calls == []


@pytest.mark.parametrize("number", ["0", "-1", "65", "many", "1.5"])
def test_main_workers_that_are_no_number_of_processes_are_refused(
    number: str, calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """From 1 to a bound that no machine needs."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(["serve", f"--workers={number}"])
    assert exit_.value.code == 2
    assert "--workers: give a number from 1 to 64" in capsys.readouterr().err
    assert calls == []


def test_main_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard output, code 0."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"rillgate {__version__}\n"
