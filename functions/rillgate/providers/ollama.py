"""Ollama's own API: requests out, lines to deltas. No client speaks it to us.

Its OpenAI-compatible surface loses errors in mid-stream and ignores caps under their newer name; this one does neither.
Source: Ollama's API reference and server source, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rillgate.domain.delta import Delta, EndDelta, ErrorDelta
from rillgate.domain.errors import UpstreamError
from rillgate.domain.request import ChatRequest, UpstreamRequest
from rillgate.providers import features
from rillgate.providers.features import Handling
from rillgate.providers.json_body import json_body
from rillgate.providers.ollama_request import body_of
from rillgate.providers.ollama_stream import OllamaStreamDecoder
from rillgate.providers.openai_errors import error_from_response
from rillgate.wire.loose_json import UNREADABLE
from rillgate.wire.ndjson import NdjsonReader

_PASSED, _TRANSLATED, _DROPPED, _REFUSED = Handling
HANDLING: Mapping[str, Handling] = {
    "text": _TRANSLATED,
    "images": _TRANSLATED,
    "image_urls": _REFUSED,
    "documents": _REFUSED,
    "sound": _REFUSED,
    "tools": _TRANSLATED,
    "custom_tools": _REFUSED,
    "functions": _REFUSED,
    "web_search": _REFUSED,
    "tool_choice": _REFUSED,
    "parallel_tool_calls": _DROPPED,
    "json_schema": _TRANSLATED,
    "json_object": _TRANSLATED,
    "stop": _TRANSLATED,
    "temperature": _TRANSLATED,
    "top_p": _TRANSLATED,
    "top_k": _TRANSLATED,
    "penalties": _TRANSLATED,
    "seed": _TRANSLATED,
    "choices": _REFUSED,
    "logprobs": _REFUSED,
    "logit_bias": _REFUSED,
    "prediction": _DROPPED,
    "audio_output": _REFUSED,
    "reasoning_effort": _TRANSLATED,
    "reasoning_kept": _TRANSLATED,  # its text; nothing here signs
    "cache_marks": _DROPPED,
    "end_user": _DROPPED,
    "service_tier": _DROPPED,
}


class OllamaProvider:
    """Translates for Ollama.

    Args: name: the provider's configured name, for messages.
    """

    dialect = "ollama"
    handling: Mapping[str, str] = HANDLING
    bills_after_cancel = False
    """The server ties a generation to its connection: it stops when that closes, and it bills nobody."""

    def __init__(self, name: str) -> None:
        self._name = name

    def build(self, request: ChatRequest, model: str, output_tokens_max: int) -> UpstreamRequest:
        """The request translated, the cap as `num_predict`.

        Shape:  {"messages": […], "max_tokens": 9} → POST /api/chat; the base URL has no /v1.
        Raises: ClientError: it asks for what this API does not have, or cannot be translated.
        """
        features.check(request.fields, HANDLING, self._name)
        body = json_body(body_of(request.fields, model, output_tokens_max, stream=request.stream))
        return UpstreamRequest("POST", "/api/chat", headers=(("content-type", "application/json"),), body=body)

    def models_request(self) -> UpstreamRequest:
        """The models that are on the server's disk."""
        return UpstreamRequest("GET", "/api/tags")

    def decode_models(self, body: bytes) -> list[str]:
        """`{"models": [{"name": …}]}`."""
        try:
            return [model.name for model in _TAGS.decode(body).models or ()]
        except UNREADABLE as error:
            raise UpstreamError(f"Provider {self._name!r} sent no list of models.") from error

    def reader(self) -> NdjsonReader:
        """Frames are lines of JSON."""
        return NdjsonReader()

    def decoder(self, request: ChatRequest | None = None) -> OllamaStreamDecoder:
        """A decoder for one stream. Tools may have any name here."""
        return OllamaStreamDecoder(self._name)

    def decode_answer(self, body: bytes, request: ChatRequest | None = None) -> list[Delta]:
        """A whole answer as deltas: thinking, text, tool calls, finish, usage."""
        deltas = self.decoder().decode_line(body)
        last = deltas[-1] if deltas else None
        if isinstance(last, ErrorDelta):
            raise last.error
        if deltas is None or not isinstance(last, EndDelta):
            raise UpstreamError(f"Provider {self._name!r} sent an answer that is not complete.")
        return deltas[:-1]

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """See `openai_errors`: these are read alike."""
        return error_from_response(self._name, status, headers, body)


class _Tag(msgspec.Struct):
    name: str


class _Tags(msgspec.Struct):
    models: list[_Tag] | None = None


_TAGS = msgspec.json.Decoder(_Tags)
