"""`rillgate serve --workers N`: what the started process does instead of serving."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from rillgate.app.embedded import EmbeddedModel
from rillgate.app.embedded_shared import news_of
from rillgate.app.server import ABORT_S, FLUSH_S, LIFESPAN_S
from rillgate.cli.workers.messages import Orders
from rillgate.cli.workers.porter import Porter
from rillgate.cli.workers.process import WorkerProcess
from rillgate.cli.workers.supervisor import Supervisor, Worker
from rillgate.domain.ports import Clock
from rillgate.telemetry.clock import LoopClock

SLACK_S = 3.0  # beyond what a worker's way down may take


@dataclass(frozen=True, slots=True)
class Crew:
    """What is to be kept.

    Attributes:
        workers: how many.
        orders: for each of them; its number is filled in.
        model: the embedded model, where there is one; it is started and ended here, once for all workers.
        on_listening: called when the first of them serves.
        on_model: called when the model's state changes.
        say: takes lines for the operator.
    """

    workers: int
    orders: Orders
    model: EmbeddedModel | None
    on_listening: Callable[[], None]
    on_model: Callable[[EmbeddedModel], None]
    say: Callable[[str], None]


def keep(crew: Crew, sockets: Sequence[socket.socket]) -> int:
    """Serve on these sockets with several workers until a signal says otherwise; blocks.

    Returns: the exit code: 0 after SIGTERM or SIGINT.
    """
    return asyncio.run(_keep(crew, sockets, LoopClock()))


async def _keep(crew: Crew, sockets: Sequence[socket.socket], clock: Clock) -> int:
    porter = Porter(sockets, clock)
    hiring = _Hiring(crew, clock, porter)
    supervisor = hiring.supervisor = Supervisor(
        crew.workers,
        hiring.hire,
        clock,
        patience_s=crew.orders.grace_s + FLUSH_S + 2 * ABORT_S + LIFESPAN_S + SLACK_S,
        say=crew.say,
    )
    supervisor.on_ready.append(hiring.ready)
    supervisor.on_stop += [porter.close, *(sock.close for sock in sockets)]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    if crew.model is not None:
        crew.model.on_change += [crew.on_model, lambda _: hiring.tell_model(supervisor.living())]
        await crew.model.start()
    try:
        return await supervisor.run()
    finally:
        if crew.model is not None:
            await crew.model.stop()


class _Hiring:
    """Puts a worker's process together with everything that it has to do with."""

    supervisor: Supervisor

    def __init__(self, crew: Crew, clock: Clock, porter: Porter) -> None:
        self._crew = crew
        self._clock = clock
        self._porter = porter
        self._listening = False

    async def hire(self, life: int, number: int) -> Worker:
        """As `Supervisor` wants it.

        Raises: OSError
        """
        worker = WorkerProcess(
            life, number, self._clock, heard=self.supervisor.heard, handover_over=self._takes_no_more
        )
        await worker.start(replace(self._crew.orders, number=number, speaks=life == 1))
        self.tell_model([worker])
        return worker

    def ready(self, worker: Worker) -> None:
        """It takes connections."""
        if isinstance(worker, WorkerProcess):
            self._porter.add(worker.handover)
        if not self._listening:
            self._listening = True
            self._crew.on_listening()

    def tell_model(self, workers: Sequence[Worker]) -> None:
        """How the embedded model is, where that is known by now."""
        news = None if self._crew.model is None else news_of(self._crew.model)
        if news is not None:
            for worker in workers:
                worker.tell(news)

    def _takes_no_more(self, worker: WorkerProcess) -> None:
        self._porter.remove(worker.handover)
