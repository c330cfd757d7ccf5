"""Names of requests: ours, and what a client calls its own."""

from __future__ import annotations

import re
import secrets

CLIENT_ID_CHARS_MAX = 128  # a UUID has 36, a W3C traceparent 55
_CLIENT_ID = re.compile(rf"[\x20-\x7e]{{1,{CLIENT_ID_CHARS_MAX}}}")


def new_request_id() -> str:
    """A fresh `x-request-id`: "req_" and 16 characters of base64url, 96 random bits, not to be guessed.

    Short, since the part after the prefix names the request's hold in every item that is charged.
    """
    return "req_" + secrets.token_urlsafe(12)


def safe_client_id(value: str | None) -> str | None:
    """A client's own `X-Client-Request-Id` if it can be logged and compared as it stands, else None.

    Shape:   "abc-1" → "abc-1"; None, "", 129 characters, a tab or "é" → None.
    """
    if value is None or not _CLIENT_ID.fullmatch(value):
        return None
    return value


def new_trace_id() -> str:
    """A fresh trace's id: 32 hexadecimal digits, random and not all of them 0."""
    return _hex(16)


def new_span_id() -> str:
    """A fresh span's id: 16 hexadecimal digits, random and not all of them 0."""
    return _hex(8)


def _hex(count: int) -> str:
    while not (number := secrets.token_bytes(count)).strip(b"\0"):
        pass  # all zeros mean that there is none
    return number.hex()
