"""The worker's end of the channel: its siblings, as the routes see them, and what the supervisor wants of it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Protocol

from rillgate.app.embedded_shared import ModelNews, SharedModel
from rillgate.cli.workers.channel import Channel, decoder
from rillgate.cli.workers.messages import (
    Cancel,
    Cancelled,
    Count,
    Counted,
    Drain,
    EndNow,
    Ready,
    Scrape,
    Total,
    ToWorker,
)
from rillgate.cli.workers.questions import Questions
from rillgate.domain.errors import CapacityError
from rillgate.domain.ports import Clock
from rillgate.domain.timer import Timer
from rillgate.pipeline.streams import Streams
from rillgate.telemetry.logs import log_event
from rillgate.telemetry.metrics import Metrics
from rillgate.telemetry.prometheus import render_values
from rillgate.telemetry.snapshot import Snapshot, snapshot_of

ANSWER_S = 3.0  # longer than the supervisor itself waits for other workers
TELL_S = 2.0  # between two snapshots that nobody asked for: what a worker that is killed has counted since is lost


class Server(Protocol):
    """What goes down."""

    def drain_once(self) -> None:
        """Begin to drain; nothing more when that has begun."""

    def end_now(self) -> None:
        """Drain, and end the streams that still run."""


class Link:
    """The link, which is `domain.ports.Siblings`.

    Args:
        clock: time.
        model: hears what becomes of the embedded model; None where there is none.
    """

    def __init__(self, clock: Clock, model: SharedModel | None = None) -> None:
        self._model = model
        self._questions = Questions(clock, ANSWER_S)
        self._channel: Channel[ToWorker] = Channel(decoder(ToWorker), self._hear, self._alone)
        self._timer = Timer(clock, TELL_S, self._tell)
        self._ended = asyncio.Event()
        self._closing = False

    async def open(self, sock: socket.socket, server: Server, streams: Streams, metrics: Metrics) -> None:
        """Begin to listen to the supervisor.

        Args:
            sock: the channel's.
            server: goes down when the supervisor says so, or when it has gone.
            streams, metrics: this worker's own.
        """
        self._server, self._streams, self._metrics = server, streams, metrics
        await self._channel.open(sock)

    def ready(self) -> None:
        """This worker takes connections."""
        self._channel.send(Ready())
        self._tell()

    async def aclose(self) -> None:
        """Tell what was counted to the end, and say no more."""
        self._closing = True
        self._timer.close()
        self._channel.send(Counted(self._own()))
        self._channel.close()
        await self._ended.wait()

    async def cancel(self, request_id: str, owner: str) -> bool:
        """As `Siblings.cancel`."""
        return bool(await self._questions.ask(lambda number: self._channel.send(Cancel(number, request_id, owner))))

    async def metrics(self) -> tuple[bytes, str]:
        """As `Siblings.metrics`."""
        own = self._own()
        total: Any = await self._questions.ask(lambda number: self._channel.send(Scrape(number, own)))
        if total is None:
            raise CapacityError("What all workers have counted cannot be added up now; try again.", retry_after_s=1)
        return await asyncio.to_thread(render_values, total)

    def _own(self) -> Snapshot:
        return snapshot_of(self._metrics)

    def _tell(self) -> None:
        self._channel.send(Counted(self._own()))
        self._timer.restart()

    def _hear(self, message: ToWorker) -> None:
        match message:
            case Drain():
                self._server.drain_once()
            case EndNow():
                self._server.end_now()
            case Count(number):
                self._channel.send(Counted(self._own(), number))
            case Cancel(number, request_id, owner):
                self._channel.send(Cancelled(number, self._streams.cancel(request_id, owner)))
            case Cancelled(number, found):
                self._questions.answer(number, found)
            case Total(number, snapshot):
                self._questions.answer(number, snapshot)
            case ModelNews():
                if self._model is not None:
                    self._model.hear(message)

    def _alone(self) -> None:
        """The channel has ended: the supervisor has gone, or this worker has said its last."""
        self._timer.close()
        self._questions.close()
        self._ended.set()
        if not self._closing:
            log_event("supervisor_gone", level="error")
        self._server.drain_once()
