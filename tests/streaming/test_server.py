"""The server's way up and down: in the test's own loop for the order of things, as a process for signals.

Run as a module (`python -m tests.streaming.test_server LOOP MODE`) this file is the program that the process tests
send signals to.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from starlette.types import Receive, Scope, Send

from rillgate.app import server as module
from rillgate.app.listen import listen, socket_file_removed
from rillgate.app.server import GatewayServer, StartupFailed, event_loop, run
from tests.fakes.clients import RawClient, Truncated
from tests.fakes.server import serving

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
GUARD_S = 30.0  # against hanging tests, never what a test waits for
LONG_S = 3_600.0  # a wait that no test sits out
T = TypeVar("T")


async def within(awaitable: Awaitable[T]) -> T:
    """The result, or a failed test instead of a hanging one."""
    return await asyncio.wait_for(awaitable, GUARD_S)


class Streams:
    """An application and its drain.

    Each stream sends "begin ", then "draining " when the drain begins, then waits to be ended and sends "end". A
    request for /last ends by itself when the drain begins, one for /deaf is never ended, one for /flood sends more than
    the kernel takes, and waits in its next send until the client reads.
    """

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self.events: list[str] = []
        self.tell = tell or self.events.append
        self.open = 0
        self.begun = asyncio.Event()
        self.ending = asyncio.Event()
        self.started = asyncio.Event()
        self.cancelled = 0
        self.lifespan_shutdown: Callable[[], Awaitable[None]] | None = None

    def begin(self) -> None:
        self.tell("begin")
        self.begun.set()

    def running(self) -> int:
        return self.open

    def end_all(self) -> None:
        self.tell(f"end_all of {self.open}")
        self.ending.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
            return
        self.open += 1
        try:
            await self.stream(scope["path"], send)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.open -= 1

    async def stream(self, path: str, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begin ", "more_body": True})
        if path == "/flood":
            await send({"type": "http.response.body", "body": bytes(8_000_000), "more_body": True})
        self.started.set()
        if path == "/deaf":
            await asyncio.Event().wait()
        await self.begun.wait()
        await send({"type": "http.response.body", "body": b"draining ", "more_body": True})
        if path != "/last":
            await self.ending.wait()
        await send({"type": "http.response.body", "body": b"end"})

    async def live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.tell("lifespan shutdown")
        if self.lifespan_shutdown is not None:
            await self.lifespan_shutdown()
        await send({"type": "lifespan.shutdown.complete"})


async def fail_to_start(scope: Scope, receive: Receive, send: Send) -> None:
    """An application whose startup fails."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def block() -> None:
    """Block the event loop for ever, inside a C function that no signal's handler in Python can interrupt."""
    sum(itertools.repeat(0))


async def open_stream(port: int, path: str = "/", *, rcvbuf: int | None = None) -> RawClient:
    """A client that has read the beginning of a stream."""
    client = await RawClient.open(port, rcvbuf=rcvbuf)
    await client.request("GET", path)
    assert await client.response() == 200
    await client.read_until(b"begin ")
    return client


async def refused(port: int) -> bool:
    """Whether nobody listens on the port."""
    try:
        client = await RawClient.open(port)
    except ConnectionRefusedError:
        return True
    client.close()
    return False


# In the test's own loop


async def test_server_several_in_one_loop_keep_apart() -> None:
    """Servers share a loop without sharing state, and one going down leaves the other up."""
    one, two = Streams(), Streams()
    async with serving(two, drain=two) as second:
        async with serving(one, drain=one) as first:
            assert first.port != second.port
            assert str(first) == f"http://127.0.0.1:{first.port}"
            cut = await open_stream(first.port)
        assert await cut.read_body() == b"draining end"
        cut.close()
        assert one.events == ["begin", "end_all of 1", "lifespan shutdown"]
        client = await open_stream(second.port)
        assert two.events == []
        assert client.headers["date"]
        assert "server" not in client.headers
        client.close()


async def test_server_stop_waits_for_streams_then_ends_them() -> None:
    """Told first, then left alone, and ended in-band when the grace is over: the client reads a whole answer."""
    app = Streams()
    async with serving(app, drain=app, grace_s=0.05) as address:
        async with await open_stream(address.port) as client:
            address.server.stop()
            assert app.events == ["begin"]  # at once, before anything else runs
            assert await refused(address.port)
            assert await client.read_body() == b"draining end"
            assert await client.at_eof()
        await within(address.served)
    assert app.events == ["begin", "end_all of 1", "lifespan shutdown"]


