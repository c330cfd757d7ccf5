"""Embeddings of Ollama's own API. A text longer than the model's context is to be an error, not cut in silence.

Source: Ollama's API reference, Generate embeddings, and server source; read 2026-11.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rillgate.domain.delta import Delta, EmbeddingDelta, UsageDelta
from rillgate.domain.errors import UpstreamError
from rillgate.domain.request import ChatRequest, UpstreamRequest
from rillgate.domain.usage import Usage
from rillgate.providers.embedding_texts import broken, texts_of
from rillgate.providers.json_body import json_body
from rillgate.providers.ollama import OllamaProvider
from rillgate.providers.ollama_errors import ollama_error_from_object
from rillgate.wire.loose_json import UNREADABLE, count


class OllamaEmbeddings(OllamaProvider):
    """Translates for Ollama."""

    def build(self, request: ChatRequest, model: str, output_tokens_max: int) -> UpstreamRequest:
        """Shape: {"input": "a"} → POST /api/embed {"model": …, "input": ["a"], "truncate": false}

        Raises: ClientError: token ids.
        """
        fields = request.fields
        body: dict[str, Any] = {"model": model, "input": texts_of(fields, self._name), "truncate": False}
        if fields.get("dimensions") is not None:
            body["dimensions"] = fields["dimensions"]
        return UpstreamRequest("POST", "/api/embed", (("content-type", "application/json"),), json_body(body))

    def decode_answer(self, body: bytes, request: ChatRequest | None = None) -> list[Delta]:
        """Vectors in order, then what they took."""
        try:
            answer = _ANSWER.decode(body)
        except UNREADABLE as error:
            raise UpstreamError(broken(self._name)) from error
        if answer.error is not None:
            raise ollama_error_from_object(self._name, answer.error)
        if not answer.embeddings:
            raise UpstreamError(broken(self._name))
        deltas: list[Delta] = [EmbeddingDelta(index, values) for index, values in enumerate(answer.embeddings)]
        tokens = count(answer.prompt_eval_count)
        return deltas if tokens is None else [*deltas, UsageDelta(Usage(tokens, 0))]


class _Answer(msgspec.Struct):
    embeddings: list[list[float]] | None = None
    prompt_eval_count: Any = None
    error: Any = None


_ANSWER = msgspec.json.Decoder(_Answer)
