"""The ledger's invariants I1 to I12 as a state machine, over the production path and a store that fails in every way.

Two gateways share one table. Requests are authorized, extended, settled, voided, forgotten and repeated; gateways die
at any call; replies and requests are lost, doubled and late; clocks differ and move; an operator changes limits, blocks
and unblocks. Every write that arrives is looked at by `Books`, which knows what each request meant to do and nothing of
how the ledger does it.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from rillgate.budget.windows import window_end_s
from rillgate.domain.errors import BudgetError, BudgetUnavailable
from rillgate.domain.limits import NOTHING, Amounts, Limit, Meter, Window
from rillgate.domain.ports import TimerHandle
from rillgate.domain.price import Price
from rillgate.domain.spending import Ask, Grant, Record
from rillgate.ledger.admin_budgets import change_budget
from rillgate.ledger.dynamodb import DynamoDbStore
from rillgate.ledger.dynamodb_location import DynamoDbLocation
from rillgate.ledger.keys import scope_key
from rillgate.ledger.ledger import StoreLedger
from tests.fakes.dynamodb import Crash, FakeDynamoDb, Fault
from tests.fakes.dynamodb_admin import FakeAdminStore
from tests.unit.ledger.books import Books, Request

SCOPES = ("key:a", "user:u", "team:t")
GRACE_S = 60
LIFETIME_S = 90
SKEWS_S = (0, 25)  # of the two gateways' clocks: less than the grace between them
PRICE = Price(input=100_000_000, output=400_000_000)
START_S = 1_795_305_000  # ten minutes before midnight in UTC

Result = TypeVar("Result")

_FAULTS = [Fault.NONE] * 6 + [
    Fault.LOST_REQUEST,
    Fault.LOST_REPLY,
    Fault.SERVER_ERROR,
    Fault.SERVER_ERROR_DONE,
    Fault.DOUBLED,
    Fault.DELAYED,
    Fault.THROTTLED,
]
faults = st.lists(st.sampled_from(_FAULTS), max_size=10)
scopes = st.lists(st.sampled_from(SCOPES), min_size=1, unique=True)


@dataclass
class Now:
    """The time that all share. A wait passes at once, and moves it on."""

    s: float = START_S


class SkewedClock:
    """`domain.ports.Clock` of one gateway."""

    def __init__(self, now: Now, skew_s: float) -> None:
        self._now = now
        self._skew_s = skew_s

    def now(self) -> float:
        """Seconds."""
        return self._now.s

    def wall(self) -> float:
        """Seconds since 1970, as this gateway believes."""
        return self._now.s + self._skew_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> TimerHandle:
        """In the loop's next turn."""
        self._now.s += delay_s
        return asyncio.get_running_loop().call_soon(callback)


