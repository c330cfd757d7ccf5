"""`rillgate lambda-local` as a process of its own, with the real bootstrap in processes of theirs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.e2e.process import PATIENCE_S, Served, _end, command, environment, run, variables_for
from tests.fakes.clients import RawClient
from tests.fakes.gateway import CHAT, chat_body
from tests.fakes.provider import FakeProvider

LISTENS: Final = r"Function URL: http://127\.0\.0\.1:(\d+)/"


class LocalLambdaServed(Served):
    """A `rillgate lambda-local` that runs, its working directory and a key of its ledger."""

    key: str
    cwd: Path

    async def chat(self, *, rcvbuf: int | None = None, **fields: Any) -> RawClient:
        """A new connection with a chat request sent, nothing read yet."""
        client = await self.client(rcvbuf=rcvbuf)
        headers = {"authorization": f"Bearer {self.key}"}
        await client.request("POST", CHAT, json=chat_body(**fields), headers=headers)
        return client

    async def reports(self, count: int) -> list[str]:
        """The REPORT lines, waiting until there are so many."""
        async with asyncio.timeout(PATIENCE_S), self._told:
            await self._told.wait_for(lambda: len(self._reports()) >= count or self._over == 2)
        return self._reports()

    def _reports(self) -> list[str]:
        return [line for line in self.err if line.startswith("REPORT ")]

    def records(self) -> list[dict[str, Any]]:
        """The function's own log lines about requests, in order."""
        lines = [msgspec.json.decode(line) for line in self.err if line.startswith("{")]
        return [line for line in lines if line.get("event") == "request"]

    def environments(self) -> list[int]:
        """Processes of environments, oldest first."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if "lambda_asgi" in Path(f"/proc/{pid}/cmdline").read_text()]

    async def audited(self) -> int:
        """What `rillgate audit` says of the ledger: its exit code."""
        return (await run("audit", cwd=self.cwd)).code


@contextlib.asynccontextmanager
async def lambda_local(
    fake: FakeProvider, cwd: Path, *arguments: str, **variables: str
) -> AsyncIterator[LocalLambdaServed]:
    """`rillgate lambda-local --port 0` in front of `fake`, its ledger a file in `cwd`, and a key."""
    created = await run("keys", "create", "--name", "test", "--limit", "tokens/day=10000000", "--json", cwd=cwd)
    assert created.code == 0, created.err
    process = await asyncio.create_subprocess_exec(
        *command("lambda-local", "--port", "0", *arguments),
        env=environment(cwd, **variables_for(fake), **variables),
        cwd=cwd,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        limit=1 << 20,
    )
    served = LocalLambdaServed(process)
    served.key = msgspec.json.decode(created.out)["key"]
    served.cwd = cwd
    readers = [
        asyncio.create_task(served._read(process.stdout, served.out)),
        asyncio.create_task(served._read(process.stderr, served.err)),
    ]
    try:
        served.port = int((await served.says(LISTENS))[1])
        yield served
    finally:
        await _end(process)
        await asyncio.gather(*readers)


async def gone(pid: int) -> None:
    """Wait until a process that is not a child of this one has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def milliseconds(report: str, name: str) -> float:
    """A duration of a REPORT line."""
    match = re.search(rf"\t{name}: ([0-9.]+) ms", report)
    assert match, report
    return float(match[1])
