"""A connection whose event loop is the test: it feeds bytes and sees when reading is stopped."""

from __future__ import annotations

import asyncio
from typing import Any

from rillgate.upstream.fast.body import Body
from rillgate.upstream.fast.protocol import READ_BYTES, Connection

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


class FakeTransport(asyncio.Transport):
    """Remembers what was written and whether it is read from."""

    def __init__(self, protocol: Connection) -> None:
        super().__init__()
        self.protocol = protocol
        self._reading = True
        self.aborted = False
        self.written = bytearray()
        self.unsent = 0

    def write(self, data: Any) -> None:
        assert not self.aborted
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.aborted

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        assert self._reading
        self._reading = False

    def resume_reading(self) -> None:
        assert not self._reading
        self._reading = True

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


class Wire:
    """A connection that has sent its request, and the body of the response to come."""

    def __init__(self) -> None:
        self.connection = Connection(memoryview(bytearray(READ_BYTES)), asyncio.get_running_loop())
        self.transport = FakeTransport(self.connection)
        self.connection.connection_made(self.transport)
        self.body = Body(self.connection, to_head=False, read_s=None)
        self.connection.begin(self.body)
        self.connection.sent = True
        self.released: list[bool] = []
        self.body.lease(self.released.append)

    def feed(self, data: bytes, *, late: bool = False) -> None:
        """What the event loop does with a read; `late`: TLS had it decrypted before reading was paused."""
        assert late or self.transport.is_reading(), "it asked not to be read"
        for at in range(0, len(data), READ_BYTES):
            piece = data[at : at + READ_BYTES]
            self.connection.get_buffer(-1)[: len(piece)] = piece
            self.connection.buffer_updated(len(piece))


class Sink:
    """A consumer that is pushed to."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.ends: list[Exception | None] = []

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(self.chunks)
