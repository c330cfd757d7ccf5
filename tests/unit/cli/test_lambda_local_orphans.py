"""The watch that ends environments when the command cannot: a process of its own, and a pipe."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rillgate.cli.local.orphans import Orphans

pytestmark = pytest.mark.anyio

PATIENCE_S = 30.0  # a guard against hanging tests, never what a test waits for


@asynccontextmanager
async def sleeper() -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that ends for a signal only, in a group of its own, as an environment is."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-c", "import time; time.sleep(3600)", start_new_session=True
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_orphans_are_killed_when_the_pipe_closes() -> None:
    """Also a process that is frozen, which no other signal would reach; one that was forgotten is left alone."""
    orphans = Orphans()
    await orphans.start()
    async with sleeper() as watched, sleeper() as frozen, sleeper() as forgotten:
        for process in (watched, frozen, forgotten):
            orphans.watch(process.pid)
        orphans.forget(forgotten.pid)
        frozen.send_signal(signal.SIGSTOP)
        await orphans.aclose()
        async with asyncio.timeout(PATIENCE_S):
            assert await watched.wait() == -signal.SIGKILL
            assert await frozen.wait() == -signal.SIGKILL
        assert forgotten.returncode is None


async def test_orphans_watch_is_not_ended_by_the_terminal() -> None:
    """Ctrl-C and a hang-up are the command's to handle; the watch goes last."""
    orphans = Orphans()
    await orphans.start()
    process = orphans._process
    assert process is not None
    async with sleeper() as watched:
        orphans.watch(watched.pid)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
        await orphans.aclose()
        assert process.returncode == 0
        async with asyncio.timeout(PATIENCE_S):
            assert await watched.wait() == -signal.SIGKILL
