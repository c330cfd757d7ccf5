"""What one request writes, and what each of these writes costs by itself, in this process."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from tests.fakes.dynamodb_local import ACCESS_KEY_ID, SECRET_ACCESS_KEY, DynamoDbLocal

from benchmarks.report import Beside, Row
from rillgate.app.settings.types import LedgerSettings
from rillgate.app.stores import store_of
from rillgate.domain.limits import Amounts
from rillgate.domain.spending import Ask, Grant, Record
from rillgate.ledger.items import HOLD
from rillgate.ledger.keys import scope_key
from rillgate.ledger.ledger import StoreLedger
from rillgate.ledger.sqlite import SqliteStore
from rillgate.ledger.store import Store
from rillgate.ledger.writes import Add, Item, Key, Write
from rillgate.telemetry.clock import LoopClock
from rillgate.wire.sigv4 import Credentials, Signer

WRITES = "two writes for each scope, and one record"
FAST = "short against the time to first token"
WRITE_UNIT_BYTES = 1024  # DynamoDB charges a write by each KiB of the item, begun
AT_ONCE = 100
TIMEOUT_MS = 30_000
TABLE = "ledger"
KEY = "key:4Vz0Kq8sTgYb"  # the scope of a key, which is always charged


def rows(calls: int, local: DynamoDbLocal | None, why_not: str) -> Iterator[Row]:
    """Writes and bytes of a request; SQLite's writes; signing; calls to DynamoDB Local, or that there is none."""
    yield from _write_rows()
    yield from asyncio.run(_sqlite_rows(calls))
    yield _sign_row(calls)
    yield from _call_rows(calls, local, why_not)


# What a request writes


@dataclass
class Counting:
    """A store that keeps what was written."""

    inner: Store
    writes: list[Write] = field(default_factory=list)

    async def write(self, write: Write) -> Item:
        """As `Store.write`."""
        self.writes.append(write)
        return await self.inner.write(write)

    async def read(self, keys: Sequence[Key]) -> list[Item | None]:
        """As `Store.read`."""
        return await self.inner.read(keys)

    async def aclose(self) -> None:
        """As `Store.aclose`."""
        await self.inner.aclose()


@dataclass(frozen=True)
class Request:
    """What one request wrote, and how its last scope's item looked while it was held."""

    writes: Sequence[Write]
    held: Item

    @property
    def record(self) -> Write:
        """The one of its writes that keeps its record."""
        return next(write for write in self.writes if write.key.pk.startswith("record|"))

    @property
    def sent_bytes(self) -> float:
        """JSON of a write, on average."""
        return sum(len(msgspec.json.encode(write.render(TABLE))) for write in self.writes) / len(self.writes)


async def _request(*scopes: str) -> Request:
    async with aclosing(Counting(SqliteStore(None))) as store:
        ledger = StoreLedger(store, LoopClock(), grace_s=60, tell=lambda event, **fields: None)
        grant = await ledger.authorize(Ask("0123456789abcdef", scopes, 100, 1000, 1, None, lifetime_s=930))
        (held,) = await store.read([scope_key(scopes[-1])])
        record = _record(grant)
        await ledger.settle(grant, record.charged, record)
        await ledger.aclose()
        return Request(store.writes, held or {})


def _write_rows() -> Iterator[Row]:
    one, two = (asyncio.run(_request(*scopes)) for scopes in ((KEY,), (KEY, "key:9Hn2LwQe5RtU")))
    for number, request in enumerate((one, two), start=1):
        what = f"Writes for each request that is charged to {number} scope{'s' * (number - 1)}"
        yield Row(f"ledger.writes.{number}", what, len(request.writes), "writes", WRITES, limit=2 * number + 1)
    yield Row("ledger.bytes.sent", "Bytes of JSON sent for each write", one.sent_bytes, "bytes", FAST)
    record = item_bytes(one.record.key, one.record.apply({}))
    what = "Bytes of a request's record"
    yield Row("ledger.bytes.record", what, record, "bytes", "one write unit", limit=WRITE_UNIT_BYTES)
    hold = sum(_bytes_of(name, value) for name, value in one.held.items() if name.startswith(HOLD))
    room = (WRITE_UNIT_BYTES - item_bytes(scope_key(KEY), one.held)) // hold + 1
    what = f"Live holds of a scope that fit into one write unit of {WRITE_UNIT_BYTES:,} bytes"
    yield Row("ledger.bytes.holds", what, room, "holds", "one write unit", note=f"{hold} bytes each")


