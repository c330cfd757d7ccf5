"""`rillgate budget`, through the real command line, on SQLite and on DynamoDB."""

from __future__ import annotations

import pytest

from rillgate.domain.limits import Amounts
from rillgate.ledger.keys import budget_key, scope_key
from rillgate.ledger.writes import Put, Write
from tests.unit.cli.control_support import Gateway, Operator


def test_budget_set_replaces_the_limits_and_counts_the_version_up(any_operator: Operator) -> None:
    """What was there before is gone; marks stay until others are given."""
    first = any_operator.json("budget set team:core --limit tokens/day=100 --limit streams=2 --warn 80")
    assert first == {
        "scope": "team:core",
        "version": 1,
        "limits": [
            {
                "meter": "tokens",
                "window": "day",
                "limit": 100,
                "used": 0,
                "remaining": 100,
                "resets_at": "2026-11-22T00:00:00Z",
            }
        ],
        "streams_max": 2,
        "live_holds": 0,
        "expired_holds": 0,
        "blocked": None,
        "warn_percents": [80],
    }
    second = any_operator.json("budget set team:core --limit usd/month=0.1")
    assert second["version"] == 2
    assert [(limit["meter"], limit["limit"]) for limit in second["limits"]] == [("usd", 0.1)]
    assert (second["streams_max"], second["warn_percents"]) == (None, [80])
    assert any_operator.json("budget set team:core --warn none")["warn_percents"] == []
    assert any_operator.json("budget show team:core")["limits"] == second["limits"]


def test_budget_set_writes_the_version_where_requests_see_it(operator: Operator) -> None:
    """The scope's own item has the version of the budget, whatever was done."""
    with Gateway(operator.folder / "rillgate.db").table() as table:
        for number, words in enumerate(["set --limit tokens/day=5", "block --reason x", "unblock", "set --clear"], 1):
            action, *rest = words.split(" ", 1)
            operator.run(f"budget {action} team:core {' '.join(rest)}")
            budget, item = table.read([budget_key("team:core"), scope_key("team:core")])
            assert budget is not None
            assert item is not None
            assert budget["v"] == item["v"] == number
            assert item.get("b") == budget.get("blocked") == ("x" if number == 2 else None)


def test_budget_clear_takes_limits_and_marks_away_and_keeps_a_block(any_operator: Operator) -> None:
    """Clearing limits unblocks nothing."""
    any_operator.run("budget set user:ada --limit tokens/day=5 --limit streams=1 --warn 50")
    any_operator.run("budget block user:ada --reason unpaid")
    cleared = any_operator.json("budget set user:ada --clear")
    assert (cleared["limits"], cleared["streams_max"], cleared["warn_percents"]) == ([], None, [])
    assert cleared["blocked"] == "unpaid"
    assert any_operator.json("budget unblock user:ada")["blocked"] is None


def test_budget_block_repeated_is_harmless(any_operator: Operator) -> None:
    """Blocked stays blocked, with the newer reason; so does unblocked."""
    any_operator.run("budget block model:fast")
    assert any_operator.json("budget block model:fast --reason slow")["blocked"] == "slow"
    assert any_operator.json("budget unblock model:fast")["blocked"] is None
    assert any_operator.json("budget unblock model:fast")["blocked"] is None


def test_budget_of_a_key_is_found_by_its_name(any_operator: Operator) -> None:
    """key:NAME is the same scope as key:ID."""
    key_id = any_operator.json("keys create --name web")["key_id"]
    by_name = any_operator.json("budget set key:web --limit tokens/day=5")
    assert by_name["scope"] == f"key:{key_id}"
    assert any_operator.json(f"budget show key:{key_id}") == by_name


