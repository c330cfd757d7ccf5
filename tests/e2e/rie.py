"""AWS's own Runtime Interface Emulator as a process, running the layer's real bootstrap with Python 3.13.

The emulator lies in the wheel of aws-sam-cli, in an environment of its own. It keeps a whole response in memory before
it gives it out, so the moment of a first byte is measured against the fake Runtime API instead.

`python -m tests.e2e.rie` prints what the layer's README says about times and memory.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pytest

from tests.fakes.clients import RawClient
from tests.fakes.runtime_api import FakeRuntimeApi, Post, function_url_event

PATIENCE_S: Final = 60.0  # a guard against hanging tests, never what a test waits for
ROOT: Final = Path(__file__).parents[2]
LAYER: Final = ROOT / "layers" / "runtime"
REMEDY: Final = "VENV=build/sam sh scripts/environment sam"
INVOKE: Final = "/2015-03-31/functions/function/invocations"
STARTS: Final = 9


@cache
def emulator() -> Path:
    """The binary for this machine; skips the test where it is not installed."""
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"aws-lambda-rie-{machine}"
    found = sorted((ROOT / "build" / "sam").glob(f"lib/python*/site-packages/samcli/local/rapid/{name}"))
    if not found:
        pytest.skip(f"AWS's emulator is not installed: {REMEDY}")
    return found[0]


@cache
def python_3_13() -> str:
    """An interpreter of the managed runtime's version; skips the test where there is none."""
    candidates = [sys.executable, "python3.13"]
    if shutil.which("pyenv"):
        prefix = subprocess.run(["pyenv", "prefix", "3.13"], capture_output=True, text=True, check=False).stdout.strip()
        candidates.append(f"{prefix}/bin/python")
    is_one = "import sys; sys.exit(sys.version_info[:2] != (3, 13))"
    for candidate in candidates:
        if shutil.which(candidate) and subprocess.run([candidate, "-c", is_one], check=False).returncode == 0:
            return candidate
    pytest.skip("There is no Python 3.13 here, which Lambda's runtime is")


@dataclass
class Emulated:
    """A function under the emulator.

    Attributes:
        process: the emulator; the function is its child.
        port: where it takes invocations.
        lines: what it and the function have printed so far.
    """

    process: asyncio.subprocess.Process
    port: int
    lines: list[str] = field(default_factory=list)
    _told: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def invoke(self, event: Any) -> tuple[int, bytes]:
        """One invocation: the emulator's status, and everything that the function answered."""
        async with asyncio.timeout(PATIENCE_S), await RawClient.open(self.port) as client:
            await client.request("POST", INVOKE, json=event, headers={"connection": "close"})
            return await client.response(), await client.read_body()

    async def get(self, path: str, **event: Any) -> tuple[Any, bytes]:
        """A request as of a Function URL: the prelude, decoded, and the body."""
        status, answer = await self.invoke(function_url_event(path, **event))
        assert status == 200
        prelude, _, body = answer.partition(bytes(8))
        return json.loads(prelude), body

    async def says(self, text: str) -> None:
        """Wait for a line that has `text` in it."""
        async with asyncio.timeout(PATIENCE_S), self._told:
            await self._told.wait_for(lambda: any(text in line for line in self.lines))

    async def read(self) -> None:
        """Keep `lines` up to date until there are no more."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            async with self._told:
                self.lines.append(line.decode().rstrip("\n"))
                self._told.notify_all()


def environment(task_root: Path, handler: str, variables: Mapping[str, str]) -> dict[str, str]:
    """What the bootstrap needs, in the emulator and beside the fake Runtime API."""
    return {
        "PATH": os.environ["PATH"],
        "LAMBDA_TASK_ROOT": str(task_root),
        "LAMBDA_ASGI_PYTHON": python_3_13(),
        "_HANDLER": handler,
        **variables,
    }


@asynccontextmanager
async def emulated(
    task_root: Path,
    handler: str,
    *,
    timeout_s: int = 30,
    layer: Path = LAYER,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Emulated]:
    """Run `handler`, whose code lies in `task_root`, until the end of the block."""
    port, api_port = _free_ports(2)
    command = [
        *(str(emulator()), "--log-level", "error"),
        *("--runtime-api-address", f"127.0.0.1:{api_port}"),
        *("--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
        *(str(layer / "bootstrap"), handler),
    ]
    env = {**environment(task_root, handler, variables), "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout_s)}
    process = await asyncio.create_subprocess_exec(*command, env=env, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)
    function = Emulated(process, port)
    reader = asyncio.create_task(function.read())
    try:
        await _listens(port)
        yield function
    finally:
        if process.returncode is None:
            process.terminate()  # it ends its child too
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()
        await reader


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


async def _listens(port: int) -> None:
    """The emulator says nothing when it is ready."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                await writer.wait_closed()
                return


