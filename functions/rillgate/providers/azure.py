"""Azure OpenAI: OpenAI's API at addresses of Azure's own, so chunks pass byte for byte as OpenAI's do.

    deployments   POST /openai/deployments/{deployment}/chat/completions?api-version=2024-10-21
    v1            POST /openai/v1/chat/completions, the deployment in `model`

Azure's filters speak in the stream: a first chunk without choices says what they found in the prompt, choices carry
what they found in the answer, and with the asynchronous filter further chunks without text follow later. All of them
say nothing that is counted, and a client of OpenAI's gets them as they came.
Source: Azure OpenAI in Foundry Models REST API reference; "Content filtering", "Content streaming"; read 2026-11-21.
"""

from __future__ import annotations

from urllib.parse import quote

from msgspec.structs import replace

from rillgate.domain.errors import UpstreamError
from rillgate.domain.request import ChatRequest, UpstreamRequest
from rillgate.providers.openai import OpenAIProvider

V1 = "/openai/v1"


class AzureProvider(OpenAIProvider):
    """Translates for Azure OpenAI.

    Args:
        name: the provider's configured name, for messages.
        api_version: of the deployments' addresses; None for v1.
    """

    def __init__(self, name: str, api_version: str | None = None) -> None:
        super().__init__(name, own_host=True)
        self._api_version = api_version

    def build(self, request: ChatRequest, model: str, output_tokens_max: int) -> UpstreamRequest:
        """As OpenAI's, to the deployment's address. `model` is the deployment's name."""
        built = super().build(request, model, output_tokens_max)
        return replace(built, path=azure_path(self._api_version, model, built.path))

    def models_request(self) -> UpstreamRequest | None:
        """None: what Azure lists are models, deployed or not; deployments are another service's to list."""
        return None

    def decode_models(self, body: bytes) -> list[str]:
        """Never asked for; see `models_request`."""
        raise UpstreamError(f"Provider {self._name!r} has no list of models.", retryable=False)


def azure_path(api_version: str | None, model: str, path: str) -> str:
    """OpenAI's path at Azure's addresses.

    Shape: ("2024-10-21", "gpt-4o", "/chat/completions") → "/openai/deployments/gpt-4o/chat/completions?api-version=…"
    """
    if api_version is None:
        return V1 + path
    deployment = quote(model, safe="", errors="replace")
    return f"/openai/deployments/{deployment}{path}?api-version={quote(api_version, safe='')}"
