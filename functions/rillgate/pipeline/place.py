"""A request's place among the running ones, from its first step to its last, whatever is done for it at the time.

Four things watch it all the while: its own deadline, its client's connection, whoever may end it from outside, and the
flags by which that is asked of other processes. All of them end the stage that it is in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from rillgate.domain.ends import End
from rillgate.domain.ports import CancelFlags, Clock
from rillgate.domain.timer import Timer
from rillgate.pipeline.call import Call
from rillgate.pipeline.cancel_watch import CancelWatch
from rillgate.telemetry.logs import log_exception

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Stage(Protocol):
    """What is being done for a request: it is admitted, then run."""

    @property
    def queue_bytes(self) -> int:
        """What waits for the client to read."""

    def stop(self, end: End) -> bool:
        """End it for this cause, unless it is over or ending already. Awaits nothing."""


class Place:
    """One request as `Streams` knows it.

    Args:
        call: whose place it is.
        clock: for the deadline.
        stage: the first; set another one when the request goes on to it.
        flags: by which other processes are asked to end it; None where there are no other processes.
    """

    def __init__(self, call: Call, clock: Clock, stage: Stage, flags: CancelFlags | None = None) -> None:
        self._call = call
        self._flagged = None if flags is None else self._cancel_watch(flags, clock)
        self._total = Timer(clock, call.total_s, lambda: self._stop_for(End.DEADLINE))
        self._watch: asyncio.Task[None] | None = None
        self.stage = stage

    @property
    def request_id(self) -> str:
        """Ours."""
        return self._call.journal.request_id

    @property
    def client_request_id(self) -> str | None:
        """The client's own, where it sent one."""
        return self._call.journal.client_request_id

    @property
    def owner(self) -> str:
        """Who may cancel it."""
        return self._call.principal.owner

    @property
    def queue_bytes(self) -> int:
        """What waits for the client to read."""
        return self.stage.queue_bytes

    def stop(self, end: End) -> bool:
        """End it for this cause, unless it is over or ending already."""
        return self.stage.stop(end)

    def open(self, receive: Receive) -> None:
        """The deadline begins, and the client is watched."""
        self._total.restart()
        if self._flagged is not None:
            self._flagged.open()
        self._watch = asyncio.get_running_loop().create_task(self._watch_client(receive))

    def close(self) -> None:
        """Nothing is watched any more."""
        self._total.close()
        if self._flagged is not None:
            self._flagged.close()
        watch, self._watch = self._watch, None  # what ends it has a traceback, and that has us
        if watch is not None:
            watch.cancel()

    def _cancel_watch(self, flags: CancelFlags, clock: Clock) -> CancelWatch:
        return CancelWatch(
            flags,
            clock,
            request_ids=[name for name in (self.request_id, self.client_request_id) if name is not None],
            owner=self.owner,
            on_cancel=lambda: self._stop_for(End.CANCELLED),
        )

    async def _watch_client(self, receive: Receive) -> None:
        """Nobody else reads `receive`: a second reader would eat the one message that says the client is gone."""
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        except Exception as error:  # nothing can be heard of the client any more
            log_exception("receive_failed", error, request_id=self.request_id)
        self.stop(End.CLIENT_GONE)

    def _stop_for(self, end: End) -> None:
        self.stop(end)