# Figures

FIGURES_APP: Final = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"data: first", "more_body": True})
    memory = [line for line in open("/proc/self/status") if line.startswith("VmRSS")]
    await send({"type": "http.response.body", "body": memory[0].encode()})
"""


@dataclass
class Figures:
    """Times in milliseconds."""

    start_to_first_byte: list[float] = field(default_factory=list)
    event_to_first_byte: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    resident_mb: float = 0.0


async def _first_byte(post: Post, began: float) -> float:
    """Milliseconds from `began` to the first byte of a response."""
    await post.until(lambda: post.ended)
    return (post.arrivals[0][0] - began) * 1000


async def _first_bytes(task_root: Path, layer: Path, figures: Figures) -> None:
    """A process of its own beside the fake Runtime API: its first response, and later ones."""
    async with FakeRuntimeApi() as api:
        post = api.invoke(function_url_event())
        env = {**environment(task_root, "fn.app", {}), "AWS_LAMBDA_RUNTIME_API": api.address}
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(layer / "bootstrap", env=env, stdin=DEVNULL)
        figures.start_to_first_byte.append(await _first_byte(post, began))
        for number in range(20):
            await api.polled(number + 2)
            began = time.monotonic()
            figures.event_to_first_byte.append(await _first_byte(api.invoke(function_url_event()), began))
        process.terminate()
        await process.wait()


async def _under_the_emulator(task_root: Path, layer: Path, figures: Figures) -> None:
    """The whole of an invocation, cold and warm, as the emulator gives it."""
    async with emulated(task_root, "fn.app", layer=layer) as function:
        for number in range(21):
            began = time.monotonic()
            _, body = await function.get("/")
            times = figures.warm if number else figures.cold
            times.append((time.monotonic() - began) * 1000)
        figures.resident_mb = int(body.split()[-2]) / 1024


def build(layer: Path, task_root: Path) -> None:
    """The layer as it is deployed, with its byte code, and an app."""
    task_root.mkdir()
    (task_root / "fn.py").write_text(FIGURES_APP)
    variables = {"PATH": os.environ["PATH"], "ARTIFACTS_DIR": str(layer), "LAMBDA_PYTHON": python_3_13()}
    subprocess.run(["make", "-s", "build-RuntimeLayer"], cwd=LAYER, env=variables, check=True)


async def measure(layer: Path, task_root: Path) -> Figures:
    """Several starts, each with invocations after it."""
    figures = Figures()
    for _ in range(STARTS):
        await _first_bytes(task_root, layer, figures)
        await _under_the_emulator(task_root, layer, figures)
    return figures


def main() -> None:
    """Print the figures, medians and the span they come from."""
    with tempfile.TemporaryDirectory() as folder:
        layer, task_root = Path(folder, "opt"), Path(folder, "task")
        build(layer, task_root)
        figures = asyncio.run(measure(layer, task_root))
    for name in ("start_to_first_byte", "event_to_first_byte", "cold", "warm"):
        values = getattr(figures, name)
        print(f"{name}: {statistics.median(values):.1f} ms ({min(values):.1f} to {max(values):.1f}, {len(values)})")  # noqa: T201
    print(f"resident: {figures.resident_mb:.1f} MB")  # noqa: T201


if __name__ == "__main__":
    main()
