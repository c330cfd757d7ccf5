"""`rillgate usage`, through the real command line, over records as a gateway writes them."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from rillgate.domain.limits import Amounts
from rillgate.domain.spending import Record
from rillgate.ledger.records import record_write
from tests.unit.cli.control_support import NOW_S, Gateway, Operator

DAY_S = 86_400


def keep(path: Path, **values: Any) -> None:
    """Write a record as it is."""
    known: dict[str, Any] = {"started_s": NOW_S - 60, "end": "finished"} | values
    with Gateway(path).table() as table:
        table.write(record_write(Record(**known)))


@pytest.fixture
def books(operator: Operator) -> Operator:
    """Two keys, a dead hold, an estimate, a failure, a request without a key, and one of the month before."""
    path = operator.folder / "rillgate.db"
    keep(
        path,
        hold_id="a" * 16,
        charged=Amounts(150, 2_000_000_000, 1),
        key_id="K1",
        user="ada",
        team="core",
        model="fast",
        tags={"app": "web", "stage": "prod"},
        input_tokens=100,
        cached_input_tokens=40,
        cache_write_tokens=5,
        output_tokens=50,
        reasoning_tokens=20,
    )
    keep(
        path,
        hold_id="b" * 16,
        charged=Amounts(15, 500_000_000, 1),
        key_id="K1",
        user="bob",
        model="=cmd()",
        tags={"app": "web"},
        input_tokens=10,
        output_tokens=5,
        estimated=True,
        end="truncated",
    )
    keep(path, hold_id="c" * 16, charged=Amounts(7, 0, 1), priced=False, input_tokens=7, model="fast")
    for scope in ("key:K2", "team:core"):
        held = Amounts(600, 900_000_000, 1)
        keep(path, hold_id="d" * 16, captured_scope=scope, scopes={scope: held}, charged=held, end="captured")
    keep(path, hold_id="e" * 16, started_s=NOW_S - 21 * DAY_S, charged=Amounts(1, 1, 1), key_id="K1")
    return operator


def groups(operator: Operator, words: str) -> dict[str | None, dict[str, Any]]:
    """The groups of a report, by their name."""
    report = operator.json(f"usage {words}")
    return {group[report["by"]]: group for group in report["groups"]}


def test_usage_by_key_keeps_reported_estimated_and_captured_apart(books: Operator) -> None:
    """Each kind of number in a place of its own, the dearest group first."""
    report = books.json("usage")
    assert (report["from"], report["to"], report["by"]) == ("2026-11-01", "2026-11-21", "key")
    first, dead, without = report["groups"]
    assert first == {
        "key": "K1",
        "name": None,
        "requests": 2,
        "failed_requests": 1,
        "reported": {
            "input_tokens": 100,
            "cached_input_tokens": 40,
            "cache_write_tokens": 5,
            "output_tokens": 50,
            "reasoning_tokens": 20,
        },
        "estimated": {
            "input_tokens": 10,
            "cached_input_tokens": 0,
            "cache_write_tokens": 0,
            "output_tokens": 5,
            "reasoning_tokens": 0,
        },
        "captured_requests": 0,
        "captured_tokens": 0,
        "unpriced_requests": 0,
        "cost_nanos": 2_500_000_000,
        "cost_usd": 2.5,
    }
    assert (dead["key"], dead["requests"], dead["captured_requests"], dead["captured_tokens"]) == ("K2", 1, 1, 600)
    assert (without["key"], without["unpriced_requests"]) == (None, 1)
    total = report["total"]
    assert (total["requests"], total["captured_requests"], total["cost_nanos"]) == (4, 1, 3_400_000_000)


def test_usage_by_everything_else_groups_by_it(books: Operator) -> None:
    """A dead hold stands under a team only where the team was charged; its tags are not known."""
    assert {name: of["requests"] for name, of in groups(books, "--by user").items()} == {"ada": 1, "bob": 1, None: 2}
    assert {name: of["requests"] for name, of in groups(books, "--by team").items()} == {"core": 2, None: 2}
    assert {name: of["requests"] for name, of in groups(books, "--by model").items()} == {
        "fast": 2,
        "=cmd()": 1,
        None: 1,
    }
    assert {name: of["requests"] for name, of in groups(books, "--by tag").items()} == {
        "app=web": 2,
        "stage=prod": 1,
        None: 2,
    }


def test_usage_of_a_hold_that_was_captured_and_settled_late_counts_once(operator: Operator) -> None:
    """The owner's record is the truth where there is one."""
    path = operator.folder / "rillgate.db"
    held = Amounts(600, 900, 1)
    keep(path, hold_id="d" * 16, captured_scope="key:K1", scopes={"key:K1": held}, charged=held, end="captured")
    keep(path, hold_id="d" * 16, key_id="K1", charged=Amounts(700, 1000, 1), input_tokens=700)
    total = operator.json("usage")["total"]
    assert (total["requests"], total["captured_requests"], total["cost_nanos"]) == (1, 0, 1000)


