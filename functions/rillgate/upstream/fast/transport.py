"""The fast transport: one request on one connection of its origin's pool, behind httpx2's own interface."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from functools import partial
from typing import NamedTuple

import httpx2

from rillgate.upstream.fast.body import Body
from rillgate.upstream.fast.connect import connect
from rillgate.upstream.fast.pool import Pool
from rillgate.upstream.fast.protocol import READ_BYTES, Connection
from rillgate.upstream.fast.request import encode

STALE_WITHIN_S = 0.5  # a kept connection that was dead already says so within a round trip
SENDING = "http11.send_request_headers.started"  # httpcore's name for it
PORTS = {b"http": 80, b"https": 443}


class Origin(NamedTuple):
    """Whom connections are made to."""

    tls: bool
    host: str
    port: int

    @classmethod
    def of(cls, url: httpx2.URL) -> Origin:
        """Of an address.

        Raises: httpx2.UnsupportedProtocol
        """
        if url.raw_scheme not in PORTS:
            raise httpx2.UnsupportedProtocol(f"{url.scheme!r} is neither http nor https.")
        return cls(url.raw_scheme == b"https", url.raw_host.decode("ascii"), url.port or PORTS[url.raw_scheme])


class FastTransport(httpx2.AsyncBaseTransport):
    """HTTP/1.1 over connections of our own. One for each event loop.

    Of `request.extensions` it knows `timeout` (connect, read, write, pool; seconds) and `trace`, to which it tells
    `SENDING` alone. The response's stream is a `Body`. It raises httpx2's exceptions.

    Args:
        ssl_context: for all connections. From here on it offers HTTP/1.1 alone and no renegotiation.
        connections_max: for each origin.
        keepalive_s: how long an idle connection is kept.
    """

    def __init__(self, ssl_context: ssl.SSLContext, *, connections_max: int, keepalive_s: float) -> None:
        ssl_context.set_alpn_protocols(["http/1.1"])
        ssl_context.options |= ssl.OP_NO_RENEGOTIATION
        self._ssl_context = ssl_context
        self._connections_max = connections_max
        self._keepalive_s = keepalive_s
        self._pools: dict[Origin, Pool] = {}
        self._buffer = memoryview(bytearray(READ_BYTES))

    @property
    def slots(self) -> int:
        """Connections that are open or about to be, idle ones included."""
        return sum(pool.slots for pool in self._pools.values())

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return sum(pool.idle for pool in self._pools.values())

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request and give the response when its head is there.

        Raises:
            httpx2.RequestError: its subclasses say what failed: `PoolTimeout`, `ConnectTimeout`, `ConnectError`,
                `WriteTimeout`, `ReadTimeout`, `ReadError`, `RemoteProtocolError`, `LocalProtocolError`.
        """
        trace = request.extensions.get("trace")
        head, content = encode(request)
        body = await self.send(
            Call(
                Origin.of(request.url),
                head,
                content,
                to_head=request.method == "HEAD",
                timeouts=request.extensions.get("timeout", {}),
                on_sending=None if trace is None else lambda: trace(SENDING, {"request": request}),
            )
        )
        return httpx2.Response(
            body.reader.status,
            headers=body.reader.headers,
            stream=body,
            extensions={"http_version": body.reader.version, "reason_phrase": body.reader.reason},
        )

    async def send(self, call: Call) -> Body:
        """The same without httpx2's objects, which cost as much as all else here: gives the body when its head is
        there, with status and headers in `body.reader`.

        Raises: as `handle_async_request`.
        """
        pool = self._pool(call.origin)
        connection = await pool.acquire(call.timeouts.get("pool"))
        try:
            body = None if connection is None else await call.ask_again(connection)
            if body is None:
                stale, connection = connection, await self._connect(call.origin, call.timeouts.get("connect"))
                pool.opened(connection, instead_of=stale)
                body = await call.ask(connection)
        except BaseException:
            pool.give_back(connection, reusable=False)
            raise
        body.lease(partial(pool.give_back, connection))
        return body

    async def aclose(self) -> None:
        """Close every connection. Responses that are under way break off."""
        for pool in self._pools.values():
            pool.close()
        await asyncio.sleep(0)  # the event loop closes sockets in its next turn

    def _pool(self, origin: Origin) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            pool = Pool(connections_max=self._connections_max, keepalive_s=self._keepalive_s)
            self._pools[origin] = pool
        return pool

    async def _connect(self, origin: Origin, timeout_s: float | None) -> Connection:
        return await connect(
            self._buffer,
            origin.host,
            origin.port,
            ssl_context=self._ssl_context if origin.tls else None,
            timeout_s=timeout_s,
        )


class Call:
    """One request, on the first or the second connection.

    Args:
        head: request line and headers, as they go out.
        content: the body; pieces are framed already.
        to_head: whether the request is a HEAD.
        timeouts: connect, read, write, pool; seconds.
        on_sending: called once, however many connections it takes, when the first byte is about to be written.
    """

    def __init__(
        self,
        origin: Origin,
        head: bytes,
        content: bytes | AsyncIterable[bytes],
        *,
        to_head: bool,
        timeouts: Mapping[str, float | None],
        on_sending: Callable[[], Awaitable[None] | None] | None,
    ) -> None:
        self.origin = origin
        self.timeouts = timeouts
        self._head = head
        self._content = content
        self._to_head = to_head
        self._on_sending = on_sending

    async def ask(self, connection: Connection) -> Body:
        """Send it and wait for the head."""
        body = self._expect(connection)
        await self._send(connection, body)
        return body

    async def ask_again(self, connection: Connection) -> Body | None:
        """The same on a connection that was kept; None where that was dead already and a new one may be tried.

        The other side may close an idle connection while our request is on its way. It says so at once and answers
        nothing. What it says later may come from a provider that has worked on the request, so that is an error.
        """
        body = self._expect(connection)
        began_s = connection.loop.time()
        try:
            await self._send(connection, body)
        except (httpx2.ReadError, httpx2.RemoteProtocolError):
            at_once = connection.loop.time() - began_s < STALE_WITHIN_S
            if body.touched or not at_once or not isinstance(self._content, bytes):
                raise
            return None
        return body

    def _expect(self, connection: Connection) -> Body:
        body = Body(connection, to_head=self._to_head, read_s=self.timeouts.get("read"))
        connection.begin(body)
        return body

    async def _send(self, connection: Connection, body: Body) -> None:
        try:
            if self._on_sending is not None:
                on_sending, self._on_sending = self._on_sending, None
                if (telling := on_sending()) is not None:
                    await telling
            await connection.send(self._head, self._content, self.timeouts.get("write"))
            await body.head()
        except BaseException:
            body.close()
            raise
