"""The harness around DynamoDB Local, where the machine lacks something, without Java or a network."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import dynamodb_local


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A checkout where nothing has been fetched."""
    jars = tmp_path / "build" / "dynamodb-local"
    monkeypatch.setattr(dynamodb_local, "JARS", jars)
    return jars


def with_commands(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let only these commands be there."""
    found: Callable[[str], str | None] = lambda name: f"/bin/{name}" if name in names else None  # noqa: E731
    monkeypatch.setattr("shutil.which", found)


def with_mvn(monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any]) -> list[int]:
    """Let `run` stand in for mvn; gives a list that grows with every run."""
    runs: list[int] = []

    def stand_in(*_: Any, **__: Any) -> Any:
        runs.append(1)
        return run()

    monkeypatch.setattr("subprocess.run", stand_in)
    return runs


def test_unavailable_without_java_says_so(monkeypatch: pytest.MonkeyPatch, empty: Path) -> None:
    """Tests are skipped with the reason; nothing is fetched."""
    with_commands(monkeypatch, "mvn")
    assert dynamodb_local.unavailable.__wrapped__() == "DynamoDB Local needs Java 17, and there is no java"
    assert not empty.parent.exists()


def test_unavailable_without_mvn_says_so(monkeypatch: pytest.MonkeyPatch, empty: Path) -> None:
    """Java alone does not help where nothing was fetched before."""
    with_commands(monkeypatch, "java")
    assert "no mvn to fetch it" in (dynamodb_local.unavailable.__wrapped__() or "")


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (subprocess.CalledProcessError(1, "mvn", "[ERROR] Could not transfer\n[ERROR] more", ""), "Could not transfer"),
        (subprocess.CalledProcessError(7, "mvn", "", ""), "exit code 7"),
        (subprocess.TimeoutExpired("mvn", 900), "within 900 s"),
    ],
)
def test_unavailable_after_a_failed_download_says_why_and_is_tried_anew(
    monkeypatch: pytest.MonkeyPatch, empty: Path, failure: Exception, told: str
) -> None:
    """Half a download is not taken for a whole one."""
    with_commands(monkeypatch, "java", "mvn")

    def fail() -> None:
        empty.mkdir(exist_ok=True)
        raise failure

    runs = with_mvn(monkeypatch, fail)
    assert told in (dynamodb_local.unavailable.__wrapped__() or "")
    assert told in (dynamodb_local.unavailable.__wrapped__() or "")
    assert len(runs) == 2


def test_available_after_one_download_asks_maven_no_more(monkeypatch: pytest.MonkeyPatch, empty: Path) -> None:
    """What was fetched once serves every later run, until the pom changes."""
    with_commands(monkeypatch, "java", "mvn")
    runs = with_mvn(monkeypatch, empty.mkdir)
    assert dynamodb_local.unavailable.__wrapped__() is None
    assert dynamodb_local.unavailable.__wrapped__() is None
    assert len(runs) == 1
    pom = empty.parent / "pom.xml"
    pom.write_text("another version")
    monkeypatch.setattr(dynamodb_local, "POM", pom)
    assert dynamodb_local.unavailable.__wrapped__() is None
    assert len(runs) == 2
