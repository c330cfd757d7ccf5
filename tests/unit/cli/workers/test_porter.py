"""Who accepts, and whom it gives to."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from rillgate.cli.workers.porter import FULL_S, RETRY_S, Porter
from tests.fakes.clock import FakeClock

pytestmark = pytest.mark.anyio

GUARD_S = 30.0  # against hanging tests, never what a test waits for


class Worker:
    """Takes connections, or not."""

    def __init__(self, busy: int = 0, *, full: bool = False) -> None:
        self.busy = busy
        self.full = full
        self.given = 0

    def give(self, connection: socket.socket) -> bool:
        assert connection.fileno() >= 0
        if self.full:
            return False
        self.given += 1
        self.busy += 1
        return True


class Gate:
    """A listening socket, its porter, and clients."""

    def __init__(self, sock: socket.socket) -> None:
        self.clock = FakeClock()
        self.sock = sock
        self.porter = Porter([sock], self.clock)
        self._clients: list[socket.socket] = []

    def come(self, count: int) -> None:
        """So many clients, all at once."""
        for _ in range(count):
            client = socket.create_connection(self.sock.getsockname())
            self._clients.append(client)

    async def given(self, count: int, *workers: Worker) -> list[int]:
        """Wait until so many were handed over; what each worker has got."""
        async with asyncio.timeout(GUARD_S):
            while sum(worker.given for worker in workers) < count:
                await asyncio.sleep(0)
        return [worker.given for worker in workers]

    def leave(self) -> None:
        """All clients."""
        for client in self._clients:
            client.close()


@asynccontextmanager
async def gate() -> AsyncIterator[Gate]:
    """One, on a free port."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as sock:
        found = Gate(sock)
        try:
            yield found
        finally:
            found.porter.close()
            found.leave()


async def turns() -> None:
    """Let the loop look at its sockets a few times."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_porter_gives_a_burst_to_all_in_equal_parts() -> None:
    """However many come between two looks."""
    async with gate() as g:
        workers = [Worker() for _ in range(4)]
        for worker in workers:
            g.porter.add(worker)
        g.come(200)
        assert await g.given(200, *workers) == [50] * 4


async def test_porter_gives_to_whoever_has_the_fewest() -> None:
    """One that others have left, or that came late, gets all until it has as many."""
    async with gate() as g:
        old, new = Worker(busy=10), Worker()
        g.porter.add(old)
        g.porter.add(new)
        g.come(12)
        assert await g.given(12, old, new) == [1, 11]


async def test_porter_gives_to_equals_in_turn() -> None:
    """Short requests, of which none lasts until the next comes, do not all go to the same one."""
    async with gate() as g:
        workers = [Worker(), Worker()]
        for worker in workers:
            g.porter.add(worker)
        for number in range(6):
            g.come(1)
            await g.given(number + 1, *workers)
            for worker in workers:
                worker.busy = 0
        assert [worker.given for worker in workers] == [3, 3]


async def test_porter_with_nobody_to_give_to_accepts_nothing() -> None:
    """Clients wait in the kernel until somebody serves; when the last has gone they wait again."""
    async with gate() as g:
        g.come(1)
        await turns()
        worker = Worker()
        g.porter.add(worker)
        await g.given(1, worker)
        g.porter.remove(worker)
        g.porter.remove(worker)
        g.come(1)
        await turns()
        assert worker.given == 1
        g.porter.add(worker)
        await g.given(2, worker)


async def test_porter_whose_workers_are_all_behind_holds_one_and_tries_again() -> None:
    """Nobody is turned away, and no more are accepted meanwhile."""
    async with gate() as g:
        worker = Worker(full=True)
        g.porter.add(worker)
        g.come(3)
        async with asyncio.timeout(GUARD_S):
            while not g.clock.pending:
                await asyncio.sleep(0)
        g.clock.advance(RETRY_S)
        assert (worker.given, g.clock.pending) == (0, 1)
        worker.full = False
        g.clock.advance(RETRY_S)
        await g.given(3, worker)
        assert g.clock.pending == 0


async def test_porter_passes_over_a_worker_that_takes_none() -> None:
    """The next one gets it."""
    async with gate() as g:
        full, worker = Worker(full=True), Worker(busy=5)
        g.porter.add(full)
        g.porter.add(worker)
        g.come(2)
        assert await g.given(2, full, worker) == [0, 2]


class Exhausted:
    """A listening socket of a process that has no descriptor left, until it has."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.exhausted = True

    def setblocking(self, flag: bool) -> None:
        self._sock.setblocking(flag)

    def fileno(self) -> int:
        return self._sock.fileno()

    def accept(self) -> tuple[socket.socket, object]:
        if self.exhausted:
            raise OSError(errno.EMFILE, "Too many open files")
        return self._sock.accept()


@contextmanager
def exhausted() -> Iterator[Exhausted]:
    """One."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield Exhausted(sock)


async def test_porter_without_descriptors_waits_a_second() -> None:
    """Instead of asking again and again."""
    clock, worker = FakeClock(), Worker()
    with exhausted() as sock:
        porter = Porter([sock], clock)  # type: ignore[list-item]
        porter.add(worker)
        with socket.create_connection(sock._sock.getsockname()):
            async with asyncio.timeout(GUARD_S):
                while not clock.pending:
                    await asyncio.sleep(0)
                assert clock.next_due == FULL_S
                sock.exhausted = False
                clock.advance(FULL_S)
                while not worker.given:
                    await asyncio.sleep(0)
        porter.close()


async def test_porter_closed_accepts_no_more_and_lets_go_of_who_waits() -> None:
    """The port may be closed then; nothing stays pending."""
    async with gate() as g:
        worker = Worker(full=True)
        g.porter.add(worker)
        g.come(1)
        async with asyncio.timeout(GUARD_S):
            while not g.clock.pending:
                await asyncio.sleep(0)
        g.porter.close()
        assert g.clock.pending == 0
        (client,) = g._clients
        client.settimeout(GUARD_S)
        assert client.recv(1) == b""
