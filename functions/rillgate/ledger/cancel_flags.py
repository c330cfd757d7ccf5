"""Wishes to end a request that another process serves, as items of the one table; `domain.ports.CancelFlags`.

A flag is written once and read by the process that serves the request, if any does. Nobody takes it down: it is of no
use when its request has ended, and the table forgets it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rillgate.domain.errors import BudgetUnavailable
from rillgate.ledger.keys import cancel_key
from rillgate.ledger.store import TTL, Store
from rillgate.ledger.writes import Put, StoreUnavailable, Write

KEPT_S = 3600  # longer than a stream may run on Lambda (900 s); one that runs longer looks much sooner

_UP = "up"


class StoreCancelFlags:
    """Flags in a store.

    Args:
        store: where the items are.
        wall: seconds since 1970.
    """

    def __init__(self, store: Store, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall

    async def put_up(self, request_id: str, owner: str) -> None:
        """As the port says."""
        changes = (Put(_UP, 1), Put(TTL, int(self._wall()) + KEPT_S))
        try:
            await self._store.write(Write(cancel_key(request_id, owner), changes))
        except StoreUnavailable as error:
            raise _unavailable() from error

    async def is_up(self, request_ids: Sequence[str], owner: str) -> bool:
        """As the port says."""
        try:
            items = await self._store.read([cancel_key(request_id, owner) for request_id in request_ids])
        except StoreUnavailable as error:
            raise _unavailable() from error
        return any(item is not None for item in items)


def _unavailable() -> BudgetUnavailable:
    return BudgetUnavailable("The store of cancel flags did not answer; try again.", retry_after_s=1)
