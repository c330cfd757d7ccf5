"""From a configured provider to what makes embeddings for it: one table, by kind; made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rillgate.app.settings.types import ProviderSettings
from rillgate.domain.ports import Provider


def embedder_of(name: str, settings: ProviderSettings) -> Provider | None:
    """What makes embeddings for one configured provider; None where it makes none.

    Args: name: the provider's configured name, for messages.
    """
    make = _BY_KIND.get(settings.kind)
    return None if make is None else make(name, settings)


def _openai(name: str, settings: ProviderSettings) -> Provider:
    from rillgate.providers.openai_embeddings import OpenAIEmbeddings  # noqa: PLC0415 # only where it is asked for

    return OpenAIEmbeddings(name, own_host=settings.is_openai_itself)


def _azure(name: str, settings: ProviderSettings) -> Provider:
    from rillgate.providers.openai_embeddings import AzureEmbeddings  # noqa: PLC0415 # only where it is asked for

    return AzureEmbeddings(name, settings.api_version)


def _ollama(name: str, settings: ProviderSettings) -> Provider:
    from rillgate.providers.ollama_embeddings import OllamaEmbeddings  # noqa: PLC0415 # only where it is asked for

    return OllamaEmbeddings(name)


def _gemini(name: str, settings: ProviderSettings) -> Provider:
    from rillgate.providers.gemini_embeddings import GeminiEmbeddings  # noqa: PLC0415 # only where it is asked for

    return GeminiEmbeddings(name)


def _bedrock(name: str, settings: ProviderSettings) -> Provider:
    from rillgate.providers.bedrock_embeddings import BedrockEmbeddings  # noqa: PLC0415 # only where it is asked for

    return BedrockEmbeddings(name)


_BY_KIND: Mapping[str, Callable[[str, ProviderSettings], Provider]] = {
    "openai": _openai,
    "openai_responses": _openai,
    "azure": _azure,
    "ollama": _ollama,
    "gemini": _gemini,
    "bedrock": _bedrock,
}
