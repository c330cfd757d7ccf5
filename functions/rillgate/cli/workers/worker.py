"""One worker: a gateway like any other, whose connections come through a door and whose supervisor tells it to end.

Signals count as the supervisor's first word, since a terminal and a service manager send them to every process: only
the supervisor's second ends the streams that still run. When it has gone this worker drains, so that none is left.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
from uvicorn.config import STARTUP_FAILURE

from rillgate.app.collector import calm_collector
from rillgate.app.embedded_shared import SharedModel
from rillgate.app.gateway import Gateway
from rillgate.app.http_protocol import GatewayHttpProtocol, HttpLimits
from rillgate.app.server import GatewayServer, StartupFailed, event_loop
from rillgate.app.settings.load import SettingsError, load_settings
from rillgate.app.settings.types import Settings
from rillgate.cli.banner import Banner
from rillgate.cli.serve import flags_of, longest_stall_s, say
from rillgate.cli.workers.handover import Door
from rillgate.cli.workers.link import Link
from rillgate.cli.workers.messages import Orders
from rillgate.telemetry.clock import LoopClock
from rillgate.telemetry.logs import configure_logs
from rillgate.telemetry.redaction import masked

USAGE_ERROR = 2


class WorkerServer(GatewayServer):
    """A server whose connections were accepted elsewhere.

    Args:
        gateway: what it serves.
        link: to the supervisor.
        control: the link's socket.
        door: where connections come from.
        options: of `GatewayServer`.
    """

    def __init__(self, gateway: Gateway, link: Link, control: socket.socket, door: Door, **options: Any) -> None:
        super().__init__(gateway.asgi, drain=gateway.streams, protocol=_telling(door.lost), **options)
        self._gateway = gateway
        self._link = link
        self._control = control
        self._door = door

    def drain_once(self) -> None:
        """As `link.Server`."""
        if not self._stops:
            self.stop()

    def end_now(self) -> None:
        """As `link.Server`."""
        while self._stops < 2:
            self.stop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came, between any two instructions."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.drain_once)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As `GatewayServer.startup`, and take connections from the door."""
        await self._link.open(self._control, self, self._gateway.streams, self._gateway.metrics)
        await super().startup(sockets)
        if not self.should_exit:
            self._door.open(self._connection)
            self._link.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As `GatewayServer.shutdown`; the supervisor is told last."""
        await super().shutdown(sockets)
        await self._link.aclose()

    def _close_doors(self) -> None:
        self._door.close()
        super()._close_doors()

    def _connection(self) -> asyncio.Protocol:
        """A protocol for one connection, as uvicorn makes them."""
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


def _telling(lost: Callable[[], None]) -> type[GatewayHttpProtocol]:
    """The connection's class, which says when one is closed."""

    class Told(GatewayHttpProtocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost()

    return Told


def main(arguments: Sequence[str]) -> int:
    """Serve until the supervisor says otherwise, or is gone.

    Args: arguments: the two descriptors, and the orders as JSON.
    Returns: as `server.run`, and 2 after one line on stderr where the configuration cannot be used any more.
    """
    control, connections = (socket.socket(fileno=int(word)) for word in arguments[:2])
    for sock in (control, connections):
        os.set_inheritable(sock.fileno(), False)
    orders = msgspec.json.decode(arguments[2], type=Orders)
    try:
        settings = load_settings(
            config=None if orders.config is None else Path(orders.config),
            flags=flags_of(orders.host, orders.port, orders.allow_unauthenticated),
            environ=os.environ,
            cwd=Path.cwd(),
        )
    except SettingsError as error:
        print(f"rillgate: {masked(str(error))}", file=sys.stderr)
        return USAGE_ERROR
    configure_logs()
    with connections:
        return _serve(replace(settings, keys_required=orders.keys_required), orders, control, connections)


def _serve(settings: Settings, orders: Orders, control: socket.socket, connections: socket.socket) -> int:
    model = SharedModel() if any(each.is_embedded for each in settings.providers.values()) else None
    link = Link(LoopClock(), model)
    gateway = Gateway(settings, embedded=model, siblings=link, watches_loop=True)
    factory, notice = event_loop()
    if orders.speaks:
        gateway.catalog.on_listed.append(Banner(settings, "", [], say).listed)
        if notice:
            say(notice)
    server = WorkerServer(
        gateway,
        link,
        control,
        Door(connections),
        grace_s=orders.grace_s,
        limits=HttpLimits(linger_s=longest_stall_s(settings), connections=gateway.connections),
        say=partial(_said_by, orders.number),
    )
    calm_collector()
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(server.serve(sockets=[]))
    except StartupFailed:
        return STARTUP_FAILURE
    return server.exit_code


def _said_by(number: int, line: str) -> None:
    say(f"Worker {number}: {line}")
