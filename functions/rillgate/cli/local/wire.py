"""One connection of a runtime to its Runtime API: HTTP/1.1 with request trailers, read no faster than it is used.

Source: RFC 9112; h11's own documentation of its client and server loops.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from typing import TypeAlias

import h11

READ_BYTES = 16_384
REST_S = 5.0  # how long a refused runtime may go on sending; closing at once would reset its answer away

Headers: TypeAlias = Sequence[tuple[str, str]]


class Wire:
    """Requests in, answers out, one after the other.

    Attributes:
        trailers: of the last body that was read to its end; names in lower case.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.trailers: dict[str, str] = {}
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)

    async def request(self) -> h11.Request | None:
        """The next request, its body not read; None when the runtime closes.

        Raises:
            h11.RemoteProtocolError, OSError: it broke off.
        """
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        if self._http.our_state is not h11.IDLE:
            return None
        event = await self._event()
        return event if isinstance(event, h11.Request) else None

    async def body(self) -> AsyncIterator[bytes]:
        """The body as it comes, chunk by chunk.

        Raises:
            h11.RemoteProtocolError, OSError: it broke off before its end.
        """
        if self._http.they_are_waiting_for_100_continue:
            self._send(h11.InformationalResponse(status_code=100, headers=[]))
        while True:
            event = await self._event()
            match event:
                case h11.Data():
                    yield bytes(event.data)
                case h11.EndOfMessage():
                    self.trailers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
                    return
                case _:
                    raise h11.RemoteProtocolError("the runtime closed in the middle of a body")

    async def answer(self, status: int, body: bytes, headers: Headers = ()) -> None:
        """A whole answer. Where the request was not read to its end, the rest is thrown away and the connection ends.

        Raises: OSError: nobody takes it.
        """
        lines = [*headers, ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        self._send(h11.Response(status_code=status, headers=lines, reason=HTTPStatus(status).phrase.encode()))
        self._send(h11.Data(data=body))
        self._send(h11.EndOfMessage())
        await self._writer.drain()
        if self._http.their_state is h11.SEND_BODY:
            await self._throw_rest_away()

    def abort(self) -> None:
        """Drop the connection: to a runtime this says that the platform has given up."""
        self._writer.transport.abort()

    async def aclose(self) -> None:
        """Close it."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass  # it had broken before

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self._http.next_event()
            if event is h11.PAUSED or isinstance(event, h11.Event):
                return event
            self._http.receive_data(await self._reader.read(READ_BYTES))

    def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)

    async def _throw_rest_away(self) -> None:
        try:
            async with asyncio.timeout(REST_S):
                while await self._reader.read(READ_BYTES):
                    pass
        except (TimeoutError, OSError):
            pass


def status_body(status: str) -> bytes:
    """What the Runtime API says when all is well."""
    return json.dumps({"status": status}).encode()


def error_body(kind: str, message: str) -> bytes:
    """What it says when not."""
    return json.dumps({"errorMessage": message, "errorType": kind}).encode()
