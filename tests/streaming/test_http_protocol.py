"""What one connection may do, on real sockets, with uvicorn around it and tiny applications behind it."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import socket
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
from starlette.types import Message, Receive, Scope, Send

from rillgate.app.http_protocol import STALLED_EXTENSION, GatewayHttpProtocol, HttpLimits
from rillgate.domain.ports import TimerHandle
from tests.fakes.clients import RawClient, Truncated
from tests.fakes.clock import FakeClock
from tests.fakes.server import serving

pytestmark = pytest.mark.anyio
T = TypeVar("T")

SMALL = HttpLimits(head_bytes_max=2_000, headers_max=20)
GUARD_S = 20.0  # against hanging tests, never what a test waits for


async def within(awaitable: Awaitable[T]) -> T:
    """The result, or a failed test instead of a hanging one."""
    return await asyncio.wait_for(awaitable, GUARD_S)


class Watched(GatewayHttpProtocol):
    """A connection that tells the test what it does. `watched()` makes the class for one test."""

    clock: FakeClock
    received: asyncio.Event
    blocked: asyncio.Event
    lost: asyncio.Event
    sizes: list[int]

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> TimerHandle:
        return self.clock.call_later(delay_s, callback)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.received.set()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.sizes.append(self.transport.get_write_buffer_size())
        self.blocked.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost.set()


def watched() -> type[Watched]:
    """A class of its own for one test, on a clock that stands still."""

    class OneTest(Watched):
        clock = FakeClock()
        received = asyncio.Event()
        blocked = asyncio.Event()
        lost = asyncio.Event()
        sizes = []  # noqa: RUF012 (of the class, as the others)

    return OneTest


async def read_body(receive: Receive) -> bytes | None:
    """The whole body; None when the client went away first."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def answer(send: Send, payload: object, *, status: int = 200) -> None:
    """A whole answer."""
    body = json.dumps(payload).encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the request as it came."""
    if scope["type"] != "http":
        return
    body = await read_body(receive)
    if body is not None:
        headers = [[name.decode(), value.decode()] for name, value in scope["headers"]]
        keys = ("method", "path", "http_version")
        await answer(send, {key: scope[key] for key in keys} | {"headers": headers, "body": body.decode()})


class Held:
    """An application whose answer ends when the test says so, and that watches for the client's leaving."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.more = asyncio.Event()
        self.finish = asyncio.Event()
        self.gone = asyncio.Event()
        self.calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.calls += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begin ", "more_body": True})
        tasks = [asyncio.create_task(self._watch(receive)), asyncio.create_task(self._send_more(send))]
        self.started.set()
        await self.finish.wait()
        tasks[1].cancel()
        await send({"type": "http.response.body", "body": b"end"})
        await tasks[0]

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone.set()

    async def _send_more(self, send: Send) -> None:
        await self.more.wait()
        await send({"type": "http.response.body", "body": b"more ", "more_body": True})


async def refusal(client: RawClient, status: int, code: str) -> dict[str, Any]:
    """Read an error answer, which must be the last thing on its connection."""
    assert await client.response() == status
    body: dict[str, Any] = json.loads(await client.read_body())
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["code"] == code
    assert client.headers["connection"] == "close"
    assert client.headers["content-type"] == "application/json"
    assert client.headers["x-request-id"].startswith("req_")
    assert client.headers["date"]
    before = client.bytes_read
    assert await client.at_eof()
    assert client.bytes_read == before
    return body


def head_of(size: int) -> bytes:
    """A whole head of exactly `size` bytes."""
    head = b"GET / HTTP/1.1\r\nhost: x\r\nx-pad: %b\r\n\r\n"
    return head % (b"p" * (size - len(head) + 2))


# Bounds on the head


