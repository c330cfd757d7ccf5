"""Which fake provider and which load generator: those in Go where its compiler is, else those in Python.

Those in Go take a few microseconds for a chunk, so that on two cores the gateway is what is measured. Where they are
in Python they take more than the gateway itself, and figures of whole seconds (chunks per second) are theirs as much.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.processes import BenchmarkError, clean_environment, python_command

SOURCE = Path(__file__).parent / "go"
BINARIES = Path(__file__).parent / "bin"
PROGRAMS = ("upstream", "loadgen")
BUILD_S = 600

Language = Literal["go", "python"]
ClientDialect = Literal["openai", "anthropic"]


@dataclass(frozen=True)
class Fakes:
    """The two programs, as commands."""

    language: Language

    def provider(self, port: int, script: str) -> list[str]:
        """Answers on `port`; a model that is no script plays `script`."""
        if self.language == "go":
            return [str(BINARIES / "upstream"), "-addr", f"127.0.0.1:{port}", "-script", script]
        return python_command("provider", "--port", str(port), "--script", script)

    def load(
        self,
        address: str,
        model: str,
        at_once: int,
        streams: int,
        output_tokens_max: int,
        *,
        dialect: ClientDialect,
        key: str = "",
        abort: int = 0,
    ) -> list[str]:
        """Opens streams and says as JSON what came: done, failed, reasons, chunks, wall_s, ttft_ms, gap_ms.

        Args:
            key: what every request shows; "" for none.
            abort: after so many chunks the client closes its connection; 0 for never.
        """
        values = {"url": address, "model": model, "c": at_once, "n": streams, "max-tokens": output_tokens_max}
        values |= {"dialect": dialect, "key": key, "abort": abort}
        if self.language == "go":
            arguments = [f"-{name}={value}" for name, value in values.items()]
            return [str(BINARIES / "loadgen"), *arguments]
        return python_command("load", *(f"--{name}={value}" for name, value in values.items()))


def find(wanted: Language | None) -> Fakes:
    """Those asked for, built if need be; by default Go's where they can be built.

    Raises:
        BenchmarkError: Go was asked for and is not there, or does not build them.
    """
    if wanted == "python":
        return Fakes("python")
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if go is None:
        if wanted == "go":
            raise BenchmarkError("no `go` was found; install it, or leave --fakes out")
        return Fakes("python")
    if _stale():
        print("Building the fakes in Go: about a minute, once …", flush=True)
        _build(go)
    return Fakes("go")


def _stale() -> bool:
    newest = max(path.stat().st_mtime for path in SOURCE.rglob("*") if path.is_file())
    return any(not (BINARIES / name).exists() or (BINARIES / name).stat().st_mtime < newest for name in PROGRAMS)


def _build(go: str) -> None:
    """Standard library only, so nothing is fetched, and nothing may be."""
    BINARIES.mkdir(exist_ok=True)
    environment = clean_environment({"GOTOOLCHAIN": "local", "GOPROXY": "off", "GOFLAGS": "-mod=mod -buildvcs=false"})
    command = [go, "build", "-o", f"{BINARIES}{os.sep}", *(f"./{name}" for name in PROGRAMS)]
    done = subprocess.run(
        command, check=False, cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=BUILD_S
    )
    if done.returncode:
        raise BenchmarkError(f"the fakes in Go do not build: {done.stderr[-2000:]}")
    for name in PROGRAMS:  # an unchanged program is not written anew, and would look stale for ever
        (BINARIES / name).touch()
