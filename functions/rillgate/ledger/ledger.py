"""The ledger: holds that are authorized, extended, and settled or voided, over any store.

Everything is a conditional write to one item, so there is nothing to lock and nothing to repair: a process may die
between any two writes, and what it held is captured by whoever writes to the scope after the hold has expired. The
scopes of one request are written in parallel; where one refuses, the others are voided.
Source: reference on folded holds, section 5; its failure matrix is section 6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rillgate.budget.holds import more_amounts
from rillgate.domain.errors import BudgetUnavailable, BudgetUnreadable
from rillgate.domain.limits import GLOBAL, NOTHING, UNLIMITED, Amounts, Budget
from rillgate.domain.ports import Clock
from rillgate.domain.spending import Ask, Grant, Level, Record, ScopeHold
from rillgate.ledger.admission import Admission, with_own
from rillgate.ledger.arrears import Arrears
from rillgate.ledger.budget_cache import BudgetCache
from rillgate.ledger.expressions import HoldWrites, charge_late
from rillgate.ledger.growth import Growth, Refused
from rillgate.ledger.items import hold_name, level, read_hold
from rillgate.ledger.keys import scope_key
from rillgate.ledger.records import record_write
from rillgate.ledger.store import Store
from rillgate.ledger.upkeep import Upkeep
from rillgate.ledger.writes import EMPTY, ConditionFailed, StoreUnavailable

SETTLE_PAUSES_S = (0.2, 0.8, 2.0)  # between tries; the store itself has tried three times in each

Tell = Callable[..., None]


class StoreLedger:
    """`domain.ports.Ledger` over a store.

    Args:
        grace_s: how long after its expiry a hold is captured; more than clocks differ.
        quota_status: 429, or 403 for clients that expect it, where a day's, month's or total budget is used up.
        tell: called with an event's name and fields: `budget_warning`, `hold_captured`, `ledger_upkeep_failed`,
            `ledger_unreadable`, `ledger_caught_up`.
    """

    def __init__(self, store: Store, clock: Clock, *, grace_s: float, tell: Tell, quota_status: int = 429) -> None:
        self._store = store
        self._clock = clock
        self._grace_s = grace_s
        self._tell = tell
        self._quota_status = quota_status
        self._budgets = BudgetCache(store, clock)
        self._growth = Growth(store, self._budgets, clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._live: dict[str, float] = {}  # ids of holds whose requests run here, and until when by the monotonic clock
        self._upkeep = Upkeep(store, clock, grace_s, tell, self._later, is_live=self._is_live)
        self._arrears = Arrears(clock, sleep, tell)
        self._settling: dict[str, set[asyncio.Future[None]]] = {}

    async def authorize(self, ask: Ask) -> Grant:
        """Hold what a request may take, in all of its scopes or in none. See `domain.ports.Ledger`."""
        with self._mapped():
            budgets = await self._charged(ask)
        admission = Admission(
            self._store,
            self._budgets,
            self._upkeep,
            ask,
            budgets,
            now_s=int(self._clock.wall()),
            quota_status=self._quota_status,
            settled=self._settled,
        )
        self._live[ask.hold_id] = self._clock.now() + ask.lifetime_s + self._grace_s
        try:
            with self._mapped():
                return await admission.run()
        except BaseException:
            self._live.pop(ask.hold_id, None)
            raise
        finally:
            for hold in admission.to_void():
                self._later(self._void(ask.hold_id, hold))

    async def extend(self, grant: Grant, output_tokens: int) -> bool:
        """Hold more, in all scopes or in none. See `domain.ports.Ledger`."""
        more = more_amounts(grant.ask, output_tokens)
        try:
            await self._growth.all_or_none(grant.ask, list(grant.holds.values()), more)
        except StoreUnavailable as error:
            raise unavailable() from error
        except Refused as refused:
            grant.lowered_by = refused.scope
            grant.lowered_until_s = None if refused.level is None else refused.level.resets_s
            return False
        grant.output_tokens += output_tokens
        return True

    async def settle(self, grant: Grant, actual: Amounts, record: Record) -> None:
        """Charge what was taken, release the rest, keep the record. See `domain.ports.Ledger`.

        What the store does not take now is tried again in the background, until the hold would be captured.
        """
        try:
            await self._settle_all(grant, actual, record)
        except StoreUnavailable as error:
            self._owe(grant, actual, record)
            raise unavailable() from error
        except asyncio.CancelledError:
            self._owe(grant, actual, record)
            raise
        except BaseException:
            self._live.pop(grant.ask.hold_id, None)
            raise
        self._live.pop(grant.ask.hold_id, None)

    async def _settle_all(self, grant: Grant, actual: Amounts, record: Record) -> None:
        with self._under_way(list(grant.holds)):
            # The record comes first: a process that dies in between leaves holds that are captured beside a record
            # that explains them, and never a charge that no record is of.
            kept = await self._is_kept(record)
            work = [self._settle(grant, hold, actual) for hold in grant.holds.values()]
            work += [] if kept else [self._keep(record)]
            results = await _all(work)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _owe(self, grant: Grant, actual: Amounts, record: Record) -> None:
        """Settle later. The record comes first, as in `_settle_all`."""

        async def settle() -> None:
            await self._store.write(record_write(record))
            for hold in list(grant.holds.values()):
                await self._settle_once(grant.ask.hold_id, hold, actual)
                grant.holds.pop(hold.scope, None)

        def over() -> None:
            self._live.pop(grant.ask.hold_id, None)

        live_s = self._live.get(grant.ask.hold_id, 0.0) - self._clock.now()
        self._arrears.add(settle, over, max(live_s, self._patience_s(grant.expires_s)))

    def _is_live(self, hold_id: str) -> bool:
        return self._clock.now() < self._live.get(hold_id, 0.0)

    def _patience_s(self, expires_s: float) -> float:
        """How long a hold can still be settled: until somebody captures it."""
        return max(0.0, expires_s + self._grace_s - self._clock.wall())

    async def levels(self, scopes: Sequence[str]) -> Sequence[Level]:
        """How full the limits of these scopes are now. See `domain.ports.Ledger`."""
        with self._mapped():
            budgets = await self._budgets.of(scopes)
            items = await self._store.read([scope_key(scope) for scope in scopes])
        now_s = self._clock.wall()
        return [
            level(scope, limit, item or EMPTY, now_s)
            for scope, item in zip(scopes, items, strict=True)
            for limit in budgets[scope].limits
        ]

    async def quiet(self, wait_s: float | None) -> bool:
        """Wait until nothing goes on in the background: holds that are voided or captured, marks, budgets' warnings.

        Args:
            wait_s: the longest that is waited; None for as long as it takes.
        Returns: False when something still does. It goes on.
        """
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = None if wait_s is None else self._clock.call_later(wait_s, lambda: _complete(over))
        try:
            while self._tasks and not over.done():
                await asyncio.wait({*self._tasks, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if timer is not None:
                timer.cancel()
        return not self._tasks

    @property
    def owed(self) -> int:
        """How much could not be written yet."""
        return len(self._arrears)

    async def aclose(self) -> None:
        """Finish what goes on in the background, and try once more what the store did not take."""
        await self.quiet(None)
        await self._arrears.aclose()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """What went wrong with the store or with what stands there, as a client is told it."""
        try:
            yield
        except StoreUnavailable as error:
            raise unavailable() from error
        except ValueError as error:
            self._tell("ledger_unreadable", error=str(error))
            raise unreadable() from error

    async def _charged(self, ask: Ask) -> dict[str, Budget]:
        """The scopes that are charged: those with a budget, and every key's; where there is none, `global`."""
        stored = await self._budgets.of(ask.scopes)
        budgets = {scope: with_own(ask, scope, budget) for scope, budget in stored.items()}
        charged = {scope: budget for scope, budget in budgets.items() if _is_charged(scope, budget)}
        return charged or {GLOBAL: budgets.get(GLOBAL, UNLIMITED)}

    async def _settled(self, scopes: Iterable[str]) -> bool:
        """Wait for what is being settled or voided here; False where that is nothing."""
        over = [future for scope in scopes for future in self._settling.get(scope, ())]
        if over:
            await asyncio.wait(over)
        return bool(over)

    @contextmanager
    def _under_way(self, scopes: Sequence[str]) -> Iterator[None]:
        """Something is being settled or voided in these scopes."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for scope in scopes:
            self._settling.setdefault(scope, set()).add(over)
        try:
            yield
        finally:
            over.set_result(None)
            for scope in scopes:
                self._settling[scope].discard(over)
                if not self._settling[scope]:
                    del self._settling[scope]

    async def _settle(self, grant: Grant, hold: ScopeHold, actual: Amounts) -> None:
        """Settle one scope, trying again for some seconds. Afterwards the grant no longer has this hold."""
        for pause_s in (*SETTLE_PAUSES_S, None):
            try:
                await self._settle_once(grant.ask.hold_id, hold, actual)
            except StoreUnavailable:
                if pause_s is None:
                    raise
                await sleep(self._clock, pause_s)
                continue
            grant.holds.pop(hold.scope, None)
            return

    async def _settle_once(self, hold_id: str, hold: ScopeHold, actual: Amounts) -> None:
        """Settle, whatever value the hold has by now; what was captured meanwhile is charged beyond its hold."""
        writes = HoldWrites(hold.scope, hold.budget, hold_id)
        while True:
            now_s = self._clock.wall()
            believed = read_hold(hold.value)
            seen, returns = self._upkeep.seen(hold.scope), self._upkeep.returns(hold.scope)
            try:
                item = await self._store.write(writes.settle(believed, actual, now_s, seen, returns))
            except ConditionFailed as failed:
                found = failed.item.get(hold_name(hold_id))
            else:
                self._upkeep.look(hold.scope, hold.budget, item, whole=returns == "all")
                return
            if found is not None:  # an extension that was thought lost had been done
                hold.value = str(found)
                continue
            if now_s < believed.expires_s + self._grace_s:
                return  # it was settled before
            if (late := charge_late(hold.scope, believed, actual)) is not None:
                await self._store.write(late)
            return

    async def _void(self, hold_id: str, hold: ScopeHold) -> None:
        """Take a hold away that may or may not be there, as soon as the store lets us."""
        with self._under_way([hold.scope]):
            try:
                await self._settle_once(hold_id, hold, NOTHING)
            except StoreUnavailable:
                self._arrears.add(
                    lambda: self._settle_once(hold_id, hold, NOTHING),
                    lambda: None,
                    self._patience_s(read_hold(hold.value).expires_s),
                )

    async def _is_kept(self, record: Record) -> bool:
        try:
            await self._store.write(record_write(record))
        except StoreUnavailable:
            return False
        return True

    async def _keep(self, record: Record) -> None:
        """Keep the record, trying again for some seconds."""
        for pause_s in (*SETTLE_PAUSES_S, None):
            try:
                await self._store.write(record_write(record))
                return
            except StoreUnavailable:
                if pause_s is None:
                    raise
                await sleep(self._clock, pause_s)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in the background that nobody waits for but `quiet` and `aclose`."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._tell("ledger_upkeep_failed", error=type(error).__name__)


def _is_charged(scope: str, budget: Budget) -> bool:
    """Whether somebody set a budget here, ever; and every key, so that every request has a hold."""
    return bool(budget.version or budget.limits or budget.streams_max) or scope.startswith("key:")


async def _all(work: list[Coroutine[Any, Any, None]]) -> Sequence[BaseException | None]:
    """Do it all at once, and say what failed; what is alone, as nearly always, needs no task of its own."""
    if len(work) != 1:
        return list(await asyncio.gather(*work, return_exceptions=True))
    try:
        await work[0]
    except Exception as error:
        return [error]
    return []


def unavailable() -> BudgetUnavailable:
    """The store did not answer."""
    return BudgetUnavailable("The budget of this request cannot be checked now; try again.", retry_after_s=1)


def unreadable() -> BudgetUnreadable:
    """What stands in the store is nothing that this version knows."""
    said = "The budget of this request cannot be read; whoever runs this gateway finds why in its log."
    return BudgetUnreadable(said, should_retry=False)


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait by the clock that tests can move."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = clock.call_later(seconds, lambda: _complete(over))
    try:
        await over
    finally:
        timer.cancel()


def _complete(over: asyncio.Future[None]) -> None:
    """Where nobody waits any more, it was cancelled."""
    if not over.done():
        over.set_result(None)