def _record(grant: Grant) -> Record:
    """As much as a record usually says."""
    charged = Amounts(600, 500_000, 1)
    return Record(
        hold_id=grant.ask.hold_id,
        started_s=grant.started_s,
        scopes=dict.fromkeys(grant.holds, charged),
        charged=charged,
        end="finished",
        key_id=KEY.removeprefix("key:"),
        model="gpt-4o",
        provider="openai",
        routed_model="gpt-4o",
        input_tokens=100,
        output_tokens=500,
    )


def item_bytes(key: Key, item: Item) -> int:
    """The size of an item as DynamoDB counts it: names, texts in UTF-8, and numbers by their digits.

    Source: Amazon DynamoDB developer guide, "DynamoDB item sizes and formats", read 2026-11.
    """
    return sum(_bytes_of(name, value) for name, value in {"pk": key.pk, "sk": key.sk, **item}.items())


def _bytes_of(name: str, value: int | str) -> int:
    size = len(value.encode()) if isinstance(value, str) else (len(str(abs(value))) + 1) // 2 + 1 + (value < 0)
    return len(name.encode()) + size


# What a write costs


async def _sqlite_rows(calls: int) -> list[Row]:
    """Additions to one item of a file: each waiting for the one before, and a crowd that shares transactions."""
    write = Write(Key("counter"), (Add("n", 1),), returns="changed")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        async with aclosing(SqliteStore(Path(folder) / "ledger.db")) as store:
            await store.write(write)
            for name, at_once, words in (("single", 1, "one after the other"), ("many", AT_ONCE, f"{AT_ONCE} at once")):
                took_s = await _timed(lambda: store.write(write), calls, at_once)
                what = f"Writes to one item of a SQLite file, {words}"
                found.append(Row(f"ledger.sqlite.{name}", what, calls / took_s, "writes/s", FAST, samples=calls))
    return found


async def _timed(act: Callable[[], Awaitable[object]], times: int, at_once: int) -> float:
    """Seconds that it takes so many times."""

    async def work() -> None:
        for _ in range(times // at_once):
            await act()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return time.perf_counter() - began


def _sign_row(calls: int) -> Row:
    signer, credentials = Signer("dynamodb", "eu-central-1"), Credentials("fakefakefake", "fake-secret")
    headers = (("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "DynamoDB_20120810.UpdateItem"))
    body = b"x" * 1000
    began = time.thread_time()
    for each in range(calls):
        signer.headers(
            credentials,
            method="POST",
            host="dynamodb.eu-central-1.amazonaws.com",
            target="/",
            headers=headers,
            body=body,
            at_s=1_795_000_000 + each / 1000,
        )
    value = (time.thread_time() - began) / calls * 1e6
    return Row("ledger.sign", "Signing a call of 1,000 bytes", value, "µs", FAST, samples=calls)


def _call_rows(calls: int, local: DynamoDbLocal | None, why_not: str) -> Iterator[Row]:
    cpu = ("ledger.call.cpu", "CPU of a write to DynamoDB, signed and sent over a kept connection")
    wall = ("ledger.call.time", "Time of such a write, to DynamoDB Local on this machine")
    if local is None:
        yield Row(*cpu, None, "µs", FAST, note=why_not)
        yield Row(*wall, None, "ms", FAST, note=why_not)
        return
    cpu_s, wall_s, loopback_s = asyncio.run(_calls(local, calls))
    beside = Beside("the same to SQLite in memory", loopback_s * 1e6)
    yield Row(*cpu, cpu_s * 1e6, "µs", FAST, beside=beside, samples=calls)
    yield Row(*wall, wall_s * 1e3, "ms", FAST, samples=calls)


async def _calls(local: DynamoDbLocal, calls: int) -> tuple[float, float, float]:
    """For each write: seconds of our own processor time, seconds that it took, and the first in memory."""
    write = Write(Key("counter"), (Add("n", 1),), returns="changed")
    environ = {**os.environ, "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY}
    settings = LedgerSettings(
        url=local.ledger_url(local.new_table()), connect_timeout_ms=TIMEOUT_MS, read_timeout_ms=TIMEOUT_MS
    )
    spent = []
    wall_s = 0.0
    for store in (store_of(settings, LoopClock(), environ), SqliteStore(None)):
        async with aclosing(store):
            await store.write(write)
            began = time.process_time()
            took_s = await _timed(lambda store=store: store.write(write), calls, 1)  # type: ignore[misc]
            spent.append((time.process_time() - began) / calls)
            wall_s = wall_s or took_s / calls
    return spent[0], wall_s, spent[1]
