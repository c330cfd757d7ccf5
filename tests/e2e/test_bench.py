"""The benchmarks run, from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rillgate.app.embedded import EmbeddedModel

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
    assert set(rows) == IDS
    unmeasured = {each for each, row in rows.items() if row["value"] is None}
    assert unmeasured == (set() if EmbeddedModel.available() else {"start.embedded"})
    assert all(row["value"] > 0 for row in rows.values() if row["value"] is not None)
    assert all(row["what"] in done.stdout for row in rows.values())
    assert result["machine"]["python"] in done.stdout
