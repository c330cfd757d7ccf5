"""One HTTP request as the event of a Function URL: payload format 2.0.

Source: Lambda developer guide, "Invoking Lambda function URLs", read 2026-11-21. That bodies of forms and without a
type come as base64 is what users of real URLs report.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec

URL_ID = "rillgatelocal"
EVENT_BYTES_MAX = 6 * 1024 * 1024 + 100  # base64 counts

# They describe the client's connection, which ends here; what came in chunks has a length by now.
_OF_CONNECTION = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_TEXT_TYPES = frozenset({"application/json", "application/javascript", "application/xml"})


@dataclass(frozen=True, slots=True)
class UrlRequest:
    """One request as it came in, with its whole body.

    Attributes:
        path: as the client encoded it.
        headers: names in lower case, in order.
        source_ip: the client's address.
        port: where it came in.
        region: of the function.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    source_ip: str
    port: int
    region: str
    protocol: str = "HTTP/1.1"


def url_event(request: UrlRequest, request_id: str, trace_id: str, now_s: float) -> bytes:
    """The event as JSON."""
    headers = _joined(request.headers)
    cookies = [cookie for name, value in request.headers if name == "cookie" for cookie in _cookies(value)]
    user_agent = headers.get("user-agent", "")
    headers |= {
        "x-amzn-trace-id": trace_id,
        "x-forwarded-for": request.source_ip,
        "x-forwarded-port": str(request.port),
        "x-forwarded-proto": "http",
    }
    if request.body:
        headers["content-length"] = str(len(request.body))
    domain = f"{URL_ID}.lambda-url.{request.region}.on.aws"
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": request.query,
        **({"cookies": cookies} if cookies else {}),
        "headers": headers,
        **({"queryStringParameters": _query(request.query)} if request.query else {}),
        "requestContext": {
            "accountId": "anonymous",
            "apiId": URL_ID,
            "domainName": domain,
            "domainPrefix": URL_ID,
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": request.protocol,
                "sourceIp": request.source_ip,
                "userAgent": user_agent,
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now_s)),
            "timeEpoch": int(now_s * 1000),
        },
        **_body(request.body, headers),
    }
    return msgspec.json.encode(event)


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Repeated headers joined by commas; cookies have a place of their own."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        if name != "cookie" and name not in _OF_CONNECTION:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _cookies(header: str) -> list[str]:
    return [cookie.strip() for cookie in header.split(";") if cookie.strip()]


def _query(query: str) -> dict[str, str]:
    """Decoded; values of a repeated name joined by commas."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _body(body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    """A text as it is, everything else as base64."""
    if not body:
        return {"isBase64Encoded": False}
    if _is_text(headers):
        try:
            return {"body": body.decode(), "isBase64Encoded": False}
        except UnicodeDecodeError:
            pass
    return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def _is_text(headers: dict[str, str]) -> bool:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return "content-encoding" not in headers and (media_type.startswith("text/") or media_type in _TEXT_TYPES)
