"""Which ledger a command works on, and what it says where there is none."""

from __future__ import annotations

import pytest

from tests.unit.cli.control_support import Operator

MAKE = "budget set global --limit tokens/day=5"


def test_ledger_without_configuration_is_a_file_in_the_working_directory(operator: Operator) -> None:
    """What `rillgate serve` uses, too."""
    operator.run(MAKE)
    assert [path.name for path in operator.folder.glob("*.db")] == ["rillgate.db"]


def test_ledger_of_a_configuration_starts_at_its_folder(operator: Operator) -> None:
    """A relative path in a file is relative to the file."""
    (operator.folder / "etc").mkdir()
    (operator.folder / "etc" / "gate.toml").write_text('[ledger]\nurl = "sqlite:///books.db"\n')
    assert operator.run(f"{MAKE} --config etc/gate.toml").code == 0
    assert (operator.folder / "etc" / "books.db").exists()
    operator.environ["RILLGATE_CONFIG"] = "etc/gate.toml"
    assert operator.json("budget show global")["version"] == 1


def test_ledger_option_beats_the_configuration(operator: Operator) -> None:
    """A flag wins, and the configuration is not even read."""
    (operator.folder / "rillgate.toml").write_text("no toml at all")
    assert operator.run(f"{MAKE} --ledger sqlite:///other.db").code == 0
    assert (operator.folder / "other.db").exists()
    answer = operator.run(MAKE)
    assert answer.code == 2
    assert "rillgate.toml" in answer.err


def test_ledger_of_the_environment_beats_the_file(operator: Operator) -> None:
    """As everywhere in the configuration."""
    (operator.folder / "rillgate.toml").write_text('[ledger]\nurl = "sqlite:///books.db"\n')
    operator.environ["RILLGATE_LEDGER__URL"] = "sqlite:///env.db"
    operator.run(MAKE)
    assert [path.name for path in operator.folder.glob("*.db")] == ["env.db"]


def test_ledger_of_a_configuration_that_could_not_serve_is_used_all_the_same(operator: Operator) -> None:
    """A provider's secret that is missing here keeps nobody from revoking a key."""
    (operator.folder / "rillgate.toml").write_text(
        '[providers.lab]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\napi_key = "env:NOT_HERE"\n'
    )
    assert operator.run(MAKE).code == 0


@pytest.mark.parametrize(
    "words",
    ["keys list", "keys show a", "keys revoke a", "keys rotate a", "budget show", "usage", "audit"],
)
def test_ledger_that_is_not_there_is_told_and_not_made(operator: Operator, words: str) -> None:
    """Whoever only reads makes no file: it would hide a misspelt path."""
    answer = operator.run(words)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("rillgate: there is no ledger yet")
    assert "rillgate.db" in answer.err
    assert list(operator.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory:", "known only to the gateway"),
        ("postgres://x", "give sqlite:///PATH"),
        ("sqlite:///", "give sqlite:///PATH"),
        ("dynamodb://a", "no table's name"),
        ("'dynamodb://ledger?zone=x'", "unknown option"),
    ],
)
def test_ledger_option_that_cannot_be_used_says_what_can(operator: Operator, url: str, says: str) -> None:
    """Code 2 and one line."""
    answer = operator.run(f"keys list --ledger {url}")
    assert answer.code == 2
    assert answer.err.startswith("rillgate: --ledger: ")
    assert says in answer.err
    assert answer.err.count("\n") == 1


def test_ledger_in_memory_by_configuration_names_the_configuration(operator: Operator) -> None:
    """The error says where the address stands."""
    (operator.folder / "rillgate.toml").write_text('[ledger]\nurl = "memory:"\n')
    answer = operator.run("keys list")
    assert answer.code == 2
    assert answer.err.startswith("rillgate: rillgate.toml: a ledger in memory")


def test_ledger_option_beside_config_is_refused(operator: Operator) -> None:
    """Only one of them can be meant."""
    assert operator.run("keys list --config a.toml --ledger sqlite:///b.db").code == 2


def test_ledger_init_repeated_is_harmless(any_operator: Operator) -> None:
    """It says whether it made anything, and loses nothing."""
    any_operator.run(MAKE)
    assert any_operator.json("ledger init")["made"] is False
    assert any_operator.json("budget show global")["version"] == 1


@pytest.mark.parametrize("words", [MAKE, "keys create --name web", "keys list", "usage"])
def test_ledger_table_that_is_not_there_says_how_to_make_it(dynamodb_operator: Operator, words: str) -> None:
    """One line with the command that makes it."""
    answer = dynamodb_operator.run(words)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("rillgate: there is no DynamoDB table 'ledger' in region eu-central-1")
    assert "rillgate ledger init" in answer.err
    assert answer.err.count("\n") == 1


def test_ledger_file_that_is_none_is_told_in_one_line(operator: Operator) -> None:
    """Code 1, with the name of the file."""
    (operator.folder / "rillgate.db").write_text("not a database, and long enough to be taken for none " * 40)
    answer = operator.run("keys list")
    assert answer.code == 1
    assert "rillgate.db" in answer.err
    assert answer.err.count("\n") == 1
