"""`rillgate keys`, through the real command line, on SQLite and on DynamoDB."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from rillgate.domain.errors import AuthError, BudgetError
from rillgate.domain.principal import Principal
from rillgate.identity.gatekeeper import Gatekeeper
from rillgate.identity.keys import digest, parse
from rillgate.ledger.keys import scope_key, virtual_key_key
from rillgate.ledger.ledger import StoreLedger
from rillgate.ledger.sqlite import SqliteStore
from rillgate.ledger.vault import StoreKeyVault
from tests.unit.cli.control_support import NOW_S, Gateway, Operator

EVERYTHING = (
    "keys create --name web --user ada --team core --model 'gpt-*' --model fast --expires 30d --tag app=web "
    "--tag stage=prod --limit tokens/day=100000 --limit usd/month=2.5 --limit streams=4 --warn 95,50,80"
)


def test_keys_create_with_everything_keeps_everything(any_operator: Operator) -> None:
    """What was asked for is what the key has, and the key is well formed."""
    made = any_operator.json(EVERYTHING)
    assert parse(made["key"]) == made["key_id"]
    expected = {
        "key_id": made["key_id"],
        "name": "web",
        "state": "active",
        "user": "ada",
        "team": "core",
        "models": ["gpt-*", "fast"],
        "tags": {"app": "web", "stage": "prod"},
        "limits": ["tokens/day=100000", "usd/month=2.5", "streams=4"],
        "warn_percents": [50, 80, 95],
        "created_at": "2026-11-21T12:00:00Z",
        "expires_at": "2026-12-21T12:00:00Z",
        "revoked_at": None,
        "previous_valid_until": None,
    }
    assert {name: value for name, value in made.items() if name != "key"} == expected
    assert any_operator.json("keys list") == {"keys": [expected]}
    shown = any_operator.json("keys show web")
    assert shown.pop("budget")["limits"][0] == {
        "meter": "tokens",
        "window": "day",
        "limit": 100_000,
        "used": 0,
        "remaining": 100_000,
        "resets_at": "2026-11-22T00:00:00Z",
    }
    assert shown == expected
    assert any_operator.json(f"keys show {made['key_id']}")["name"] == "web"


def test_keys_create_prints_the_key_alone_on_the_first_line_and_never_again(any_operator: Operator) -> None:
    """A script takes the first line; no other command shows the key."""
    out = any_operator.run("keys create --name web").out
    key, *rest = out.splitlines()
    key_id = parse(key)
    assert rest == [f"Key 'web' ({key_id}). " + rest[0].partition(". ")[2]]
    for words in ("keys list", "keys show web", "keys list --json", "keys revoke web"):
        answer = any_operator.run(words)
        assert key_id in answer.out
        assert key[len("rill_") + len(key_id) :] not in answer.out


def test_keys_create_stores_only_the_digest(operator: Operator) -> None:
    """Whoever reads the ledger cannot use the key."""
    key = operator.json("keys create --name web")["key"]
    with Gateway(operator.folder / "rillgate.db").table() as table:
        (item,) = table.read([virtual_key_key(parse(key))])
    assert item is not None
    assert item["digest"] == digest(key)
    secret = key.removeprefix("rill_").removeprefix(parse(key))
    assert not any(secret in str(value) for value in item.values())
    assert secret.encode() not in b"".join(path.read_bytes() for path in operator.folder.glob("rillgate.db*"))


def test_keys_create_repeated_is_refused_and_changes_nothing(any_operator: Operator) -> None:
    """A name is one key's; the way to a new secret is told."""
    any_operator.run("keys create --name web")
    before = any_operator.json("keys list")
    again = any_operator.run("keys create --name web --limit tokens/day=5")
    assert (again.code, again.out) == (1, "")
    assert "rillgate keys rotate web" in again.err
    assert again.err.startswith("rillgate: ")
    assert again.err.count("\n") == 1
    assert any_operator.json("keys list") == before


def test_keys_create_with_the_name_of_a_revoked_key_takes_it_over(any_operator: Operator) -> None:
    """The name is free again; the old key stays, by its id."""
    first = any_operator.json("keys create --name web")
    any_operator.run("keys revoke web")
    second = any_operator.json("keys create --name web")
    assert any_operator.json("keys show web")["key_id"] == second["key_id"]
    assert any_operator.json(f"keys show {first['key_id']}")["state"] == "revoked"
    assert any_operator.run("keys create --name web").code == 1


