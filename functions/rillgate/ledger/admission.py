"""One request on its way into the ledger: all of its scopes, tried in parallel until all hold or one refuses.

At first the whole cap is asked for, on the condition that there is plenty. A scope that has not answers with its item,
which says how much is left and among how many: the cap is lowered to a fair share and asked for again. Scopes that
held more by then give back what is too much.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping

from msgspec.structs import replace

from rillgate.budget.holds import Room, fits, has_plenty, hold_amounts, share, useful_output_tokens
from rillgate.domain.limits import Amounts, Budget, Limit, Meter, Window
from rillgate.domain.spending import Ask, Grant, Level, ScopeHold
from rillgate.ledger.budget_cache import BudgetCache
from rillgate.ledger.expressions import HoldWrites, Terms
from rillgate.ledger.items import LIVE, Hold, level, number, read_hold
from rillgate.ledger.outcomes import Blocked, Busy, Done, Stale, Taken, why_not_authorized
from rillgate.ledger.refusals import blocked, too_large, too_many_streams, unpriced, used_up
from rillgate.ledger.store import Store
from rillgate.ledger.upkeep import Upkeep
from rillgate.ledger.writes import EMPTY, ConditionFailed, Item, StoreUnavailable

ROUNDS_MAX = 24  # each lost round means that others were admitted, so there is no endless race


def with_own(ask: Ask, scope: str, budget: Budget) -> Budget:
    """A scope's budget, and the limits that came with the request, if any did; of two for the same, the lower one."""
    own = ask.own_budgets.get(scope)
    if own is None:
        return budget
    lowest: dict[tuple[Meter, Window], Limit] = {}
    for limit in sorted((*budget.limits, *own.limits), key=lambda limit: limit.amount):
        lowest.setdefault((limit.meter, limit.window), limit)
    streams = [streams for streams in (budget.streams_max, own.streams_max) if streams is not None]
    return replace(budget, limits=tuple(lowest.values()), streams_max=min(streams, default=None))


