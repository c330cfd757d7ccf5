"""The official Node clients, installed into build/clients and run each in a process of its own: tests/clients."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from playwright._impl._driver import compute_driver_executable

from tests.e2e.process import PATIENCE_S

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = ROOT / "tests" / "clients"
FOLDER: Final = ROOT / "build" / "clients"
MAJOR_MIN: Final = 22  # what the clients ask for

Node = Callable[..., Awaitable[Any]]
"""Runs a scenario: node("openai", "stream", url=…, key=…) gives what the client made of it."""


def install() -> None:
    """Bring build/clients up to tests/clients: the modules at every run, the packages when their versions change."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = (SOURCES / "package.json").read_text()
    stamp = FOLDER / "installed.json"
    if not stamp.exists() or stamp.read_text() != wanted:
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("the tests of the Node clients did not run: no npm found; `apt-get install npm` brings it")
        stamp.unlink(missing_ok=True)
        shutil.copy(SOURCES / "package.json", FOLDER)
        shutil.copy(SOURCES / ".npmrc", FOLDER)
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run([npm, "install", *quiet], cwd=FOLDER, check=True, capture_output=True)
        stamp.write_text(wanted)
    for module in SOURCES.glob("*.mjs"):
        shutil.copy(module, FOLDER)


def executable() -> str:
    """A Node that is new enough: this machine's, else the one that playwright brings."""
    found = [shutil.which("node"), compute_driver_executable()[0]]
    for node in filter(None, found):
        said = subprocess.run([node, "--version"], check=False, capture_output=True, text=True).stdout
        if said.startswith("v") and int(said[1:].split(".")[0]) >= MAJOR_MIN:
            return node
    pytest.skip(
        f"the tests of the Node clients did not run: no Node {MAJOR_MIN} or newer; install nodejs or playwright"
    )


async def run(node: str, client: str, scenario: str, **options: Any) -> Any:
    """Run one scenario to its end."""
    process = await asyncio.create_subprocess_exec(
        node,
        str(FOLDER / "run.mjs"),
        client,
        scenario,
        msgspec.json.encode(options).decode(),
        cwd=FOLDER,
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return msgspec.json.decode(out.splitlines()[-1])
