"""Google's Gemini API: requests out, chunks to deltas. No client speaks it to us.

Its OpenAI-compatible surface loses errors in mid-stream and numbers no tool calls; this one does neither.
Source: Gemini API reference, models.streamGenerateContent and generateContent; read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from rillgate.domain.delta import Delta, ErrorDelta
from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import StreamDecoder
from rillgate.domain.request import ChatRequest, UpstreamRequest
from rillgate.providers import features
from rillgate.providers.features import Handling
from rillgate.providers.gemini_errors import gemini_error_from_response
from rillgate.providers.gemini_request import body_of
from rillgate.providers.gemini_stream import GeminiStreamDecoder
from rillgate.providers.json_body import json_body
from rillgate.providers.tool_names import ToolNames
from rillgate.wire.loose_json import UNREADABLE
from rillgate.wire.sse import SseReader

API_VERSION = "v1beta"  # the stable v1 does not know names such as `gemini-flash-latest`
MODELS_PREFIX = "models/"
TUNED_PREFIX = "tunedModels/"
MODELS_PAGE = 1000  # the most that one page holds
TOOL_NAME_CHARS_MAX = 64  # 128 on newer models
USES = frozenset({"generateContent", "embedContent"})  # of a model that can be asked for here

_PASSED, _TRANSLATED, _DROPPED, _REFUSED = Handling
HANDLING: Mapping[str, Handling] = {
    "text": _TRANSLATED,
    "images": _TRANSLATED,
    "image_urls": _TRANSLATED,  # Google fetches them
    "documents": _TRANSLATED,
    "sound": _TRANSLATED,
    "tools": _TRANSLATED,
    "custom_tools": _REFUSED,
    "functions": _REFUSED,
    "web_search": _REFUSED,
    "tool_choice": _TRANSLATED,
    "parallel_tool_calls": _DROPPED,
    "json_schema": _TRANSLATED,
    "json_object": _TRANSLATED,
    "stop": _TRANSLATED,
    "temperature": _TRANSLATED,
    "top_p": _TRANSLATED,
    "top_k": _TRANSLATED,
    "penalties": _TRANSLATED,
    "seed": _TRANSLATED,
    "choices": _TRANSLATED,
    "logprobs": _REFUSED,
    "logit_bias": _REFUSED,
    "prediction": _DROPPED,
    "audio_output": _REFUSED,
    "reasoning_effort": _TRANSLATED,
    "reasoning_kept": _TRANSLATED,
    "cache_marks": _DROPPED,  # it finds by itself what it has read before
    "end_user": _DROPPED,
    "service_tier": _TRANSLATED,
}


class GeminiProvider:
    """Translates for Gemini.

    Args: name: the provider's configured name, for messages.
    """

    dialect = "gemini"
    handling: Mapping[str, str] = HANDLING
    bills_after_cancel = False
    """Google's servers see a closed connection: their own name for what follows is CANCELLED, 499. Whether they bill
    what was made until then is said nowhere; the counts that came with the last chunk are charged as they are."""

    def __init__(self, name: str) -> None:
        self._name = name

    def build(self, request: ChatRequest, model: str, output_tokens_max: int) -> UpstreamRequest:
        """The request translated, the cap as `maxOutputTokens`, which counts thoughts as well.

        Shape:  {"messages": […], "stream": true}, "gemini-x"
                → POST /v1beta/models/gemini-x:streamGenerateContent?alt=sse; the base URL has no /v1beta.
        Raises: ClientError: it asks for what this API does not have, or cannot be translated.
        """
        features.check(request.fields, HANDLING, self._name)
        body = json_body(body_of(self._tool_names(request).request(request.fields), model, output_tokens_max))
        verb = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        return UpstreamRequest("POST", f"{model_path(model)}:{verb}", (("content-type", "application/json"),), body)

    def models_request(self) -> UpstreamRequest:
        """The whole list in one page."""
        return UpstreamRequest("GET", f"/{API_VERSION}/models?pageSize={MODELS_PAGE}")

    def decode_models(self, body: bytes) -> list[str]:
        """`{"models": [{"name": "models/gemini-x", "supportedGenerationMethods": […]}]}`, those that serve here."""
        try:
            models = _MODELS.decode(body).models or []
        except UNREADABLE as error:
            raise UpstreamError(f"Provider {self._name!r} sent no list of models.") from error
        return [
            model.name.removeprefix(MODELS_PREFIX)
            for model in models
            if model.supported_generation_methods is None or USES & set(model.supported_generation_methods)
        ]

    def reader(self) -> SseReader:
        """Frames are Server-Sent Events; errors between them are bare JSON, which the reader knows."""
        return SseReader()

    def decoder(self, request: ChatRequest | None = None) -> StreamDecoder:
        """A decoder for one stream."""
        return self._tool_names(request).decoder(GeminiStreamDecoder(self._name))

    def decode_answer(self, body: bytes, request: ChatRequest | None = None) -> list[Delta]:
        """A whole answer as deltas: thoughts, text, calls, finish, usage."""
        deltas = GeminiStreamDecoder(self._name).decode_chunk(body)
        if deltas and isinstance(deltas[-1], ErrorDelta):
            raise deltas[-1].error
        if not any(hasattr(delta, "choice") for delta in deltas or ()):
            raise UpstreamError(f"Provider {self._name!r} sent an answer without candidates.")
        return self._tool_names(request).answer(deltas or [])

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """See `gemini_errors`."""
        return gemini_error_from_response(self._name, status, headers, body)

    def _tool_names(self, request: ChatRequest | None) -> ToolNames:
        return ToolNames({} if request is None else request.fields, TOOL_NAME_CHARS_MAX, letter_first=True)


def model_path(model: str) -> str:
    """Where a model answers; its id is one segment, under `models` unless it is a tuned one.

    Shape: "gemini-x" → "/v1beta/models/gemini-x"; "tunedModels/a" → "/v1beta/tunedModels/a"
    """
    folder = TUNED_PREFIX if model.startswith(TUNED_PREFIX) else MODELS_PREFIX
    name = model.removeprefix(MODELS_PREFIX).removeprefix(TUNED_PREFIX)
    return f"/{API_VERSION}/{folder}{quote(name, safe='', errors='replace')}"


class _Model(msgspec.Struct, rename="camel"):
    name: str
    supported_generation_methods: list[str] | None = None


class _Models(msgspec.Struct):
    models: list[_Model] | None = None


_MODELS = msgspec.json.Decoder(_Models)
