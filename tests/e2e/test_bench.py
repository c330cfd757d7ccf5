"""The benchmarks run, from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.cold_start import IDS as COLD
from benchmarks.estimates import WHAT as ESTIMATES

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
    "relay.cpu.paced",
    "relay.cpu.burst",
    "relay.throughput",
    "relay.cpu.request",
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


@pytest.mark.slow
def test_bench_quick_run_produces_every_row(tmp_path: Path) -> None:
    """A smoke run measures each figure that the documentation explains, and writes it as a table and as JSON."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("*.json")
    result = json.loads(path.read_text())
    rows = {row["id"]: row for row in result["rows"]}
    assert set(rows) == IDS | DYNAMODB_IDS | set(ESTIMATES) | set(COLD)
    unmeasured = {each for each, row in rows.items() if row["value"] is None} - set(COLD)  # they need much beside
    not_here = set() if EmbeddedModel.available() else {"start.embedded", *ESTIMATES}
    assert unmeasured == (not_here | DYNAMODB_IDS if unavailable() else not_here)
    assert all(row["value"] > 0 for row in rows.values() if row["value"] is not None)
    assert all(row["what"] in done.stdout for row in rows.values())
    assert result["machine"]["python"] in done.stdout
