"""Writes AWS event-stream messages, as Bedrock does."""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

import msgspec

STRING = 7


def message(headers: Mapping[str, str | bytes], payload: bytes = b"") -> bytes:
    """One message. A header's value is text, or bytes that begin with the type and are written as they are."""
    block = b"".join(_header(name, value) for name, value in headers.items())
    prelude = (len(block) + len(payload) + 16).to_bytes(4) + len(block).to_bytes(4)
    start = prelude + crc32(prelude).to_bytes(4) + block + payload
    return start + crc32(start).to_bytes(4)


def event(name: str, payload: object) -> bytes:
    """An event with this JSON, or with these bytes as they are."""
    kind = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return message(kind, _payload(payload))


def exception(name: str, payload: object) -> bytes:
    """An exception, which ends a stream: `throttlingException`, `{"message": …}`."""
    kind = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return message(kind, _payload(payload))


def error(code: str, text: str) -> bytes:
    """An error that the service itself knows nothing of: all of it stands in the headers."""
    return message({":message-type": "error", ":error-code": code, ":error-message": text})


def _header(name: str, value: str | bytes) -> bytes:
    start = bytes([len(name.encode())]) + name.encode()
    if isinstance(value, bytes):
        return start + value
    return start + bytes([STRING]) + len(value.encode()).to_bytes(2) + value.encode()


def _payload(payload: object) -> bytes:
    return payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
