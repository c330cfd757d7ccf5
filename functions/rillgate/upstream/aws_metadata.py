"""AWS credentials over HTTP from beside the gateway: the container endpoint and the instance metadata.

    container   GET <uri>, with an authorization token where one is given       → the document
    instance    PUT /latest/api/token → GET …/security-credentials/ → the role's name → GET …/NAME → the document
    document    {"AccessKeyId": …, "SecretAccessKey": …, "Token": …, "Expiration": "2026-11-21T10:00:00Z"}

Source: AWS SDKs and Tools Reference Guide, "Container credential provider" and "IMDS credential provider"; EC2 User
Guide, "Use the Instance Metadata Service to access instance metadata"; read 2026-11-21.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from rillgate.domain.errors import CapacityError, UpstreamError
from rillgate.domain.request import Endpoint, UpstreamRequest
from rillgate.upstream.exchange import Exchange
from rillgate.wire.loose_json import UNREADABLE
from rillgate.wire.sigv4 import Credentials

CONTAINER_TIMEOUT_S = 2.0
INSTANCE_TIMEOUT_S = 1.0  # for each of the three requests; where there is no EC2, the first one already fails
TOKEN_TTL_S = 60  # of IMDSv2's own token: it serves one fetch
DOCUMENT_BYTES_MAX = 65536

CONTAINER_URL = "http://169.254.170.2"  # ECS
INSTANCE_URL = "http://169.254.169.254"
INSTANCE_URL_IPV6 = "http://[fd00:ec2::254]"
ROLE_PATH = "/latest/meta-data/iam/security-credentials/"

# Beside loopback, the hosts to which a token may go without TLS: ECS, and EKS Pod Identity in both families.
PLAIN_HTTP_HOSTS = frozenset({"localhost", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"})


class SourceAbsent(Exception):
    """A source is not configured here. The message names it and says why, as part of a list."""


class ContainerSource:
    """The endpoint that ECS, EKS and Lambda SnapStart give to what they run."""

    def __init__(self, environment: Mapping[str, str], exchange: Exchange) -> None:
        self._environment = environment
        self._exchange = exchange

    async def __call__(self) -> Credentials:
        """One GET.

        Raises:
            SourceAbsent: neither variable is set.
            UpstreamError: the address is not allowed, the token is not readable, or no credentials came.
        """
        url = self._url()
        authorization = await self._authorization()
        headers = (("authorization", authorization),) if authorization else ()
        return parse_document(
            await fetch(self._exchange, "GET", url, headers, timeout_s=CONTAINER_TIMEOUT_S, what="container endpoint"),
            "container endpoint",
        )

    def _url(self) -> str:
        relative = self._environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        full = self._environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        if relative:
            return f"{CONTAINER_URL}/{relative.removeprefix('/')}"
        if not full:
            raise SourceAbsent("the container endpoint (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not set)")
        if not may_carry_token(full):
            raise UpstreamError(
                f"AWS_CONTAINER_CREDENTIALS_FULL_URI={full!r} is not allowed: it must be https, or http to a loopback "
                f"address or one of {', '.join(sorted(PLAIN_HTTP_HOSTS))}.",
                retryable=False,
            )
        return full

    async def _authorization(self) -> str:
        """The token as it is now: files are rotated."""
        name = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
        path = self._environment.get(name)
        if path:
            try:
                token = await asyncio.to_thread(Path(path).read_text, encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise UpstreamError(f"{name}={path!r} cannot be read: {type(error).__name__}.") from None
        else:
            name = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
            token = self._environment.get(name, "")
        token = token.strip()
        if not token.isprintable() or not token.isascii():
            raise UpstreamError(f"{name} holds what cannot stand in a header: it must be one line of ASCII.")
        return token


class InstanceSource:
    """The role of the EC2 instance, by IMDSv2. One try: what does not answer at once is not there."""

    def __init__(self, environment: Mapping[str, str], exchange: Exchange) -> None:
        self._environment = environment
        self._exchange = exchange

    async def __call__(self) -> Credentials:
        """Token, role, credentials.

        Raises:
            SourceAbsent: switched off, nobody answers, or the instance has no role.
            UpstreamError: there is a role and no credentials came.
        """
        if self._environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            raise SourceAbsent("instance metadata (AWS_EC2_METADATA_DISABLED is set)")
        try:
            ttl = (("x-aws-ec2-metadata-token-ttl-seconds", str(TOKEN_TTL_S)),)
            token = await self._get("/latest/api/token", ttl, "PUT")
            headers = (("x-aws-ec2-metadata-token", _text(token)),)
            role = _text(await self._get(ROLE_PATH, headers)).splitlines()[0]
        except (UpstreamError, IndexError):
            raise SourceAbsent("instance metadata (no answer, or no role)") from None
        return parse_document(await self._get(ROLE_PATH + role, headers), "instance metadata")

    async def _get(self, path: str, headers: tuple[tuple[str, str], ...], method: str = "GET") -> bytes:
        url = self._base_url() + path
        return await fetch(self._exchange, method, url, headers, timeout_s=INSTANCE_TIMEOUT_S, what="instance metadata")

    def _base_url(self) -> str:
        endpoint = self._environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "").rstrip("/")
        mode = self._environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").lower()
        return endpoint or (INSTANCE_URL_IPV6 if mode == "ipv6" else INSTANCE_URL)


class _Document(msgspec.Struct, rename="pascal"):
    """Both endpoints' document; `Code` is the instance metadata's, "Success" when all is well."""

    access_key_id: str
    secret_access_key: str
    token: str | None = None
    expiration: datetime | None = None

    def __repr__(self) -> str:
        return "_Document(…)"


def parse_document(body: bytes, what: str) -> Credentials:
    """The credentials in a document.

    Raises:
        UpstreamError: it holds none. The message does not quote it.
    """
    try:
        document = msgspec.json.decode(body, type=_Document)
        expires_s = document.expiration.timestamp() if document.expiration else None
    except (*UNREADABLE, ValueError, OverflowError):  # a missing or mistyped field included, and a year that is none
        raise UpstreamError(f"The {what} answered without AWS credentials.") from None
    return Credentials(document.access_key_id, document.secret_access_key, document.token or None, expires_s)


def may_carry_token(url: str) -> bool:
    """Whether credentials may be asked for at this address: with TLS anywhere, without it only beside the gateway."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    if parts.scheme != "http":
        return False
    if host in PLAIN_HTTP_HOSTS:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


async def fetch(
    exchange: Exchange, method: str, url: str, headers: tuple[tuple[str, str], ...], *, timeout_s: float, what: str
) -> bytes:
    """The body of one answer with status 200.

    Raises:
        UpstreamError: no such answer within `timeout_s`; the message names `what`.
    """
    parts = urlsplit(url)
    base_url = f"{parts.scheme}://{parts.netloc}"
    request = UpstreamRequest(method, url[len(base_url) :] or "/", (("accept", "application/json"),))
    try:
        async with (
            asyncio.timeout(timeout_s),
            exchange.open(what, Endpoint(base_url, headers), request, connect_s=timeout_s) as response,
        ):
            if response.status != 200:
                raise UpstreamError(f"The {what} answered {response.status} where AWS credentials were asked for.")
            return await response.read(DOCUMENT_BYTES_MAX)
    except TimeoutError:
        raise UpstreamError(f"The {what} did not answer within {timeout_s:g} s.") from None
    except CapacityError as error:
        raise UpstreamError(f"The {what} was not asked: no free connection.") from error


def _text(body: bytes) -> str:
    return body.decode("ascii", "replace").strip()
