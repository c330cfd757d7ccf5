"""Events of HTTP front doors to ASGI scopes: Function URL, HTTP API (payload 2.0) and REST API (payload 1.0).

Function URLs and REST APIs give the path as the client encoded it; HTTP APIs decode it first. So `a%2Fb` reaches an
app behind an HTTP API as `a/b`, and nothing here can tell.

Source: Lambda developer guide, "Request and response payloads" of function URLs; API Gateway developer guide, proxy
integrations; ASGI HTTP specification 2.4. Read 2026-11-21.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlencode

Headers = list[tuple[bytes, bytes]]

# What a path may hold as it is: RFC 3986, 3.3, and "%" since it mostly is encoded already.
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"


class UnsupportedEvent(Exception):
    """Not an HTTP request in a shape that is known here."""


@dataclass(frozen=True)
class HttpRequest:
    """One HTTP request as an event held it.

    Attributes:
        scope: of ASGI, without `state` and `extensions`.
        body: decoded.
        payload: "2.0" or "1.0", the shape in which a whole answer goes back.
        streams: whether it came through a door that can stream its answer (a Function URL; its InvokeMode is not told).
    """

    scope: dict[str, Any]
    body: bytes
    payload: str
    streams: bool


def http_request(event: Any, base_path: str = "") -> HttpRequest:
    """The request in an event.

    Args:
        event: decoded JSON.
        base_path: where the app is mounted; `root_path` where the path lies under it.
    Raises:
        UnsupportedEvent: it is something else.
    """
    context = event.get("requestContext") if isinstance(event, dict) else None
    if not isinstance(context, dict):
        raise UnsupportedEvent("The event has no requestContext: it is no HTTP request.")
    try:
        if isinstance(context.get("http"), dict):
            return _version_2(event, context, base_path)
        if isinstance(event.get("httpMethod"), str) and isinstance(event.get("path"), str) and "elb" not in context:
            return _version_1(event, context, base_path)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnsupportedEvent(f"The event is a broken HTTP request: {error!r}.") from error
    raise UnsupportedEvent("The event is no HTTP request of a Function URL, an HTTP API or a REST API.")


def _version_2(event: dict[str, Any], context: dict[str, Any], base_path: str) -> HttpRequest:
    http = context["http"]
    domain = context.get("domainName") or ""
    from_url = ".lambda-url." in domain
    headers = _headers((name, [value]) for name, value in (event.get("headers") or {}).items())
    if event.get("cookies"):
        headers.append((b"cookie", "; ".join(event["cookies"]).encode("latin-1", "replace")))
    stage = context.get("stage") or "$default"
    scope = _scope(
        method=http["method"],
        path=event.get("rawPath") or http.get("path") or "/",
        decoded=not from_url,
        query=_ascii(event.get("rawQueryString") or ""),
        headers=headers,
        mounts=[base_path, "" if stage == "$default" else f"/{stage}"],
        client=http.get("sourceIp"),
        domain=domain,
        protocol=http.get("protocol"),
    )
    return HttpRequest(scope, _body(event), "2.0", from_url)


def _version_1(event: dict[str, Any], context: dict[str, Any], base_path: str) -> HttpRequest:
    multi = event.get("multiValueHeaders")
    pairs = multi or {name: [value] for name, value in (event.get("headers") or {}).items()}
    query = event.get("multiValueQueryStringParameters") or event.get("queryStringParameters") or {}
    path = event["path"]
    # The stage is left out of `path`; clients call it, and redirects need it.
    full = context.get("path") or path
    stage = full.removesuffix(path) if full.endswith(path) else ""
    scope = _scope(
        method=event["httpMethod"],
        path=stage + path,
        decoded=False,
        query=urlencode(query, doseq=True).encode(),
        headers=_headers(pairs.items()),
        mounts=[base_path, stage],
        client=(context.get("identity") or {}).get("sourceIp"),
        domain=context.get("domainName") or "",
        protocol=context.get("protocol"),
    )
    return HttpRequest(scope, _body(event), "1.0", streams=False)


def _scope(
    *,
    method: str,
    path: str,
    decoded: bool,
    query: bytes,
    headers: Headers,
    mounts: list[str],
    client: str | None,
    domain: str,
    protocol: str | None,
) -> dict[str, Any]:
    if not isinstance(client, str | None):
        raise TypeError("the client's address is no text")
    raw_path = quote(path, safe=_PATH_SAFE.replace("%", "") if decoded else _PATH_SAFE)
    found = dict(headers)
    host = domain or found.get(b"host", b"localhost").decode("latin-1").partition(":")[0]
    scheme = found.get(b"x-forwarded-proto", b"https").decode("latin-1")
    port = found.get(b"x-forwarded-port", b"").decode("latin-1")
    path = path if decoded else unquote(path)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": (protocol or "HTTP/1.1").partition("/")[2] or "1.1",
        "method": method.upper(),
        "scheme": scheme,
        "path": path,
        "raw_path": raw_path.encode("ascii"),
        "query_string": query,
        "root_path": next((mount for mount in mounts if mount and _lies_under(path, mount)), ""),
        "headers": headers,
        "client": (client, 0) if client else None,
        "server": (host, int(port) if port.isdigit() else (80 if scheme == "http" else 443)),
    }


def _headers(pairs: Iterable[tuple[str, Iterable[Any]]]) -> Headers:
    """Names in lower case; each value an entry of its own, in order."""
    return [(name.lower().encode("latin-1"), _latin1(str(value))) for name, values in pairs for value in values]


def _latin1(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:  # decoded as UTF-8 on the way here
        return text.encode("utf-8", "surrogatepass")


def _ascii(query: str) -> bytes:
    """A raw query string is ASCII; emulators decode some of it."""
    return query.encode("ascii") if query.isascii() else quote(query, safe="%&=+/?:@!$'()*,;~").encode()


def _body(event: Mapping[str, Any]) -> bytes:
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        return base64.b64decode(body)
    encoded: bytes = body.encode("utf-8", "surrogatepass")
    return encoded


def _lies_under(path: str, mount: str) -> bool:
    return path == mount or path.startswith(mount + "/")
