"""The control plane as an operator sees it: words in, an exit code and text out, over a ledger of its own."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rillgate.cli.context import Context
from rillgate.cli.main import main
from rillgate.domain.limits import Amounts
from rillgate.domain.price import Price
from rillgate.domain.spending import Ask, Grant, Record
from rillgate.ledger.ledger import StoreLedger
from rillgate.ledger.sqlite import SqliteStore
from rillgate.ledger.sqlite_table import SqliteTable
from tests.fakes.clock import FakeClock

NOW_S = 1_795_262_400  # 2026-11-21T12:00:00Z
PRICE = Price(input=400_000_000, output=1_600_000_000)
GRACE_S = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its one JSON document."""
        return json.loads(self.out)


@dataclass(slots=True)
class Operator:
    """Runs commands in a folder of its own.

    Attributes:
        ledger: words that say which ledger; none for the configured one.
        slept: how long the commands wanted to wait.
    """

    folder: Path
    capsys: pytest.CaptureFixture[str]
    ledger: str = ""
    now_s: float = NOW_S
    environ: dict[str, str] = field(default_factory=dict)
    slept: list[float] = field(default_factory=list)

    def run(self, words: str) -> Answer:
        """Do one command, spelled as in a shell."""
        lines: list[str] = []
        context = Context(
            now_s=lambda: self.now_s,
            sleep=self.slept.append,
            environ=self.environ,
            cwd=self.folder,
            say=lines.append,
        )
        try:
            code = main(shlex.split(f"{words} {self.ledger}"), context)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return Answer(code, "\n".join(lines), self.capsys.readouterr().err)

    def json(self, words: str) -> Any:
        """The JSON of a command that succeeds."""
        answer = self.run(f"{words} --json")
        assert (answer.code, answer.err) == (0, "")
        return answer.json


class Gateway:
    """What a gateway does to the same SQLite file, hold by hold, at moments of its own."""

    def __init__(self, path: Path, wall: float = NOW_S - 3_600) -> None:
        self.path = path
        self.clock = FakeClock(wall=wall)

    def do(self, work: Callable[[StoreLedger], Coroutine[Any, Any, None]]) -> None:
        """Run a piece of work against the ledger, to its end."""

        async def run() -> None:
            store = SqliteStore(self.path, wall=self.clock.wall)
            ledger = StoreLedger(store, self.clock, grace_s=GRACE_S, tell=lambda *_, **__: None)
            try:
                await work(ledger)
            finally:
                await ledger.aclose()
                await store.aclose()

        asyncio.run(run())

    def settled(self, hold_id: str, scopes: tuple[str, ...], actual: Amounts, **of_record: Any) -> None:
        """One request that runs to its end."""

        async def work(ledger: StoreLedger) -> None:
            grant = await ledger.authorize(self.ask(hold_id, scopes))
            await ledger.settle(grant, actual, record_of(grant, actual, **of_record))

        self.do(work)

    def died(self, hold_id: str, scopes: tuple[str, ...]) -> None:
        """One request whose process dies: it holds, and nobody settles."""

        async def work(ledger: StoreLedger) -> None:
            await ledger.authorize(self.ask(hold_id, scopes))

        self.do(work)

    def ask(self, hold_id: str, scopes: tuple[str, ...]) -> Ask:
        """A small request."""
        return Ask(hold_id, scopes, input_tokens=100, output_tokens=400, choices=1, price=PRICE, lifetime_s=930)

    def table(self) -> closing[SqliteTable]:
        """The file itself, to spoil it."""
        return closing(SqliteTable(self.path, wall=self.clock.wall))


def record_of(grant: Grant, actual: Amounts, **values: Any) -> Record:
    """The record of a request that was settled in all of its scopes."""
    known: dict[str, Any] = {"end": "finished"} | values
    scopes = dict.fromkeys(grant.holds, actual)
    return Record(hold_id=grant.ask.hold_id, started_s=grant.started_s, scopes=scopes, charged=actual, **known)
