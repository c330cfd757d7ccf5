"""The benchmarks run, from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.cold_start import IDS as COLD
from benchmarks.estimates import WHAT as ESTIMATES
from benchmarks.nginx import WHAT as NGINX
from benchmarks.translation import TRANSLATED
from benchmarks.ways import DIRECT, FULL, KINDS, NAIVE
from benchmarks.ways import NGINX as BY_NGINX

from rillgate.app.embedded import EmbeddedModel
from tests.fakes.dynamodb_local import unavailable

ROOT = Path(__file__).parent.parent.parent

IDS = {
    "micro.sse.single",
    "micro.sse.many",
    "micro.relay",
    "micro.count.far",
    "micro.count.near",
    "micro.metrics.gap",
    "start.listening",
    "start.ready",
    "start.embedded",
    "first_token.p50",
    "first_token.p95",
    *(f"cancel.{state}.{way}" for state in ("before", "midstream", "blocked") for way in ("close", "reset")),
    "memory.idle",
    "memory.stalled",
    *(f"translation.{way.id}" for way in TRANSLATED),
    *(f"wire.many.{figure}" for figure in ("whole", "gap", "cpu")),
    "ledger.writes.1",
    "ledger.writes.2",
    "ledger.bytes.sent",
    "ledger.bytes.record",
    "ledger.bytes.holds",
    "ledger.sqlite.single",
    "ledger.sqlite.many",
    "ledger.sign",
    *(f"ledger.{row}" for row in ("first_token.sqlite.p50", "first_token.sqlite.p95", "cpu.sqlite")),
}
DYNAMODB_IDS = {
    f"ledger.{row}"
    for row in ("first_token.dynamodb.p50", "first_token.dynamodb.p95", "cpu.dynamodb", "call.cpu", "call.time")
}
WIRE = ("cpu", "burst", "request", "first_token", "gap")
WIRE_SHARES = ("p50", "p95")


def _wire_ids(way: str) -> set[str]:
    """Near the wire, of one way that is there."""
    shares = {f"wire.first_token_at_once.{way}.{share}" for share in WIRE_SHARES}
    return {f"wire.{figure}.{way}" for figure in WIRE} | shares


@pytest.mark.slow
def test_bench_quick_run_produces_every_row(tmp_path: Path) -> None:
    """A smoke run measures each figure that the documentation explains, and writes it as a table and as JSON."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("*.json")
    result = json.loads(path.read_text())
    rows = {row["id"]: row for row in result["rows"]}
    away = {way for way in (BY_NGINX, NAIVE) if rows[f"wire.cpu.{way}"]["value"] is None}
    wire = set().union(*(_wire_ids(way) for way in set(KINDS) - away - {DIRECT}), {f"wire.cpu.{way}" for way in away})
    wire |= set() if NAIVE in away else {f"wire.cpu.{FULL}.{NAIVE}"}
    assert set(rows) == IDS | DYNAMODB_IDS | set(ESTIMATES) | set(COLD) | set(NGINX) | wire
    unmeasured = {each for each, row in rows.items() if row["value"] is None} - set(COLD)  # they need much beside
    not_here = set() if EmbeddedModel.available() else {"start.embedded", *ESTIMATES}
    not_here |= {f"wire.cpu.{way}" for way in away} | (set(NGINX) if BY_NGINX in away else set())
    assert unmeasured == (not_here | DYNAMODB_IDS if unavailable() else not_here)
    assert all(row["value"] > 0 for row in rows.values() if row["value"] is not None)
    assert all(row["what"] in done.stdout for row in rows.values())
    assert result["machine"]["python"] in done.stdout
