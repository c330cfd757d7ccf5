"""uvicorn as the gateway runs it: on a socket that is already there, and with a way down that tells the streams first.

The way down, on the first SIGTERM or SIGINT:

1. at once: the application is told (`Drain.begin`), the listening socket and all idle connections are closed;
2. until no stream runs, but no longer than `grace_s` (a second signal ends this wait): streams finish on their own;
3. `Drain.end_all`: each stream that still runs gets its in-band end, and has `FLUSH_S` to be written;
4. connections that still hang (a client that reads nothing) are aborted, and tasks that still run are cancelled;
5. the application's own shutdown, and exit code 0.

A third signal kills the process by its default action, wherever it may be stuck.

Nothing here polls: streams and connections that end, and signals, wake the server. uvicorn wakes ten times a second to
look whether it should exit; this one once, for the `Date` header.
Source: uvicorn 0.54, `server.py`; Python's signal module, "Execution of Python signal handlers".
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Protocol, TypeVar

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from rillgate.app.http_protocol import GatewayHttpProtocol, HttpLimits

FLUSH_S = 5.0  # for the in-band ends to be written; a client that reads at all needs milliseconds
ABORT_S = 1.0  # for requests to notice that their connection is gone
LIFESPAN_S = 10.0  # for the application's own shutdown
DATE_S = 1.0  # the `Date` header has seconds
KEEP_ALIVE_S = 75  # longer than the 60 s of nginx and of AWS's load balancers: who reuses must close first
BACKLOG = 2048

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_T = TypeVar("_T")


class Drain(Protocol):
    """What the server must know of the streams, and tell them, when it goes down. Called on the event loop only."""

    def begin(self) -> None:
        """From now on: not ready, and no new streams."""

    def running(self) -> int:
        """Streams that have not ended. Looked at whenever a request or a connection ends."""

    def end_all(self) -> None:
        """End each running stream in-band, now."""


class StartupFailed(Exception):
    """The application's lifespan failed; it has said why."""


class _Crowd(set[_T]):
    """A set that says when somebody leaves: uvicorn keeps its connections and its tasks in sets."""

    def __init__(self, left: Callable[[], None]) -> None:
        super().__init__()
        self._left = left

    def discard(self, element: object) -> None:
        super().discard(element)
        self._left()


def _say_nothing(line: str) -> None:
    pass


