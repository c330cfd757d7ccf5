"""What the operator reads when a gateway starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from rillgate.app.settings.load import load_settings
from rillgate.app.settings.types import Settings
from rillgate.cli.banner import Banner, ledger_place


def settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings without a file."""
    return load_settings(config=None, flags={}, environ=environ or {}, cwd=Path("/nowhere"))


def said(address: object, *notices: str, allow_unauthenticated: bool = False, keys_required: bool = False) -> list[str]:
    """The lines of a gateway that listens on `address`."""
    lines: list[str] = []
    configured = replace(settings(), allow_unauthenticated=allow_unauthenticated, keys_required=keys_required)
    Banner(configured, address, notices, lines.append).listening()
    return "\n".join(lines).split("\n")


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (("127.0.0.1", 8000), "http://127.0.0.1:8000"),
        (("::1", 80, 0, 0), "http://[::1]:80"),
    ],
)
def test_banner_of_an_address_shows_it_and_how_to_try_it(address: object, url: str) -> None:
    """URL, page and curl line name the address that is bound, brackets around IPv6."""
    lines = said(address)
    assert lines[0] == f"Rillgate listens on {url}"
    assert f"Chat page: {url}/" in lines
    assert lines[-1].startswith(f"  curl -N {url}/chat/stream ")


def test_banner_of_a_unix_socket_shows_the_path_alone() -> None:
    """A browser cannot go there, so no page and no line to try."""
    lines = said("/run/rillgate.sock", allow_unauthenticated=True)
    assert lines[0] == "Rillgate listens on unix:/run/rillgate.sock"
    assert not any("curl" in line or "page:" in line for line in lines)


def test_banner_says_that_keys_are_off_and_for_whom() -> None:
    """Quietly where only this machine is served, loudly where others are."""
    assert any(line.startswith("Keys are off: only this machine") for line in said(("127.0.0.1", 8000)))
    loud = said(("192.0.2.1", 8000), allow_unauthenticated=True)
    assert any(line.startswith("Keys are OFF") and "spends your tokens" in line for line in loud)
    assert not any("only this machine" in line for line in loud)


def test_banner_says_that_keys_are_on_and_how_to_make_one() -> None:
    """The command that makes the first one, and a line to try that sends it."""
    lines = said(("192.0.2.1", 8000), keys_required=True)
    (line,) = [line for line in lines if line.startswith("Keys are on")]
    assert "rillgate keys create --name me" in line
    assert not any("OFF" in line or "off" in line for line in lines)
    assert "-H 'Authorization: Bearer rill_…'" in lines[-1]
    assert "Authorization" not in said(("127.0.0.1", 8000))[-1]


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("sqlite:////var/lib/rillgate.db", "/var/lib/rillgate.db"),
        ("memory:", "in memory, gone when this process ends"),
        ("dynamodb://ledger?region=eu-central-1", "DynamoDB table 'ledger' in region eu-central-1"),
    ],
)
def test_banner_says_where_the_ledger_is(url: str, place: str) -> None:
    """So that nobody has to look for what was spent."""
    assert ledger_place(url) == place
    assert "Ledger: /nowhere/rillgate.db" in said(("127.0.0.1", 8000))


def test_banner_passes_notices_on() -> None:
    """What was found and is not used, what this platform lacks."""
    lines = said(("127.0.0.1", 8000), "one thing", "another")
    assert lines[1:3] == ["one thing", "another"]


@pytest.mark.parametrize(
    ("models", "shown"),
    [
        ([], "0 models: "),
        (["a"], "1 model: a"),
        (list("abcde"), "5 models: a, b, c, d, e"),
        (list("abcdefg"), "7 models: a, b, c, d, e, …"),
    ],
)
def test_banner_lists_a_providers_first_models(models: list[str], shown: str) -> None:
    """One line, however many there are."""
    lines: list[str] = []
    banner = Banner(settings({"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}), ("127.0.0.1", 1), [], lines.append)
    banner.listed("openai", models, None)
    assert lines == [f"Provider openai (openai): {shown}"]


def test_banner_of_a_provider_without_a_list_says_why_and_what_works() -> None:
    """A list is a convenience: the full name works without it."""
    lines: list[str] = []
    banner = Banner(settings({"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}), ("127.0.0.1", 1), [], lines.append)
    banner.listed("openai", None, "no answer within 2 s")
    assert len(lines) == 1
    assert "no answer within 2 s" in lines[0]
    assert "openai/MODEL" in lines[0]