@dataclass
class Wire:
    """One gateway's way to the table. Once it has died nothing arrives any more."""

    table: FakeDynamoDb
    dead: bool = False

    async def call(self, target: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        """`domain.ports.AwsCalls`."""
        if self.dead:
            raise Crash
        try:
            return await self.table.call(target, body, timeout_s)
        except Crash:
            self.dead = True
            raise


@dataclass
class Process:
    """One gateway."""

    ledger: StoreLedger
    wire: Wire


@dataclass
class Plan:
    """What becomes of the next calls."""

    faults: list[Fault] = field(default_factory=list)
    crash_after: int | None = None

    def next(self, operation: str) -> Fault:
        """For `FakeDynamoDb.fault`."""
        if self.crash_after is not None:
            if self.crash_after == 0:
                raise Crash
            self.crash_after -= 1
        return self.faults.pop(0) if self.faults else Fault.NONE


class LedgerMachine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._now = Now()
        self._plan = Plan()
        self._table = FakeDynamoDb(fault=self._plan.next)
        self._admin = FakeAdminStore(self._table)
        self._set("key:a", Limit(Meter.TOKENS, Window.DAY, 9_000), Limit(Meter.REQUESTS, Window.MINUTE, 40))
        self._set("user:u", Limit(Meter.COST, Window.MONTH, 3_000_000), Limit(Meter.TOKENS, Window.MINUTE, 8_000))
        self._set("team:t", Limit(Meter.TOKENS, Window.TOTAL, 12_000), streams_max=6)
        self._books = Books(self._table, {scope: scope_key(scope).pk for scope in SCOPES}, self._may_capture)
        self._processes = [self._start(skew_s) for skew_s in SKEWS_S]
        self._grants: list[tuple[int, Grant]] = []
        self._settled: list[tuple[int, Grant, Amounts]] = []
        self._ids = 0

    # What requests do -----------------------------------------------------------------------------------------------

    @rule(
        process=st.integers(0, 1),
        among=scopes,
        input_tokens=st.integers(1, 300),
        cap=st.integers(16, 4_000),
        choices=st.integers(1, 2),
        strict=st.booleans(),
        trouble=faults,
        crash_after=st.none() | st.none() | st.integers(0, 6),
    )
    def authorize(  # noqa: PLR0917 (a rule's arguments are named by its strategies)
        self,
        process: int,
        among: list[str],
        input_tokens: int,
        cap: int,
        choices: int,
        strict: bool,
        trouble: list[Fault],
        crash_after: int | None,
    ) -> None:
        """A request asks for a hold."""
        ask = Ask(self._new_id(), tuple(among), input_tokens, cap, choices, PRICE, LIFETIME_S, strict)
        request = self._books.asked(ask, self._wall(process))
        grant = self._run(process, self._processes[process].ledger.authorize(ask), trouble, crash_after)
        if grant is None:
            return
        assert grant.output_tokens <= cap
        assert grant.output_tokens >= min(64, cap)
        assert set(grant.holds) == set(among)
        request.cap = grant.output_tokens
        self._books.check_covered(grant)
        self._grants.append((process, grant))

    @rule(data=st.data(), tokens=st.integers(1, 1_500), trouble=faults)
    def extend(self, data: st.DataObject, tokens: int, trouble: list[Fault]) -> None:
        """A stream asks for more."""
        if not self._grants:
            return
        process, grant = data.draw(st.sampled_from(self._grants))
        self._run(process, self._processes[process].ledger.extend(grant, tokens), trouble)
        self._books.request(grant).cap = grant.output_tokens
        self._books.check_covered(grant)

    @rule(
        data=st.data(),
        part=st.integers(0, 120),
        trouble=faults,
        crash_after=st.none() | st.none() | st.integers(0, 4),
    )
    def settle(self, data: st.DataObject, part: int, trouble: list[Fault], crash_after: int | None) -> None:
        """A stream ends, having taken `part` percent of what it was granted; more than 100 is a provider's doing."""
        if not self._grants:
            return
        process, grant = self._grants.pop(data.draw(st.integers(0, len(self._grants) - 1)))
        output = grant.output_tokens * grant.ask.choices * part // 100
        actual = Amounts(grant.ask.input_tokens + output, PRICE.hold_nanos(grant.ask.input_tokens, output), 1)
        self._settle(process, grant, NOTHING if part == 0 else actual, trouble, crash_after)

    @rule(data=st.data(), trouble=faults)
    def settle_again(self, data: st.DataObject, trouble: list[Fault]) -> None:
        """Somebody settles what was settled."""
        if not self._settled:
            return
        process, grant, actual = data.draw(st.sampled_from(self._settled))
        before = self._books.counters()
        self._run(process, self._processes[process].ledger.settle(grant, actual, _record(grant)), trouble)
        assert self._books.counters() == before

    @rule(data=st.data(), part=st.integers(0, 100))
    def forget(self, data: st.DataObject, part: int) -> None:
        """A gateway dies in mid-stream, when the provider has made `part` percent of what was granted."""
        if not self._grants:
            return
        _, grant = self._grants.pop(data.draw(st.integers(0, len(self._grants) - 1)))
        self._die(grant, part)

    # What goes on around them ---------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 7, 31, 61, 200, 700]))
    def pass_time(self, seconds: float) -> None:
        """Time passes; what is held too long may be captured."""
        self._now.s += seconds

    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """A request that was thought lost arrives."""
        if self._table.delayed:
            self._table.deliver(data.draw(st.integers(0, len(self._table.delayed) - 1)))

    @rule(scope=st.sampled_from(SCOPES), percent=st.integers(60, 140))
    def change_limits(self, scope: str, percent: int) -> None:
        """An operator sets other limits."""
        change_budget(self._admin, scope, lambda budget: replace(budget, limits=_scaled(budget.limits, percent)))

    @rule(scope=st.sampled_from(SCOPES), reason=st.none() | st.just("overdue"))
    def block(self, scope: str, reason: str | None) -> None:
        """An operator blocks a scope, or lets it go."""
        change_budget(self._admin, scope, lambda budget: replace(budget, blocked=reason))

    # What must hold -------------------------------------------------------------------------------------------------

    @invariant()
    def books_are_right(self) -> None:
        """After every step; `Books` has looked at every write in between."""
        self._books.check()

    def teardown(self) -> None:
        """Everybody stops, everything late arrives, holds expire, and somebody writes to every scope once more."""
        try:
            for _, grant in self._grants:
                self._die(grant, 50)
            while self._table.delayed:
                self._table.deliver()
            self._now.s += LIFETIME_S + GRACE_S + max(SKEWS_S) + 2
            self._sweep()
            self._books.check()
            self._books.check_at_rest()
        finally:
            self._runner.close()

    def _sweep(self) -> None:
        """One small request in every scope, as often as there may be captures of several holds at once."""
        for scope in SCOPES:
            change_budget(self._admin, scope, lambda budget: replace(budget, limits=(), streams_max=None, blocked=None))
        for _ in range(2 + len(self._books.requests) // 8):
            ask = Ask(self._new_id(), SCOPES, 1, 16, 1, PRICE, LIFETIME_S)
            request = self._books.asked(ask, self._wall(0))
            grant = self._run(0, self._processes[0].ledger.authorize(ask), [])
            assert grant is not None
            request.cap = grant.output_tokens
            self._settle(0, grant, NOTHING, [], None)

    # Means ----------------------------------------------------------------------------------------------------------

    def _start(self, skew_s: float) -> Process:
        wire = Wire(self._table)
        location = DynamoDbLocation("rillgate", None, None)
        store = DynamoDbStore(wire, location, read_timeout_s=0.3, sleep=_at_once, random=lambda: 0.5)
        clock = SkewedClock(self._now, skew_s)
        return Process(StoreLedger(store, clock, grace_s=GRACE_S, tell=lambda event, **fields: None), wire)

    def _settle(
        self, process: int, grant: Grant, actual: Amounts, trouble: list[Fault], crash_after: int | None
    ) -> None:
        request = self._books.request(grant)
        request.used = actual
        self._run(process, self._settling(process, grant, actual), trouble, crash_after)
        if not grant.holds:
            self._settled.append((process, grant, actual))

    async def _settling(self, process: int, grant: Grant, actual: Amounts) -> None:
        await self._processes[process].ledger.settle(grant, actual, _record(grant))

    def _die(self, grant: Grant, part: int) -> None:
        request: Request = self._books.request(grant)
        output = grant.output_tokens * grant.ask.choices * part // 100
        request.used = Amounts(grant.ask.input_tokens + output, PRICE.hold_nanos(grant.ask.input_tokens, output), 1)

    def _run(
        self,
        process: int,
        work: Coroutine[Any, Any, Result],
        trouble: list[Fault],
        crash_after: int | None = None,
    ) -> Result | None:
        """Do it with these faults; None where it was refused, or the gateway died of it."""
        self._plan.faults, self._plan.crash_after = list(trouble), crash_after
        try:
            return self._runner.run(self._finished(process, work))
        finally:
            self._plan.faults, self._plan.crash_after = [], None
            if self._processes[process].wire.dead:
                self._bury(process)

    async def _finished(self, process: int, work: Coroutine[Any, Any, Result]) -> Result | None:
        """The work, and what it left to do in the background."""
        ledger = self._processes[process].ledger
        try:
            return await work
        except (BudgetError, BudgetUnavailable, Crash):
            return None
        finally:
            await ledger.aclose()

    def _bury(self, process: int) -> None:
        """The gateway is gone with all that it was serving; another one starts."""
        for owner, grant in self._grants:
            if owner == process:
                self._die(grant, 70)
        self._grants = [(owner, grant) for owner, grant in self._grants if owner != process]
        self._settled = [each for each in self._settled if each[0] != process]
        self._processes[process] = self._start(SKEWS_S[process])

    def _set(self, scope: str, *limits: Limit, streams_max: int | None = None) -> None:
        change_budget(self._admin, scope, lambda budget: replace(budget, limits=limits, streams_max=streams_max))

    def _may_capture(self, expires_s: int) -> bool:
        return self._now.s + max(SKEWS_S) > expires_s + GRACE_S

    def _wall(self, process: int) -> float:
        return self._now.s + SKEWS_S[process]

    def _new_id(self) -> str:
        self._ids += 1
        return base64.urlsafe_b64encode(self._ids.to_bytes(12)).decode()


async def _at_once(seconds: float) -> None:
    """No wait between repeats."""


def _record(grant: Grant) -> Record:
    return Record(hold_id=grant.ask.hold_id, started_s=grant.started_s)


def _scaled(limits: tuple[Limit, ...], percent: int) -> tuple[Limit, ...]:
    return tuple(replace(limit, amount=max(1, limit.amount * percent // 100)) for limit in limits)


assert window_end_s(Window.DAY, START_S) == START_S + 600  # so that days, and minutes, roll over while it runs
