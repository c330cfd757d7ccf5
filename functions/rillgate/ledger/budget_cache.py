"""Budgets of scopes, read from the store and kept for a few seconds.

A budget that changed meanwhile does no harm where its scope is charged: the write is refused by its version, and the
cache is told to read again. What age bounds is how long a scope that had no budget is passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from rillgate.domain.limits import UNLIMITED, Budget
from rillgate.domain.ports import Clock
from rillgate.ledger.budgets import read_budget
from rillgate.ledger.keys import budget_key
from rillgate.ledger.store import Store
from rillgate.ledger.writes import Item

AGE_S = 10.0
SCOPES_MAX = 20_000  # users and models are named by clients


class BudgetCache:
    """Budgets by scope; a scope without one is `UNLIMITED`. Concurrent questions for one scope share one read."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, tuple[float, Budget | ValueError]] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}

    async def of(self, scopes: Collection[str]) -> dict[str, Budget]:
        """The budgets of these scopes, at most `AGE_S` old.

        Raises:
            StoreUnavailable
            ValueError: as `read_budget`, for one of these scopes.
        """
        fresh = {scope: self._known[scope][1] for scope in scopes if self._is_fresh(scope)}
        missing = [scope for scope in scopes if scope not in fresh]
        if missing:
            await self._read(missing)  # may crowd out what was fresh
        return {scope: _readable(fresh[scope] if scope in fresh else self._known[scope][1]) for scope in scopes}

    async def again(self, scope: str) -> Budget:
        """The budget as it is now.

        Raises: as `of`.
        """
        await self._read_now([scope])
        return _readable(self._known[scope][1])

    def _is_fresh(self, scope: str) -> bool:
        known = self._known.get(scope)
        return known is not None and self._clock.now() - known[0] < AGE_S

    async def _read(self, scopes: Iterable[str]) -> None:
        """Read, each scope once however many ask for it. A caller that is cancelled leaves the read to the others."""
        mine = [scope for scope in scopes if scope not in self._reading]
        waiting = {self._reading[scope] for scope in scopes if scope in self._reading}
        if mine:
            task = asyncio.ensure_future(self._read_now(mine))
            self._reading |= dict.fromkeys(mine, task)
            task.add_done_callback(lambda task: self._done(mine, task))
            waiting.add(task)
        for task in waiting:
            await asyncio.shield(task)

    def _done(self, scopes: Iterable[str], task: asyncio.Task[None]) -> None:
        for scope in scopes:
            del self._reading[scope]
        if not task.cancelled():
            task.exception()  # seen here: everybody who asked may have gone

    async def _read_now(self, scopes: list[str]) -> None:
        items = await self._store.read([budget_key(scope) for scope in scopes])
        now = self._clock.now()
        for scope, item in zip(scopes, items, strict=True):
            self._known.pop(scope, None)
            self._known[scope] = (now, UNLIMITED if item is None else _read(item))
        while len(self._known) > SCOPES_MAX:
            del self._known[next(iter(self._known))]


def _read(item: Item) -> Budget | ValueError:
    """What cannot be read is remembered too: it shall fail those who ask for it, and nobody who is read beside it."""
    try:
        return read_budget(item)
    except ValueError as error:
        return error


def _readable(budget: Budget | ValueError) -> Budget:
    if isinstance(budget, ValueError):
        raise ValueError(*budget.args)
    return budget
