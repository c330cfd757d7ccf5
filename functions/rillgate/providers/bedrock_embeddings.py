"""Embeddings of Amazon Bedrock, through InvokeModel: each family has a request of its own.

    Titan     one text in each request, and its tokens in each answer
    Cohere    up to 96 texts in each request; how many tokens they were stands in no body

Source: Amazon Bedrock User Guide, "Amazon Titan Text Embeddings", "Cohere Embed v3 and v4"; read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from rillgate.domain.delta import Delta, EmbeddingDelta, UsageDelta
from rillgate.domain.errors import ClientError, UpstreamError
from rillgate.domain.request import ChatRequest, UpstreamRequest, several
from rillgate.domain.usage import Usage
from rillgate.providers.bedrock import BedrockProvider
from rillgate.providers.embedding_texts import broken, texts_of, word_of
from rillgate.providers.json_body import json_body
from rillgate.wire.loose_json import UNREADABLE, count

TITAN, COHERE = "titan-embed-text", "cohere.embed"
COHERE_TEXTS_MAX = 96
COHERE_INPUT_TYPE = "search_document"  # it demands one; this is what most texts are
HEADERS = (("content-type", "application/json"), ("accept", "application/json"))


class BedrockEmbeddings(BedrockProvider):
    """Translates for Amazon Bedrock."""

    def build(self, request: ChatRequest, model: str, output_tokens_max: int) -> UpstreamRequest:
        """As many requests as it takes.

        Shape:  {"input": "a", "dimensions": 256}, "amazon.titan-embed-text-v2:0"
                → POST /model/amazon.titan-embed-text-v2%3A0/invoke {"inputText": "a", "dimensions": 256}
        Raises: ClientError: token ids, or a model of another family.
        """
        texts = texts_of(request.fields, self._name)
        if TITAN in model:
            bodies = [_titan(request.fields, text) for text in texts]
        elif COHERE in model:
            groups = [texts[at : at + COHERE_TEXTS_MAX] for at in range(0, len(texts), COHERE_TEXTS_MAX)]
            bodies = [_cohere(request.fields, group) for group in groups]
        else:
            raise ClientError(
                f"Provider {self._name!r} makes embeddings with Titan's and Cohere's models alone, by their own names.",
                param="model",
                code="unsupported_parameter",
            )
        path = f"/model/{quote(model, safe='', errors='replace')}/invoke"
        return several([UpstreamRequest("POST", path, HEADERS, json_body(body)) for body in bodies])

    def decode_answer(self, body: bytes, request: ChatRequest | None = None) -> list[Delta]:
        """Vectors in order, then what they took, where all of them say so."""
        try:
            found = _ANSWERS.decode(body)
        except UNREADABLE as error:
            raise UpstreamError(broken(self._name)) from error
        answers = found if isinstance(found, list) else [found]
        vectors = [values for answer in answers for values in answer.vectors()]
        if not vectors:
            raise UpstreamError(broken(self._name))
        deltas: list[Delta] = [EmbeddingDelta(index, values) for index, values in enumerate(vectors)]
        counts = [count(answer.input_text_token_count) for answer in answers]
        known = [number for number in counts if number is not None]
        return [*deltas, UsageDelta(Usage(sum(known), 0))] if len(known) == len(counts) else deltas


def _titan(fields: Mapping[str, Any], text: str) -> dict[str, Any]:
    said: dict[str, Any] = {"inputText": text}
    return said if fields.get("dimensions") is None else {**said, "dimensions": fields["dimensions"]}


def _cohere(fields: Mapping[str, Any], texts: list[str]) -> dict[str, Any]:
    said: dict[str, Any] = {"texts": texts, "input_type": word_of(fields, "input_type") or COHERE_INPUT_TYPE}
    return said if fields.get("dimensions") is None else {**said, "output_dimension": fields["dimensions"]}


class _ByType(msgspec.Struct, rename={"floats": "float"}):
    """Cohere's vectors where they may come as other numbers too."""

    floats: list[list[float]] | None = None


class _Answer(msgspec.Struct, rename={"input_text_token_count": "inputTextTokenCount"}):
    embedding: list[float] | None = None
    embeddings: list[list[float]] | _ByType | None = None
    input_text_token_count: Any = None

    def vectors(self) -> list[list[float]]:
        """All of them, whoever wrote them."""
        if self.embedding is not None:
            return [self.embedding]
        found = self.embeddings.floats if isinstance(self.embeddings, _ByType) else self.embeddings
        return found or []


_ANSWERS: msgspec.json.Decoder[_Answer | list[_Answer]] = msgspec.json.Decoder(_Answer | list[_Answer])
