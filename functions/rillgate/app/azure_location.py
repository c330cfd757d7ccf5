"""Where Azure answers when no key is given: each request carries a token of Microsoft Entra ID.

Tokens come from the configured client, or from where Azure's own tools find an identity, and are renewed in time; see
`upstream.entra`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

from rillgate import __version__
from rillgate.app.settings.secrets import Secret, SecretName
from rillgate.app.settings.types import BEARER_HEADER, ProviderSettings
from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Clock
from rillgate.domain.request import Endpoint
from rillgate.telemetry.logs import log_event
from rillgate.upstream.entra import EntraSource, Identity
from rillgate.upstream.exchange import Exchange
from rillgate.upstream.fresh import Fresh


class AzureLocation:
    """The location of a provider that wants tokens: `domain.ports.Location`.

    Args:
        settings: the provider's.
        clock: wall time, for the end of a token.
        environ: where an identity is looked for.
        fetched: gives a secret that AWS keeps.
    """

    def __init__(
        self,
        settings: ProviderSettings,
        clock: Clock,
        environ: Mapping[str, str],
        fetched: Callable[[SecretName], Awaitable[str]],
    ) -> None:
        user_agent = f"rillgate/{__version__}"
        self._settings = settings
        self._exchange = Exchange(connections_max=2, user_agent=user_agent)
        self._metadata = Exchange(connections_max=1, user_agent=user_agent, proxies=False)
        source = EntraSource(
            Identity(settings.tenant_id, settings.client_id, _secret_of(settings.client_secret, fetched)),
            urlsplit(settings.base_url).hostname or "",
            environ,
            exchange=self._exchange,
            metadata=self._metadata,
            clock=clock,
        )
        self.tokens = Fresh(source, clock, what="token of Entra", on_error=_log_no_token)

    async def endpoint(self) -> Endpoint:
        """Where it answers, with a token that is good now.

        Raises: UpstreamError: there is none. What a client is told does not say where it was looked for; the log does.
        """
        try:
            token = await self.tokens.current()
        except UpstreamError:  # logged where it was raised
            raise UpstreamError("The gateway has no Entra token for this provider.", code="provider_key") from None
        return Endpoint(self._settings.base_url, ((BEARER_HEADER, f"Bearer {token.text}"), *self._settings.headers))

    async def aclose(self) -> None:
        """Stop looking for tokens."""
        await self.tokens.aclose()
        await self._metadata.aclose()
        await self._exchange.aclose()


def _secret_of(
    secret: Secret | SecretName | None, fetched: Callable[[SecretName], Awaitable[str]]
) -> Callable[[], Awaitable[str]] | None:
    if secret is None:
        return None

    async def reveal() -> str:
        return secret.reveal() if isinstance(secret, Secret) else (await fetched(secret)).strip()

    return reveal


def _log_no_token(error: UpstreamError) -> None:
    log_event("entra_token_failed", level="warning", error=error.message)