class GatewayServer(uvicorn.Server):
    """One server on one event loop.

    Args:
        app: the ASGI application.
        drain: its streams.
        grace_s: how long streams may go on after the first signal.
        limits: of each connection.
        protocol: the connection's class, for tests.
        flush_s: see `FLUSH_S`.
        say: takes lines for the operator.

    Attributes:
        exit_code: 0, or 1 when the application's own shutdown failed or did not end.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        drain: Drain,
        grace_s: float,
        limits: HttpLimits | None = None,
        protocol: type[GatewayHttpProtocol] = GatewayHttpProtocol,
        flush_s: float = FLUSH_S,
        say: Callable[[str], None] = _say_nothing,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol.bound(limits or HttpLimits()),
                ws="none",
                lifespan="on",
                interface="asgi3",
                log_config=None,  # the gateway's logs are its own
                access_log=False,
                server_header=False,
                proxy_headers=False,  # whoever is believed, the application decides
                workers=1,  # else WEB_CONCURRENCY decides
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
            )
        )
        self.drain = drain
        self.grace_s = grace_s
        self.flush_s = flush_s
        self.exit_code = 0
        self._say = say
        self._changed = asyncio.Event()
        self._stops = 0
        self._signals = 0
        self._draining = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self.server_state.connections = _Crowd(self._somebody_left)
        self.server_state.tasks = _Crowd(self._somebody_left)

    def stop(self) -> None:
        """Begin to drain, at once; called again, end the running streams now. On the event loop only."""
        self._stops += 1
        self.should_exit = True
        if self.started:
            self._close_doors()
        self._changed.set()

    # Signals

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGTERM and SIGINT, and give them back afterwards. uvicorn would raise them again: exit code 143."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._loop = asyncio.get_running_loop()
        before = {number: signal.signal(number, self.handle_exit) for number in _STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came, between any two instructions: what it asks for is done on the loop.

        After the second one the kernel acts by itself: what is stuck may be so in a C function, where no handler runs.
        """
        self._signals += 1
        if self._signals > 1:
            for number in _STOP_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.stop)

    # The way up and down

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept.

        Raises:
            StartupFailed: uvicorn's SystemExit, which must not fly through an event loop that others use too.
        """
        try:
            await super().startup(sockets)
        except SystemExit as error:
            raise StartupFailed("the application did not start") from error

    async def main_loop(self) -> None:
        """Serve until told to stop."""
        while not await self.on_tick(0):
            await self._until(lambda: self.should_exit, DATE_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Steps 1 to 5 of the way down. Takes at most grace_s + flush_s + 2 × ABORT_S + LIFESPAN_S."""
        self._close_doors()
        for sock in sockets or []:
            sock.close()
        if running := self.drain.running():
            self._say(
                f"Shutting down: {running} running stream(s) may finish within {self.grace_s:g} s; "
                "a second signal ends them now."
            )
        await self._until(lambda: self._stops > 1 or not self.drain.running(), self.grace_s)
        self.drain.end_all()
        self._hang_up_when_idle()  # also on connections that came in while the socket was being closed
        await self._until(self._deserted, self.flush_s)
        await self._abort()
        await self._end_lifespan()

    def _close_doors(self) -> None:
        if self._draining:
            return
        self._draining = True
        self.drain.begin()
        for server in self.servers:
            server.close()
        self._hang_up_when_idle()

    def _hang_up_when_idle(self) -> None:
        for connection in list(self.server_state.connections):
            connection.shutdown()

    def _somebody_left(self) -> None:
        if self._draining:  # only then is anybody waiting for it
            self._changed.set()

    def _deserted(self) -> bool:
        return not self.server_state.tasks and not self.server_state.connections

    async def _abort(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self._until(self._deserted, ABORT_S)
        if tasks := list(self.server_state.tasks):
            self._say(f"{len(tasks)} request(s) did not end in time and were cancelled.")
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=ABORT_S)

    async def _end_lifespan(self) -> None:
        try:
            async with asyncio.timeout(LIFESPAN_S):
                await self.lifespan.shutdown()
        except TimeoutError:
            self._say(f"The application did not shut down within {LIFESPAN_S:g} s.")
            self.exit_code = 1
        if self.lifespan.should_exit:
            self.exit_code = 1

    async def _until(self, over: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `over()` or the timeout, looking again whenever something ends."""
        try:
            async with asyncio.timeout(timeout_s):
                while not over():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass  # what did not end in its time is dealt with by the next step


def event_loop() -> tuple[Callable[[], asyncio.AbstractEventLoop], str | None]:
    """The factory of the fastest event loop there is, and a line to say once when it is not uvloop's."""
    try:
        import uvloop  # noqa: PLC0415 (not made for every platform)
    except ImportError:
        return asyncio.new_event_loop, "uvloop is not installed here: asyncio's own event loop serves, at more CPU."
    return uvloop.new_event_loop, None


def run(
    app: ASGIApp,
    sockets: Sequence[socket.socket],
    *,
    drain: Drain,
    grace_s: float,
    limits: HttpLimits | None = None,
    flush_s: float = FLUSH_S,
    say: Callable[[str], None] = _say_nothing,
) -> int:
    """Serve `app` on `sockets` until a signal says otherwise; blocks. Closes them.

    Args:
        app: the ASGI application; its lifespan is required.
        sockets: from `listeners.listening`, or `listen`.
        drain: the application's streams.
        grace_s: how long streams may go on after the first SIGTERM or SIGINT.
        limits: of each connection; `linger_s` should be `stall_s`.
        flush_s: see `FLUSH_S`.
        say: takes lines for the operator.

    Returns:
        the process's exit code: 0 after SIGTERM or SIGINT, 3 when the application did not start, 1 when it did not
        shut down.
    """
    factory, notice = event_loop()
    if notice:
        say(notice)
    server = GatewayServer(app, drain=drain, grace_s=grace_s, limits=limits, flush_s=flush_s, say=say)
    with contextlib.ExitStack() as stack:
        for sock in sockets:
            stack.enter_context(sock)
        try:
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(server.serve(sockets=list(sockets)))
        except StartupFailed:
            return STARTUP_FAILURE
    return server.exit_code