def test_keys_create_with_the_name_of_an_expired_key_says_to_revoke_it(operator: Operator) -> None:
    """Rotating would not help: it stays expired."""
    operator.run("keys create --name web --expires 90s")
    operator.now_s += 90
    assert operator.json("keys list")["keys"][0]["state"] == "expired"
    assert "rillgate keys revoke web" in operator.run("keys create --name web").err
    assert "rillgate keys revoke web" in operator.run("keys rotate web").err
    operator.run("keys revoke web")
    assert operator.run("keys create --name web").code == 0


@pytest.mark.parametrize(
    ("when", "expires_at"),
    [
        ("12h", "2026-11-22T00:00:00Z"),
        ("45m", "2026-11-21T12:45:00Z"),
        ("2026-12-31", "2026-12-31T00:00:00Z"),
        ("2026-12-31T18:00:00+02:00", "2026-12-31T16:00:00Z"),
        ("2026-12-31T18:00:00Z", "2026-12-31T18:00:00Z"),
    ],
)
def test_keys_create_with_an_expiry_keeps_the_moment(operator: Operator, when: str, expires_at: str) -> None:
    """Durations count from now; dates are midnight in UTC."""
    assert operator.json(f"keys create --name web --expires {when}")["expires_at"] == expires_at


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--name ''", "is no name"),
        ("--name ' web'", "is no name"),
        ("--name rill_abc", "is a key itself"),
        ("--name web --expires soon", "30d"),
        ("--name web --expires 2026-12-31T18:00:00", "RFC 3339"),
        ("--name web --expires 2026-11-21", "is over"),
        ("--name web --expires 0s", "is over"),
        ("--name web --expires 999999999999d", "30d"),
        ("--name web --tag app", "K=V"),
        ("--name web --tag =x", "is no name"),
        ("--name web --tag app=a --tag app=b", "twice"),
        ("--name web --limit tokens=5", "METER/WINDOW=AMOUNT"),
        ("--name web --limit tokens/day=5 --limit tokens/day=6", "second one"),
        ("--name web --warn 50", "give --limit"),
        ("--name web --limit tokens/day=5 --warn 101", "1 to 100"),
        ("--name web --limit tokens/day=5 --warn a,b", "1 to 100"),
        ("", "--name"),
    ],
)
def test_keys_create_asked_wrongly_says_what_to_write_and_makes_nothing(
    operator: Operator, words: str, says: str
) -> None:
    """Code 2, the argument and the remedy on standard error, and not even a file."""
    answer = operator.run(f"keys create {words}")
    assert (answer.code, answer.out) == (2, "")
    assert says in answer.err
    assert not (operator.folder / "rillgate.db").exists()


def test_keys_revoke_blocks_the_scope_at_once_and_repeated_changes_nothing(any_operator: Operator) -> None:
    """The key says when; its scope is blocked with a version that no process has yet."""
    any_operator.run("keys create --name web --limit tokens/day=5")
    revoked = any_operator.json("keys revoke web")
    assert (revoked["state"], revoked["revoked_at"]) == ("revoked", "2026-11-21T12:00:00Z")
    assert revoked["budget"]["blocked"] == "the key was revoked"
    assert revoked["budget"]["version"] == 2
    any_operator.now_s += 60
    assert any_operator.json("keys revoke web") == revoked


def test_keys_revoke_of_a_key_without_limits_marks_its_scope_item(operator: Operator) -> None:
    """What every request of the key writes to says that it is blocked."""
    key_id = operator.json("keys create --name web")["key_id"]
    operator.run("keys revoke web")
    with Gateway(operator.folder / "rillgate.db").table() as table:
        (item,) = table.read([scope_key(f"key:{key_id}")])
    assert item == {"v": 1, "b": "the key was revoked"}


def test_keys_rotate_gives_a_new_secret_under_the_same_id(any_operator: Operator) -> None:
    """The id, the name and the limits stay; without grace the old secret is gone."""
    made = any_operator.json(EVERYTHING)
    rotated = any_operator.json("keys rotate web")
    assert rotated["key"] != made["key"]
    assert parse(rotated["key"]) == made["key_id"]
    assert {**rotated, "key": ""} == {**made, "key": ""}


def test_keys_rotate_with_grace_keeps_the_old_secret_for_a_while(operator: Operator) -> None:
    """Both digests are there; after the time the old one is no longer mentioned."""
    made = operator.json("keys create --name web")
    rotated = operator.json("keys rotate web --grace 24h")
    assert rotated["previous_valid_until"] == "2026-11-22T12:00:00Z"
    with Gateway(operator.folder / "rillgate.db").table() as table:
        (item,) = table.read([virtual_key_key(made["key_id"])])
    assert item is not None
    assert (item["digest"], item["previous_digest"]) == (digest(rotated["key"]), digest(made["key"]))
    operator.now_s += 24 * 3600
    assert operator.json("keys show web")["previous_valid_until"] is None
    operator.run("keys rotate web")
    with Gateway(operator.folder / "rillgate.db").table() as table:
        (item,) = table.read([virtual_key_key(made["key_id"])])
    assert item is not None
    assert "previous_digest" not in item


