"""Whole responses over ASGI `send`: errors in the client's dialect and JSON bodies."""

from __future__ import annotations

import math

from rillgate.delivery.writer import Send
from rillgate.domain.errors import RillgateError
from rillgate.domain.ports import Dialect

JSON = (b"content-type", b"application/json")
# No page may take an answer for a script, and nobody on the way keeps one: it is made of prompts and limits.
UNSHARED = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))

Headers = list[tuple[bytes, bytes]]


async def send_json(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """One JSON response."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [JSON, length, *UNSHARED, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_error(send: Send, dialect: Dialect, error: RillgateError) -> None:
    """An error response in the client's dialect."""
    await send_json(send, error.status, dialect.error_body(error), error_headers(error))


def error_headers(error: RillgateError) -> Headers:
    """What the error itself carries, and how it steers the official SDKs.

    `retry-after` is in whole seconds, rounded up; a 429 says the same in milliseconds, which those SDKs prefer.
    """
    headers: Headers = [
        (name.encode(), value.encode("ascii", "backslashreplace")) for name, value in error.headers.items()
    ]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(math.ceil(error.retry_after_s)).encode()))
        if error.status == 429:
            headers.append((b"retry-after-ms", str(math.ceil(error.retry_after_s * 1000)).encode()))
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    return headers
