"""From a configured provider to what translates for it: one table, by kind.

A module is imported when a provider of its kind is configured, and not before: a function that starts cold reads no
more than it needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING

from rillgate.app.settings.secrets import SecretName
from rillgate.app.settings.types import ProviderSettings
from rillgate.domain.ports import Clock, Provider

if TYPE_CHECKING:
    from rillgate.app.azure_location import AzureLocation
    from rillgate.app.bedrock_location import BedrockLocation


def provider_of(name: str, settings: ProviderSettings) -> Provider:
    """What translates for one configured provider.

    Args: name: the provider's configured name, for messages.
    """
    return _BY_KIND[settings.kind](name, settings)


def other_api_of(name: str, settings: ProviderSettings) -> Callable[[], Provider] | None:
    """Gives what asks OpenAI itself, or Azure, for what is refused by Chat Completions; None where nobody else does.

    Args: name: the provider's configured name, for messages.
    """
    if settings.kind == "azure":
        return cache(partial(_azure_responses, name, settings))
    if settings.kind == "openai" and settings.is_openai_itself:
        return cache(partial(_openai_responses, name, settings))
    return None


def signed_location(settings: ProviderSettings, clock: Clock, environ: Mapping[str, str]) -> BedrockLocation:
    """Where a provider without a key answers, and what signs for it; to be closed in the end.

    Args: environ: where AWS credentials are looked for.
    """
    from rillgate.app.bedrock_location import BedrockLocation  # noqa: PLC0415 # only where it is configured

    region = settings.region or ""  # the settings refuse a provider that is to be signed for and has none
    return BedrockLocation(settings.base_url, region, clock, environ, headers=settings.headers)


def token_location(
    settings: ProviderSettings,
    clock: Clock,
    environ: Mapping[str, str],
    fetched: Callable[[SecretName], Awaitable[str]],
) -> AzureLocation:
    """Where a provider without a key answers, and what fetches tokens for it; to be closed in the end.

    Args:
        environ: where an identity is looked for.
        fetched: gives a secret that AWS keeps.
    """
    from rillgate.app.azure_location import AzureLocation  # noqa: PLC0415 # only where it is configured

    return AzureLocation(settings, clock, environ, fetched)


def _openai(name: str, settings: ProviderSettings) -> Provider:
    from rillgate.providers.openai import OpenAIProvider  # noqa: PLC0415 # only where it is configured

    return OpenAIProvider(name, own_host=settings.is_openai_itself)


def _openai_responses(name: str, settings: ProviderSettings) -> Provider:
    from rillgate.providers.openai_responses import OpenAIResponsesProvider  # noqa: PLC0415 # only where it is configured

    return OpenAIResponsesProvider(name)


def _anthropic(name: str, settings: ProviderSettings) -> Provider:
    from rillgate.providers.anthropic import AnthropicProvider  # noqa: PLC0415 # only where it is configured

    return AnthropicProvider(name)


def _ollama(name: str, settings: ProviderSettings) -> Provider:
    from rillgate.providers.ollama import OllamaProvider  # noqa: PLC0415 # only where it is configured

    return OllamaProvider(name)


def _bedrock(name: str, settings: ProviderSettings) -> Provider:
    from rillgate.providers.bedrock import BedrockProvider  # noqa: PLC0415 # only where it is configured

    return BedrockProvider(name)


def _gemini(name: str, settings: ProviderSettings) -> Provider:
    from rillgate.providers.gemini import GeminiProvider  # noqa: PLC0415 # only where it is configured

    return GeminiProvider(name)


def _azure(name: str, settings: ProviderSettings) -> Provider:
    from rillgate.providers.azure import AzureProvider  # noqa: PLC0415 # only where it is configured

    return AzureProvider(name, settings.api_version)


def _azure_responses(name: str, settings: ProviderSettings) -> Provider:
    from rillgate.providers.azure import V1  # noqa: PLC0415 # only where it is wanted
    from rillgate.providers.openai_responses import PATH, OpenAIResponsesProvider  # noqa: PLC0415 # likewise

    # Whatever version the deployments' own addresses are asked for: most do not know this API.
    return OpenAIResponsesProvider(name, path=V1 + PATH)


_BY_KIND: Mapping[str, Callable[[str, ProviderSettings], Provider]] = {
    "embedded": _openai,
    "openai": _openai,
    "openai_responses": _openai_responses,
    "anthropic": _anthropic,
    "ollama": _ollama,
    "bedrock": _bedrock,
    "gemini": _gemini,
    "azure": _azure,
}
