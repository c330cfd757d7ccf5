"""What whoever writes to a scope does for it in passing: capture holds that died, announce warning marks.

Nothing here is needed for the books to be right. It runs in the background, and a failure is told and forgotten: the
next write to the scope sees the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import islice
from typing import Any

from rillgate.domain.limits import Budget, Limit
from rillgate.domain.ports import Clock
from rillgate.domain.spending import Record
from rillgate.ledger.expressions import CAPTURED_MAX, announce, capture
from rillgate.ledger.items import HOLD, LIVE, Hold, counter, expired, holds, number
from rillgate.ledger.records import record_write
from rillgate.ledger.store import Store
from rillgate.ledger.writes import EMPTY, ConditionFailed, Item, Returns, StoreUnavailable

WHOLE_LIVE_MAX = 64  # with more live holds the whole item is not asked for each time
WHOLE_EVERY = 8
CAPTURES_MAX = 64  # writes in a row, each of several holds
SCOPES_MAX = 4096
MARKS_MAX = 4096  # one that was forgotten is asked for once more, and found announced

Later = Callable[[Coroutine[Any, Any, None]], None]


class Upkeep:
    """Looks at the items that writes give back.

    Args:
        later: does something in the background.
        is_live: whether this hold's request runs here, whatever the time of day: that may have been set meanwhile.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        grace_s: float,
        tell: Callable[..., None],
        later: Later,
        *,
        is_live: Callable[[str], bool] = lambda hold_id: False,
    ) -> None:
        self._store = store
        self._clock = clock
        self._grace_s = grace_s
        self._tell = tell
        self._later = later
        self._is_live = is_live
        self._seen: dict[str, Item] = {}  # by scope, without its holds
        self._asked: dict[str, int] = {}  # by scope: how often since the whole item was asked for
        self._announced: dict[tuple[str, str, int], None] = {}  # in the order in which they were
        self._capturing: set[str] = set()

    def returns(self, scope: str) -> Returns:
        """What an authorize should give back: everything, unless that is much and was looked at not long ago."""
        asked = self._asked.pop(scope, WHOLE_EVERY) + 1
        many = number(self._seen.get(scope, EMPTY), LIVE) > WHOLE_LIVE_MAX
        whole = not many or asked >= WHOLE_EVERY
        self._asked[scope] = 0 if whole else asked
        while len(self._asked) > SCOPES_MAX:
            del self._asked[next(iter(self._asked))]
        return "all" if whole else "changed"

    def seen(self, scope: str) -> Item:
        """The scope's counters as they were seen last."""
        return self._seen.get(scope, EMPTY)

    def look(self, scope: str, budget: Budget, item: Item, *, whole: bool) -> None:
        """Take notice of an item, whole or in part."""
        counters = {name: value for name, value in item.items() if name[0] != HOLD}
        before = self._seen.pop(scope, EMPTY)
        self._seen[scope] = counters if whole else {**before, **counters}
        while len(self._seen) > SCOPES_MAX:
            del self._seen[next(iter(self._seen))]
        if whole:
            self._look_at_marks(scope, budget, item)
        dead = self.expired(item)
        if dead and scope not in self._capturing:
            self._capturing.add(scope)
            self._later(self._capture(scope, dead))

    def expired(self, item: Item) -> dict[str, Hold]:
        """Holds whose time and grace are over."""
        found = expired(item, self._clock.wall() - self._grace_s)
        return dict(islice((each for each in found if not self._is_live(each[0])), CAPTURED_MAX))

    async def capture(self, scope: str, dead: dict[str, Hold]) -> Item:
        """Capture holds that died, and record them; gives the item as it is then.

        The records come first: whoever dies in between leaves holds that are captured once more, under the same
        records, and never a charge that no record is of.

        Raises: StoreUnavailable
        """
        records = [record_write(_record(scope, hold_id, hold)) for hold_id, hold in dead.items()]
        await asyncio.gather(*map(self._store.write, records))
        try:
            item = await self._store.write(capture(scope, dead))
        except ConditionFailed as failed:
            return failed.item  # somebody else was faster with one of them
        for hold_id, hold in dead.items():
            self._tell("hold_captured", scope=scope, hold_id=hold_id, tokens=hold.tokens, cost_nanos=hold.cost_nanos)
        return item

    async def _capture(self, scope: str, dead: dict[str, Hold]) -> None:
        """Capture until nothing dead is left, or others are at it too."""
        try:
            for _ in range(CAPTURES_MAX):
                if not dead:
                    break
                dead = self.expired(await self.capture(scope, dead))
        except StoreUnavailable:
            self._tell("ledger_upkeep_failed", scope=scope)
        finally:
            self._capturing.discard(scope)

    def _look_at_marks(self, scope: str, budget: Budget, item: Item) -> None:
        """Announce the highest mark that is spent of each limit, once for each process that sees it.

        What is only held does not count: most of it comes back.
        """
        if not budget.warn_percents:
            return
        now_s = self._clock.wall()
        for limit in budget.limits:
            name = counter(limit.meter, limit.window, now_s)
            percent = _spent(item, limit, name) * 100 // limit.amount if limit.amount else 0
            reached = max((mark for mark in budget.warn_percents if mark <= percent), default=None)
            if reached is not None and (scope, name, reached) not in self._announced:
                self._announced[scope, name, reached] = None
                while len(self._announced) > MARKS_MAX:
                    del self._announced[next(iter(self._announced))]
                self._later(self._announce(scope, name, reached, f"{limit.meter}/{limit.window}"))

    async def _announce(self, scope: str, name: str, percent: int, limit: str) -> None:
        try:
            await self._store.write(announce(scope, name, percent))
        except ConditionFailed:
            return  # another process was faster
        except StoreUnavailable:
            self._announced.pop((scope, name, percent), None)
            return
        self._tell("budget_warning", scope=scope, limit=limit, percent=percent)


def _spent(item: Item, limit: Limit, name: str) -> int:
    """What a counter has without the holds that stand in it."""
    held = (hold for _, _, hold in holds(item) if counter(limit.meter, limit.window, hold.started_s) == name)
    return number(item, name) - sum(hold.amounts.of(limit.meter) for hold in held)


def _record(scope: str, hold_id: str, hold: Hold) -> Record:
    """The record of a hold that died: whose it was beyond its scope is not known."""
    kind, _, name = scope.partition(":")
    return Record(
        hold_id=hold_id,
        started_s=hold.started_s,
        scopes={scope: hold.amounts},
        charged=hold.amounts,
        end="captured",
        key_id=name if kind == "key" else None,
        user=name if kind == "user" else None,
        team=name if kind == "team" else None,
        ticket_id=name if kind == "ticket" else None,
        model=name if kind == "model" else None,
        estimated=True,
        captured_scope=scope,
    )