def test_budget_of_a_revoked_key_stays_blocked(any_operator: Operator) -> None:
    """Neither limits nor an unblock bring a revoked key back."""
    any_operator.run("keys create --name web")
    any_operator.run("keys revoke web")
    assert any_operator.json("budget set key:web --limit tokens/day=5")["blocked"] == "the key was revoked"
    answer = any_operator.run("budget unblock key:web")
    assert answer.code == 1
    assert "revoked" in answer.err


@pytest.mark.parametrize("scope", ["globe", "team", "team:", ":x", "key", "group:a", "GLOBAL", "team:a\tb"])
def test_budget_of_no_scope_is_refused_with_those_there_are(operator: Operator, scope: str) -> None:
    """Code 1, and no file is made."""
    answer = operator.run(f"budget set '{scope}' --clear")
    assert answer.code == 1
    assert "is no scope; give global, key:ID, user:U, team:T, model:M or ticket:ID" in answer.err or (
        "is no name" in answer.err
    )
    assert not (operator.folder / "rillgate.db").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "nothing to set"),
        ("--clear --limit tokens/day=5", "alone"),
        ("--clear --warn 50", "alone"),
        ("--limit tokens/day=0", "allows nothing"),
        ("--limit streams=2 --limit streams=3", "second one"),
    ],
)
def test_budget_set_asked_wrongly_says_what_to_write(operator: Operator, words: str, says: str) -> None:
    """Code 2."""
    answer = operator.run(f"budget set global {words}")
    assert answer.code == 2
    assert says in answer.err


def test_budget_show_says_what_is_committed_and_what_is_left(operator: Operator) -> None:
    """Settled and held together, live holds named."""
    operator.run("budget set team:core --limit tokens/day=2000 --limit usd/month=1 --limit streams=4 --warn 50")
    gateway = Gateway(operator.folder / "rillgate.db")
    gateway.settled("AAAAAAAAAAAAAAAA", ("team:core",), Amounts(300, 120_000_000, 1))
    gateway.died("BBBBBBBBBBBBBBBB", ("team:core",))
    operator.now_s = gateway.clock.wall()
    shown = operator.json("budget show team:core")
    assert (shown["limits"][0]["used"], shown["limits"][0]["remaining"]) == (800, 1200)
    assert shown["limits"][1]["used"] == 0.12068
    assert (shown["live_holds"], shown["expired_holds"]) == (1, 0)
    assert operator.run("budget show").out.splitlines() == [
        "SCOPE      LIMIT            COMMITTED   LEFT          RESETS",
        "team:core  tokens/day=2000  800 tokens  1,200 tokens  2026-11-22T00:00:00Z",
        "team:core  usd/month=1      $0.12068    $0.87932      2026-12-01T00:00:00Z",
        "team:core  streams=4        1 live      3 streams     -",
        "team:core warns at 50 % of each limit",
        "team:core: requests under way: 1; what they hold is part of COMMITTED",
    ]
    operator.now_s += 931
    assert operator.json("budget show team:core")["expired_holds"] == 1


def test_budget_show_without_scope_shows_all(any_operator: Operator) -> None:
    """Scopes in order; none at all is no error."""
    assert "budget set" in any_operator.run("budget show").out
    assert any_operator.json("budget show") == {"budgets": []}
    for scope in ("user:zoe", "global", "team:a"):
        any_operator.run(f"budget set {scope} --limit tokens/day=5")
    scopes = [budget["scope"] for budget in any_operator.json("budget show")["budgets"]]
    assert scopes == ["global", "team:a", "user:zoe"]


def test_budget_show_cannot_be_made_to_steer_a_terminal(operator: Operator) -> None:
    """What is stored is printed, not obeyed."""
    answer = operator.run("budget block global --reason '\x1b[2J'")
    assert answer.code == 2
    operator.run("budget block global")
    with Gateway(operator.folder / "rillgate.db").table() as table:
        table.write(Write(budget_key("global"), (Put("blocked", "\x1b[2J"),)))
    out = operator.run("budget show").out
    assert "\x1b" not in out
    assert "global is BLOCKED: \\x1b[2J" in out