async def test_server_stop_ends_when_the_last_stream_does() -> None:
    """The grace is a bound, not a wait: streams that finish by themselves end it."""
    app = Streams()
    async with serving(app, drain=app, grace_s=LONG_S) as address:
        clients = [await open_stream(address.port, "/last") for _ in range(3)]
        address.server.stop()
        for client in clients:
            assert await client.read_body() == b"draining end"
            client.close()
        await within(address.served)
    assert app.events == ["begin", "end_all of 0", "lifespan shutdown"]


async def test_server_stop_again_skips_the_grace() -> None:
    """The second request to stop ends the streams at once, in-band."""
    app = Streams()
    async with serving(app, drain=app, grace_s=LONG_S) as address:
        async with await open_stream(address.port) as client:
            address.server.stop()
            await client.read_until(b"draining ")
            assert app.events == ["begin"]
            address.server.stop()
            assert await client.read_body() == b"end"
        await within(address.served)


async def test_server_stop_closes_idle_connections_at_once() -> None:
    """Connections without a request, and those between two, do not wait for the streams of others."""
    app = Streams()
    async with serving(app, drain=app, grace_s=LONG_S) as address:
        app.begun.set()
        app.ending.set()
        idle = await open_stream(address.port)
        assert await idle.read_body() == b"draining end"
        app.begun.clear()
        app.ending.clear()
        silent = await RawClient.open(address.port)
        busy = await open_stream(address.port)  # accepted after the silent one
        address.server.stop()
        assert await idle.at_eof()
        assert await silent.at_eof()
        assert app.open == 1
        address.server.stop()
        assert await busy.read_body() == b"draining end"
        await within(address.served)
        for client in (idle, silent, busy):
            client.close()


async def test_server_stop_is_not_held_up_by_a_client_that_reads_nothing() -> None:
    """A stream whose client takes nothing is aborted when its time for the end is over, and its request ends."""
    app, lines = Streams(), list[str]()
    async with serving(app, drain=app, grace_s=LONG_S, flush_s=0.05, say=lines.append) as address:
        client = await RawClient.open(address.port, rcvbuf=4_096)
        await client.request("GET", "/flood")
        await within(app.started.wait())
        address.server.stop()
        address.server.stop()
        await within(address.served)
        assert app.open == 0
        assert app.cancelled == 0
        await client.response()
        with pytest.raises(Truncated):
            await client.read_body()
        client.close()
    assert address.server.exit_code == 0
    assert [line for line in lines if "cancelled" in line] == []


async def test_server_stop_cancels_what_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that ignores everything is cancelled and said to have been."""
    monkeypatch.setattr(module, "ABORT_S", 0.05)
    app, lines = Streams(), list[str]()
    async with serving(app, drain=app, flush_s=0.05, say=lines.append) as address:
        client = await open_stream(address.port, "/deaf")
    client.close()
    assert app.cancelled == 1
    assert lines[-1] == "1 request(s) did not end in time and were cancelled."
    assert address.server.exit_code == 0


async def test_server_lifespan_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The application's own shutdown has a bound too, and its failure is the process's."""
    monkeypatch.setattr(module, "LIFESPAN_S", 0.05)
    app, lines = Streams(), list[str]()
    app.lifespan_shutdown = asyncio.Event().wait  # type: ignore[assignment]
    async with serving(app, drain=app, say=lines.append) as address:
        pass
    assert lines == ["The application did not shut down within 0.05 s."]
    assert address.server.exit_code == 1


async def test_server_startup_failure_is_an_exception() -> None:
    """An application that does not start raises where the server was started, and no SystemExit in the loop."""
    with pytest.raises(StartupFailed):
        async with serving(fail_to_start):
            pytest.fail("it started")


async def test_server_gives_signals_back() -> None:
    """While it serves the signals are the server's, and afterwards those handlers are in force that were before."""
    app = Streams()
    server = GatewayServer(app, drain=app, grace_s=0)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with server.capture_signals():
        assert signal.getsignal(signal.SIGTERM) == server.handle_exit
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_event_loop_without_uvloop_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform without uvloop is served by asyncio's loop, with one line about it."""
    factory, notice = event_loop()
    assert notice is None
    monkeypatch.setitem(sys.modules, "uvloop", None)
    factory, notice = event_loop()
    loop = factory()
    loop.close()
    assert type(loop).__module__.startswith("asyncio.")
    assert notice is not None
    assert "uvloop" in notice
    assert "\n" not in notice


@pytest.mark.parametrize("turns", range(6))
async def test_connection_that_comes_in_while_the_server_goes_down_is_closed(turns: int) -> None:
    """However far it has come by then: waiting in the kernel, accepted, or known to the server."""
    async with serving(Streams(), drain=Streams()) as address:
        client = socket.create_connection((address.host, address.port))
        for _ in range(turns):
            await asyncio.sleep(0)
    with client:
        client.setblocking(False)
        with contextlib.suppress(ConnectionResetError):
            assert await within(asyncio.get_running_loop().sock_recv(client, 1)) == b""


