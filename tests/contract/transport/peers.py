"""A server of raw bytes: each connection plays what its test wrote, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Asked:
    """One request as it came; the body as it was framed."""

    head: bytes
    body: bytes

    @property
    def line(self) -> bytes:
        """Method, target, version."""
        return self.head.split(b"\r\n", 1)[0]

    def header(self, name: bytes) -> bytes | None:
        """A header's value, by its lower-case name."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.lower() == name:
                return value.strip()
        return None


class Line:
    """One connection, from the server's side."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.asked_for: list[Asked] = []
        self.closed = asyncio.Event()

    async def head(self) -> bytes:
        """The next request's head, and nothing after it.

        Raises:
            asyncio.IncompleteReadError: the client is gone.
        """
        return await self.reader.readuntil(b"\r\n\r\n")

    async def asked(self) -> Asked:
        """The next request, whole."""
        head = await self.head()
        asked = Asked(head, b"")
        if asked.header(b"transfer-encoding") == b"chunked":
            body = await self.reader.readuntil(b"0\r\n\r\n")
        else:
            body = await self.reader.readexactly(int(asked.header(b"content-length") or 0))
        asked = Asked(head, body)
        self.asked_for.append(asked)
        return asked

    async def send(self, data: bytes) -> None:
        """Write, waiting for room.

        Raises:
            ConnectionError: the client is gone.
        """
        if self.writer.is_closing():
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()

    async def dribble(self, data: bytes) -> None:
        """Write byte by byte, giving the client a turn after each."""
        for at in range(len(data)):
            await self.send(data[at : at + 1])
            for _ in range(3):
                await asyncio.sleep(0)

    async def gone(self) -> None:
        """Wait until the client has closed; what it still sends is thrown away."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass

    def reset(self) -> None:
        """Close with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Play = Callable[[Line], Awaitable[None]]


async def answer_all(line: Line) -> None:
    """Answer every request with `OK`."""
    while True:
        await line.asked()
        await line.send(OK)


def answering(response: bytes) -> Play:
    """Answer every request with these bytes, and keep the connection."""

    async def play(line: Line) -> None:
        while True:
            await line.asked()
            await line.send(response)

    return play


def answering_once(response: bytes) -> Play:
    """Answer one request with these bytes, and close."""

    async def play(line: Line) -> None:
        await line.asked()
        await line.send(response)

    return play


class Peer:
    """Listens while the block lasts. Every connection is closed when its play ends or the client leaves."""

    def __init__(self, play: Play, *, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> None:
        self._play = play
        self._host = host
        self._context = context
        self._failures: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server
        self.lines: list[Line] = []
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens, by the name that its certificates have."""
        host = "[::1]" if self._host == "::1" else "localhost" if self._context else self._host
        return f"{'https' if self._context else 'http'}://{host}:{self.port}"

    async def line(self, number: int = 0) -> Line:
        """A connection, as soon as it was accepted."""
        while len(self.lines) <= number:
            await asyncio.sleep(0)
        return self.lines[number]

    async def __aenter__(self) -> Peer:
        self._server = await asyncio.start_server(self._accept, self._host, 0, ssl=self._context, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()
        if self._failures:
            raise self._failures[0]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(len(self.lines), reader, writer)
        self.lines.append(line)
        task = asyncio.get_running_loop().create_task(self._serve(line))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, line: Line) -> None:
        try:
            await self._play(line)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass  # the client left
        except asyncio.CancelledError:
            line.writer.transport.abort()
        except BaseException as error:
            self._failures.append(error)
        finally:
            line.closed.set()
            line.writer.close()
            with suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
                await line.writer.wait_closed()
