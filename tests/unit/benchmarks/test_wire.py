"""Rows of what was measured near the wire, as far as that needs no processes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from benchmarks.relay import Load, Measured, Outcome
from benchmarks.report import Report, Row
from benchmarks.ways import BARE, COPY, DIRECT, FULL, KINDS, NAIVE, NGINX, STOCK
from benchmarks.wire import QUICK, _for
from benchmarks.wire_rows import Found, rows_of

MANY = Load(10, 10, 10, pause_ms=100)
WORDS = {name: kind.words for name, kind in KINDS.items()}
CPU_US = {DIRECT: 0.0, NGINX: 20.0, COPY: 21.0, FULL: 40.0, BARE: 30.0, STOCK: 120.0, NAIVE: 160.0}


def _measured(cpu_us: float, *, chunks_per_s: float, ttft_ms: float, gap_ms: float) -> Measured:
    times = dict.fromkeys(("p50", "p95"), ttft_ms)
    return Measured(cpu_us * 100 / 1e6, 100, 100 / chunks_per_s, 1, times, {"p99": gap_ms})


def _rows(
    cpu_us: Mapping[str, float] = CPU_US,
    *,
    chunks_per_s: float = 130_000,
    first_ms: float = 2.1,
    at_once_ms: float = 30.0,
    gap_ms: float = 40.0,
    failed: int = 0,
    missing: Mapping[str, str] | None = None,
) -> dict[str, Row]:
    """By id; whatever is not said is just what was promised, beside a direct way of 0.1 ms and gaps of 20 ms."""
    rounds = {
        name: [_measured(cost or 1.0, chunks_per_s=chunks_per_s, ttft_ms=at_once_ms, gap_ms=gap_ms)]
        for name, cost in cpu_us.items()
    }
    rounds[DIRECT] = [_measured(0.0, chunks_per_s=500_000, ttft_ms=1.0, gap_ms=20.0)]
    burst = {name: each for name, each in rounds.items() if name != DIRECT}
    burst[DIRECT] = rounds[DIRECT]
    single = {name: [first_ms] for name in cpu_us} | {DIRECT: [0.1]}
    seen = Outcome(10 - failed, failed, {"truncated": failed} if failed else {}, 100, 1.0, {}, {"p99": 101.0})
    found = Found(MANY, rounds, rounds, burst, single, {DIRECT: (seen, 0.0), FULL: (seen, 0.001)})
    report = Report({}, {})
    for row in rows_of("wire", WORDS, found, missing or {}):
        report.add(row)  # which refuses an id that was there before
    return {row.id: row for row in report.rows}


def test_rows_that_reach_what_was_promised_keep_every_claim() -> None:
    """At the very figures that were promised nothing is broken, and each promise has a row."""
    kept = {row_id for row_id, row in _rows().items() if row.kept is not None}
    assert kept == {
        "wire.cpu.full",
        "wire.cpu.full.naive",
        *(f"wire.{name}.{way}" for name in ("burst", "gap") for way in (FULL, BARE)),
        *(f"wire.first_token_at_once.{way}.{share}" for way in (FULL, BARE) for share in ("p50", "p95")),
        "wire.first_token.bare",
        "wire.many.whole",
    }
    assert all(row.kept is not False for row in _rows().values())


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        ({"cpu_us": CPU_US | {FULL: 40.1}}, {"wire.cpu.full", "wire.cpu.full.naive"}),
        ({"cpu_us": CPU_US | {NAIVE: 159.0}}, {"wire.cpu.full.naive"}),
        ({"chunks_per_s": 129_000.0}, {"wire.burst.full", "wire.burst.bare"}),
        ({"first_ms": 2.2}, {"wire.first_token.bare"}),
        ({"at_once_ms": 30.1}, {"wire.first_token_at_once.full.p50", "wire.first_token_at_once.bare.p50"}),
        ({"gap_ms": 40.1}, {"wire.gap.full", "wire.gap.bare"}),
        ({"failed": 1}, {"wire.many.whole"}),
    ],
)
def test_rows_past_what_was_promised_break_their_claim(changed: dict[str, object], broken: set[str]) -> None:
    """A figure beyond its promise says BROKEN, and no other row does."""
    found = _rows(**changed)  # type: ignore[arg-type] # each names one argument
    assert {row_id for row_id, row in found.items() if row.kept is False} == broken


def test_rows_without_nginx_or_the_naive_design_say_why_and_promise_nothing_of_them() -> None:
    """What cannot be gone here is a row with its remedy; a claim beside it is neither kept nor broken."""
    costs = {name: cost for name, cost in CPU_US.items() if name not in (NGINX, NAIVE)}
    found = _rows(costs, missing={NGINX: "nginx is not installed", NAIVE: "make it"})
    assert (found["wire.cpu.nginx"].value, found["wire.cpu.nginx"].note) == (None, "nginx is not installed")
    assert found["wire.cpu.naive"].note == "make it"
    assert found["wire.cpu.full"].kept is None
    assert "wire.cpu.full.naive" not in found


def test_rows_are_medians_of_the_rounds() -> None:
    """One round that a busy machine made dear moves no figure."""
    rounds = [_measured(cost, chunks_per_s=1.0, ttft_ms=1.0, gap_ms=1.0) for cost in (30.0, 31.0, 900.0)]
    seen = Outcome(10, 0, {}, 100, 1.0, {}, {"p99": 1.0})
    every = {DIRECT: rounds, FULL: rounds}
    found = Found(MANY, every, every, every, {DIRECT: [1.0], FULL: [1.0]}, {DIRECT: (seen, 0.0), FULL: (seen, 0.0)})
    row = next(row for row in rows_of("wire", WORDS, found, {}) if row.id == "wire.cpu.full")
    assert row.value == pytest.approx(31.0)


def test_slow_way_gets_fewer_streams_of_a_burst_and_the_same_of_a_paced_load() -> None:
    """Paced loads are compared stream for stream; a burst that would take minutes is made shorter."""
    burst = Load(60, 10, 1000)
    assert _for(KINDS[NAIVE], burst) == Load(10, 10, 1000)
    assert _for(KINDS[FULL], burst) == burst
    assert _for(KINDS[NAIVE], QUICK.paced) == QUICK.paced


def test_outcome_reads_what_a_load_generator_says() -> None:
    """Fields that nobody asks for are left out."""
    said = (
        '{"streams": 2, "done": 1, "failed": 1, "reasons": {"connect": 1}, "chunks": 7, "wall_s": 0.5,'
        ' "ttft_ms": {"p50": 1.5}, "gap_ms": {"p99": 20.5}, "mb_per_s": 3}'
    )
    assert Outcome.read(said) == Outcome(1, 1, {"connect": 1}, 7, 0.5, {"p50": 1.5}, {"p99": 20.5})
