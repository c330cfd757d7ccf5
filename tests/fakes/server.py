"""A gateway server in the test's own event loop, on a free port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import cast

from starlette.types import ASGIApp

from rillgate.app.http_protocol import GatewayHttpProtocol, HttpLimits
from rillgate.app.listen import listen
from rillgate.app.server import Drain, GatewayServer


class NothingToDrain:
    """The drain of an application whose requests may be cut off."""

    def begin(self) -> None:
        """Nobody to tell."""

    def running(self) -> int:
        """No stream that is worth waiting for."""
        return 0

    def end_all(self) -> None:
        """Nobody to tell."""


@dataclass(frozen=True)
class Address:
    """Where a server of `serving` answers. As a string, its URL without a slash at the end.

    `served` is done when the server has gone down.
    """

    host: str
    port: int
    server: GatewayServer
    served: asyncio.Task[None]

    @property
    def url(self) -> str:
        """Such as http://127.0.0.1:40123."""
        return f"http://{self.host}:{self.port}"

    def __str__(self) -> str:
        return self.url

    @property
    def connections(self) -> list[GatewayHttpProtocol]:
        """The connections that are open now."""
        return [cast(GatewayHttpProtocol, connection) for connection in self.server.server_state.connections]


class _ServerInTest(GatewayServer):
    """Leaves signals to the test runner, and says when it accepts."""

    accepting: asyncio.Event

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp,
    *,
    drain: Drain | None = None,
    grace_s: float = 0,
    limits: HttpLimits | None = None,
    protocol: type[GatewayHttpProtocol] = GatewayHttpProtocol,
    stall_s: float = 30.0,
    flush_s: float = 0.5,
    say: Callable[[str], None] = print,
) -> AsyncIterator[Address]:
    """Serve `app` on 127.0.0.1, a free port, in the running loop.

    Shape:   `async with serving(app) as address:` and then `f"{address}/v1/models"`, `address.port`, `address.server`.
    Args:    drain: the application's streams. At the end of the block they are ended at once, without grace.
             grace_s: for tests that call `address.server.stop()` themselves.
             limits: of each connection.
             protocol: the connection's class, to look into it or to give it a clock.
             stall_s: for the options of the listening socket; `limits.linger_s` is apart.
             flush_s: real seconds that what still runs has at the end: a test that leaves a stuck client waits so long.
             say: takes the server's lines for the operator.
    Raises:  StartupFailed: the application's lifespan failed.
    """
    sock, _ = listen("127.0.0.1", 0, stall_s=stall_s)
    host, port = sock.getsockname()
    server = _ServerInTest(
        app,
        drain=drain or NothingToDrain(),
        grace_s=grace_s,
        limits=limits,
        protocol=protocol,
        flush_s=flush_s,
        say=say,
    )
    server.accepting = asyncio.Event()
    with sock:
        served = asyncio.create_task(server.serve(sockets=[sock]))
        served.add_done_callback(lambda _: server.accepting.set())  # or will never
        await server.accepting.wait()
        try:
            if not served.done():
                yield Address(host, port, server, served)
        finally:
            await _accept_no_more(sock)
            server.stop()
            server.stop()
            await served


async def _accept_no_more(sock: socket.socket) -> None:
    """asyncio forgets, open, a connection that it has accepted when its server is closed in the next turn but one."""
    with contextlib.suppress(RuntimeError, ValueError):  # uvloop has no such hole and refuses; the socket is closed
        asyncio.get_running_loop().remove_reader(sock)
    for _ in range(3):  # accepted, with a transport, known to the server
        await asyncio.sleep(0)
