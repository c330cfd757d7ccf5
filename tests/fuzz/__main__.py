"""Fuzzes for as long as one likes: `python -m tests.fuzz --minutes 10 --target 'sse*'`.

Each target gets its share of the time. Where atheris is installed (`make fuzz` sees to it) it is guided by the code
that an input reaches, and what it has learned is kept in `build/fuzz/corpus`; elsewhere mutations of seeds alone are
tried. Inputs that break something are kept in `build/fuzz/findings/TARGET`: mend the bug, and move the input to
`tests/fuzz/findings/TARGET` under a name that says what it was.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import importlib.util
import random
import subprocess
import sys
import time
import traceback
from pathlib import Path

from tests.fuzz.engine import inputs, known
from tests.fuzz.registry import targets
from tests.fuzz.target import Target, check

BUILD = Path("build/fuzz")
HANG_S = 30  # of one input
MEMORY_MB = 2_048


def main() -> int:
    """The exit code: 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Look for inputs that break a parser.")
    parser.add_argument("--minutes", type=float, default=10, help="for all targets together (10)")
    parser.add_argument("--target", action="append", metavar="GLOB", help="only these; may come several times")
    arguments = parser.parse_args()
    wanted = arguments.target or ["*"]
    chosen = [each for each in targets().values() if any(fnmatch.fnmatch(each.name, glob) for glob in wanted)]
    if not chosen:
        print(f"no target is named {' or '.join(wanted)}; there are {', '.join(sorted(targets()))}", file=sys.stderr)
        return 2
    guided = importlib.util.find_spec("atheris") is not None
    if not guided:
        print("atheris is not installed here: inputs are not guided by the code that they reach.")
    share_s = arguments.minutes * 60 / len(chosen)
    broken = [each.name for each in chosen if not (_guided if guided else _unguided)(each, share_s)]
    print(f"{len(chosen)} targets, {share_s:.0f} s each: " + (f"FOUND in {', '.join(broken)}" if broken else "nothing"))
    return 1 if broken else 0


def _guided(target: Target, seconds: float) -> bool:
    """Whether nothing was found. In a process of its own: a finding ends it."""
    corpus, findings = BUILD / "corpus" / target.name, BUILD / "findings" / target.name
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for data in [*known(target), *target.seeds()]:
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    command = [sys.executable, "-m", "tests.fuzz.guided", target.name, str(corpus), "-print_final_stats=1"]
    command += [f"-max_total_time={max(1, round(seconds))}", f"-timeout={HANG_S}", f"-rss_limit_mb={MEMORY_MB}"]
    command += [f"-artifact_prefix={findings}/", "-verbosity=0"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    runs = next((line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line), "?")
    print(f"{target.name}: {runs} inputs" + ("" if done.returncode == 0 else ", and a finding:"), flush=True)
    if done.returncode:
        print(done.stdout[-4_000:], done.stderr[-4_000:])
    return done.returncode == 0


def _unguided(target: Target, seconds: float) -> bool:
    """Whether nothing was found."""
    rng, until, runs = random.Random(), time.monotonic() + seconds, 0
    for data in inputs(target, rng):
        if time.monotonic() > until:
            break
        runs += 1
        try:
            check(target, data, rng)
        except Exception:
            folder = BUILD / "findings" / target.name
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / hashlib.sha256(data).hexdigest()[:16]
            path.write_bytes(data)
            print(f"{target.name}: {runs} inputs, and a finding: {path}")
            traceback.print_exc()
            return False
    print(f"{target.name}: {runs} inputs", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
