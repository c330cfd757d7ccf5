"""`rillgate audit`, over what the real ledger does to a SQLite file, and over files that were spoilt."""

from __future__ import annotations

import pytest

from rillgate.domain.limits import NOTHING, Amounts
from rillgate.ledger.keys import record_key, scope_key
from rillgate.ledger.writes import Add, Key, Put, Remove, Write
from tests.unit.cli.control_support import NOW_S, Gateway, Operator, record_of

SCOPES = ("key:K1", "team:core")
DAY = 20778  # of 2026-11-21
MONTH = 682


@pytest.fixture
def gateway(operator: Operator) -> Gateway:
    """A gateway on the operator's ledger, where `team:core` has limits and two requests were served."""
    operator.run("budget set team:core --limit tokens/day=100000")
    gateway = Gateway(operator.folder / "rillgate.db")
    gateway.settled("AAAAAAAAAAAAAAAA", SCOPES, Amounts(300, 400_000, 1), key_id="K1")
    gateway.settled("BBBBBBBBBBBBBBBB", SCOPES, Amounts(200, 300_000, 1), key_id="K1")
    return gateway


def test_audit_of_a_ledger_that_was_only_served_from_finds_nothing(operator: Operator, gateway: Gateway) -> None:
    """Settled, voided and global requests: the counters are what the records say."""

    async def voided(ledger: object) -> None:
        grant = await ledger.authorize(gateway.ask("CCCCCCCCCCCCCCCC", SCOPES))  # type: ignore[attr-defined]
        await ledger.settle(grant, NOTHING, record_of(grant, NOTHING, end="upstream_error"))  # type: ignore[attr-defined]

    gateway.do(voided)
    gateway.settled("DDDDDDDDDDDDDDDD", ("user:nobody",), Amounts(10, 0, 1))
    report = operator.json("audit")
    assert report["explained"] is True
    assert report["compared"] == 9  # day, month and total of key:K1, team:core and global
    assert report["differences"] == report["miscounted"] == report["notes"] == []
    assert operator.run("audit").out == ("2026-11-01 to 2026-11-21 (UTC): 9 windows of 3 scopes compared, 0 differ.")
    assert operator.slept == []


def test_audit_with_live_holds_counts_them_apart(operator: Operator, gateway: Gateway) -> None:
    """A hold is part of the counter and has no record yet: that explains it."""
    gateway.died("CCCCCCCCCCCCCCCC", SCOPES)
    operator.now_s = gateway.clock.wall()
    report = operator.json("audit")
    assert report["live_holds"] == {"key:K1": 1, "team:core": 1}
    assert report["expired_holds"] == {}
    operator.now_s += 931
    report = operator.json("audit")
    assert report["expired_holds"] == {"key:K1": 1, "team:core": 1}
    assert "team:core: 1 live holds, 1 of them expired" in operator.run("audit").out


def test_audit_after_a_dead_hold_was_captured_finds_its_record(operator: Operator, gateway: Gateway) -> None:
    """Who captures a hold records it; a late owner's record beside it changes nothing."""
    gateway.died("CCCCCCCCCCCCCCCC", SCOPES)
    gateway.clock.advance(1_200)
    gateway.settled("DDDDDDDDDDDDDDDD", SCOPES, Amounts(10, 0, 1))
    report = operator.json("audit")
    assert report["live_holds"] == {}
    assert report["explained"] is True
    usage = operator.json("usage")["total"]
    assert (usage["captured_requests"], usage["captured_tokens"]) == (1, 500)


def test_audit_with_a_record_missing_says_how_many(operator: Operator, gateway: Gateway) -> None:
    """Counters above the records: requests were counted that nobody recorded. Exit code 1, after three looks."""
    _remove_record(gateway, "AAAAAAAAAAAAAAAA")
    answer = operator.run("audit --json")
    assert answer.code == 1
    differences = answer.json["differences"]
    assert {(each["scope"], each["of"]) for each in differences} == {
        (scope, of) for scope in SCOPES for of in ("2026-11-21", "2026-11", "total")
    }
    assert all(each["difference"] == {"tokens": 300, "cost_nanos": 400_000, "requests": 1} for each in differences)
    assert all(each["reasons"] == ["1 record is missing"] for each in differences)
    assert operator.slept == [1.0, 1.0]
    out = operator.run("audit").out
    assert "team:core  2026-11-21  tokens    500 tokens  200 tokens  0 tokens    300 tokens" in out
    assert "team:core 2026-11-21: 1 record is missing" in out


