"""`rillgate serve` as a process of its own, started as its users start it, in an environment of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

import rillgate
from tests.fakes.clients import RawClient
from tests.fakes.provider import FakeProvider

PATIENCE_S: Final = 60.0  # a guard against hanging tests, never what a test waits for
LISTENS: Final = r"Rillgate listens on (?:http://127\.0\.0\.1:(\d+)|unix:)"

_SOURCE_ROOT: Final = str(Path(rillgate.__file__).parents[1])


def command(*arguments: str) -> list[str]:
    """`rillgate` with arguments: the console script where it is installed, the same module where it is not."""
    script = Path(sys.executable).with_name("rillgate")
    return [str(script), *arguments] if script.exists() else [sys.executable, "-m", "rillgate.cli.main", *arguments]


def environment(cwd: Path | None = None, **variables: str) -> dict[str, str]:
    """An environment of `variables` and what a program cannot start without.

    Without a working directory of its own the ledger is in memory, unless `variables` say otherwise: nothing is left.
    """
    if cwd is None:
        variables.setdefault("RILLGATE_LEDGER__URL", "memory:")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SYSTEMROOT") if name in os.environ}
    paths = [variables.pop("PYTHONPATH", ""), _SOURCE_ROOT]
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **variables}


def variables_for(fake: FakeProvider) -> dict[str, Any]:
    """One provider named `fake`, as variables for `serving` and `run`."""
    return {
        "RILLGATE_PROVIDERS__FAKE__KIND": "openai",
        "RILLGATE_PROVIDERS__FAKE__BASE_URL": fake.base_url,
    }


@dataclass
class Finished:
    """A run that has ended by itself."""

    code: int
    out: str
    err: str


async def run(*arguments: str, cwd: Path | None = None, **variables: str) -> Finished:
    """Run `rillgate` to its end."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        env=environment(cwd, **variables),
        cwd=cwd or tempfile.gettempdir(),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
    finally:
        await _end(process)
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())


@dataclass
class Served:
    """A gateway that runs.

    Attributes:
        process: it.
        port: where it listens, on 127.0.0.1.
        out, err: the lines that it has said and logged so far.
    """

    process: asyncio.subprocess.Process
    port: int = 0
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    _told: asyncio.Condition = field(default_factory=asyncio.Condition)
    _over: int = 0

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait for a line on standard output in which `pattern` is found.

        Raises:
            AssertionError: it ended without saying that.
        """
        return await self._line(self.out, pattern)

    async def logs(self, pattern: str) -> re.Match[str]:
        """Wait for a line on standard error in which `pattern` is found."""
        return await self._line(self.err, pattern)

    async def client(self, *, rcvbuf: int | None = None) -> RawClient:
        """A new connection."""
        return await RawClient.open(self.port, rcvbuf=rcvbuf)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """One request on a connection of its own: status and body."""
        async with await self.client() as client:
            await client.request("GET", path, headers={"connection": "close", **(headers or {})})
            return await client.response(), await client.read_body()

    async def post(self, path: str, json: object) -> tuple[int, bytes]:
        """One request on a connection of its own: status and body."""
        async with await self.client() as client:
            await client.request("POST", path, json=json, headers={"connection": "close"})
            return await client.response(), await client.read_body()

    async def waiting_for(self) -> list[str]:
        """What `/readyz` says is still waited for; empty when ready."""
        status, body = await self.get("/readyz")
        answer: dict[str, Any] = msgspec.json.decode(body)
        assert status == (503 if answer.get("waiting_for") else 200)
        return list(answer.get("waiting_for", ()))

    async def ready(self) -> None:
        """Wait until `/readyz` says so. Each question is a round trip, so this turns no faster than the gateway."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.waiting_for():
                pass

    def close_out(self) -> None:
        """Close our end of its standard output, as `head -1` does: what it says from now on fails."""
        transport = self.process._transport  # type: ignore[attr-defined]
        transport.get_pipe_transport(1).close()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Wait until it has ended and everything that it wrote was read; the exit code."""
        async with asyncio.timeout(PATIENCE_S):
            code = await self.process.wait()
            async with self._told:
                await self._told.wait_for(lambda: self._over == 2)
        return code

    # Within

    async def _line(self, lines: list[str], pattern: str) -> re.Match[str]:
        def found() -> re.Match[str] | None:
            return next((match for match in (re.search(pattern, line) for line in lines) if match), None)

        async with asyncio.timeout(PATIENCE_S), self._told:
            await self._told.wait_for(lambda: found() or self._over == 2)
        match = found()
        assert match, f"no line with {pattern!r}; out: {self.out}; err: {self.err[-20:]}"
        return match

    async def _read(self, stream: asyncio.StreamReader | None, lines: list[str]) -> None:
        assert stream is not None
        while line := await stream.readline():
            lines.append(line.decode().rstrip("\n"))
            async with self._told:
                self._told.notify_all()
        async with self._told:
            self._over += 1
            self._told.notify_all()


@contextlib.asynccontextmanager
async def serving(
    *arguments: str, cwd: Path | None = None, port: int | None = 0, **variables: str
) -> AsyncIterator[Served]:
    """`rillgate serve --port 0` with more arguments and `variables`, from its first lines until the end of the block.

    Args:
        cwd: its working directory, the place of `rillgate.toml`.
        port: None gives no --port, for a gateway that listens on a unix socket; `Served.port` is 0 then.
    """
    process = await asyncio.create_subprocess_exec(
        *command("serve", *([] if port is None else ["--port", str(port)]), *arguments),
        env=environment(cwd, **variables),
        cwd=cwd or tempfile.gettempdir(),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    served = Served(process)
    readers = [
        asyncio.create_task(served._read(process.stdout, served.out)),
        asyncio.create_task(served._read(process.stderr, served.err)),
    ]
    try:
        served.port = int((await served.says(LISTENS))[1] or 0)
        yield served
    finally:
        await _end(process)
        await asyncio.gather(*readers)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
