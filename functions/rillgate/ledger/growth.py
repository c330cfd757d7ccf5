"""Changing what a live hold holds: an extension in mid-stream, or giving one back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rillgate.domain.limits import Amounts, Window
from rillgate.domain.ports import Clock
from rillgate.domain.spending import Ask, Level, ScopeHold
from rillgate.ledger.admission import with_own
from rillgate.ledger.budget_cache import BudgetCache
from rillgate.ledger.expressions import HoldWrites
from rillgate.ledger.items import Hold, level, read_hold
from rillgate.ledger.outcomes import Done, Short, Stale, Taken, why_not_extended
from rillgate.ledger.store import Store
from rillgate.ledger.writes import EMPTY, ConditionFailed, Item

TRIES = 4


class Refused(Exception):
    """A scope does not hold more. `level` is the limit that is short; None where that is not why."""

    def __init__(self, scope: str, level: Level | None) -> None:
        super().__init__(scope)
        self.scope = scope
        self.level = level


class Growth:
    """Changes holds."""

    def __init__(self, store: Store, budgets: BudgetCache, clock: Clock) -> None:
        self._store = store
        self._budgets = budgets
        self._clock = clock

    async def all_or_none(self, ask: Ask, holds: Sequence[ScopeHold], more: Amounts) -> None:
        """Hold more in all of these scopes, or give back what some of them held.

        Raises:
            Refused: one of them does not.
            StoreUnavailable: one of them did not answer; whether it holds more is not known.
        """
        results = await asyncio.gather(*(self._change(ask, hold, more) for hold in holds), return_exceptions=True)
        problems = [result for result in results if isinstance(result, BaseException)]
        if not problems:
            return
        less = Amounts(-more.tokens, -more.cost_nanos)
        grown = [hold for hold, result in zip(holds, results, strict=True) if result is None]
        await asyncio.gather(*(self._change(ask, hold, less) for hold in grown), return_exceptions=True)
        raise next((problem for problem in problems if not isinstance(problem, Refused)), problems[0])

    async def _change(self, ask: Ask, hold: ScopeHold, more: Amounts) -> None:
        for _ in range(TRIES):
            self._check_fits(hold, more)
            before = read_hold(hold.value)
            after = before.with_more(more)
            writes = HoldWrites(hold.scope, hold.budget, ask.hold_id)
            try:
                await self._store.write(writes.extend(before, after, self._clock.wall()))
            except ConditionFailed as failed:
                match why_not_extended(failed.item, hold.budget, ask.hold_id, hold.value, after.value):
                    case Done():
                        pass
                    case Taken(value):
                        hold.value = value
                        continue
                    case Stale():
                        hold.budget = with_own(ask, hold.scope, await self._budgets.again(hold.scope))
                        continue
                    case Short():
                        raise Refused(hold.scope, self._short_of(hold, failed.item, before, more)) from None
                    case _:
                        raise Refused(hold.scope, None) from None
            hold.value = after.value
            hold.generation = after.generation
            hold.held = after.amounts
            return
        raise Refused(hold.scope, None)

    def _check_fits(self, hold: ScopeHold, more: Amounts) -> None:
        """Refuse what no window has: a counter that nobody began would let it pass."""
        for limit in hold.budget.limits:
            if limit.amount < more.of(limit.meter):
                raise Refused(hold.scope, level(hold.scope, limit, EMPTY, self._clock.wall()))

    def _short_of(self, hold: ScopeHold, item: Item, before: Hold, more: Amounts) -> Level | None:
        """The limit that has too little left."""
        now_s = self._clock.wall()
        levels = [
            level(hold.scope, limit, item, now_s if limit.window is Window.MINUTE else before.started_s)
            for limit in hold.budget.limits
        ]
        return next((each for each in levels if each.remaining < more.of(each.limit.meter)), None)
