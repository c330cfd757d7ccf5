"""`rillgate serve --first-key`, up to where it serves."""

from __future__ import annotations

import pytest

from rillgate.app.settings.types import LedgerSettings
from rillgate.cli import first_key as module
from rillgate.cli.context import Context, UsageError
from rillgate.cli.first_key import first_key
from rillgate.identity.keys import parse
from rillgate.ledger.admin_scopes import AdminError
from tests.unit.cli.control_support import NOW_S, Operator


def settings_of(operator: Operator) -> LedgerSettings:
    """The ledger that this operator's commands work on, as the gateway has it."""
    if operator.ledger:
        return LedgerSettings(url="dynamodb://ledger?region=eu-central-1")
    return LedgerSettings(url=f"sqlite:///{operator.folder / 'rillgate.db'}")


def make(operator: Operator) -> str | None:
    """What the option does."""
    return first_key(settings_of(operator), Context(now_s=lambda: NOW_S, environ={}, cwd=operator.folder))


def test_first_key_of_an_empty_ledger_is_made_once(any_operator: Operator) -> None:
    """It is a key like any other, and the second start makes none."""
    key = make(any_operator)
    assert key is not None
    assert make(any_operator) is None
    (entry,) = any_operator.json("keys list")["keys"]
    assert (entry["key_id"], entry["name"], entry["state"]) == (parse(key), "first", "active")


def test_first_key_where_there_was_a_key_is_not_made(any_operator: Operator) -> None:
    """Not even where the only one was revoked: somebody did that on purpose."""
    any_operator.json("keys create --name mine")
    any_operator.json("keys revoke mine")
    assert make(any_operator) is None


def test_first_key_made_by_another_gateway_meanwhile_is_left_to_it(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both saw an empty ledger; one of them claims the name."""
    assert make(operator) is not None
    monkeypatch.setattr(module, "list_keys", lambda store: [])
    assert make(operator) is None
    assert len(operator.json("keys list")["keys"]) == 1


def test_first_key_of_a_ledger_in_memory_is_refused() -> None:
    """Nobody but the gateway would know it, and not for long."""
    with pytest.raises(UsageError, match="--first-key: a ledger in memory is known only to the gateway"):
        first_key(LedgerSettings(url="memory:"), Context())


def test_first_key_without_the_table_says_how_to_make_it(dynamodb_operator: Operator) -> None:
    """As every command of the control plane."""
    with pytest.raises(AdminError, match="make it with `rillgate ledger init`"):
        make(dynamodb_operator)