@pytest.mark.parametrize("at_once", [True, False])
async def test_head_at_its_bound_is_served_and_above_refused(at_once: bool) -> None:
    """Request line and headers may be head_bytes_max bytes, however they are cut, and not one more."""
    async with serving(echo, limits=SMALL) as address:
        for size, status in ((2_000, 200), (2_001, 431)):
            async with await RawClient.open(address.port) as client:
                head = head_of(size)
                assert len(head) == size
                for piece in [head] if at_once else [head[at : at + 7] for at in range(0, size, 7)]:
                    await client.send(piece)
                if status == 431:
                    await refusal(client, 431, "headers_too_large")
                else:
                    assert await client.response() == 200


ENDLESS = {
    "header": b"GET / HTTP/1.1\r\nx: " + b"v" * 1_000_000,
    "name": b"GET / HTTP/1.1\r\n" + b"n" * 1_000_000,
    "url": b"GET /" + b"u" * 1_000_000,
    "blank lines": b"\r\n" * 500_000,
    "trailer": b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx: " + b"v" * 1_000_000,
    "trailers": b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"x: v\r\n" * 200_000,
    "chunk extension": b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;x=" + b"v" * 1_000_000,
}


@pytest.mark.parametrize("what", ENDLESS)
async def test_input_without_progress_is_refused_and_the_answer_arrives(what: str) -> None:
    """Whatever the parser swallows without getting anywhere is bounded, and a client that only reads after having
    sent a megabyte still gets the answer, not a reset."""
    async with serving(echo) as address, await RawClient.open(address.port) as client:
        await client.send(ENDLESS[what])
        client.half_close()
        body = await refusal(client, 431, "headers_too_large")
    assert "65536 bytes" in body["error"]["message"]


async def test_headers_too_many_are_refused() -> None:
    """The number of headers is bounded, also where they are short."""
    async with serving(echo) as address:
        for count, status in ((200, 200), (201, 431)):
            async with await RawClient.open(address.port) as client:
                await client.send(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * count + b"\r\n")
                assert await client.response() == status


async def test_body_does_not_count_to_the_head() -> None:
    """A body of any length and in any chunks passes, and the next request on the connection starts anew."""
    async with serving(echo, limits=SMALL) as address, await RawClient.open(address.port) as client:
        body = b"b" * 300_000
        for _ in range(2):
            await client.request("POST", "/", headers={"x-pad": "p" * 1_500}, body=body)
            assert await client.response() == 200
            assert len(json.loads(await client.read_body())["body"]) == len(body)
        chunked = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 3_000 + b"0\r\n\r\n"
        await client.send(chunked + head_of(1_900))
        assert await client.response() == 200
        assert json.loads(await client.read_body())["body"] == "x" * 3_000
        assert await client.response() == 200


async def test_pipelined_heads_are_counted_one_by_one() -> None:
    """Requests that come together in one segment may be larger together than one may be, and are answered in order."""
    async with serving(echo, limits=SMALL) as address, await RawClient.open(address.port) as client:
        await client.send(b"".join(b"GET /%d HTTP/1.1\r\nx: %b\r\n\r\n" % (n, b"v" * 900) for n in range(10)))
        for number in range(10):
            assert await client.response() == 200
            assert json.loads(await client.read_body())["path"] == f"/{number}"


async def test_pipeline_too_deep_is_refused_after_the_answers() -> None:
    """One connection cannot queue requests without bound; those taken are still answered, in order."""
    app = Held()
    limits = HttpLimits(pipeline_max=3)
    async with serving(app, limits=limits) as address, await RawClient.open(address.port) as client:
        await client.send(b"GET / HTTP/1.1\r\n\r\n" * 5)
        app.finish.set()
        for _ in range(4):
            assert await client.response() == 200
            assert await client.read_body() == b"begin end"
        await refusal(client, 400, "too_many_pipelined_requests")
    assert app.calls == 4


# What cannot be parsed


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS to a plain port
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nnot a length\r\n",
    ],
)
async def test_malformed_http_is_refused_in_json(data: bytes) -> None:
    """What is not HTTP/1.1 is answered 400 in OpenAI's shape, and the connection is closed."""
    async with serving(echo) as address, await RawClient.open(address.port) as client:
        await client.send(data)
        await refusal(client, 400, "malformed_http")


