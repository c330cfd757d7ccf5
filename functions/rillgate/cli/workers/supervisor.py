"""Keeps so many workers: starts them, replaces those that die, and ends them all.

    started ─► ready ─► (dies) ─► another takes its place, at once, or later if it dies again and again
       └── ends before its place was ever ready: everything ends, since the next would end of the same; but one that
           was killed while others are ready is replaced

On the first signal nothing more is accepted and every worker drains, as a gateway of one process does; the second ends
the streams that still run; the third kills. Whoever is left after the whole patience is killed, too.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from rillgate.cli.workers.desk import Asked, Desk
from rillgate.cli.workers.messages import Cancel, Cancelled, Counted, Drain, EndNow, Ready, Scrape, ToSupervisor, Total
from rillgate.domain.ports import Clock, TimerHandle

STEADY_S = 10.0  # who was ready for so long did not die of its start
BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 30.0
FAILED = 1
ENDED_BY_US = (0, -signal.SIGTERM, -signal.SIGINT)  # the two before it could handle them: a terminal tells all


class Worker(Asked, Protocol):
    """A process, as far as the supervisor is concerned: see `WorkerProcess`."""

    @property
    def number(self) -> int: ...
    @property
    def pid(self) -> int: ...
    def tell(self, message: msgspec.Struct) -> None: ...
    def kill(self) -> None: ...
    async def ended(self) -> int: ...


class Place:
    """One of the places that are always taken."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.ready_at_s: float | None = None  # of the worker that has it
        self.was_ready = False  # any worker that had it
        self.deaths = 0  # in a row, each soon after its start
        self.next: TimerHandle | None = None


class Supervisor:
    """The supervisor.

    Args:
        workers: how many.
        hire: starts the process of a worker, given its life and its place; raises OSError when it cannot.
        clock: time.
        patience_s: from the first signal until whoever is left is killed.
        say: takes lines for the operator.

    Attributes:
        on_ready: called with each worker that takes connections from now on.
        on_stop: called once, on the first signal or when everything ends.
        desk: for what workers ask each other.
    """

    def __init__(
        self,
        workers: int,
        hire: Callable[[int, int], Coroutine[Any, Any, Worker]],
        clock: Clock,
        *,
        patience_s: float,
        say: Callable[[str], None],
    ) -> None:
        self._places = {number: Place() for number in range(1, workers + 1)}
        self._hire = hire
        self._clock = clock
        self._patience_s = patience_s
        self._say = say
        self._lives = 0
        self._kept = 0  # places with a worker, or with one that is being started
        self._stops = 0
        self._code = 0
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._killing: TimerHandle | None = None
        self.on_ready: list[Callable[[Worker], None]] = []
        self.on_stop: list[Callable[[], None]] = []
        self.desk = Desk(self.serving)

    async def run(self) -> int:
        """Start all, and return when all have ended.

        Returns: 0 after a signal; else what the worker ended with that could not start, or 1 for one that had to be
            killed or failed while it went down.
        """
        for number in self._places if not self._stops else ():
            self._fill(number)
        await self._over.wait()
        if self._killing is not None:
            self._killing.cancel()
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        return self._code

    def living(self) -> list[Worker]:
        """The workers that there are."""
        return [place.worker for place in self._places.values() if place.worker is not None]

    def serving(self) -> list[Worker]:
        """Those that are or were ready: who only starts has served nothing."""
        places = self._places.values()
        return [place.worker for place in places if place.worker is not None and place.ready_at_s is not None]

    def stop(self) -> None:
        """A signal came."""
        self._stops += 1
        if self._stops == 1:
            self._go_down()
        for worker in self.living():
            self._tell_the_end(worker)

    def heard(self, worker: Worker, message: ToSupervisor) -> None:
        """A worker said something."""
        match message:
            case Ready():
                self._ready(worker)
            case Counted(snapshot):
                self.desk.totals.told(worker.life, snapshot)
            case Scrape(number, snapshot):
                self.desk.totals.told(worker.life, snapshot)
                self._do(self._answer_scrape(worker, number))
            case Cancel(number, request_id, owner):
                self._do(self._answer_cancel(worker, number, request_id, owner))

    # The way up

    def _fill(self, number: int) -> None:
        self._places[number].next = None
        self._lives += 1
        self._kept += 1
        self._do(self._keep(number, self._lives))

    async def _keep(self, number: int, life: int) -> None:
        """One life in one place."""
        place = self._places[number]
        place.ready_at_s = None
        try:
            place.worker = worker = await self._hire(life, number)
        except OSError as error:
            self._gone(number, f"Worker {number} cannot be started ({error.strerror})", FAILED)
            return
        if self._stops:  # it came while it was being started
            self._tell_the_end(worker)
        code = await worker.ended()
        place.worker = None
        self.desk.totals.gone(worker.life)
        self._gone(number, f"Worker {number} (pid {worker.pid}) {how_it_ended(code)}", code)

    def _ready(self, worker: Worker) -> None:
        place = self._places[worker.number]
        place.ready_at_s = self._clock.now()
        place.was_ready = True
        for callback in self.on_ready:
            callback(worker)

    # What becomes of a place when its worker has gone

    def _gone(self, number: int, how: str, code: int) -> None:
        place = self._places[number]
        self._kept -= 1
        if self._stops:
            if code not in ENDED_BY_US:
                self._code = self._code or FAILED
                self._say(f"{how}.")
        elif place.was_ready or (code < 0 and any(each.was_ready for each in self._places.values())):
            delay_s = self._delay_s(place)
            self._say(f"{how}; another takes its place{f' in {delay_s:g} s' if delay_s else ''}.")
            place.next = self._clock.call_later(delay_s, lambda: self._fill(number))
        else:
            self._say(f"{how} before it was ready; the gateway ends.")
            self._code = code if code > 0 else FAILED
            self.stop()
        self._look()

    def _delay_s(self, place: Place) -> float:
        """How long a place stays empty: not at all, unless its workers die one soon after the other."""
        if place.ready_at_s is not None and self._clock.now() - place.ready_at_s >= STEADY_S:
            place.deaths = 0
            return 0.0
        place.deaths += 1
        return min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0 ** min(place.deaths - 1, 16))

    # The way down

    def _go_down(self) -> None:
        for callback in self.on_stop:
            callback()
        for place in self._places.values():
            if place.next is not None:
                place.next.cancel()
                place.next = None
        self._killing = self._clock.call_later(self._patience_s, self._lose_patience)
        self._look()

    def _tell_the_end(self, worker: Worker) -> None:
        worker.tell(Drain())
        if self._stops > 1:
            worker.tell(EndNow())
        if self._stops > 2:
            worker.kill()

    def _lose_patience(self) -> None:
        for worker in self.living():
            worker.kill()

    def _look(self) -> None:
        """Whether that was the last of them."""
        if self._stops and not self._kept:
            self._over.set()

    # Questions of workers

    async def _answer_cancel(self, worker: Worker, number: int, request_id: str, owner: str) -> None:
        worker.tell(Cancelled(number, await self.desk.cancel(worker.life, request_id, owner)))

    async def _answer_scrape(self, worker: Worker, number: int) -> None:
        worker.tell(Total(number, await self.desk.total(worker.life)))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def how_it_ended(code: int) -> str:
    """An exit code for people."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
