"""Connections on their way from the supervisor, who accepts them, to a worker, who serves them.

    supervisor: Handover ── one byte and one descriptor for each connection ──► worker: Door
                         ◄── one byte for each connection that is closed ──────

So the supervisor knows how many connections each worker has, and gives the next one to whoever has the fewest. Where
workers accept by themselves the kernel decides, and it does not count: of 200 connections that two event loops accepted
from one socket, between 3 and 96 went to the one that got fewer, and one at a time in each turn between 35 and 100.

Source: unix(7), SCM_RIGHTS.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

TAKEN_MAX = 64  # connections in a row, before streams have their turn
READ_BYTES = 4096


class Handover:
    """The supervisor's end.

    Args:
        sock: of a socketpair.
        on_end: called once when the worker takes no more.

    Attributes:
        busy: connections that the worker has, or will have.
    """

    def __init__(self, sock: socket.socket, on_end: Callable[[], None]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._on_end = on_end
        self._open = True
        self.busy = 0
        asyncio.get_running_loop().add_reader(sock, self._read)

    def give(self, connection: socket.socket) -> bool:
        """Hand one over; False when the worker takes none, or none now. The caller closes its own copy."""
        try:
            socket.send_fds(self._sock, [b"+"], [connection.fileno()])
        except OSError:  # it reads nothing, or has gone
            return False
        self.busy += 1
        return True

    def close(self) -> None:
        """Hand no more over."""
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._on_end()

    def _read(self) -> None:
        try:
            closed = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            closed = b""
        self.busy -= len(closed)
        if not closed:
            self.close()


class Door:
    """The worker's end.

    Args:
        sock: of a socketpair.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._make: Callable[[], asyncio.Protocol] = asyncio.Protocol
        self._taking = False
        self._untold = 0
        self._coming: set[asyncio.Task[None]] = set()

    def open(self, make: Callable[[], asyncio.Protocol]) -> None:
        """Take connections from now on, with a protocol from `make` for each."""
        self._make = make
        self._taking = True
        asyncio.get_running_loop().add_reader(self._sock, self._take)

    def close(self) -> None:
        """Take those that have been handed over, and no more. Those that are open go on being counted."""
        if not self._taking:
            return
        self._taking = False
        while self._take():
            pass
        asyncio.get_running_loop().remove_reader(self._sock)
        try:
            self._sock.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # the supervisor has gone

    def lost(self) -> None:
        """A connection is closed: its place is free."""
        self._untold += 1
        try:
            self._untold -= self._sock.send(b"-" * self._untold)
        except OSError:
            pass  # the supervisor reads nothing: told with the next one. Or it has gone

    def _take(self) -> bool:
        """Take what is there, up to a bound; False when that was all."""
        for _ in range(TAKEN_MAX):
            try:
                data, descriptors, _, _ = socket.recv_fds(self._sock, 1, 1)
            except BlockingIOError:
                return False
            except OSError:
                data = b""
            if not data:
                asyncio.get_running_loop().remove_reader(self._sock)
                return False
            for descriptor in descriptors:
                self._serve(descriptor)
        return True

    def _serve(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        connection = socket.socket(fileno=descriptor)
        connection.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._connect(connection, self._make))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    async def _connect(self, connection: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(make, connection)
        except OSError:  # it was reset before it was served
            connection.close()
            self.lost()
