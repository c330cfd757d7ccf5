"""The connections to one origin: at most so many, the warmest first, and nobody waits past their turn.

A slot is one connection, or the right to open one. `acquire` gives a slot; `give_back` returns it, exactly
once. None of these awaits while it holds one, so a cancellation cannot lose it.
"""

from __future__ import annotations

import asyncio
from collections import deque

import httpx2

from rillgate.upstream.fast.protocol import Connection

CLOSED = "The transport was closed."


class Pool:
    """Slots of one origin.

    Args:
        connections_max: open, opening and idle ones together.
        keepalive_s: how long a connection may be idle.
    """

    def __init__(self, *, connections_max: int, keepalive_s: float) -> None:
        self._connections_max = connections_max
        self._keepalive_s = keepalive_s
        self._slots = 0
        self._idle: dict[Connection, None] = {}  # in the order in which they came back
        self._leased: set[Connection] = set()
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def slots(self) -> int:
        """Slots taken, those of idle connections included."""
        return self._slots

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)

    async def acquire(self, timeout_s: float | None) -> Connection | None:
        """A slot: with an idle connection, or None where one is to be opened.

        Raises:
            httpx2.PoolTimeout: none was free in time.
        """
        loop = asyncio.get_running_loop()
        if self._closed:
            raise httpx2.ConnectError(CLOSED)
        while self._idle:
            connection, _ = self._idle.popitem()
            connection.on_idle_end = None
            if loop.time() - connection.idle_since < self._keepalive_s and not connection.stale:
                self._leased.add(connection)
                return connection
            connection.abort()
            self._slots -= 1
        if self._slots < self._connections_max:
            self._slots += 1
            return None
        waiter: asyncio.Future[Connection | None] = loop.create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter
        except BaseException as error:
            self._leave(waiter)
            if isinstance(error, TimeoutError):
                raise httpx2.PoolTimeout("No connection became free in time.") from error
            raise

    def opened(self, connection: Connection, *, instead_of: Connection | None = None) -> None:
        """The slot's connection, in place of one that was dead.

        Raises:
            httpx2.ConnectError: the pool was closed meanwhile.
        """
        if instead_of is not None:
            self._leased.discard(instead_of)
        self._leased.add(connection)
        if self._closed:
            raise httpx2.ConnectError(CLOSED)

    def give_back(self, connection: Connection | None, reusable: bool) -> None:
        """Return a slot: with its connection, which is closed unless it can serve again, or without one."""
        if connection is not None:
            self._leased.discard(connection)
            if reusable and not connection.gone and not self._closed:
                self._keep(connection)
                return
            connection.abort()
        waiter = self._next_waiting()
        if waiter is not None:
            waiter.set_result(None)
        else:
            self._slots -= 1

    def _keep(self, connection: Connection) -> None:
        waiter = self._next_waiting()
        if waiter is not None:
            self._leased.add(connection)
            waiter.set_result(connection)
            return
        connection.idle_since = connection.loop.time()
        connection.on_idle_end = self._forget
        self._idle[connection] = None
        if self._sweep_timer is None:
            self._sweep_timer = connection.loop.call_later(self._keepalive_s, self._sweep, connection.loop)

    def close(self) -> None:
        """Close every connection. Responses that are under way break off; nothing new begins."""
        self._closed = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        for connection in list(self._idle):
            self._forget(connection)
            connection.abort()
        for connection in list(self._leased):
            connection.transport.abort()
        while (waiter := self._next_waiting()) is not None:
            waiter.set_exception(httpx2.ConnectError(CLOSED))

    def _leave(self, waiter: asyncio.Future[Connection | None]) -> None:
        """Somebody waits no more; what was given in the same turn goes on to the next."""
        if not waiter.done() or waiter.cancelled():
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            return
        if waiter.exception() is None:
            self.give_back(waiter.result(), reusable=True)

    def _next_waiting(self) -> asyncio.Future[Connection | None] | None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                return waiter
        return None

    def _forget(self, connection: Connection) -> None:
        """An idle connection has ended."""
        del self._idle[connection]
        self._slots -= 1

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close what has been idle for too long, and come again when the next one will have been."""
        self._sweep_timer = None
        while self._idle:
            connection = next(iter(self._idle))
            left_s = connection.idle_since + self._keepalive_s - loop.time()
            if left_s > 0:
                self._sweep_timer = loop.call_later(left_s, self._sweep, loop)
                return
            self._forget(connection)
            connection.abort()
