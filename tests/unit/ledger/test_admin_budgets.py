"""Changes of budgets and keys when two operators work at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pytest
from msgspec.structs import replace

from rillgate.domain.limits import UNLIMITED, Budget, Limit, Meter, Window
from rillgate.domain.principal import VirtualKey
from rillgate.ledger.admin_budgets import block, change_budget, read_state
from rillgate.ledger.admin_keys import create_key, find_key, revoke_key, rotate_key
from rillgate.ledger.admin_scopes import AdminError, parse_scope
from rillgate.ledger.keys import budget_key
from rillgate.ledger.sqlite_table import SqliteTable
from rillgate.ledger.store import AdminStore, Check
from rillgate.ledger.writes import Item, Key, Put, Write

NOW_S = 1_795_262_400
LIMITS = (Limit(Meter.TOKENS, Window.DAY, 100),)
KEY = VirtualKey("4Vz0aHq8RtYb", "web", "d1", NOW_S)


class Contended:
    """A store on which somebody else does something right before each transaction.

    Args: meanwhile: is called with the store and the number of the transaction, from 1 on.
    """

    def __init__(self, store: AdminStore, meanwhile: Callable[[AdminStore, int], None]) -> None:
        self._store = store
        self._meanwhile = meanwhile
        self.tries = 0

    def write(self, write: Write) -> Item:
        """As it is."""
        return self._store.write(write)

    def write_all(self, operations: Sequence[Write | Check]) -> None:
        """After somebody else."""
        self.tries += 1
        self._meanwhile(self._store, self.tries)
        self._store.write_all(operations)

    def read(self, keys: Sequence[Key]) -> list[Item | None]:
        """As it is."""
        return self._store.read(keys)

    def query(self, pk: str) -> Iterator[tuple[str, Item]]:
        """As it is."""
        yield from self._store.query(pk)

    def close(self) -> None:
        """The store is closed by whoever made it."""


@pytest.fixture
def store() -> Iterator[SqliteTable]:
    """A ledger in memory."""
    with closing(SqliteTable(None, wall=lambda: NOW_S)) as store:
        yield store


def test_change_budget_raced_once_changes_what_the_other_one_left(store: SqliteTable) -> None:
    """The second try begins from the other operator's budget: nothing is overwritten unseen."""

    def other(inner: AdminStore, number: int) -> None:
        if number == 1:
            change_budget(inner, "global", lambda budget: replace(budget, limits=LIMITS))

    contended = Contended(store, other)
    after = block(contended, "global", "unpaid")
    assert after == Budget(2, LIMITS, None, "unpaid")
    assert read_state(store, "global", NOW_S).budget == after
    assert contended.tries == 2


def test_change_budget_raced_again_and_again_gives_up_and_says_so(store: SqliteTable) -> None:
    """One repeat, then the operator decides; nothing of the change is there."""

    def other(inner: AdminStore, _: int) -> None:
        change_budget(inner, "global", lambda budget: replace(budget, limits=LIMITS))

    contended = Contended(store, other)
    with pytest.raises(AdminError, match="rillgate budget show global"):
        block(contended, "global", "unpaid")
    assert contended.tries == 2
    assert read_state(store, "global", NOW_S).budget == Budget(2, LIMITS)


def test_create_key_raced_for_its_name_is_refused_whole(store: SqliteTable) -> None:
    """The name is the other's, and the loser's key is not there under its id either."""
    other = replace(KEY, key_id="otherotherot", digest="d2")
    contended = Contended(store, lambda inner, _: create_key(inner, other, None))
    with pytest.raises(AdminError, match="at the same time"):
        create_key(contended, KEY, Budget(1, LIMITS))
    assert find_key(store, "web") == other
    with pytest.raises(AdminError, match="no key"):
        find_key(store, KEY.key_id)
    assert read_state(store, f"key:{KEY.key_id}", NOW_S).budget == UNLIMITED


def test_rotate_key_raced_is_refused_and_the_other_secret_stays(store: SqliteTable) -> None:
    """Two secrets for one key would leave one operator with a key that was never valid."""
    create_key(store, KEY, None)
    contended = Contended(store, lambda inner, _: _rotate(inner, "d2"))
    with pytest.raises(AdminError, match="rillgate keys show web"):
        rotate_key(contended, KEY, "d3", NOW_S, 0)
    assert find_key(store, "web").digest == "d2"


def test_rotate_key_raced_by_a_revocation_does_not_bring_the_key_back(store: SqliteTable) -> None:
    """Revoked is for good, whoever is slower."""
    create_key(store, KEY, None)

    def other(inner: AdminStore, _: int) -> None:
        revoke_key(inner, "web", NOW_S)

    with pytest.raises(AdminError, match="at the same time"):
        rotate_key(Contended(store, other), KEY, "d3", NOW_S, 60)
    assert find_key(store, "web").revoked_s == NOW_S


def test_revoke_key_raced_by_a_rotation_revokes_all_the_same(store: SqliteTable) -> None:
    """The second try sees the new secret, and revokes it."""
    create_key(store, KEY, None)

    def other(inner: AdminStore, number: int) -> None:
        if number == 1:
            _rotate(inner, "d2")

    revoked = revoke_key(Contended(store, other), "web", NOW_S)
    assert (revoked.digest, revoked.revoked_s) == ("d2", NOW_S)
    assert find_key(store, "web") == revoked
    assert read_state(store, f"key:{KEY.key_id}", NOW_S).budget.blocked == "the key was revoked"


def test_read_state_of_a_budget_that_cannot_be_read_names_its_scope(store: SqliteTable) -> None:
    """It is never shown as no limit."""
    store.write(Write(budget_key("global"), (Put("limits", "[5]"),)))
    with pytest.raises(AdminError, match="budget of 'global' cannot be read"):
        read_state(store, "global", NOW_S)


@pytest.mark.parametrize("scope", ["global", "key:a", "user:ada@example.com", "team:a b", "model:lab/x:1", "ticket:t"])
def test_parse_scope_of_a_scope_is_the_scope(scope: str) -> None:
    """Names may hold whatever users and models are called."""
    assert parse_scope(scope) == scope


@pytest.mark.parametrize("scope", ["", "Global", "user", "user:", "user: ada", "group:x", "user:" + "x" * 513])
def test_parse_scope_of_anything_else_is_refused(scope: str) -> None:
    """A misspelt scope would be a budget that nobody is held to."""
    with pytest.raises(AdminError):
        parse_scope(scope)


def _rotate(store: AdminStore, digest: str) -> None:
    rotate_key(store, find_key(store, "web"), digest, NOW_S, 0)
