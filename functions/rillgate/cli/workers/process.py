"""One worker's process, as the supervisor sees it."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from rillgate.cli.workers import start
from rillgate.cli.workers.channel import Channel, decoder
from rillgate.cli.workers.handover import Handover
from rillgate.cli.workers.messages import Cancel, Cancelled, Count, Counted, Orders, ToSupervisor
from rillgate.cli.workers.questions import Questions
from rillgate.domain.ports import Clock

ANSWER_S = 2.0  # a worker whose event loop is busy for so long is counted without
# By path, and with no folder put before the installed packages (-P): it runs however this package was found.
COMMAND = (sys.executable, "-P", str(Path(start.__file__)))


class WorkerProcess:
    """A process that serves.

    Args:
        life: its number among all workers there ever were.
        number: its place.
        clock: time.
        heard: takes what it says, but for answers.
        handover_over: called when it takes no more connections.

    Attributes:
        pid: 0 before `start`.
        handover: for its connections.
    """

    handover: Handover

    def __init__(
        self,
        life: int,
        number: int,
        clock: Clock,
        *,
        heard: Callable[[WorkerProcess, ToSupervisor], None],
        handover_over: Callable[[WorkerProcess], None],
    ) -> None:
        self.life = life
        self.number = number
        self.pid = 0
        self._heard = heard
        self._handover_over = handover_over
        self._questions = Questions(clock, ANSWER_S)
        self._channel: Channel[Any] = Channel(decoder(ToSupervisor), self._hear, self._ended)
        self._process: asyncio.subprocess.Process | None = None
        self._silent = asyncio.Event()

    async def start(self, orders: Orders) -> None:
        """Start it.

        Raises: OSError: it cannot be started.
        """
        with ExitStack() as theirs:
            control, their_control = socket.socketpair()
            theirs.enter_context(their_control)
            await self._channel.open(control)
            connections, their_connections = socket.socketpair()
            theirs.enter_context(their_connections)
            self.handover = Handover(connections, lambda: self._handover_over(self))
            descriptors = (their_control.fileno(), their_connections.fileno())
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *COMMAND,
                    *map(str, descriptors),
                    msgspec.json.encode(orders).decode(),
                    pass_fds=descriptors,
                    stdin=asyncio.subprocess.DEVNULL,
                )
            except OSError:
                self._channel.close()
                self.handover.close()
                raise
        self.pid = self._process.pid

    async def ended(self) -> int:
        """Wait until it has ended and all that it said was heard; its exit code, negative for a signal."""
        if self._process is None:
            raise RuntimeError("not started")
        code = await self._process.wait()
        await self._silent.wait()
        self.handover.close()
        return code

    def tell(self, message: msgspec.Struct) -> None:
        """Say something."""
        self._channel.send(message)

    def kill(self) -> None:
        """At once."""
        if self._process is not None and self._process.returncode is None:
            try:
                self._process.kill()
            except ProcessLookupError:
                pass  # it was faster

    def cancel(self, request_id: str, owner: str) -> asyncio.Future[bool | None]:
        """As `desk.Asked`."""
        return self._questions.ask(lambda number: self.tell(Cancel(number, request_id, owner)))

    def count(self) -> asyncio.Future[Any]:
        """As `desk.Asked`."""
        return self._questions.ask(lambda number: self.tell(Count(number)))

    def _hear(self, message: ToSupervisor) -> None:
        match message:
            case Cancelled(number, found):
                self._questions.answer(number, found)
            case Counted(snapshot, number) if number:
                self._questions.answer(number, snapshot)
            case _:
                self._heard(self, message)

    def _ended(self) -> None:
        self._questions.close()
        self._silent.set()
