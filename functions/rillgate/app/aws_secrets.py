"""Keys that AWS keeps: parameters of Systems Manager and secrets of Secrets Manager, fetched when they are needed.

A value is fetched once and used for some minutes, so that a key which was changed there is taken up without a restart.
Where a later fetch fails the value that is there goes on serving: the provider will say when it is no longer good.

Source: AWS Systems Manager API reference, GetParameter; AWS Secrets Manager API reference, GetSecretValue; both read
2026-11-21.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec

from rillgate import __version__
from rillgate.app.settings.rules import Misfit
from rillgate.app.settings.secrets import SecretName, header_safe
from rillgate.app.settings.types import ProviderSettings
from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import AwsCalls, Clock
from rillgate.domain.request import Endpoint
from rillgate.telemetry.logs import log_event
from rillgate.upstream.aws import AwsJsonCalls, parse_refusal
from rillgate.upstream.aws_credentials import AwsCredentials
from rillgate.upstream.aws_sources import aws_endpoint_url, aws_region, aws_sources
from rillgate.upstream.exchange import Exchange
from rillgate.wire.loose_json import UNREADABLE

AGE_S_MAX = 300.0
RETRY_S = 10.0  # after a refresh that failed
CONNECT_S = 1.0
TIMEOUT_S = 3.0
PAUSES_S = (0.2, 0.8)  # between tries: a burst of new environments meets the service's limit of calls a second

SERVICES = {"ssm": "ssm", "secret": "secretsmanager"}
ENDPOINTS = {"ssm": "ssm", "secret": "secrets_manager"}  # as variables that name another address spell them
THROTTLED = frozenset({"ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"})
TARGETS = {"ssm": "AmazonSSM.GetParameter", "secret": "secretsmanager.GetSecretValue"}


class _Parameter(msgspec.Struct, rename="pascal"):
    value: str


class _Answer(msgspec.Struct, rename="pascal"):
    parameter: _Parameter | None = None
    secret_string: str | None = None


@dataclass(slots=True)
class _Kept:
    """A value, and when it is asked for again."""

    text: str
    until_s: float


class AwsSecrets:
    """Values by name. Nothing is opened before the first one is asked for.

    Args:
        clock: how old a value is.
        environ: where AWS's credentials, region and endpoints are looked for.
        sleep: waits so many seconds between tries.
    """

    def __init__(
        self,
        clock: Clock,
        environ: Mapping[str, str],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._environ = environ
        self._sleep = sleep
        self._kept: dict[SecretName, _Kept] = {}
        self._locks: dict[SecretName, asyncio.Lock] = {}
        self._connection: _Connection | None = None

    async def text(self, name: SecretName) -> str:
        """The value, at most some minutes old where AWS answers.

        Raises: UpstreamError: it never came, and the message says what to look at.
        """
        kept = self._kept.get(name)
        if kept is None or kept.until_s <= self._clock.now():
            async with self._locks.setdefault(name, asyncio.Lock()):  # one asks, the others wait for it
                kept = self._kept.get(name)
                if kept is None or kept.until_s <= self._clock.now():
                    kept = self._kept[name] = await self._renewed(name, kept)
        return kept.text

    async def aclose(self) -> None:
        """Close the connections."""
        if self._connection is not None:
            await self._connection.aclose()

    async def _renewed(self, name: SecretName, kept: _Kept | None) -> _Kept:
        try:
            return _Kept(await self._fetch(name), self._clock.now() + AGE_S_MAX)
        except UpstreamError as error:
            if kept is None:
                raise
            log_event("secret_not_renewed", level="warning", name=str(name), error=error.message)
            return _Kept(kept.text, self._clock.now() + RETRY_S)

    async def _fetch(self, name: SecretName) -> str:
        for pause_s in PAUSES_S:
            try:
                return await self._try(name)
            except UpstreamError as error:
                if not error.retryable:
                    raise
            await self._sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 (so that many do not come at once)
        return await self._try(name)

    async def _try(self, name: SecretName) -> str:
        if self._connection is None:
            self._connection = _Connection(self._clock, self._environ)
        asked = {"Name": name.name, "WithDecryption": True} if name.service == "ssm" else {"SecretId": name.name}
        calls = self._connection.calls(name)
        status, answer = await calls.call(TARGETS[name.service], msgspec.json.encode(asked), TIMEOUT_S)
        if status != 200:
            refusal = parse_refusal(answer)
            problem = f"{name} could not be read: {refusal.code or status}. {refusal.message}".strip()
            raise UpstreamError(problem, retryable=status >= 500 or refusal.code in THROTTLED)
        try:
            found = msgspec.json.decode(answer, type=_Answer)
        except UNREADABLE as error:
            raise UpstreamError(f"{name} could not be read: an answer that is not AWS's.", retryable=False) from error
        text = found.parameter.value if found.parameter is not None else found.secret_string
        if text is None:
            raise UpstreamError(f"{name} holds no text.", retryable=False)
        return text


class _Connection:
    """What calls are made with."""

    def __init__(self, clock: Clock, environ: Mapping[str, str]) -> None:
        user_agent = f"rillgate/{__version__}"
        self._clock = clock
        self._environ = environ
        self._exchange = Exchange(connections_max=8, user_agent=user_agent)
        self._metadata = Exchange(connections_max=1, user_agent=user_agent, proxies=False)
        self._credentials = AwsCredentials(aws_sources(environ, self._metadata), clock)
        self._calls: dict[tuple[str, str], AwsCalls] = {}

    def calls(self, name: SecretName) -> AwsCalls:
        """To the service that keeps this value.

        Raises: UpstreamError: its region is not known.
        """
        service, region = SERVICES[name.service], name.region or aws_region(self._environ)
        if region is None:
            raise UpstreamError(f"{name}: its region is not known; set AWS_REGION.", retryable=False)
        if (service, region) not in self._calls:
            self._calls[service, region] = AwsJsonCalls(
                self._exchange,
                self._credentials,
                self._clock,
                service=service,
                region=region,
                endpoint_url=aws_endpoint_url(self._environ, ENDPOINTS[name.service]),
                connect_timeout_s=CONNECT_S,
            )
        return self._calls[service, region]

    async def aclose(self) -> None:
        """Close everything."""
        await self._credentials.aclose()
        await self._metadata.aclose()
        await self._exchange.aclose()


class FetchedKey:
    """The location of a provider whose key AWS keeps: `domain.ports.Location`."""

    def __init__(self, provider: ProviderSettings, name: SecretName, secrets: AwsSecrets) -> None:
        self._provider = provider
        self._name = name
        self._secrets = secrets

    async def endpoint(self) -> Endpoint:
        """Where it answers, with the key as it is now.

        Raises: UpstreamError: the key could not be fetched, or no header can carry it. What a client is told names
            neither; the log does.
        """
        try:
            return self._provider.endpoint(header_safe(_sole_value(await self._secrets.text(self._name))))
        except (UpstreamError, Misfit) as error:
            problem = error.message if isinstance(error, UpstreamError) else f"{self._name}: {error.problem}"
            log_event("provider_key_unavailable", level="error", name=str(self._name), error=problem)
            raise UpstreamError("The gateway could not fetch this provider's key.", code="provider_key") from None


def _sole_value(text: str) -> str:
    """The key in a secret: the text, or the one value of the table that Secrets Manager's console makes.

    Shape:  'sk-…' → 'sk-…'; '{"OPENAI_API_KEY": "sk-…"}' → 'sk-…'
    """
    if text.lstrip().startswith("{"):
        try:
            values = list(msgspec.json.decode(text, type=dict[str, str]).values())
        except UNREADABLE:
            return text
        if len(values) == 1:
            return values[0]
    return text
