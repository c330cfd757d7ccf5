"""Accepts every connection, and hands each to the worker that has the fewest.

While no worker can take one nothing is accepted: clients wait in the kernel's queue, as before a gateway is up.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from rillgate.domain.ports import Clock, TimerHandle

ACCEPTED_MAX = 64  # in a row, before the supervisor looks at anything else
RETRY_S = 0.01  # when every worker is behind
FULL_S = 1.0  # when this process, or the machine, has no descriptor left: as asyncio waits
_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Taker(Protocol):
    """A worker that serves: see `Handover`."""

    @property
    def busy(self) -> int: ...
    def give(self, connection: socket.socket) -> bool: ...


class Porter:
    """The one who accepts.

    Args:
        sockets: those that listen. Closed by whoever opened them.
        clock: time.
    """

    def __init__(self, sockets: Sequence[socket.socket], clock: Clock) -> None:
        self._sockets = sockets
        self._clock = clock
        self._takers: list[Taker] = []  # whoever got one last is last
        self._waiting: deque[socket.socket] = deque()  # accepted, and nobody has taken them yet
        self._pause: TimerHandle | None = None
        self._reading = False
        self._closed = False
        for sock in sockets:
            sock.setblocking(False)

    def add(self, taker: Taker) -> None:
        """This worker serves from now on."""
        self._takers.append(taker)
        self._look()

    def remove(self, taker: Taker) -> None:
        """It does no more."""
        if taker in self._takers:
            self._takers.remove(taker)
            self._look()

    def close(self) -> None:
        """Accept no more; who was accepted and waits is let go."""
        self._closed = True
        self._look()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        while self._waiting:
            self._waiting.popleft().close()

    def _look(self) -> None:
        """Read from the listening sockets if what comes can be handed on."""
        wanted = bool(self._takers) and not self._closed and self._pause is None
        if wanted == self._reading:
            return
        self._reading = wanted
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            if wanted:
                loop.add_reader(sock, self._accept, sock)
            else:
                loop.remove_reader(sock)

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(ACCEPTED_MAX):
            try:
                connection, _address = sock.accept()
            except OSError as error:
                if error.errno in _FULL:
                    self._wait(FULL_S)
                return  # all accepted, or one that went away meanwhile: the next turn finds out
            self._waiting.append(connection)
            self._hand_on()
            if self._waiting:
                return

    def _hand_on(self) -> None:
        while self._waiting:
            if not self._give(self._waiting[0]):
                self._wait(RETRY_S)
                return
            self._waiting.popleft().close()

    def _give(self, connection: socket.socket) -> bool:
        for taker in sorted(self._takers, key=lambda taker: taker.busy):
            if taker.give(connection):
                self._takers.remove(taker)
                self._takers.append(taker)
                return True
        return False

    def _wait(self, seconds: float) -> None:
        if self._pause is None:
            self._pause = self._clock.call_later(seconds, self._again)
            self._look()

    def _again(self) -> None:
        self._pause = None
        self._hand_on()
        self._look()
