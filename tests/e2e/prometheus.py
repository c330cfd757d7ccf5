"""Prometheus as a process of its own, with the configuration and the rules of infra/container/prometheus.

Nothing is changed but places, and how often it asks: each second in place of four times a minute.
"""

from __future__ import annotations

import asyncio
import math
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
import pytest

from tests.e2e.nginx import ROOT, free_port, replaced
from tests.e2e.process import PATIENCE_S
from tests.fakes.clients import RawClient

SOURCE: Final = ROOT / "infra" / "container" / "prometheus"
TARGET: Final = "metrics:9464"  # as the configuration names what is scraped
PROGRAM: Final = shutil.which("prometheus")


def need_prometheus() -> None:
    """Skip the test where there is none."""
    if PROGRAM is None:
        pytest.skip("Prometheus did not run: it is not installed; `apt-get install prometheus` brings it")


@dataclass
class Prometheus:
    """One that runs.

    Attributes:
        port: where it answers, on 127.0.0.1.
    """

    port: int

    async def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        async with await RawClient.open(self.port) as client:
            await client.request("GET", f"{path}?{urlencode(parameters)}", headers={"connection": "close"})
            status, body = await client.response(), await client.read_body()
        assert status == 200, body
        return msgspec.json.decode(body)["data"]

    async def values(self, query: str) -> list[float]:
        """What a query gives now, one value for each of its series; those that are no numbers are left out."""
        found = await self.get("/api/v1/query", query=query)
        numbers = [float(sample["value"][1]) for sample in found["result"]]
        return [number for number in numbers if not math.isnan(number)]

    async def until(self, query: str, value: float) -> None:
        """Wait until the sum of a query is this; each question is a round trip, and it learns something each second."""
        async with asyncio.timeout(PATIENCE_S):
            while sum(await self.values(query)) != value:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def prometheus(target: str, folder: Path) -> AsyncIterator[Prometheus]:
    """One that scrapes `target`, such as "127.0.0.1:8000", from the moment at which it is ready."""
    assert PROGRAM is not None
    port = free_port()
    places = {TARGET: target, "/etc/prometheus": str(folder), "15s": "1s"}
    for name in ("prometheus.yml", "rules.yml"):
        text = (SOURCE / name).read_text()
        (folder / name).write_text(replaced(text, places))
    assert target in (folder / "prometheus.yml").read_text()
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
    )
    assert process.stderr is not None
    said: list[bytes] = []
    reading = asyncio.create_task(_read(process.stderr, said))
    try:
        await _ready(process, port, said)
        yield Prometheus(port)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await reading


async def _read(stream: asyncio.StreamReader, said: list[bytes]) -> None:
    said.extend([line async for line in stream])


async def _ready(process: asyncio.subprocess.Process, port: int, said: list[bytes]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while process.returncode is None:
            try:
                async with await RawClient.open(port) as client:
                    await client.request("GET", "/-/ready", headers={"connection": "close"})
                    if await client.response() == 200:
                        return
            except OSError:
                pass
            await asyncio.sleep(0.05)
    raise AssertionError(b"".join(said).decode())
