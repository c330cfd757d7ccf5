"""The package as `sam build` makes it, once for each processor and run of the tests, in a folder under build/."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.rie import python_3_13

ROOT: Final = Path(__file__).parents[2]
SAM: Final = ROOT / "build" / "sam" / "bin" / "sam"
REMEDY: Final = "VENV=build/sam sh scripts/environment sam"
PATIENCE_S: Final = 300.0  # a guard against hanging tests, never what a test waits for
REGION: Final = "eu-central-1"
ARCHITECTURES: Final = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64", "AMD64": "x86_64"}


def host() -> str:
    """This machine's processor, as Lambda calls it."""
    return ARCHITECTURES[platform.machine()]


def sam(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one of SAM's commands in the checkout; skips the test where SAM is not installed."""
    if not SAM.exists():
        pytest.skip(f"SAM is not installed: {REMEDY}")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAM_", "RILLGATE_"))}
    environment = {**kept, "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": REGION, **variables}
    return subprocess.run(
        [SAM, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )


@cache
def built(architecture: str) -> Path:
    """The build's folder, with a folder for each function and layer."""
    folder = ROOT / "build" / f"sam-{architecture}"
    shutil.rmtree(folder, ignore_errors=True)
    done = sam(
        "build",
        *("--build-dir", str(folder)),
        *("--parameter-overrides", f"Architecture={architecture}"),
        RILLGATE_ARCH=architecture,
        LAMBDA_PYTHON=python_3_13(),
    )
    assert done.returncode == 0, done.stderr
    return folder


def opt_of(build: Path, folder: Path, *more: str) -> Path:
    """The layers of a build, and more of them, unpacked over each other as Lambda does under /opt."""
    for layer in ("RuntimeLayer", "DependenciesLayer", *more):
        shutil.copytree(build / layer, folder, dirs_exist_ok=True)
    return folder


def bare_python() -> str:
    """A Python 3.13 that has nothing of ours: the one that environments are made from, never the tests' own."""
    found = subprocess.run(
        [python_3_13(), "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True, check=True
    )
    python = Path(found.stdout.strip(), "bin", "python3.13")
    assert python.exists(), f"{python} is not there, beside {sys.executable}"
    return str(python)