@pytest.mark.parametrize(
    ("counter", "amount", "reason"),
    [
        (f"td{DAY}", 5, "amounts differ"),
        (f"cM{MONTH}", -7, "amounts differ"),
        ("rT", -1, "1 record is not in the counter"),
        ("rT", 2, "2 records are missing"),
    ],
)
def test_audit_with_a_spoilt_counter_names_it(
    operator: Operator, gateway: Gateway, counter: str, amount: int, reason: str
) -> None:
    """Whatever counter is off, by however little, it is found."""
    with gateway.table() as table:
        table.write(Write(scope_key("team:core"), (Add(counter, amount),)))
    answer = operator.run("audit --json")
    assert answer.code == 1
    (difference,) = answer.json["differences"]
    assert difference["scope"] == "team:core"
    assert amount in difference["difference"].values()
    assert reason in difference["reasons"][0]


def test_audit_with_a_scope_item_gone_finds_records_without_a_counter(operator: Operator, gateway: Gateway) -> None:
    """Records name their scopes, also such as have neither budget nor key."""
    with gateway.table() as table:
        names = [f"{meter}{window}" for meter in "tcr" for window in (f"d{DAY}", f"M{MONTH}", "T")]
        table.write(Write(scope_key("key:K1"), tuple(map(Remove, names))))
    answer = operator.run("audit --json")
    assert {each["scope"] for each in answer.json["differences"]} == {"key:K1"}
    assert all(each["reasons"] == ["there are records without a counter"] for each in answer.json["differences"])


def test_audit_with_a_wrong_number_of_live_holds_says_so(operator: Operator, gateway: Gateway) -> None:
    """The limit on streams counts them, so the number must be right."""
    with gateway.table() as table:
        table.write(Write(scope_key("team:core"), (Add("n", 1),)))
    answer = operator.run("audit --json")
    assert answer.code == 1
    assert answer.json["miscounted"] == [{"scope": "team:core", "live_counted": 1, "live_holds": 0}]


def test_audit_of_counters_that_were_taken_away_says_what_it_passed_over(operator: Operator, gateway: Gateway) -> None:
    """The gateway keeps no counters of days long over: that is no difference."""
    with gateway.table() as table:
        for scope in SCOPES:
            table.write(Write(scope_key(scope), tuple(Remove(f"{meter}d{DAY}") for meter in "tcr")))
    assert operator.run("audit").code == 1
    operator.now_s = NOW_S + 5 * 86_400
    report = operator.json("audit")
    assert report["differences"] == []
    assert [note.partition(":")[2] for note in report["notes"]] == [
        f"{scope.partition(':')[2]} 2026-11-21: not compared, the gateway has taken its counters away"
        for scope in SCOPES
    ]


def test_audit_of_a_total_with_older_records_says_where_to_begin(operator: Operator, gateway: Gateway) -> None:
    """A total cannot be replayed from this month's records alone; with all of them it can."""
    operator.now_s = NOW_S + 30 * 86_400
    gateway.clock.advance(30 * 86_400)
    gateway.settled("CCCCCCCCCCCCCCCC", SCOPES, Amounts(10, 0, 1), key_id="K1")
    report = operator.json("audit")
    assert (report["from"], report["differences"]) == ("2026-12-01", [])
    assert report["notes"] == [
        "total of key:K1, team:core: not compared, there are older records; give --from 2026-11-21 or an earlier day"
    ]
    report = operator.json("audit --from 2026-11-21")
    assert report["compared"] == 2 * (2 + 2 + 1)  # days are taken away when as many later ones were counted in
    assert report["notes"] == []
    report = operator.json("audit --from 2026-11-21 --to 2026-11-30")
    assert report["differences"] == []
    assert report["notes"][-1] == (
        "total of key:K1, team:core: not compared, the days up to today belong to it; leave --to out"
    )


def test_audit_without_records_at_all_compares_nothing(any_operator: Operator) -> None:
    """A fresh ledger is in order."""
    any_operator.run("keys create --name web --limit tokens/day=5")
    assert any_operator.json("audit")["compared"] == 0


def test_audit_that_meets_a_request_at_its_end_looks_again(operator: Operator, gateway: Gateway) -> None:
    """What was settled and not yet recorded is recorded a moment later."""
    key, item = _remove_record(gateway, "AAAAAAAAAAAAAAAA")

    def record(_: float) -> None:
        with gateway.table() as table:
            table.write(Write(key, tuple(Put(name, value) for name, value in item.items())))

    operator.slept = _Calls(record)
    assert operator.run("audit").code == 0


class _Calls(list[float]):
    """A list that does something when it grows."""

    def __init__(self, do: object) -> None:
        super().__init__()
        self._do = do

    def append(self, value: float) -> None:
        self._do(value)  # type: ignore[operator]


def _remove_record(gateway: Gateway, hold_id: str) -> tuple[Key, dict[str, int | str]]:
    """Lose a record; gives it back."""
    key = record_key(int(gateway.clock.wall()), hold_id)
    with gateway.table() as table:
        (item,) = table.read([key])
        assert item is not None
        removed = dict(item)
        table._connection.execute("DELETE FROM items WHERE pk = ? AND sk = ?", (key.pk, key.sk))
    return key, removed
