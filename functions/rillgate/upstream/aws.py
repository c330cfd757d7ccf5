"""Signed calls to one AWS service that speaks AWS JSON: `domain.ports.AwsCalls`.

Every call is POST / with the operation in `x-amz-target`. Nothing is repeated here: whoever calls knows what is safe
to repeat. Two kinds of refusal change what the next call does: one about the time takes over the service's clock, one
about the key has the credentials fetched anew.

Source: AWS, "DynamoDB low-level API" and "Common errors", read 2026-11-21.
"""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import msgspec

from rillgate.domain.errors import CapacityError, UpstreamError, UpstreamTimeout
from rillgate.domain.ports import Clock
from rillgate.domain.request import Endpoint, UpstreamRequest
from rillgate.upstream.aws_credentials import AwsCredentials
from rillgate.upstream.exchange import Exchange
from rillgate.wire.loose_json import UNREADABLE
from rillgate.wire.sigv4 import Credentials, Signer

CONTENT_TYPES = {"dynamodb": "application/x-amz-json-1.0"}
CONTENT_TYPE = "application/x-amz-json-1.1"  # of the other services that are called
DEFAULT_PORTS = {"http": 80, "https": 443}

REFUSED_KEY = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "InvalidToken", "UnrecognizedClientException"}
)
WRONG_TIME = frozenset({"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"})
WRONG_TIME_TEXTS = ("Signature expired", "Signature not yet current")  # of InvalidSignatureException


class AwsJsonCalls:
    """Calls to one service in one region, over kept connections; any number at a time.

    Args:
        exchange: its pool bounds how many run at once.
        credentials: what to sign with.
        clock: wall time for signatures.
        service: as in signatures and host names: "dynamodb".
        region: such as "eu-central-1".
        endpoint_url: instead of the service's own address, such as "http://127.0.0.1:8001".
        connect_timeout_s: for a new connection, TLS included, or for a free one where the pool is full.
    """

    def __init__(
        self,
        exchange: Exchange,
        credentials: AwsCredentials,
        clock: Clock,
        *,
        service: str,
        region: str,
        endpoint_url: str | None = None,
        connect_timeout_s: float,
    ) -> None:
        self._exchange = exchange
        self._credentials = credentials
        self._clock = clock
        self._service = service
        self._base_url = (endpoint_url or service_url(service, region)).rstrip("/")
        self._host = host_header(self._base_url)
        self._target = f"{urlsplit(self._base_url).path}/"
        self._signer = Signer(service, region)
        self._content_type = CONTENT_TYPES.get(service, CONTENT_TYPE)
        self._connect_timeout_s = connect_timeout_s
        self._skew_s = 0.0  # the service's clock minus ours

    async def call(self, target: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        """One POST of JSON; gives status and body of whatever answer came. It is not repeated.

        Waiting for credentials comes before, in its own time; it happens at the first call and when a refresh failed.

        Args:
            target: `x-amz-target`, such as "DynamoDB_20120810.UpdateItem".
            body: the request's JSON.
            timeout_s: for the whole call once connected.
        Raises:
            UpstreamError: no credentials, no connection, no answer in time, or a broken one. A connection that was
                late is closed.
        """
        credentials = await self._credentials.current()
        endpoint, request = self._signed(credentials, target, body)
        loop = asyncio.get_running_loop()
        try:
            async with (
                asyncio.timeout(self._connect_timeout_s + timeout_s) as limit,
                self._exchange.open(
                    self._service,
                    endpoint,
                    request,
                    connect_s=self._connect_timeout_s,
                    pool_s=self._connect_timeout_s,
                    on_sending=lambda: limit.reschedule(loop.time() + timeout_s),
                ) as response,
            ):
                answer = await response.read()
        except TimeoutError as error:
            raise UpstreamTimeout(f"{target} had no answer from {self._host} within {timeout_s:g} s.") from error
        except CapacityError as error:
            raise UpstreamError(f"{target} was not sent: no free connection to {self._host}.") from error
        if response.status in (400, 403):
            self._learn(credentials, answer, response.headers.get("date"))
        return response.status, answer

    def _signed(self, credentials: Credentials, target: str, body: bytes) -> tuple[Endpoint, UpstreamRequest]:
        """The request. What is secret stands in the endpoint, which does not show it."""
        headers = (("content-type", self._content_type), ("x-amz-target", target))
        signature = self._signer.headers(
            credentials,
            method="POST",
            host=self._host,
            target=self._target,
            headers=headers,
            body=body,
            at_s=self._clock.wall() + self._skew_s,
        )
        return Endpoint(self._base_url, signature), UpstreamRequest("POST", "/", headers, body)

    def _learn(self, credentials: Credentials, answer: bytes, date: str | None) -> None:
        """What a refusal says about our key or our clock."""
        refusal = parse_refusal(answer)
        if refusal.code in REFUSED_KEY:
            self._credentials.refused(credentials)
        elif date and (refusal.code in WRONG_TIME or any(text in refusal.message for text in WRONG_TIME_TEXTS)):
            try:
                self._skew_s = parsedate_to_datetime(date).timestamp() - self._clock.wall()
            except ValueError:
                pass  # no date after all; the next call fails as this one did


class Refusal(msgspec.Struct):
    """An error answer: `code` without the namespace, such as "ConditionalCheckFailedException"; "" for none."""

    code: str
    message: str


class _Body(msgspec.Struct):
    type: str | None = msgspec.field(name="__type", default=None)
    message: str | None = None
    capital_message: str | None = msgspec.field(name="Message", default=None)


def parse_refusal(answer: bytes) -> Refusal:
    """Shape: b'{"__type": "com.amazonaws.dynamodb.v20120810#X", "message": "…"}'  →  Refusal("X", "…")"""
    try:
        body = msgspec.json.decode(answer, type=_Body)
    except UNREADABLE:
        return Refusal("", "")
    code = (body.type or "").rpartition("#")[2].partition(":")[0]
    return Refusal(code, body.message or body.capital_message or "")


def service_url(service: str, region: str) -> str:
    """Where a service answers in a region; China has a domain of its own."""
    return f"https://{service}.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


def host_header(base_url: str) -> str:
    """`Host` for a URL: in lower case, with a port unless it is the scheme's own."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    return host if parts.port in (None, DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{parts.port}"
