"""What an app answered, in Lambda's forms: the prelude of a streamed response, or one JSON document.

Source: Lambda developer guide, "Response streaming" and function URLs; API Gateway, "Set up a Lambda proxy integration
with payload response streaming". Read 2026-11-21.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterable
from typing import Any

from lambda_asgi.events import Headers
from lambda_asgi.logs import log_event

PRELUDE_END = bytes(8)
PRELUDE_BYTES_MAX = 16 * 1024  # API Gateway looks for the end no further

# They describe a connection, which is not the client's here, or a length that the platform counts itself; some come
# back under another name (x-amzn-Remapped-…).
_NOT_PASSED_ON = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"content-length",
    )
)
_TEXT_TYPES = (
    "application/json",
    "application/javascript",
    "application/xml",
    "application/x-ndjson",
    "application/x-www-form-urlencoded",
    "application/yaml",
)


def checked(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers that go to the client, names in lower case.

    Raises:
        ValueError: a name or value with a line end or NUL in it, the app's mistake.
    """
    passed: Headers = []
    for raw_name, raw_value in headers:
        name, value = bytes(raw_name).lower(), bytes(raw_value)
        if any(byte in name + value for byte in (b"\r", b"\n", b"\0")):
            raise ValueError(f"The response header {name!r} has a line end or a NUL in it.")
        if name not in _NOT_PASSED_ON:
            passed.append((name, value))
    return passed


def prelude(status: int, headers: Headers) -> bytes:
    """What stands before a streamed body: one JSON document and eight NULs. JSON escapes NULs, so none is in it."""
    joined, cookies = _joined(headers)
    document: dict[str, Any] = {"statusCode": status, "headers": joined}
    if cookies:
        document["cookies"] = cookies
    text = _dump(document) + PRELUDE_END
    if len(text) > PRELUDE_BYTES_MAX:
        log_event(logging.WARNING, "response headers are longer than API Gateway takes", bytes=len(text))
    return text


def whole_answer(status: int, headers: Headers, body: bytes, payload: str) -> bytes:
    """A response in one JSON document, payload "2.0" or "1.0"."""
    text = _as_text(headers, body)
    document: dict[str, Any] = {"statusCode": status}
    if payload == "2.0":
        document["headers"], cookies = _joined(headers)
        if cookies:
            document["cookies"] = cookies
    else:
        document["multiValueHeaders"] = _multi(headers)
    document["body"] = text if text is not None else base64.b64encode(body).decode()
    document["isBase64Encoded"] = text is None
    return _dump(document)


def _joined(headers: Headers) -> tuple[dict[str, str], list[str]]:
    """Repeated headers joined by commas; cookies apart, since theirs hold commas."""
    joined: dict[str, str] = {}
    cookies: list[str] = []
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name == "set-cookie":
            cookies.append(value)
        else:
            joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined, cookies


def _multi(headers: Headers) -> dict[str, list[str]]:
    multi: dict[str, list[str]] = {}
    for name, value in headers:
        multi.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return multi


def _as_text(headers: Headers, body: bytes) -> str | None:
    """The body as text where it is one; None where it has to go as base64."""
    found = dict(headers)
    media_type = found.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    is_text = media_type.startswith("text/") or media_type in _TEXT_TYPES or media_type.endswith(("+json", "+xml"))
    if body and (not is_text or b"content-encoding" in found):
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
