"""A Function URL over the stand-in runtime, in the test's own event loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rillgate.cli.local.console import Console
from rillgate.cli.local.function_url import FunctionUrl
from rillgate.cli.local.local_lambda import LocalLambda
from rillgate.cli.local.shape import Shape
from tests.fakes.clients import RawClient
from tests.fakes.server import Address, serving

STANDIN = Path(__file__).with_name("lambda_standin.py")
PATIENCE_S = 30.0  # a guard against hanging tests, never what a test waits for


@dataclass
class UrlInTest:
    """A Function URL that listens.

    Attributes:
        address: where.
        function: what is behind it.
        lines: what the platform has said.
    """

    address: Address
    function: LocalLambda
    lines: list[str] = field(default_factory=list)
    said: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, path: str, *, method: str = "GET", **request: Any) -> RawClient:
        """A new connection with a request sent and the head of its answer read."""
        client = await self.send(path, method=method, **request)
        await client.response()
        return client

    async def send(self, path: str, *, method: str = "GET", rcvbuf: int | None = None, **request: Any) -> RawClient:
        """A new connection with a request sent, nothing read yet."""
        client = await RawClient.open(self.address.port, rcvbuf=rcvbuf)
        await client.request(method, path, **request)
        return client

    async def body(self, path: str, **request: Any) -> tuple[int, bytes]:
        """Status and whole body."""
        async with await self.ask(path, **request) as client:
            return client.status, await client.read_body()

    async def reports(self, count: int = 1) -> list[str]:
        """The REPORT lines, waiting until there are so many."""
        async with asyncio.timeout(PATIENCE_S):
            while len(found := [line for line in self.lines if line.startswith("REPORT ")]) < count:
                self.said.clear()
                await self.said.wait()
        return found

    def hear(self, line: str) -> None:
        """The platform says something."""
        self.lines.append(line)
        self.said.set()


def shape_for(folder: Path, **more: Any) -> Shape:
    """A function whose bootstrap is the stand-in."""
    return Shape((sys.executable, "-S", str(STANDIN)), folder, folder, **more)


@asynccontextmanager
async def function_url(
    folder: Path, *, environments_max: int = 10, propagate_disconnect: bool = False, **more: Any
) -> AsyncIterator[UrlInTest]:
    """A Function URL on a free loopback port; `more` is for the shape."""
    heard: list[str] = []
    console = Console(heard.append)
    function = LocalLambda(shape_for(folder, **more), console, environments_max=environments_max)
    url = FunctionUrl(function, console, region="eu-central-1", propagate_disconnect=propagate_disconnect)
    async with serving(url, drain=url) as address:
        inside = UrlInTest(address, function)
        inside.lines.extend(heard)
        console.say = inside.hear
        yield inside
