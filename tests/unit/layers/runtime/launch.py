"""The real bootstrap as a process, beside a fake Runtime API in the test."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

LAYER: Final = Path(__file__).parents[4] / "layers" / "runtime"
PATIENCE_S: Final = 20.0  # a guard against hanging tests, never what a test waits for

APP: Final = """
import os, sys

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        print("started")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("ended")
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"first", "more_body": True})
    if scope["path"] == "/wait":
        await receive()
        await receive()
    text = "\\n".join([*sys.argv, *sys.path, os.environ.get("PYTHONPATH", "")])
    await send({"type": "http.response.body", "body": text.encode()})
"""


@asynccontextmanager
async def bootstrap(
    task_root: Path,
    address: str,
    *arguments: str,
    layer: Path = LAYER,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Process]:
    """Start `bootstrap` with `arguments` and the environment of a function; `APP` is its code unless one is there."""
    handlers = task_root / "fn.py"
    if not handlers.exists():
        handlers.write_text(APP)
    environment = {
        "PATH": os.environ["PATH"],
        "LAMBDA_TASK_ROOT": str(task_root),
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "AWS_LAMBDA_RUNTIME_API": address,
        "LAMBDA_ASGI_PYTHON": sys.executable,
        "PYTHONDONTWRITEBYTECODE": "1",
        "_HANDLER": "fn.app",
        **variables,
    }
    process = await asyncio.create_subprocess_exec(
        layer / "bootstrap", *arguments, env=environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ended(process: Process) -> tuple[int, str, str]:
    """Wait for its end: exit code, standard output and error."""
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
