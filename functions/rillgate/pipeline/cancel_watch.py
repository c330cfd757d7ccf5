"""Looks, while a request runs, whether its owner has asked another process to end it.

Each look reads from the ledger's table, so it comes seldom: a request that ends within the first seconds costs none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from rillgate.domain.errors import BudgetUnavailable
from rillgate.domain.ports import CancelFlags, Clock
from rillgate.domain.timer import Timer
from rillgate.telemetry.logs import log_exception

LOOK_S = 3.0  # between two looks


class CancelWatch:
    """One request's.

    Args:
        flags: where to look.
        clock: when.
        request_ids: by which it may be asked for.
        owner: whose wish counts.
        on_cancel: called once.
    """

    def __init__(
        self,
        flags: CancelFlags,
        clock: Clock,
        *,
        request_ids: Sequence[str],
        owner: str,
        on_cancel: Callable[[], None],
    ) -> None:
        self._flags = flags
        self._timer = Timer(clock, LOOK_S, self._due)
        self._request_ids = request_ids
        self._owner = owner
        self._on_cancel = on_cancel
        self._look: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin; the first look is `LOOK_S` away."""
        self._timer.restart()

    def close(self) -> None:
        """Look no more."""
        self._timer.close()
        if self._look is not None:
            self._look.cancel()

    def _due(self) -> None:
        self._look = asyncio.get_running_loop().create_task(self._look_once())

    async def _look_once(self) -> None:
        try:
            if await self._flags.is_up(self._request_ids, self._owner):
                self._on_cancel()
                return
        except BudgetUnavailable:
            pass  # the next look may find out
        except Exception as error:  # a request is not ended because nobody can be asked whether it should be
            log_exception("cancel_watch_failed", error, request_id=self._request_ids[0])
        self._timer.restart()
