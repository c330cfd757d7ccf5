"""Embeddings of Gemini, a hundred texts in each request.

Source: Gemini API reference, batchEmbedContents; "Embeddings", task types; read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rillgate.domain.delta import Delta, EmbeddingDelta, UsageDelta
from rillgate.domain.errors import UpstreamError
from rillgate.domain.request import ChatRequest, UpstreamRequest, several
from rillgate.domain.usage import Usage
from rillgate.providers.embedding_texts import broken, texts_of, word_of
from rillgate.providers.gemini import API_VERSION, GeminiProvider, model_path
from rillgate.providers.gemini_errors import gemini_error_from_object
from rillgate.providers.json_body import json_body
from rillgate.wire.loose_json import UNREADABLE, count, loads_or_none

BATCH_TEXTS_MAX = 100
# Cohere's words, and short ones, for what Gemini calls a task; its own words pass as they are.
TASKS = {
    "query": "RETRIEVAL_QUERY",
    "search_query": "RETRIEVAL_QUERY",
    "document": "RETRIEVAL_DOCUMENT",
    "search_document": "RETRIEVAL_DOCUMENT",
}


class GeminiEmbeddings(GeminiProvider):
    """Translates for Gemini."""

    def build(self, request: ChatRequest, model: str, output_tokens_max: int) -> UpstreamRequest:
        """As many requests as it takes.

        Shape:  {"input": ["a"], "dimensions": 256} → POST /v1beta/models/MODEL:batchEmbedContents
                {"requests": [{"model": "models/MODEL", "content": {"parts": [{"text": "a"}]}, …}]}
        Raises: ClientError: token ids.
        """
        texts = texts_of(request.fields, self._name)
        path = model_path(model)
        said = {"model": path.removeprefix(f"/{API_VERSION}/"), **_settings(request.fields)}
        bodies = [
            {
                "requests": [
                    {**said, "content": {"parts": [{"text": text}]}} for text in texts[at : at + BATCH_TEXTS_MAX]
                ]
            }
            for at in range(0, len(texts), BATCH_TEXTS_MAX)
        ]
        headers = (("content-type", "application/json"),)
        return several(
            [UpstreamRequest("POST", f"{path}:batchEmbedContents", headers, json_body(body)) for body in bodies]
        )

    def decode_answer(self, body: bytes, request: ChatRequest | None = None) -> list[Delta]:
        """Vectors in order, then what they took, where all of them say so."""
        try:
            found = _ANSWERS.decode(body)
        except UNREADABLE as error:
            raise UpstreamError(broken(self._name)) from error
        answers = found if isinstance(found, list) else [found]
        if any(answer.error is not None for answer in answers):
            raise gemini_error_from_object(self._name, loads_or_none(body))
        vectors = [each.values for answer in answers for each in answer.embeddings or ()]
        if not vectors:
            raise UpstreamError(broken(self._name))
        deltas: list[Delta] = [EmbeddingDelta(index, values) for index, values in enumerate(vectors)]
        counts = [count((answer.usage_metadata or {}).get("promptTokenCount")) for answer in answers]
        known = [number for number in counts if number is not None]
        return [*deltas, UsageDelta(Usage(sum(known), 0))] if len(known) == len(counts) else deltas


def _settings(fields: Mapping[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    task = word_of(fields, "task_type", "input_type")
    if task is not None:
        said["taskType"] = TASKS.get(task.lower(), task.upper())
    if fields.get("dimensions") is not None:
        said["outputDimensionality"] = fields["dimensions"]
    return said


class _Vector(msgspec.Struct):
    values: list[float]


class _Answer(msgspec.Struct, rename="camel"):
    embeddings: list[_Vector] | None = None
    usage_metadata: dict[str, Any] | None = None
    error: Any = None


_ANSWERS: msgspec.json.Decoder[_Answer | list[_Answer]] = msgspec.json.Decoder(_Answer | list[_Answer])
