"""Azure OpenAI by the Responses API, at the address that it has on every resource.

That is v1, whatever version the deployments' own addresses are asked for, since most versions do not know it. The
deployment is in `model`.

Source: Azure OpenAI in Foundry Models, "Azure OpenAI Responses API", "API version lifecycle"; read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping

from rillgate.domain.errors import UpstreamError
from rillgate.domain.request import UpstreamRequest
from rillgate.providers.azure import UNKNOWN_DEPLOYMENT, V1
from rillgate.providers.openai_responses import PATH, OpenAIResponsesProvider


class AzureResponsesProvider(OpenAIResponsesProvider):
    """Translates for Azure OpenAI.

    Args: name: the provider's configured name, for messages.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, path=V1 + PATH)

    def models_request(self) -> UpstreamRequest | None:
        """None, as of `AzureProvider`."""
        return None

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """As OpenAI's; a deployment that is not there is a model that is not there."""
        error = super().error(status, headers, body)
        if error.code == UNKNOWN_DEPLOYMENT:
            error.code = "model_not_found"
        return error
