"""The large run: processes, lanes, trouble with the ledger, and what has to hold at its end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import resource
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import trustme

from rillgate.app.listen import raise_open_files
from rillgate.ledger.admin_records import Span, records_of, resolved
from rillgate.ledger.items import HOLD, LIVE, number
from rillgate.ledger.sqlite_table import SqliteTable
from tests.chaos.gateway import FAR
from tests.chaos.lane import STALL_S, Lane, Seen
from tests.chaos.plan import MODEL
from tests.chaos.provider import variables_of
from tests.chaos.scenario import FAILOVER, Scenarios
from tests.e2e.ledgers import LedgerInTest
from tests.e2e.process import Served, serving

TOTAL_S: Final = 40
LOOK_S: Final = 1.0
MINUTE_S: Final = 60.0
RAMP_S: Final = 10.0
WARM_S: Final = 30.0  # before the first minute: all streams are there, and the ledger was troubled once in each way
TROUBLE_EVERY_S: Final = (15.0, 35.0)
LOCKED_S: Final = 2.0
FULL_S: Final = 5.0
SETTLED_S: Final = 120.0
FLAT: Final = 1.05
JUMP_MB: Final = 15.0  # within a second: worth a line that says what went on
LATE_MAX: Final = 0.02  # of all answers: on two cores that others use too, some wait longer than they are waited for
MINUTES_MIN: Final = 3  # for a verdict on memory: the first minute is filling caches and pools
WRONG_SHOWN: Final = 20
ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Options:
    """How long in seconds, how many streams at once, and what is drawn."""

    seconds: float
    streams: int
    seed: int = 1


@dataclass
class Report:
    """What a run found. `broken` are the promises that were not kept, one line each."""

    options: Options
    seen: Seen
    broken: list[str] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    jumps: list[str] = field(default_factory=list)
    descriptors: tuple[int, int, int] = (0, 0, 0)
    cpu_share: float = 0.0
    locked: int = 0
    full: int = 0
    settled_s: float = 0.0

    def __str__(self) -> str:
        seen, requests = self.seen, sum(self.seen.outcomes.values())
        before, most, after = self.descriptors
        lines = [f"{'fault':<18} {'ended in':<34} {'times':>7}"]
        lines += [f"{fault:<18} {end:<34} {count:>7}" for (fault, end), count in sorted(seen.outcomes.items())]
        lines += [
            "",
            f"{requests:,} requests, {seen.words:,} words, every one checked; {self.options.streams:,} at once "
            f"for {self.options.seconds / 60:g} minutes, seed {self.options.seed}",
            "clients: " + ", ".join(f"{name} {count}" for name, count in seen.manners.most_common()),
            f"ledger: locked {self.locked} times for {LOCKED_S:g} s, its disk full {self.full} times for {FULL_S:g} s",
            "memory, by the minute: " + ", ".join(f"{each:.1f}" for each in self.rss_mb) + " MB",
            *(f"memory jumped {jump}" for jump in self.jumps),
            f"descriptors: {before} before, {most} at most, {after} after",
            f"{seen.late} answers too late for a deadline, on a machine that was too slow for all of it",
            f"{self.cpu_share:.0%} of a core; all holds were settled {self.settled_s:.1f} s after the last stream",
        ]
        lines += [f"BROKEN: {line}" for line in self.broken[:WRONG_SHOWN]]
        if len(self.broken) > WRONG_SHOWN:
            lines.append(f"BROKEN: and {len(self.broken) - WRONG_SHOWN} more")
        return "\n".join([*lines, "", "NOT every promise was kept." if self.broken else "Every promise was kept."])


async def run(options: Options) -> Report:
    """One run."""
    raise_open_files()
    report = Report(options, Seen())
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        provider = await stack.enter_async_context(provider_process(folder))
        store = stack.enter_context(contextlib.closing(SqliteTable(folder / "rillgate.db")))
        url = f"sqlite:///{folder / 'rillgate.db'}"
        ledger = LedgerInTest(url, store, {"RILLGATE_LEDGER__URL": url})
        ledger.set_limits("global", f"tokens/total={FAR}")
        key, scope = await ledger.new_key(f"tokens/total={FAR}")
        variables: dict[str, Any] = {**_variables(provider.ports, folder), **ledger.variables}
        served = await stack.enter_async_context(serving(**variables))
        await served.ready()
        story = _Story(report, served=served, ledger=ledger, folder=folder, key=key, scopes=(scope, "global"))
        await story.tell()
    return report


class _Story:
    """From the first request to the last look."""

    def __init__(
        self, report: Report, *, served: Served, ledger: LedgerInTest, folder: Path, key: str, scopes: tuple[str, ...]
    ) -> None:
        self._options = report.options
        self._report = report
        self._served = served
        self._ledger = ledger
        self._folder = folder
        self._headers = {"authorization": f"Bearer {key}"}
        self._scopes = scopes
        self._trouble_until = 0.0

    async def tell(self) -> None:
        report, options = self._report, self._options
        await self._warm()
        before, cpu_s = self._descriptors(), self._cpu_s()
        warm_s = WARM_S if options.seconds >= MINUTES_MIN * MINUTE_S else 0.0
        began = time.monotonic() + warm_s
        until = began + options.seconds
        scenarios = Scenarios(options.seed, secure=True)
        lanes = [
            Lane(self._served.port, self._headers, scenarios, report.seen, self._troubled)
            for _ in range(options.streams)
        ]
        background = [
            asyncio.create_task(self._watch(began)),
            asyncio.create_task(self._make_trouble(until, warm=warm_s > 0)),
        ]
        try:
            async with asyncio.TaskGroup() as group:
                for number, lane in enumerate(lanes):
                    group.create_task(lane.run(until))
                    if number % 10 == 9:
                        await asyncio.sleep(10 * min(RAMP_S, options.seconds / 4) / options.streams)
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
        report.cpu_share = (self._cpu_s() - cpu_s) / (time.monotonic() - began + warm_s)
        await self._settled()
        report.descriptors = (before, report.descriptors[1], await self._descriptors_after(before))
        self._judge(before)
        await self._end()
        report.broken += report.seen.wrong

    async def _warm(self) -> None:
        """Everything that is made once is made: connections to each provider, tokenizer, the ledger's thread."""
        drawn = Scenarios(999, secure=True)
        lane = Lane(self._served.port, self._headers, drawn, Seen(), lambda: False)
        await asyncio.gather(*(lane.run(time.monotonic() + 0.5) for _ in range(8)))
        await self._settled()

    def _troubled(self) -> bool:
        return time.monotonic() < self._trouble_until

    async def _make_trouble(self, until: float, *, warm: bool) -> None:
        """Now and then nobody can write the ledger, for some seconds; not at the very end.

        When it can be written again all who waited come at once. What that takes at most the allocator keeps, so where
        memory is judged it comes once before.
        """
        drawn = random.Random(self._options.seed)
        if warm:
            await asyncio.sleep(RAMP_S)
            self._trouble_until = time.monotonic() + WARM_S
            await self._fill()
            await self._lock()
        for count in itertools.count():
            wait_s = drawn.uniform(*TROUBLE_EVERY_S)
            if not count and not warm:
                wait_s = min(wait_s, self._options.seconds / 4)  # a short run meets it too
            if time.monotonic() + wait_s + FULL_S > until:
                return
            await asyncio.sleep(wait_s)
            self._trouble_until = time.monotonic() + 3600
            if drawn.random() < 0.5:
                await self._lock()
            else:
                await self._fill()
            self._trouble_until = time.monotonic() + 12  # writes that wait for a lock do so for 5 s, and again

    async def _lock(self) -> None:
        self._report.locked += 1
        with contextlib.closing(
            sqlite3.connect(self._folder / "rillgate.db", isolation_level=None, timeout=30)
        ) as other:
            other.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(LOCKED_S)
            other.execute("ROLLBACK")

    async def _fill(self) -> None:
        """As a quota would: no file of the gateway's may grow."""
        self._report.full += 1
        pid = self._served.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, before[1]))
        try:
            await asyncio.sleep(FULL_S)
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)

    async def _watch(self, began: float) -> None:
        """Memory, by the minute the median of its looks; descriptors, the most there were."""
        report, looks, minute = self._report, list[float](), 1
        await asyncio.sleep(began - time.monotonic())
        last = self._rss_mb()
        while True:
            await asyncio.sleep(LOOK_S)
            looks.append(self._rss_mb())
            if (jump := looks[-1] - last) > JUMP_MB:
                trouble = "the ledger was troubled" if self._troubled() else "the ledger was well"
                at_s = time.monotonic() - began
                report.jumps.append(f"{jump:+.0f} MB at {at_s:.0f} s: {self._descriptors()} descriptors, {trouble}")
            last = looks[-1]
            report.descriptors = (0, max(report.descriptors[1], self._descriptors()), 0)
            report.rss_mb[minute - 1 :] = [statistics.median(looks)]
            if time.monotonic() >= began + minute * MINUTE_S:
                looks.clear()
                minute += 1

    async def _settled(self) -> None:
        """Wait until nothing is held, as long as it may take the gateway to hear that the store answers again."""
        began = time.monotonic()
        while held := self._held():
            if time.monotonic() - began > SETTLED_S:
                self._report.broken.append(f"holds left after {SETTLED_S:g} s: {held}")
                break
            await asyncio.sleep(0.1)
        self._report.settled_s = time.monotonic() - began

    def _held(self) -> dict[str, int]:
        found = {}
        for scope in self._scopes:
            item = self._ledger.item(scope)
            holds = sum(name.startswith(HOLD) for name in item)
            if holds or number(item, LIVE):
                found[scope] = max(holds, number(item, LIVE))
        return found

    async def _descriptors_after(self, before: int) -> int:
        """Those to providers are kept for half a minute."""
        deadline = time.monotonic() + 60
        while (found := self._descriptors()) > before and time.monotonic() < deadline:
            await asyncio.sleep(0.5)
        return found

    def _judge(self, before: int) -> None:
        report, broken = self._report, self._report.broken
        if report.seen.late > LATE_MAX * sum(report.seen.outcomes.values()):
            broken.append(f"{report.seen.late} answers were ended by a deadline where nothing was wrong")
        if report.descriptors[2] > before:
            broken.append(f"{report.descriptors[2]} descriptors are open, {before} were before")
        minutes = report.rss_mb[: int(self._options.seconds // MINUTE_S)]  # whole ones
        if self._options.seconds >= MINUTES_MIN * MINUTE_S and minutes[-1] > FLAT * minutes[0]:
            broken.append(f"memory grew from {minutes[0]:.1f} to {minutes[-1]:.1f} MB")
        today = datetime.now(UTC).date()
        span = Span(today - timedelta(days=1), today)
        charged = {each.hold_id: each.charges() for each in resolved(records_of(self._ledger.store, span.days()))}
        for request_id, words in report.seen.delivered.items():
            amounts = charged.get(request_id.removeprefix("req_"), {})
            if not amounts:
                broken.append(f"{request_id}: {words} words were delivered, and there is no record")
            elif (least := min(each.tokens for each in amounts.values())) < words:
                broken.append(f"{request_id}: {words} words were delivered, {least} tokens charged")

    async def _end(self) -> None:
        """It ends by itself, has logged no fault of its own, and its books are explained."""
        self._served.signal(signal.SIGTERM)
        if (code := await self._served.ended()) != 0:
            self._report.broken.append(f"the gateway ended with {code}")
        faults = Counter(_fault(line) for line in self._served.err)
        faults.pop("", None)
        for at, wrong in enumerate(self._report.seen.wrong[:WRONG_SHOWN]):
            request_id = wrong.rpartition("req_")[2][:16]
            lines = [line for line in self._served.err if request_id in line]
            self._report.seen.wrong[at] = " | ".join([wrong, *lines])
        self._report.broken += [f"logged {count} times: {line}" for line, count in faults.most_common(10)]
        try:
            await self._ledger.command("audit")
        except AssertionError as error:
            self._report.broken.append(f"the audit found differences: {error}")

    def _rss_mb(self) -> float:
        status = Path(f"/proc/{self._served.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024 / 1e6

    def _descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self._served.process.pid}/fd"))

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self._served.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _fault(line: str) -> str:
    """A line of the log that says a fault of the gateway's own; "" for any other."""
    if not line.startswith("{"):
        return line[:300] if "Traceback" in line or "Exception" in line or "never" in line else ""
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        return line[:300]
    if found.get("event") in ("request_failed", "ledger_failed", "send_failed", "receive_failed"):
        return f"{found.get('event')}: {json.dumps(found)[:600]}"
    return ""


def _variables(ports: dict[str, int], folder: Path) -> dict[str, str]:
    return {
        **variables_of(ports),
        "SSL_CERT_FILE": str(folder / "authority.pem"),
        "RILLGATE_AUTH__REQUIRED": "true",
        "RILLGATE_TIMEOUTS__FIRST_TOKEN_S": "8",
        "RILLGATE_TIMEOUTS__IDLE_S": "6",
        "RILLGATE_TIMEOUTS__HEARTBEAT_S": "2",
        "RILLGATE_TIMEOUTS__STALL_S": str(STALL_S),
        "RILLGATE_TIMEOUTS__TOTAL_S": str(TOTAL_S),
        "RILLGATE_TIMEOUTS__CHAT_TOTAL_S": str(TOTAL_S),
        "RILLGATE_ROUTES__0__MODEL": FAILOVER,
        "RILLGATE_ROUTES__0__UPSTREAM": json.dumps([f"openai/{MODEL}", f"anthropic/{MODEL}"]),
    }


@dataclass
class ProviderProcess:
    """A chaos provider that runs."""

    process: asyncio.subprocess.Process
    ports: dict[str, int]


@asynccontextmanager
async def provider_process(folder: Path) -> AsyncIterator[ProviderProcess]:
    """One with TLS as well, whose authority is in `folder`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(folder / "provider.pem"))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.chaos.provider", "--certificate", str(folder / "provider.pem")),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "functions")))},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        ports = json.loads(await process.stdout.readline())
        yield ProviderProcess(process, ports)
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 30) == 0, "the provider itself failed"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