def test_keys_rotate_of_a_revoked_key_is_refused(any_operator: Operator) -> None:
    """A revoked key never comes back."""
    any_operator.run("keys create --name web")
    any_operator.run("keys revoke web")
    answer = any_operator.run("keys rotate web")
    assert answer.code == 1
    assert "rillgate keys create --name web" in answer.err


@pytest.mark.parametrize("words", ["keys show nobody", "keys revoke nobody", "keys rotate nobody"])
def test_keys_of_nobody_are_an_error(any_operator: Operator, words: str) -> None:
    """Code 1 and where to look."""
    answer = any_operator.run(words)
    assert answer.code == 1
    assert answer.err == "rillgate: there is no key 'nobody'; see rillgate keys list\n"


def test_keys_show_of_a_whole_key_does_not_repeat_it(operator: Operator) -> None:
    """A secret that was pasted by mistake does not reach logs."""
    key = operator.json("keys create --name web")["key"]
    answer = operator.run(f"keys show {key}")
    assert answer.code == 2
    assert key not in answer.err + answer.out


def test_keys_list_shows_names_in_order_and_their_state(operator: Operator) -> None:
    """One row for each key, blocked and expired ones named."""
    for words in ("--name c --expires 1h", "--name a", "--name b --limit streams=2"):
        operator.run(f"keys create {words}")
    operator.run("budget block key:b --reason unpaid")
    operator.now_s = NOW_S + 3600
    rows = [line.split() for line in operator.run("keys list").out.splitlines()]
    assert rows[0] == ["ID", "NAME", "USER", "TEAM", "MODELS", "LIMITS", "STATE", "EXPIRES"]
    assert [(row[1], row[6]) for row in rows[1:]] == [("a", "active"), ("b", "blocked"), ("c", "expired")]


def test_keys_list_without_keys_says_how_to_make_one(any_operator: Operator) -> None:
    """An empty ledger is no error."""
    answer = any_operator.run("keys list")
    assert answer.code == 0
    assert "rillgate keys create" in answer.out


def test_keys_that_were_made_are_those_that_the_gateway_takes(operator: Operator) -> None:
    """Whoever presents the key is who the operator said; rotated and revoked ones are refused."""
    first = operator.json(EVERYTHING)["key"]
    principal = _principal(operator, first)
    assert (principal.user, principal.team, principal.models) == ("ada", "core", (("gpt-*", "fast"),))
    assert principal.tags == {"app": "web", "stage": "prod"}
    second = operator.json("keys rotate web --grace 1h")["key"]
    assert _principal(operator, first) == _principal(operator, second) == principal
    operator.now_s += 3600
    third = operator.json("keys rotate web")["key"]
    for refused in (first, second):
        with pytest.raises(AuthError):
            _principal(operator, refused)
    assert _principal(operator, third) == principal
    operator.run("keys revoke web")
    with pytest.raises(AuthError, match="revoked"):
        _principal(operator, third)


def test_keys_revoke_is_seen_at_once_by_a_gateway_that_knows_the_key(operator: Operator) -> None:
    """No cache of keys or budgets lets one more request through."""
    key_id = operator.json("keys create --name web")["key_id"]
    gateway = Gateway(operator.folder / "rillgate.db", wall=NOW_S)

    async def work(ledger: StoreLedger) -> None:
        await ledger.authorize(gateway.ask("AAAAAAAAAAAAAAAA", (f"key:{key_id}",)))
        operator.run("keys revoke web")
        with pytest.raises(BudgetError, match="the key was revoked") as caught:
            await ledger.authorize(gateway.ask("BBBBBBBBBBBBBBBB", (f"key:{key_id}",)))
        assert caught.value.status == 403

    gateway.do(work)


def test_keys_list_whose_reader_has_gone_ends_without_words(operator: Operator) -> None:
    """`rillgate keys list | head -0` is no failure."""
    operator.run("keys create --name web")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "rillgate.cli.main", "keys", "list"],
        cwd=operator.folder,
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def _principal(operator: Operator, key: str) -> Principal:
    """Who a gateway that starts now takes this key for."""
    gateway = Gateway(operator.folder / "rillgate.db", wall=operator.now_s)

    async def ask() -> Principal:
        store = SqliteStore(gateway.path, wall=gateway.clock.wall)
        gatekeeper = Gatekeeper(StoreKeyVault(store), gateway.clock)
        try:
            return await gatekeeper.principal(key)
        finally:
            await gatekeeper.aclose()
            await store.aclose()

    return asyncio.run(ask())
