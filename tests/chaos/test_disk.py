"""The file of the ledger cannot be written: the disk is full, or another process has it locked. In real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rillgate.ledger.sqlite_table import SqliteTable
from tests.chaos.apis import INPUT_TOKENS
from tests.chaos.client import Ask, ChaosClient, Got, asked
from tests.chaos.gateway import FAR
from tests.chaos.plan import Plan
from tests.chaos.provider import ChaosProvider
from tests.e2e.ledgers import LedgerInTest
from tests.e2e.process import Served, serving

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PAGE_BYTES = 4096
DISK_BYTES = 4 * 1024 * 1024
WORDS = 20
STREAMS = 6


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop of this process is not the subject."""
    return "asyncio", {"use_uvloop": True}


@dataclass
class OnDisk:
    """A gateway whose ledger is a file.

    Attributes:
        folder: where the file is.
        got: what was asked and answered so far.
    """

    served: Served
    ledger: LedgerInTest
    folder: Path
    key: str
    scope: str
    got: list[Got] = field(default_factory=list)

    async def ask(self, ask: Ask) -> Got:
        """One request, read to its end."""
        got = await asked(self.served.port, ask, authorization=f"Bearer {self.key}")
        self.got.append(got)
        return got

    async def begun(self, number: int) -> tuple[ChaosClient, Got]:
        """A stream whose first bytes have come."""
        client, got = await ChaosClient.open(self.served.port), Got(Ask(Plan(number, WORDS, gap_ms=50)))
        await client.send(got.ask.request({"authorization": f"Bearer {self.key}"}))
        assert not await client.read(got, bytes_max=0)
        self.got.append(got)
        return client, got

    async def books_are_right(self) -> None:
        """Exactly what was delivered is charged, and the prompts; nothing is held, and the audit explains all of it."""
        tokens = sum(INPUT_TOKENS + got.words for got in self.got if got.status == 200)
        assert self.ledger.item(self.scope)["tT"] == tokens
        assert self.ledger.live(self.scope) == self.ledger.live("global") == 0
        assert (await self.ledger.command("audit"))["explained"]


@asynccontextmanager
async def on_disk(folder: Path, **variables: str) -> AsyncIterator[OnDisk]:
    """Serve with keys, on a file in this folder."""
    path = folder / "rillgate.db"
    async with ChaosProvider() as provider:
        with contextlib.closing(SqliteTable(path)) as store:
            ledger = LedgerInTest(f"sqlite:///{path}", store, {"RILLGATE_LEDGER__URL": f"sqlite:///{path}"})
            ledger.set_limits("global", f"tokens/total={FAR}")
            key, scope = await ledger.new_key(f"tokens/total={FAR}")
            more = {"RILLGATE_AUTH__REQUIRED": "true", **provider.variables(), **ledger.variables, **variables}
            async with serving(**more) as served:
                await served.ready()
                yield OnDisk(served, ledger, folder, key, scope)


Fill = Callable[[OnDisk], AbstractContextManager[None]]


@contextlib.contextmanager
def limited(gateway: OnDisk) -> Iterator[None]:
    """The kernel lets no file of the gateway's grow: what a quota does."""
    pid = gateway.served.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (PAGE_BYTES, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def filled(gateway: OnDisk) -> Iterator[None]:
    """Somebody fills the file system that the ledger is on, to its last byte."""
    filler = gateway.folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65_536, PAGE_BYTES):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    try:
        yield
    finally:
        filler.unlink()


@pytest.fixture(params=[limited, filled])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Fill]]:
    """A folder, and what fills it."""
    if request.param is limited:
        if not hasattr(resource, "prlimit"):
            pytest.skip("sets the limits of another process, which only Linux can")
        yield tmp_path, limited
        return
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounts a file system of 4 MB, which only root can")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(tmp_path)], check=True)
    try:
        yield tmp_path, filled
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


async def test_disk_full_refuses_in_each_dialect_and_owes_what_was_spent(disk: tuple[Path, Fill]) -> None:
    """Streams that run end as they should; what they took is written when there is room again, and nobody restarts."""
    folder, full = disk
    async with on_disk(folder) as gateway:
        assert (await gateway.ask(Ask(Plan(100)))).outcome == "stop"
        running = [await gateway.begun(number) for number in range(200, 200 + STREAMS)]
        with full(gateway):
            for number, dialect in enumerate(("chat", "messages", "plain")):
                got = await gateway.ask(Ask(Plan(300 + number), dialect))
                assert got.outcome == "503 budget_unavailable"
                assert got.headers["retry-after"] == "1"
            for client, got in running:
                await client.finish(got)
                client.close()
                assert (got.outcome, got.words) == ("stop", WORDS)
            for _ in range(STREAMS):
                await gateway.served.logs("settle_failed")
        await gateway.served.logs("ledger_caught_up")
        assert (await gateway.ask(Ask(Plan(400)))).outcome == "stop"
        await gateway.served.logs(f'"request_id":"{gateway.got[-1].request_id}"')
        await asyncio.gather(*(gateway.ask(Ask(Plan(500 + number))) for number in range(STREAMS)))
        gateway.served.signal(signal.SIGINT)
        assert await gateway.served.ended() == 0
        await gateway.books_are_right()


async def test_disk_full_serves_and_counts_where_that_is_allowed(disk: tuple[Path, Fill]) -> None:
    """Nobody is refused, and the books know how many requests they know nothing of."""
    folder, full = disk
    async with on_disk(folder, RILLGATE_LEDGER__ON_ERROR="allow") as gateway:
        assert (await gateway.ask(Ask(Plan(100)))).outcome == "stop"
        with full(gateway):
            free = [await gateway.ask(Ask(Plan(200 + number))) for number in range(3)]
            assert [got.outcome for got in free] == ["stop"] * 3
        assert (await gateway.ask(Ask(Plan(300)))).outcome == "stop"
        _, metrics = await gateway.served.get("/metrics")
        assert b"llm_unaccounted_requests_total 3.0" in metrics
        gateway.served.signal(signal.SIGINT)
        assert await gateway.served.ended() == 0
        gateway.got = [got for got in gateway.got if got not in free]
        await gateway.books_are_right()


async def test_file_locked_by_another_process_refuses_and_owes_what_was_spent(tmp_path: Path) -> None:
    """A backup that holds the lock for longer than anybody waits for it, while streams end."""
    async with on_disk(tmp_path) as gateway:
        running = [await gateway.begun(number) for number in range(200, 200 + STREAMS)]
        with contextlib.closing(sqlite3.connect(tmp_path / "rillgate.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert (await gateway.ask(Ask(Plan(300)))).outcome == "503 budget_unavailable"
            for client, got in running:
                await client.finish(got)
                client.close()
                assert (got.outcome, got.words) == ("stop", WORDS)
            await gateway.served.logs("settle_failed")
            other.execute("ROLLBACK")
        await gateway.served.logs("ledger_caught_up")
        assert (await gateway.ask(Ask(Plan(400)))).outcome == "stop"
        gateway.served.signal(signal.SIGINT)
        assert await gateway.served.ended() == 0
        await gateway.books_are_right()
