"""Embeddings of OpenAI, of compatible servers, and of Azure: the client's own request, and the answer as it came.

Source: OpenAI API reference, Embeddings; Azure OpenAI REST API reference, Embeddings; read 2026-11.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from rillgate.domain.delta import Delta, UsageDelta
from rillgate.domain.errors import UpstreamError
from rillgate.domain.request import ChatRequest, UpstreamRequest
from rillgate.domain.usage import Usage
from rillgate.providers.azure import azure_path
from rillgate.providers.embedding_texts import broken
from rillgate.providers.json_body import json_body
from rillgate.providers.openai import OpenAIProvider
from rillgate.providers.openai_errors import error_from_object
from rillgate.wire.loose_json import UNREADABLE, count


class OpenAIEmbeddings(OpenAIProvider):
    """Passes on for OpenAI and compatible servers."""

    dialect = "embeddings"

    def build(self, request: ChatRequest, model: str, output_tokens_max: int) -> UpstreamRequest:
        """The client's fields with the routed model.

        Raises: ClientError: the fields are nested too deeply to be written.
        """
        body = json_body({**request.fields, "model": model})
        return UpstreamRequest("POST", "/embeddings", (("content-type", "application/json"),), body)

    def decode_answer(self, body: bytes, request: ChatRequest | None = None) -> list[Delta]:
        """What it took; the vectors are the client's to read."""
        try:
            answer = _ANSWER.decode(body)
        except UNREADABLE as error:
            raise UpstreamError(broken(self._name)) from error
        if answer.error is not None:
            raise error_from_object(self._name, answer.error)
        if not answer.data:
            raise UpstreamError(broken(self._name))
        tokens = count((answer.usage or {}).get("prompt_tokens"))
        return [] if tokens is None else [UsageDelta(Usage(tokens, 0))]


class AzureEmbeddings(OpenAIEmbeddings):
    """Passes on for Azure OpenAI; arguments as `AzureProvider` takes them."""

    def __init__(self, name: str, api_version: str | None = None) -> None:
        super().__init__(name, own_host=True)
        self._api_version = api_version

    def build(self, request: ChatRequest, model: str, output_tokens_max: int) -> UpstreamRequest:
        """As OpenAI's, to the deployment's address."""
        built = super().build(request, model, output_tokens_max)
        return replace(built, path=azure_path(self._api_version, model, built.path))


class _Answer(msgspec.Struct):
    data: list[msgspec.Raw] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


_ANSWER = msgspec.json.Decoder(_Answer)
