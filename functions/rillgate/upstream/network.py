"""The sockets under httpcore's pool: asyncio protocols that hold little and pause early.

httpcore's own backend reads whatever the kernel has, 64 KiB at a time, and keeps it for each connection: a thousand
streams whose clients have stopped reading then hold more than 100 MB of providers' bytes. Here a connection holds at
most one read that nobody has taken, `READ_BYTES`, and stops reading the socket until somebody does; the rest stays
in the kernel, where it stops the provider. While the reader keeps up nothing is paused or resumed at all.

Source: httpcore2 2.16, `AsyncNetworkBackend`; asyncio's `BufferedProtocol`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable
from typing import Any, cast

import aiohappyeyeballs
import httpcore2

READ_BYTES = 4 * 1024
HAPPY_EYEBALLS_S = 0.25  # RFC 8305: how long the preferred address may take before the next one is tried beside it

SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class NetworkBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections. One for each event loop: its connections read into one buffer, one after the other."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(READ_BYTES))  # asyncio's TLS reads into slices; a bytearray's are copies

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """A connection to the first address of `host` that answers.

        Raises:
            httpcore2.ConnectTimeout, httpcore2.ConnectError: none did.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_S)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = _Connection(self._buffer)
                await loop.create_connection(lambda: connection, sock=sock)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        return NetworkStream(connection)

    async def sleep(self, seconds: float) -> None:
        """For httpcore's retries, which are off."""
        await asyncio.sleep(seconds)


class NetworkStream(httpcore2.AsyncNetworkStream):
    """One connection, as httpcore uses it."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What has come, as soon as anything has; b"" at the end.

        Raises:
            httpcore2.ReadTimeout, httpcore2.ReadError: nothing came in time; the connection broke.
        """
        if not self._connection.readable:
            try:
                if timeout is None:
                    await self._connection.wait_readable()
                else:
                    async with asyncio.timeout(timeout):
                        await self._connection.wait_readable()
            except TimeoutError as error:
                raise httpcore2.ReadTimeout(str(error)) from error
        return self._connection.take(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of `buffer`, waiting while the peer does not take it.

        Raises:
            httpcore2.WriteTimeout, httpcore2.WriteError: it was not taken in time; the connection broke.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._connection.write(buffer)
        except TimeoutError as error:
            raise httpcore2.WriteTimeout(str(error)) from error

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """The same connection, encrypted from here on.

        Raises:
            httpcore2.ConnectTimeout, httpcore2.ConnectError: no handshake in time; a certificate that does not hold.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._connection.start_tls(ssl_context, server_hostname)
        except TimeoutError as error:
            self._connection.abort()
            raise httpcore2.ConnectTimeout(str(error)) from error
        except OSError as error:  # ssl.SSLError among them
            self._connection.abort()
            raise httpcore2.ConnectError(str(error)) from error
        except BaseException:
            self._connection.abort()
            raise
        return self

    async def aclose(self) -> None:
        """Close at once: httpcore closes what is over or not wanted, and nothing unsent is worth waiting for."""
        self._connection.abort()

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks for: the TLS object, for the protocol agreed on; whether an idle connection is stale."""
        if info == "is_readable":
            return self._connection.readable
        names = {"client_addr": "sockname", "server_addr": "peername"}
        return self._connection.transport.get_extra_info(names.get(info, info))


class _Connection(asyncio.BufferedProtocol):
    """Reads one buffer ahead, never more."""

    transport: asyncio.Transport  # from `connection_made` on, which precedes all else

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._data = b""  # read and not taken
        self._paused = False
        self._eof = False
        self._error: Exception | None = None
        self._readable: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None

    @property
    def readable(self) -> bool:
        """Whether `take` has something to say, the end included."""
        return bool(self._data) or self._eof or self._error is not None

    async def wait_readable(self) -> None:
        self._readable = asyncio.get_running_loop().create_future()
        try:
            await self._readable
        finally:
            self._readable = None

    def take(self, max_bytes: int) -> bytes:
        if self._data:
            taken, self._data = self._data[:max_bytes], self._data[max_bytes:]
            if self._paused and not self._data:
                self._paused = False
                self.transport.resume_reading()
            return taken
        if self._error is not None:
            raise httpcore2.ReadError(str(self._error)) from self._error
        return b""

    async def write(self, data: bytes) -> None:
        if self._error is not None or self.transport.is_closing():
            raise httpcore2.WriteError("the connection is closed")
        self.transport.write(data)
        if self._writable is not None:
            await self._writable
            if self._error is not None:
                raise httpcore2.WriteError(str(self._error)) from self._error

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str | None) -> None:
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(self.transport, self, context, server_hostname=server_hostname)
        if transport is None:  # as typed; the loops give one or raise
            raise ConnectionError("the TLS handshake ended without a connection")
        self.transport = transport
        limit_reads = getattr(transport, "set_read_buffer_limits", None)  # of both loops' TLS transports, and untyped
        if limit_reads is not None:
            limit_reads(high=READ_BYTES)

    def abort(self) -> None:
        self.transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        arrived = bytes(self._buffer[:nbytes])
        nobody_waits = bool(self._data) or self._readable is None
        self._data = self._data + arrived if self._data else arrived
        if nobody_waits and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._eof = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._eof = True
        self._error = self._error or exc
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    def _wake(self) -> None:
        if self._readable is not None and not self._readable.done():
            self._readable.set_result(None)