@pytest.mark.parametrize(
    ("words", "requests"),
    [
        ("--from 2026-10-31", 5),
        ("--from 2026-10-31 --to 2026-10-31", 1),
        ("--to 2026-10-31", 1),
        ("--from 2026-11-21 --to 2026-11-21", 4),
        ("--from 2026-11-20 --to 2026-11-20", 0),
        ("--to 2027-01-01", 4),
    ],
)
def test_usage_of_a_span_counts_both_its_days(books: Operator, words: str, requests: int) -> None:
    """Days are in UTC and included; the first is that of the last one's month where it is not given."""
    assert books.json(f"usage {words}")["total"]["requests"] == requests


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--from 2026-11-21 --to 2026-11-20", "swap them"),
        ("--from 2026-11-22", "in the future"),
        ("--from 2024-01-01", "400 days"),
        ("--from yesterday", "2026-11-21"),
        ("--by moon", "invalid choice"),
        ("--csv --json", "one of them"),
    ],
)
def test_usage_asked_wrongly_says_what_to_write(books: Operator, words: str, says: str) -> None:
    """Code 2."""
    answer = books.run(f"usage {words}")
    assert answer.code == 2
    assert says in answer.err


def test_usage_as_csv_has_a_column_for_each_number_and_no_formulas(books: Operator) -> None:
    """A model's name comes from clients: a spreadsheet must not compute it."""
    rows = list(csv.DictReader(io.StringIO(books.run("usage --by model --csv").out)))
    named = {row["model"]: row for row in rows}
    assert named["'=cmd()"]["estimated_input_tokens"] == "10"
    assert named["'=cmd()"]["input_tokens"] == "0"
    assert named["fast"]["cost_usd"] == "2"
    assert named["fast"]["cache_write_tokens"] == "5"
    assert sum(int(row["requests"]) for row in rows) == 4


def test_usage_as_table_names_keys_and_says_what_is_not_known(books: Operator) -> None:
    """The footnotes say what captured means and that costs are missing."""
    out = books.run("usage").out
    lines = out.splitlines()
    assert lines[0] == "2026-11-01 to 2026-11-21 (UTC)"
    assert lines[1].split()[:3] == ["KEY", "NAME", "REQUESTS"]
    assert lines[2].split() == ["K1", "-", "2", "1", "100", "40", "50", "20", "10", "5", "0", "0", "$2.50"]
    assert lines[5].split()[0] == "total"
    assert "tags are not known" in out
    assert "Requests without a known price: 1;" in out


def test_usage_of_a_quiet_span_says_so(books: Operator) -> None:
    """Nothing used is no error."""
    answer = books.run("usage --from 2026-11-20 --to 2026-11-20")
    assert answer.code == 0
    assert answer.out == "Nothing was used from 2026-11-20 to 2026-11-20 (UTC)."


def test_usage_names_the_keys_that_are_known(any_operator: Operator) -> None:
    """The operator's own names stand beside the ids; an empty ledger has nothing."""
    any_operator.run("keys create --name web")
    assert any_operator.json("usage --from 2026-11-20")["groups"] == []