# As a process


class Program:
    """The program at the end of this file, running."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def line(self) -> str:
        """The next line that it printed; "" at its end."""
        assert self.process.stdout is not None
        line = (await within(self.process.stdout.readline())).decode().rstrip()
        self.lines.append(line)
        return line

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def exit_code(self) -> int:
        """Wait for its end."""
        assert self.process.stdout is not None
        rest = (await within(self.process.stdout.read())).decode().splitlines()
        self.lines += rest
        return await within(self.process.wait())


@asynccontextmanager
async def program(loop: str, mode: str = "", **env: str) -> AsyncIterator[tuple[Program, int]]:
    """Start it; yields it and its port when it serves."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-m", "tests.streaming.test_server", loop, mode),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'functions'}:{ROOT}", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    running = Program(process)
    try:
        line = await running.line()
        yield running, int(line.removeprefix("port "))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@pytest.fixture
def loop(anyio_backend: tuple[str, dict[str, Any]]) -> str:
    """The event loop that the program runs on: the same as the test's own."""
    return "uvloop" if anyio_backend[1]["use_uvloop"] else "asyncio"


@SIGNALS
async def test_process_signal_drains_and_exits_with_zero(loop: str, number: signal.Signals) -> None:
    """On the first signal nobody gets in any more and streams go on; on the second they end in-band; the code is 0."""
    async with program(loop) as (running, port), await open_stream(port) as client:
        running.signal(number)
        await client.read_until(b"draining ")
        assert await refused(port)
        running.signal(number)
        assert await client.read_body() == b"end"
        assert await client.at_eof()
        assert await running.exit_code() == 0
    assert running.lines[1:] == [
        "begin",
        "Shutting down: 1 running stream(s) may finish within 3600 s; a second signal ends them now.",
        "end_all of 1",
        "lifespan shutdown",
        "run returned",
    ]


async def test_process_stuck_client_does_not_keep_it_alive(loop: str) -> None:
    """A client that reads nothing, and a stream that is stuck in its send, do not keep the process from ending."""
    async with program(loop, "hasty") as (running, port), await open_stream(port, "/flood", rcvbuf=4_096):
        running.signal(signal.SIGTERM)
        assert await running.exit_code() == 0
    assert running.lines[-3:] == ["end_all of 1", "lifespan shutdown", "run returned"]


async def test_process_third_signal_kills(loop: str) -> None:
    """Even where the event loop is stuck in a C function, the third signal ends the process by its default action."""
    async with program(loop, "stuck") as (running, port), await open_stream(port):
        for said in ("begin", "end_all of 1", "lifespan shutdown"):
            if said != "lifespan shutdown":
                running.signal(signal.SIGTERM)
            while await running.line() != said:
                assert running.lines[-1]
        running.signal(signal.SIGTERM)
        assert await running.exit_code() == -signal.SIGTERM


async def test_process_that_does_not_start_exits_with_three(loop: str) -> None:
    """An application that fails to start fails the process, and says why."""
    async with program(loop, "broken") as (running, _):
        assert await running.exit_code() == 3
    assert "no database" in running.lines


async def test_process_on_unix_socket_removes_its_file(loop: str, tmp_path: Path) -> None:
    """A unix socket is served, and its file is gone afterwards."""
    path = tmp_path / "gate.sock"
    async with program(loop, "unix", SOCKET=str(path)) as (running, _):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET /last HTTP/1.1\r\n\r\n")
        assert (await within(reader.readline())).startswith(b"HTTP/1.1 200")
        running.signal(signal.SIGTERM)
        assert b"end" in await within(reader.read())
        writer.close()
        assert await running.exit_code() == 0
    assert not path.exists()


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 (the tests read it)


def main(loop: str, mode: str) -> int:
    """Serve `Streams` until told to stop; the mode says what is odd about it."""
    if loop == "asyncio":
        sys.modules["uvloop"] = None  # type: ignore[assignment]
    app = Streams(_tell)
    if mode == "stuck":
        app.lifespan_shutdown = block
    sock, _ = listen("127.0.0.1", 0, stall_s=30, unix_socket=os.environ.get("SOCKET"))
    _tell(f"port {sock.getsockname()[1] if mode != 'unix' else 0}")
    hasty = mode == "hasty"
    with socket_file_removed(sock):
        code = run(
            fail_to_start if mode == "broken" else app,
            [sock],
            drain=app,
            grace_s=0.05 if hasty else LONG_S,
            flush_s=0.05 if hasty else LONG_S,
            say=lambda line: None if "uvloop" in line else _tell(line),
        )
    _tell("run returned")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
