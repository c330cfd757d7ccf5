"""What a function answered, as the Function URL reads it: the prelude of a streamed response, or one JSON document.

Source: Lambda developer guide, "Response streaming for Lambda functions" and "Invoking Lambda function URLs"; AWS's
runtime clients for Go and Node; read 2026-11-21.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

HTTP_RESPONSE = "application/vnd.awslambda.http-integration-response"
PRELUDE_END = bytes(8)
PRELUDE_BYTES_MAX = 1024 * 1024  # nobody sends more in earnest; without a bound a broken one would fill the memory

# Dropped, since the URL frames bodies itself; and what comes back under another name.
_DROPPED = frozenset({"content-length", "transfer-encoding", "keep-alive"})
_REMAPPED = frozenset({"connection", "date", "server", "www-authenticate"})

Headers = list[tuple[bytes, bytes]]


class BadAnswer(Exception):
    """The function's answer is none that a Function URL can pass on."""


@dataclass(frozen=True, slots=True)
class UrlAnswer:
    """Status and headers for the client, and the part of the body that is there already."""

    status: int
    headers: Headers
    body: bytes = b""


async def read_prelude(read: Callable[[], Awaitable[bytes]]) -> UrlAnswer:
    """The beginning of a streamed response, `read` piece by piece until its prelude is complete.

    Raises: BadAnswer: there is none.
    """
    buffer = bytearray()
    while (end := buffer.find(PRELUDE_END)) < 0:
        piece = await read()
        if not piece or len(buffer) > PRELUDE_BYTES_MAX:
            raise BadAnswer(f"the streamed response has no prelude within its first {len(buffer)} bytes")
        buffer += piece
    answer = _answer(_object(bytes(buffer[:end])), "application/octet-stream")
    return UrlAnswer(answer.status, answer.headers, bytes(buffer[end + len(PRELUDE_END) :]))


def bare_stream(content_type: str) -> UrlAnswer:
    """A stream without a prelude: its own content type, and success."""
    return UrlAnswer(200, [(b"content-type", (content_type or "application/octet-stream").encode("latin-1"))])


def whole_answer(document: bytes) -> UrlAnswer:
    """A response in one JSON document. Without a status code the document itself is the body.

    Raises: BadAnswer: it is no JSON, or its parts are not what they should be.
    """
    try:
        found = msgspec.json.decode(document)
    except msgspec.DecodeError as error:
        raise BadAnswer("the response is no JSON") from error
    if not isinstance(found, dict) or "statusCode" not in found:
        body = found.encode() if isinstance(found, str) else document
        return UrlAnswer(200, [(b"content-type", b"application/json")], body)
    answer = _answer(found, "application/json")
    text = found.get("body") or ""
    if not isinstance(text, str):
        raise BadAnswer("the body of the response is no text")
    try:
        body = base64.b64decode(text) if found.get("isBase64Encoded") is True else text.encode()
    except binascii.Error as error:
        raise BadAnswer("the body of the response is no base64") from error
    return UrlAnswer(answer.status, answer.headers, body)


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise BadAnswer("the prelude is no JSON") from error
    if not isinstance(found, dict):
        raise BadAnswer("the prelude is no JSON object")
    return found


def _answer(document: dict[str, Any], content_type: str) -> UrlAnswer:
    status, headers, cookies = (
        document.get("statusCode", 200),
        document.get("headers") or {},
        document.get("cookies") or [],
    )
    if not isinstance(status, int) or not 100 <= status <= 599:
        raise BadAnswer(f"the status code is {status!r}")
    if not isinstance(headers, dict) or not isinstance(cookies, list):
        raise BadAnswer("headers must be an object and cookies a list")
    pairs: Headers = []
    for raw_name, value in headers.items():
        name = raw_name.lower()
        if not isinstance(value, str | int | float | bool):
            raise BadAnswer(f"the header {name!r} has no single value")
        if name not in _DROPPED:
            pairs.append((_remapped(name).encode("latin-1"), _latin1(value)))
    if not any(name == b"content-type" for name, _ in pairs):
        pairs.append((b"content-type", content_type.encode()))
    pairs += [(b"set-cookie", _latin1(cookie)) for cookie in cookies]
    return UrlAnswer(status, pairs)


def _remapped(name: str) -> str:
    return f"x-amzn-remapped-{name}" if name in _REMAPPED else name


def _latin1(value: object) -> bytes:
    text = str(value)
    if any(sign in text for sign in "\r\n\0"):
        raise BadAnswer("a header has a line end in it")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()
