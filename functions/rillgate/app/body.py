"""Reads a request's body within bounds: of its size, of the whole time that it takes, and of how slowly it may come.

A client that sends a byte a minute costs a connection and a task for as long as it likes. So after `GRACE_S` the body
has to have come at `rate_min` bytes a second on average, and all of it within `timeout_s`. Only the time in which we
wait for the client counts. Apache's `mod_reqtimeout` (body=20,MinRate=500) does it so.
Source: RFC 9110, sections 15.5.9 (408) and 15.5.14 (413).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import ClientDisconnect

from rillgate.domain.errors import ClientError
from rillgate.domain.ports import Clock

GRACE_S: Final = 20.0  # without any rate: a phone in a tunnel

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What a body may take.

    Attributes:
        bytes_max: of it.
        timeout_s: for all of it.
        rate_min: bytes a second, on average, after `GRACE_S`.
    """

    bytes_max: int
    timeout_s: float
    rate_min: int

    def allowed_s(self, received: int) -> float:
        """How long may have been waited for so many bytes and the next one."""
        return min(self.timeout_s, GRACE_S + received / self.rate_min)


async def read_body(receive: Receive, content_length: str, limits: BodyLimits, clock: Clock) -> bytes:
    """The whole body.

    Args:
        content_length: the header's value; "" where there is none, as with a body in chunks.
    Raises:
        ClientError: 413, it is too large, at once where its length says so; 408, it comes too slowly.
        ClientDisconnect: the client left.
    """
    if content_length.isdecimal() and len(content_length) < 20 and int(content_length) > limits.bytes_max:
        raise _too_large(limits.bytes_max)
    body = bytearray()
    waited_s = 0.0
    while True:
        began_s = clock.now()
        message = await _next(receive, limits.allowed_s(len(body)) - waited_s, clock)
        waited_s += clock.now() - began_s
        if message is None:
            raise _too_slow(len(body))
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > limits.bytes_max:
            raise _too_large(limits.bytes_max)
        if not message.get("more_body", False):
            return bytes(body)


async def _next(receive: Receive, wait_s: float, clock: Clock) -> MutableMapping[str, Any] | None:
    """The next part; None where it did not come in time. A server's `receive` may be cancelled: it has lost nothing."""
    try:
        async with asyncio.timeout(None) as patience:
            timer = clock.call_later(wait_s, lambda: patience.reschedule(0))
            try:
                return await receive()
            finally:
                timer.cancel()
    except TimeoutError:
        return None


def _too_large(bytes_max: int) -> ClientError:
    return ClientError(
        f"The request body is larger than {bytes_max} bytes (limits.body_bytes_max).",
        status=413,
        code="request_too_large",
    )


def _too_slow(received: int) -> ClientError:
    return ClientError(
        f"The request body comes too slowly: {received} bytes so far (server.body_timeout_s, server.body_rate_min).",
        status=408,
        code="request_timeout",
    )