async def test_connect_is_refused() -> None:
    """A client that takes the gateway for a proxy is told so."""
    async with serving(echo) as address, await RawClient.open(address.port) as client:
        await client.send(b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n")
        await refusal(client, 400, "method_not_allowed")


async def test_malformed_request_behind_a_stream_waits_for_its_end() -> None:
    """Nothing is ever written into the middle of an answer: the refusal of what came behind it comes after it."""
    app, protocol = Held(), watched()
    async with serving(app, protocol=protocol) as address, await RawClient.open(address.port) as client:
        await client.request("GET", "/")
        await within(app.started.wait())
        protocol.received.clear()
        await client.send(b"garbage\r\n\r\n")
        await within(protocol.received.wait())
        app.finish.set()
        assert await client.response() == 200
        assert await client.read_body() == b"begin end"
        await refusal(client, 400, "malformed_http")


async def test_malformed_body_ends_the_request_that_waits_for_it() -> None:
    """An application that waits for a broken body learns that its client is gone."""
    bodies: list[bytes | None] = []
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            bodies.append(await read_body(receive))
            ended.set()

    async with serving(app, protocol=watched()) as address, await RawClient.open(address.port) as client:
        await client.send(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\nbroken\r\n")
        await refusal(client, 400, "malformed_http")
        await within(ended.wait())
    assert bodies == [None]


async def test_malformed_body_under_a_running_stream_closes_it() -> None:
    """Where the answer has begun there is no place for an error: the client sees a cut answer."""
    app = Held()
    async with serving(app) as address, await RawClient.open(address.port) as client:
        await client.send(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        await within(app.started.wait())
        await client.send(b"broken\r\n")
        await client.response()
        with pytest.raises(Truncated):
            await client.read_body()
        await within(app.gone.wait())
        app.finish.set()


async def test_refused_client_that_stays_is_cut_off() -> None:
    """A refused client that neither closes nor stops sending holds its connection for two seconds, not for ever."""
    protocol = watched()
    async with serving(echo, protocol=protocol) as address, await RawClient.open(address.port) as client:
        await client.send(b"garbage\r\n\r\n")
        await client.response()
        await client.send(b"more garbage\r\n\r\n")
        protocol.clock.advance(1.9)
        assert not protocol.lost.is_set()
        protocol.clock.advance(0.1)
        await within(protocol.lost.wait())


# Deadlines


def keep_alive_pending(connection: GatewayHttpProtocol) -> bool:
    """Whether uvicorn will close this connection when it has been idle for long."""
    return connection.timeout_keep_alive_task is not None


async def test_head_that_dribbles_is_refused_when_its_time_is_over() -> None:
    """The deadline counts from the first byte; more bytes do not move it."""
    protocol = watched()
    async with serving(echo, protocol=protocol) as address, await RawClient.open(address.port) as client:
        for piece in (b"GET / HT", b"TP/1.1\r\n", b"x: y\r\n"):
            protocol.received.clear()
            await client.send(piece)
            await within(protocol.received.wait())
            protocol.clock.advance(3)
        assert not protocol.lost.is_set()
        protocol.clock.advance(1)
        body = await refusal(client, 408, "request_timeout")
    assert "10 s" in body["error"]["message"]


async def test_connection_that_never_speaks_is_closed_without_a_word() -> None:
    """A browser connects ahead of need, and would take an answer to nothing for that to its first request."""
    protocol = watched()
    async with serving(echo, protocol=protocol) as address, await RawClient.open(address.port) as client:
        async with await RawClient.open(address.port) as other:  # accepted in order, so the first one is known too
            await other.request("GET", "/")
            assert await other.response() == 200
        protocol.clock.advance(10)
        assert await client.at_eof()
        assert client.bytes_read == 0


async def test_head_deadline_ends_with_the_head() -> None:
    """A request may take as long as it likes, its body too; and the next one on the connection has a deadline again."""
    protocol = watched()
    async with serving(echo, protocol=protocol) as address, await RawClient.open(address.port) as client:
        await client.send(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n")
        await within(protocol.received.wait())
        assert protocol.clock.pending == 0
        await client.send(b"ok")
        assert await client.response() == 200
        await client.read_body()
        assert protocol.clock.pending == 0
        protocol.received.clear()
        await client.send(b"GET /late HTTP/1.1\r\n")
        await within(protocol.received.wait())
        assert not keep_alive_pending(address.connections[0])
        protocol.clock.advance(10)
        await refusal(client, 408, "request_timeout")


async def test_late_head_behind_a_stream_waits_for_its_end() -> None:
    """A half-sent request behind a running answer is refused after it, not in the middle of it."""
    app, protocol = Held(), watched()
    async with serving(app, protocol=protocol) as address, await RawClient.open(address.port) as client:
        await client.send(b"GET / HTTP/1.1\r\n\r\nGET / HT")
        await within(app.started.wait())
        protocol.clock.advance(10)
        app.finish.set()
        assert await client.response() == 200
        assert await client.read_body() == b"begin end"
        await refusal(client, 408, "request_timeout")


async def test_keep_alive_timer_does_not_outlive_the_idle_time() -> None:
    """A request whose first bytes came before the last answer ended is not cut by the keep-alive timer."""
    app, protocol = Held(), watched()
    async with serving(app, protocol=protocol) as address, await RawClient.open(address.port) as client:
        await client.send(b"GET / HTTP/1.1\r\n\r\nGET / HT")
        await within(app.started.wait())
        app.finish.set()
        assert await client.response() == 200
        await client.read_body()
        (connection,) = address.connections
        assert keep_alive_pending(connection)
        app.started.clear()
        app.finish.clear()
        await client.send(b"TP/1.1\r\n\r\n")
        await within(app.started.wait())
        assert not keep_alive_pending(connection)
        app.finish.set()
        assert await client.response() == 200


# HTTP as uvicorn serves it, and where it does not


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
async def test_upgrade_is_ignored(upgrade: str) -> None:
    """A request that wishes to upgrade is served as it stands (RFC 9110, 7.8)."""
    async with serving(echo) as address, await RawClient.open(address.port) as client:
        for path in ("/a", "/b"):
            await client.request("GET", path, headers={"connection": "upgrade", "upgrade": upgrade, "x": "y"})
            assert await client.response() == 200
            request = json.loads(await client.read_body())
            assert request["path"] == path
            headers = dict(request["headers"])
            assert headers["x"] == "y"
            assert "upgrade" not in headers


@pytest.mark.parametrize("cut", [None, 1])
async def test_upgrade_with_a_body_keeps_it(cut: int | None) -> None:
    """A body behind an ignored upgrade is read as a body (Java's client sends such requests), never as a request."""
    smuggled = b"GET /smuggled HTTP/1.1\r\n\r\n"
    head = b"POST /a?q=1 HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n"
    wire = head + b"content-length: %d\r\n\r\n" % len(smuggled) + smuggled
    wire += head + b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n" + b"GET /c HTTP/1.1\r\n\r\n"
    async with serving(echo) as address, await RawClient.open(address.port) as client:
        for at in range(0, len(wire), cut or len(wire)):
            await client.send(wire[at : at + (cut or len(wire))])
        seen = []
        for _ in range(3):
            assert await client.response() == 200
            request = json.loads(await client.read_body())
            seen.append((request["path"], request["body"]))
    assert seen == [("/a", smuggled.decode()), ("/a", "hello"), ("/c", "")]


async def test_trailers_do_not_become_headers() -> None:
    """What comes after a body cannot add to the headers that were already decided on, nor to the next head."""
    protocol = watched()
    async with (
        serving(echo, limits=SMALL, protocol=protocol) as address,
        await RawClient.open(address.port) as client,
    ):
        await client.send(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        await within(protocol.received.wait())
        await client.send(b"0\r\nauthorization: Bearer " + b"y" * 1_500 + b"\r\n\r\n")
        assert await client.response() == 200
        assert json.loads(await client.read_body())["headers"] == [["transfer-encoding", "chunked"]]
        await client.send(head_of(1_900))
        assert await client.response() == 200


async def test_head_request_and_old_client_work() -> None:
    """HEAD has no body, HTTP/1.0 closes, and a connection stays open otherwise."""
    async with serving(echo) as address, await RawClient.open(address.port) as client:
        await client.request("HEAD", "/")
        await client.request("GET", "/after")
        assert await client.response() == 200  # of HEAD: its length is that of a body that does not come
        assert await client.response() == 200
        assert json.loads(await client.read_body())["path"] == "/after"
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert await client.response() == 200
        assert json.loads(await client.read_body())["http_version"] == "1.0"
        assert client.headers["connection"] == "close"
        assert await client.at_eof()


async def test_client_gone_with_requests_queued_ends_the_running_one() -> None:
    """The request that is being answered learns of the close, not only the newest one behind it."""
    app = Held()
    async with serving(app) as address, await RawClient.open(address.port) as client:
        await client.send(b"GET / HTTP/1.1\r\n\r\n" * 2)
        await within(app.started.wait())
        client.abort()
        app.more.set()  # reading is paused while requests are queued, so the loss shows at the next write
        await within(app.gone.wait())
        app.finish.set()
    assert app.calls == 1


async def test_shutdown_closes_after_the_running_answer() -> None:
    """A server that goes down lets the answer that is being written end, and starts nothing that is queued behind."""
    app = Held()
    async with serving(app, flush_s=GUARD_S) as address, await RawClient.open(address.port) as client:
        await client.send(b"GET / HTTP/1.1\r\n\r\n" * 2)
        await within(app.started.wait())
        address.server.stop()
        app.finish.set()
        assert await client.response() == 200
        assert await client.read_body() == b"begin end"
        assert await client.at_eof()
        await within(address.served)
    assert app.calls == 1


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_connection_lost_leaves_nothing_behind(how: str) -> None:
    """A connection that is gone is freed at once, its request with it: no timer and no cycle of references keeps it."""
    protocol = watched()
    protocol.call_later = GatewayHttpProtocol.call_later  # type: ignore[method-assign]
    gc.collect()
    gc.disable()
    try:
        async with serving(echo, protocol=protocol) as address:
            client = await RawClient.open(address.port)
            await client.request("GET", "/")
            await client.response()
            await client.read_body()
            (connection,) = address.connections
            refs: list[weakref.ref[Any]] = [weakref.ref(connection), weakref.ref(connection.cycle)]
            del connection
            getattr(client, how)()
            await within(protocol.lost.wait())
            await asyncio.sleep(0)  # the transport lets go of its protocol after telling it
            assert [ref() for ref in refs] == [None, None]
    finally:
        gc.enable()


# A client that reads nothing


def numbered(start: int, size: int) -> Iterator[bytes]:
    """Pieces of `size` bytes that show their order."""
    for number in itertools.count(start):
        yield (b"%d," % number).ljust(size, b".")


class Pouring:
    """Sends numbered pieces until told to stop; then, with `last`, a great many more and the end."""

    def __init__(self, last: int = 0) -> None:
        self.last = last
        self.scope: Scope = {}
        self.begun = asyncio.Event()
        self.stop = asyncio.Event()
        self.done = asyncio.Event()
        self.sent: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.scope = scope
        await send({"type": "http.response.start", "status": 200, "headers": []})
        self.begun.set()
        for piece in numbered(0, 1_000):
            if self.stop.is_set():
                break
            await self._send(send, piece)
        for piece in itertools.islice(numbered(len(self.sent), 64_000), self.last):
            await self._send(send, piece)
        await send({"type": "http.response.body", "body": b""})
        self.done.set()

    async def _send(self, send: Send, piece: bytes) -> None:
        self.sent.append(piece)
        message: Message = {"type": "http.response.body", "body": piece, "more_body": True}
        await send(message)
        await asyncio.sleep(0)  # to a client that is gone, send returns at once: let the server notice that it stops

    def release(self) -> None:
        self.scope["extensions"][STALLED_EXTENSION]["release"]()


async def stalled_client(port: int) -> RawClient:
    """A client with a small window that has asked and reads nothing."""
    client = await RawClient.open(port, rcvbuf=4_096)
    await client.request("GET", "/")
    return client


async def test_write_limits_pause_after_eight_kilobytes() -> None:
    """uvicorn waits as soon as 8 KiB are unsent, not only at the 64 KiB of asyncio's default."""
    app, protocol = Pouring(), watched()
    async with serving(app, protocol=protocol) as address, await stalled_client(address.port) as client:
        await within(protocol.blocked.wait())
        assert address.connections[0].transport.get_write_buffer_limits() == (2_048, 8_192)
        app.stop.set()
        client.abort()
        await within(protocol.lost.wait())
    assert protocol.sizes
    assert all(8_192 < size <= 8_192 + 1_000 + 10 for size in protocol.sizes)


async def test_release_lets_the_end_through_to_a_client_that_wakes_up() -> None:
    """After release the send that waits and all later ones go through at once, and the client that resumes reading
    gets every byte, in order, with a proper end."""
    app, protocol = Pouring(last=32), watched()
    async with serving(app, protocol=protocol) as address, await stalled_client(address.port) as client:
        await within(protocol.blocked.wait())
        app.release()
        app.stop.set()
        await within(app.done.wait())  # 2 MB that nobody has read
        assert client.bytes_read == 0
        assert await client.response() == 200
        assert await client.read_body() == b"".join(app.sent)
        assert await client.at_eof()
        await within(protocol.lost.wait())
    assert len(app.sent) > 32
    assert protocol.clock.pending == 0


async def test_release_before_the_client_stalls_counts_too() -> None:
    """A released response never waits, whether or not its client was behind at that moment."""
    app, protocol = Pouring(last=32), watched()
    async with serving(app, protocol=protocol) as address, await stalled_client(address.port) as client:
        await within(app.begun.wait())
        app.release()
        app.stop.set()
        await within(app.done.wait())
        await client.response()
        assert await client.read_body() == b"".join(app.sent)


async def test_release_aborts_a_client_that_stays_asleep() -> None:
    """The connection of a client that never wakes up is gone linger_s after its stream, with all that it held."""
    app, protocol, limits = Pouring(last=32), watched(), HttpLimits(linger_s=7)
    async with (
        serving(app, protocol=protocol, limits=limits) as address,
        await stalled_client(address.port) as client,
    ):
        await within(protocol.blocked.wait())
        app.release()
        app.stop.set()
        await within(app.done.wait())
        (connection,) = address.connections
        assert connection.transport.get_write_buffer_size() > 1_000_000
        protocol.clock.advance(6.9)
        assert not protocol.lost.is_set()
        protocol.clock.advance(0.1)
        await within(protocol.lost.wait())
        assert not address.connections
        await client.response()
        with pytest.raises(Truncated):
            await client.read_body()


async def test_release_of_a_finished_answer_does_nothing() -> None:
    """A stream that ended in time keeps its connection, whatever its watcher says afterwards."""
    releases: list[Callable[[], None]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await echo(scope, receive, send)
        if scope["type"] == "http":
            releases.append(scope["extensions"][STALLED_EXTENSION]["release"])

    protocol = watched()
    async with serving(app, protocol=protocol) as address, await RawClient.open(address.port) as client:
        for expected in (1, 2):
            await client.request("GET", "/")
            assert await client.response() == 200
            await client.read_body()
            assert len(releases) == expected
            releases[0]()
            assert protocol.clock.pending == 0


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this platform has no TCP_USER_TIMEOUT")
async def test_options_of_the_listening_socket_reach_the_connection() -> None:
    """The transport's own socket has what the listening one was given, and sends small events at once."""
    async with serving(echo, stall_s=3) as address, await RawClient.open(address.port) as client:
        await client.request("GET", "/")
        await client.response()
        sock = address.connections[0].transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 16_384
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 6_000
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