class Admission:
    """Authorizes one ask.

    Args:
        budgets: of the scopes that are charged.
        now_s: seconds since 1970, once for the whole request: all of its windows follow from it.
        settled: waits for what this process is settling in these scopes; False where that is nothing.
    """

    def __init__(
        self,
        store: Store,
        cache: BudgetCache,
        upkeep: Upkeep,
        ask: Ask,
        budgets: Mapping[str, Budget],
        *,
        now_s: int,
        quota_status: int,
        settled: Callable[[Iterable[str]], Awaitable[bool]],
    ) -> None:
        self._store = store
        self._cache = cache
        self._upkeep = upkeep
        self._ask = ask
        self._budgets = dict(budgets)
        self._now_s = now_s
        self._expires_s = now_s + math.ceil(ask.lifetime_s)
        self._quota_status = quota_status
        self._settled = settled
        self._output_tokens = ask.output_tokens
        self._lowered_by: Level | None = None
        self._full = True  # whether the whole cap is still asked for
        self._images: dict[str, Item] = {}  # by scope: the item right after our hold
        self._held: dict[str, ScopeHold] = {}
        self._doubtful: dict[str, ScopeHold] = {}  # written, without an answer
        self._waited = False
        self._granted = False

    async def run(self) -> Grant:
        """Hold in all scopes.

        Raises:
            BudgetError: a limit, a block or an unknown price stands in the way.
            StoreUnavailable: the store did not answer.
        """
        self._check()
        for _ in range(ROUNDS_MAX):
            waiting = [scope for scope in self._budgets if scope not in self._held]
            if not waiting:
                break
            refused = await self._try(waiting)
            for scope, item in refused.items():
                await self._handle(scope, item)
        else:
            raise StoreUnavailable("the scope is too contended")
        await self._give_back()
        self._granted = True
        return self._grant()

    def to_void(self) -> list[ScopeHold]:
        """What is held, or may be, though the request was not admitted."""
        doubtful = list(self._doubtful.values())
        return doubtful if self._granted else [*self._held.values(), *doubtful]

    def _check(self) -> None:
        """Refuse what could never pass, and ask for no more than a whole window has."""
        for scope, budget in self._budgets.items():
            if budget.has_money_limit and self._ask.price is None and self._ask.price_problem:
                raise unpriced(scope, self._ask.price_problem)
            for limit in budget.limits:
                if not fits(self._ask, limit):
                    raise too_large(level(scope, limit, EMPTY, self._now_s), self._least(limit), self._now_s)
                self._lower_to(share(self._ask, Room(limit, limit.amount, 0)), scope, limit, EMPTY)

    async def _try(self, scopes: list[str]) -> dict[str, Item]:
        """One write to each; gives the items of those that refused.

        Raises: StoreUnavailable: after all of them have answered.
        """
        refused: dict[str, Item] = {}
        if len(scopes) == 1:  # nearly always: a task less
            try:
                await self._authorize(scopes[0])
            except ConditionFailed as failed:
                refused[scopes[0]] = failed.item
            return refused
        results = await asyncio.gather(*map(self._authorize, scopes), return_exceptions=True)
        for scope, result in zip(scopes, results, strict=True):
            if isinstance(result, ConditionFailed):
                refused[scope] = result.item
            elif isinstance(result, BaseException):
                raise result
        return refused

    async def _authorize(self, scope: str) -> None:
        budget = self._budgets[scope]
        amounts = hold_amounts(self._ask, self._output_tokens)
        hold = Hold(self._expires_s, 0, amounts.tokens, amounts.cost_nanos, self._now_s)
        ours = ScopeHold(scope, hold.value, 0, amounts, budget)
        writes = HoldWrites(scope, budget, self._ask.hold_id)
        self._doubtful[scope] = ours
        returns = self._upkeep.returns(scope)
        try:
            item = await self._store.write(writes.authorize(hold, self._terms(budget, amounts), returns))
        except ConditionFailed as failed:
            item, returns = failed.item, "all"
            if not isinstance(why_not_authorized(item, budget, self._ask.hold_id, hold.value), Done):
                del self._doubtful[scope]
                raise
        del self._doubtful[scope]
        self._held[scope] = ours
        self._upkeep.look(scope, budget, item, whole=returns == "all")
        self._images[scope] = self._upkeep.seen(scope)  # whole, as far as it was ever seen

    def _terms(self, budget: Budget, amounts: Amounts) -> Terms:
        """The whole cap needs plenty; where a limit is too narrow ever to have that, it needs to be alone."""
        if not self._full:
            return Terms()
        plenty = all(has_plenty(limit, amounts) for limit in budget.limits)
        return Terms(plenty=plenty, alone=not plenty)

    async def _handle(self, scope: str, item: Item) -> None:
        """Prepare the next round after a scope refused.

        Raises: BudgetError: there will be none.
        """
        budget = self._budgets[scope]
        match why_not_authorized(item, budget, self._ask.hold_id, ""):
            case Blocked(reason):
                raise blocked(scope, reason)
            case Stale():
                self._budgets[scope] = with_own(self._ask, scope, await self._cache.again(scope))
                self._check()
            case Taken(value):
                self._adopt(scope, value, item)
            case Busy():
                expired = self._upkeep.expired(item)
                if expired:
                    await self._upkeep.capture(scope, expired)
                elif not await self._wait_for_settles(scope):
                    raise too_many_streams(scope, budget.streams_max or 0)
            case _:
                await self._lower(scope, budget, item)

    def _adopt(self, scope: str, value: str, item: Item) -> None:
        """A copy of an earlier round's write came late: what it holds is ours.

        Raises: StoreUnavailable: it is not ours; ids are random, so this is as good as impossible.
        """
        hold = read_hold(value)
        if (hold.started_s, hold.expires_s) != (self._now_s, self._expires_s):
            raise StoreUnavailable("another hold has this id")
        self._held[scope] = ScopeHold(scope, value, hold.generation, hold.amounts, self._budgets[scope])
        self._images[scope] = item

    async def _lower(self, scope: str, budget: Budget, item: Item) -> None:
        """Lower the cap to what this scope's limits leave.

        Raises: BudgetError: that is too little to be of use.
        """
        levels = [level(scope, limit, item, self._now_s) for limit in budget.limits]
        live = number(item, LIVE)
        caps = [share(self._ask, Room(one.limit, one.remaining, live)) for one in levels]
        for one, cap in zip(levels, caps, strict=True):
            if cap < useful_output_tokens(self._ask) or one.remaining < self._least(one.limit):
                if await self._wait_for_settles(scope):
                    return  # with the cap as it was: what is left is seen anew
                raise used_up(one, self._least(one.limit), levels, self._now_s, quota_status=self._quota_status)
        for one, cap in zip(levels, caps, strict=True):
            self._lower_to(cap, scope, one.limit, item)
        self._full = False

    def _lower_to(self, cap: int, scope: str, limit: Limit, item: Item) -> None:
        if cap < self._output_tokens:
            self._output_tokens = cap
            self._lowered_by = level(scope, limit, item, self._now_s)

    def _least(self, limit: Limit) -> int:
        """The least that the request is worth making for."""
        return hold_amounts(self._ask, useful_output_tokens(self._ask)).of(limit.meter)

    async def _wait_for_settles(self, scope: str) -> bool:
        """Before refusing, wait once for what this very process is settling: a client may ask again at once."""
        if self._waited:
            return False
        self._waited = True
        return await self._settled([scope])

    async def _give_back(self) -> None:
        """Scopes that held more than the cap is by now hold less. One that cannot be told keeps more until the end."""
        amounts = hold_amounts(self._ask, self._output_tokens)
        larger = [hold for hold in self._held.values() if hold.held != amounts]
        if larger:
            await asyncio.gather(*(self._shrink(hold, amounts) for hold in larger))

    async def _shrink(self, hold: ScopeHold, amounts: Amounts) -> None:
        """Once, while the client waits: whoever changed the scope meanwhile keeps it as it is."""
        before = read_hold(hold.value)
        less = Amounts(amounts.tokens - before.tokens, amounts.cost_nanos - before.cost_nanos)
        after = before.with_more(less)
        writes = HoldWrites(hold.scope, hold.budget, self._ask.hold_id)
        try:
            self._images[hold.scope] = {
                **self._images[hold.scope],
                **await self._store.write(writes.extend(before, after, self._now_s)),
            }
        except (ConditionFailed, StoreUnavailable):
            return  # settling finds the value that it has
        hold.value, hold.generation, hold.held = after.value, after.generation, amounts

    def _grant(self) -> Grant:
        levels = [
            level(scope, limit, self._images[scope], self._now_s)
            for scope, hold in self._held.items()
            for limit in hold.budget.limits
        ]
        lowered = self._lowered_by
        return Grant(
            ask=self._ask,
            output_tokens=self._output_tokens,
            started_s=self._now_s,
            expires_s=self._expires_s,
            lowered_by=None if lowered is None else lowered.scope,
            lowered_until_s=None if lowered is None else lowered.resets_s,
            holds=self._held,
            levels=tuple(levels),
        )
