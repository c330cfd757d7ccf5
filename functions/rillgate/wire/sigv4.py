"""AWS Signature Version 4: the headers that prove who sends a request.

    request → canonical request → its hash in the string to sign → HMAC under the day's key → authorization

The day's key takes four HMACs and changes at midnight UTC or with the credentials; a `Signer` keeps the last one.
S3 signs paths otherwise, and is not served here.

Source: AWS, "Create a signed AWS API request" (IAM User Guide), read 2026-11-21; botocore is the judge in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from hmac import digest
from urllib.parse import quote, unquote_to_bytes

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_HASH = sha256(b"").hexdigest()

# What proxies may change on the way, so nobody signs it.
UNSIGNED = frozenset(
    {
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "te",
        "traceparent",
        "tracestate",
        "baggage",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-amzn-trace-id",
    }
)

_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+|/", re.ASCII)


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key.

    Attributes:
        access_key_id: public; stands in every signed request.
        expires_s: seconds since 1970-01-01 UTC; None when it does not expire, as far as is known.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires_s: float | None = None


class Signer:
    """Signs requests to one service in one region.

    Args:
        service: as in the credential scope, such as "dynamodb" or "bedrock".
        region: such as "eu-central-1".
    """

    def __init__(self, service: str, region: str) -> None:
        self._region = region
        self._service = service
        self._day = -1
        self._date = ""
        self._scope = ""
        self._secret = ""
        self._key = b""

    def headers(
        self,
        credentials: Credentials,
        *,
        method: str,
        host: str,
        target: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        at_s: float,
    ) -> tuple[tuple[str, str], ...]:
        """The headers to add to a request.

        Shape:   [("content-type", …)]  →  (("host", …), ("x-amz-date", "20261121T100000Z"), ("authorization", …))
        Args:
            host: the header `Host` as it will be sent, with a port unless it is the scheme's own.
            target: path and query as they will be sent, percent-encoded: "/model/anthropic.claude%3A0/invoke?a=b".
            headers: the request's own, without those that this returns. All are signed but what proxies change.
            body: the exact bytes.
            at_s: the time of signing, seconds since 1970-01-01 UTC; services allow it to be 5 minutes off.
        Returns: host, x-amz-date, x-amz-security-token where the credentials have one, authorization.
        """
        day, second = divmod(int(at_s), 86400)
        if day != self._day or credentials.secret_access_key != self._secret:
            self._take_day(day, credentials.secret_access_key)
        timestamp = f"{self._date}T{second // 3600:02}{second // 60 % 60:02}{second % 60:02}Z"
        added = [("host", host), ("x-amz-date", timestamp)]
        if credentials.session_token:
            added.append(("x-amz-security-token", credentials.session_token))
        path, _, query = target.partition("?")
        canonical, names = canonical_headers([*added, *headers])
        request = (
            f"{method}\n{canonical_path(path)}\n{canonical_query(query) if query else ''}\n"
            f"{canonical}\n{names}\n{sha256(body).hexdigest() if body else EMPTY_HASH}"
        )
        to_sign = f"{ALGORITHM}\n{timestamp}\n{self._scope}\n{sha256(request.encode()).hexdigest()}"
        signature = digest(self._key, to_sign.encode(), "sha256").hex()
        added.append(
            (
                "authorization",
                f"{ALGORITHM} Credential={credentials.access_key_id}/{self._scope}, "
                f"SignedHeaders={names}, Signature={signature}",
            )
        )
        return tuple(added)

    def _take_day(self, day: int, secret: str) -> None:
        self._date = datetime.fromtimestamp(day * 86400, UTC).strftime("%Y%m%d")
        self._scope = f"{self._date}/{self._region}/{self._service}/aws4_request"
        key = f"AWS4{secret}".encode()
        for part in self._scope.split("/"):
            key = digest(key, part.encode(), "sha256")
        self._key, self._secret, self._day = key, secret, day


def canonical_headers(headers: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """The block of canonical headers, one line each, and their names joined by ";".

    A name that comes twice has its values joined by a bare comma, in the order in which they came.
    """
    values: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        if key in UNSIGNED:
            continue
        trimmed = " ".join(value.split())
        values[key] = f"{values[key]},{trimmed}" if key in values else trimmed
    names = sorted(values)
    return "".join([f"{name}:{values[name]}\n" for name in names]), ";".join(names)


def canonical_path(path: str) -> str:
    """A path as it is signed: without empty and dotted segments, and percent-encoded once more.

    Shape:   "/model/claude%3A0/invoke"  →  "/model/claude%253A0/invoke"
    """
    if _PLAIN_PATH.fullmatch(path):
        return path
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    end = "/" if kept and path.endswith("/") else ""
    return quote("/" + "/".join(kept) + end, safe="/~")


def canonical_query(query: str) -> str:
    """A query as it is signed: every name and value encoded in the one way, sorted by name, then by value."""
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return "&".join(f"{name}={value}" for name, value in sorted((_encoded(n), _encoded(v)) for n, _, v in pairs))


def _encoded(text: str) -> str:
    return quote(unquote_to_bytes(text), safe="")
