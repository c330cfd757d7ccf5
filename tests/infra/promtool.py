"""Prometheus' own judge of rules and queries, as Debian's package `prometheus` brings it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infra.cloudformation import ROOT

CONFIGURATION = ROOT / "infra" / "container" / "prometheus"
RULES = CONFIGURATION / "rules.yml"


def promtool(*arguments: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run it; the test is skipped where it is not installed."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool did not run: it is not installed; `apt-get install prometheus` brings it")
    return subprocess.run([program, *arguments], input=stdin, capture_output=True, check=False, timeout=60)
