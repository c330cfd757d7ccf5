"""Tokens of Microsoft Entra ID, for Azure: from a secret, from the identity of a workload, or from that of a machine.

    client secret       POST {authority}/{tenant}/oauth2/v2.0/token     configured, or AZURE_CLIENT_SECRET
    workload identity   the same with an assertion instead              AZURE_FEDERATED_TOKEN_FILE (AKS, GitHub)
    managed identity    GET {IDENTITY_ENDPOINT}                         App Service, Functions, Container Apps
    managed identity    GET 169.254.169.254/metadata/identity           virtual machines

The first that is configured is asked, and no other: a wrong secret is an error, not a reason to be somebody else.
Source: Microsoft identity platform, "OAuth 2.0 client credentials flow"; Azure App Service, "Use managed identities",
REST endpoint; Azure virtual machines, "How to use managed identities to acquire an access token"; read 2026-11-21.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from rillgate.domain.errors import CapacityError, UpstreamError
from rillgate.domain.ports import Clock
from rillgate.domain.request import Endpoint, UpstreamRequest
from rillgate.upstream.exchange import Exchange
from rillgate.wire.loose_json import UNREADABLE

AUTHORITY = "https://login.microsoftonline.com"
RESOURCE = "https://cognitiveservices.azure.com"
# The clouds of states, each with an authority and a resource of its own, by the end of the host's name.
CLOUDS = {
    ".azure.us": ("https://login.microsoftonline.us", "https://cognitiveservices.azure.us"),
    ".azure.cn": ("https://login.partner.microsoftonline.cn", "https://cognitiveservices.azure.cn"),
}
MACHINE_URL = "http://169.254.169.254"
MACHINE_PATH = "/metadata/identity/oauth2/token"
MACHINE_VERSION = "2018-02-01"
APP_SERVICE_VERSION = "2019-08-01"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TIMEOUT_S = 5.0
MACHINE_TIMEOUT_S = 2.0  # where there is no such machine, nobody answers
DOCUMENT_BYTES_MAX = 65_536
LIFETIME_S_MAX = 10 * 365 * 86_400  # of a token; they last for a day at most
FORM = (("content-type", "application/x-www-form-urlencoded"),)

REMEDY = "give an api_key, or tenant_id, client_id and client_secret, or run where there is a managed identity"


class Token(msgspec.Struct, frozen=True):
    """A token and when it ends, in seconds since 1970."""

    text: str
    expires_s: float | None


class Identity(msgspec.Struct, frozen=True):
    """Who asks. What is None is looked for in the environment.

    Attributes:
        secret: gives the client's secret.
    """

    tenant_id: str | None = None
    client_id: str | None = None
    secret: Callable[[], Awaitable[str]] | None = None


class _Document(msgspec.Struct):
    """A token as all of them give it; managed identities write numbers as text."""

    access_token: str
    expires_in: int | str | None = None


class EntraSource:
    """Fetches tokens for one resource of Azure.

    Args:
        identity: as configured.
        host: that will be called: it tells in which cloud.
        environ: where Azure's own variables are looked for.
        exchange: to the authority.
        metadata: to this machine's own identity, past every proxy.
        clock: wall time, for the end of a token.
    """

    def __init__(
        self,
        identity: Identity,
        host: str,
        environ: Mapping[str, str],
        *,
        exchange: Exchange,
        metadata: Exchange,
        clock: Clock,
    ) -> None:
        self._identity = identity
        self._environ = environ
        self._exchange = exchange
        self._metadata = metadata
        self._clock = clock
        clouds = [found for ending, found in CLOUDS.items() if host.endswith(ending)]
        authority, self._resource = clouds[0] if clouds else (AUTHORITY, RESOURCE)
        self._authority = (environ.get("AZURE_AUTHORITY_HOST") or authority).rstrip("/")
        if "//" not in self._authority:
            self._authority = f"https://{self._authority}"

    async def __call__(self) -> Token:
        """A token.

        Raises: UpstreamError: there is no identity, or it was not given one; the message says what to set.
        """
        environ, identity = self._environ, self._identity
        tenant_id = identity.tenant_id or environ.get("AZURE_TENANT_ID")
        client_id = identity.client_id or environ.get("AZURE_CLIENT_ID")
        secret = await identity.secret() if identity.secret is not None else environ.get("AZURE_CLIENT_SECRET")
        assertion_file = environ.get("AZURE_FEDERATED_TOKEN_FILE")
        if tenant_id and client_id and secret:
            return await self._from_authority(tenant_id, client_id, {"client_secret": secret})
        if identity.secret is not None:
            raise UpstreamError("A client_secret needs a tenant_id and a client_id beside it.", retryable=False)
        if tenant_id and client_id and assertion_file:
            assertion = await _content(assertion_file)
            more = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
            return await self._from_authority(tenant_id, client_id, more)
        return await self._managed(client_id)

    async def _from_authority(self, tenant_id: str, client_id: str, proof: Mapping[str, str]) -> Token:
        form = {"grant_type": "client_credentials", "client_id": client_id, "scope": f"{self._resource}/.default"}
        body = urlencode({**form, **proof}).encode()
        request = UpstreamRequest("POST", f"/{quote(tenant_id, safe='')}/oauth2/v2.0/token", FORM, body)
        return await self._ask(self._exchange, Endpoint(self._authority), request, TIMEOUT_S)

    async def _managed(self, client_id: str | None) -> Token:
        query = {"resource": self._resource, **({"client_id": client_id} if client_id else {})}
        url, secret = self._environ.get("IDENTITY_ENDPOINT"), self._environ.get("IDENTITY_HEADER")
        if url and secret:
            parts = urlsplit(url)
            endpoint = Endpoint(f"{parts.scheme}://{parts.netloc}", (("x-identity-header", secret),))
            path = f"{parts.path}?{urlencode({'api-version': APP_SERVICE_VERSION, **query})}"
            return await self._ask(self._metadata, endpoint, UpstreamRequest("GET", path), TIMEOUT_S)
        path = f"{MACHINE_PATH}?{urlencode({'api-version': MACHINE_VERSION, **query})}"
        request = UpstreamRequest("GET", path, (("metadata", "true"),))
        try:
            return await self._ask(self._metadata, Endpoint(MACHINE_URL), request, MACHINE_TIMEOUT_S)
        except UpstreamError as error:
            raise UpstreamError(f"No identity of Azure was found ({error.message}); {REMEDY}.") from error

    async def _ask(self, exchange: Exchange, endpoint: Endpoint, request: UpstreamRequest, timeout_s: float) -> Token:
        """One call. What an answer says of an error never holds the secret, so a log may."""
        asked_s = self._clock.wall()
        try:
            async with (
                asyncio.timeout(timeout_s),
                exchange.open("Entra", endpoint, request, connect_s=timeout_s) as response,
            ):
                answer = await response.read(DOCUMENT_BYTES_MAX)
        except (TimeoutError, CapacityError) as error:
            where = urlsplit(endpoint.base_url).netloc
            raise UpstreamError(f"{where} gave no token within {timeout_s:g} s.") from error
        return parse_token(response.status, answer, asked_s)


def parse_token(status: int, answer: bytes, asked_s: float) -> Token:
    """What an answer gives to whoever asked at `asked_s`, seconds since 1970.

    Shape:  200, {"access_token": "t", "expires_in": 3599} → Token("t", asked_s + 3599)
    Raises: UpstreamError: no token.
    """
    if status != 200:
        raise UpstreamError(f"No token (status {status}): {_said(answer)}")
    try:
        document = msgspec.json.decode(answer, type=_Document)
        lasts_s = None if document.expires_in is None else int(document.expires_in)
    except (*UNREADABLE, ValueError) as error:
        raise UpstreamError("An answer came that holds no token.") from error
    if not document.access_token or (lasts_s is not None and not 0 <= lasts_s <= LIFETIME_S_MAX):
        raise UpstreamError("An answer came that holds no token.")
    if not (document.access_token.isascii() and document.access_token.isprintable()):
        raise UpstreamError("A token came that no header can carry.")
    return Token(document.access_token, None if lasts_s is None else asked_s + lasts_s)


class _Refusal(msgspec.Struct):
    error: str = ""
    error_description: str = ""


def _said(answer: bytes) -> str:
    """Shape: {"error": "invalid_client", "error_description": "AADSTS7000215: …\\r\\nTrace ID: …"} → its first line."""
    try:
        refusal = msgspec.json.decode(answer, type=_Refusal)
    except UNREADABLE:
        return "no reason was given."
    return (refusal.error_description.splitlines() or [refusal.error])[0][:200] or "no reason was given."


async def _content(name: str) -> str:
    """The assertion: it is replaced in its file before it ends, so it is read each time."""
    try:
        return (await asyncio.to_thread(Path(name).read_text, encoding="utf-8")).strip()
    except (OSError, ValueError) as error:
        raise UpstreamError(f"AZURE_FEDERATED_TOKEN_FILE cannot be read: {error}.", retryable=False) from error
