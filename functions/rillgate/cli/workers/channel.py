"""One end of a socketpair that carries messages: one line of JSON each."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import msgspec

LINE_BYTES_MAX = 16 << 20  # a snapshot with 200 models has 250 KB

MessageT = TypeVar("MessageT")


class Channel(asyncio.Protocol, Generic[MessageT]):
    """What comes over a socket, as messages, and the other way round.

    Args:
        heard: decodes one line.
        on_message: takes each message, in order.
        on_end: called once when the other side has gone, or when what it says cannot be read.
    """

    _transport: asyncio.Transport

    def __init__(
        self,
        heard: msgspec.json.Decoder[MessageT],
        on_message: Callable[[MessageT], None],
        on_end: Callable[[], None],
    ) -> None:
        self._heard = heard
        self._on_message = on_message
        self._on_end = on_end
        self._buffer = bytearray()

    async def open(self, sock: socket.socket) -> None:
        """Begin; the socket is this object's from now on."""
        sock.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=sock)

    def send(self, message: msgspec.Struct) -> None:
        """Say something; to somebody who has gone, in vain."""
        if not self._transport.is_closing():
            self._transport.write(msgspec.json.encode(message) + b"\n")

    def close(self) -> None:
        """Say what is still to be said, then go. `on_end` follows."""
        self._transport.close()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n") if b"\n" in data else (self._buffer,)
        self._buffer = rest
        try:
            for line in lines:
                self._on_message(self._heard.decode(line))
        except msgspec.MsgspecError:
            self._transport.abort()  # not one of ours: as good as gone
        if len(rest) > LINE_BYTES_MAX:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_end()


def decoder(kinds: Any) -> msgspec.json.Decoder[Any]:
    """For `Channel`: reads one of the messages in a union of them."""
    return msgspec.json.Decoder(kinds)
