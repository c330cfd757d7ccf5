"""Anthropic's Messages API and every server that speaks it: requests out, events to deltas.

The API's version is pinned for requests that we translate: under later ones no sampling setting is taken at all. A
client of the same API names its own, and its betas go with it.
Source: Messages API reference and its versioning page, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rillgate.domain.delta import Delta
from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import StreamDecoder
from rillgate.domain.request import ChatRequest, UpstreamRequest
from rillgate.providers import features
from rillgate.providers.anthropic_errors import anthropic_error_from_object, anthropic_error_from_response
from rillgate.providers.anthropic_request import body_of, body_of_original
from rillgate.providers.anthropic_stream import AnthropicStreamDecoder
from rillgate.providers.features import Handling
from rillgate.providers.json_body import json_body
from rillgate.providers.model_list import model_ids
from rillgate.providers.tool_names import ToolNames
from rillgate.wire.loose_json import loads
from rillgate.wire.sse import SseReader

API_VERSION = "2023-06-01"
VERSION_HEADER = "anthropic-version"
FORWARDED_HEADERS = frozenset({VERSION_HEADER, "anthropic-beta"})
MODELS_PAGE = 1000  # the most that one page holds
TOOL_NAME_CHARS_MAX = 128

_PASSED, _TRANSLATED, _DROPPED, _REFUSED = Handling
HANDLING: Mapping[str, Handling] = {
    "text": _TRANSLATED,
    "images": _TRANSLATED,
    "image_urls": _TRANSLATED,
    "documents": _TRANSLATED,
    "sound": _REFUSED,
    "tools": _TRANSLATED,
    "custom_tools": _REFUSED,
    "functions": _REFUSED,
    "web_search": _REFUSED,
    "tool_choice": _TRANSLATED,
    "parallel_tool_calls": _TRANSLATED,
    "json_schema": _TRANSLATED,
    "json_object": _DROPPED,  # OpenAI wants the prompt to ask for JSON as well, and a prompt is all there is here
    "stop": _TRANSLATED,
    "temperature": _TRANSLATED,  # at most 1; dropped for models that take none
    "top_p": _TRANSLATED,
    "top_k": _TRANSLATED,
    "penalties": _DROPPED,
    "seed": _DROPPED,
    "choices": _REFUSED,
    "logprobs": _REFUSED,
    "logit_bias": _REFUSED,
    "prediction": _DROPPED,
    "audio_output": _REFUSED,
    "reasoning_effort": _TRANSLATED,
    "reasoning_kept": _TRANSLATED,
    "cache_marks": _TRANSLATED,
    "end_user": _TRANSLATED,
    "service_tier": _TRANSLATED,
}


class AnthropicProvider:
    """Translates for Anthropic and compatible servers.

    Args: name: the provider's configured name, for messages.
    """

    dialect = "messages"
    handling: Mapping[str, str] = HANDLING
    bills_after_cancel = False
    """A closed connection ends the request, as it does in the servers of this API that can be read (llama.cpp, vLLM);
    what was made until the close was noticed, some tens of tokens, is not in our count. The prompt's tokens, the
    cache's with them, come with the first event, so they are charged as the provider counted them."""

    def __init__(self, name: str) -> None:
        self._name = name

    def build(self, request: ChatRequest, model: str, output_tokens_max: int) -> UpstreamRequest:
        """A client's own Messages request under our model and cap, any other one translated.

        Shape:  {"messages": […], "max_tokens": 9} → POST /v1/messages; the base URL has no /v1.
        Raises: ClientError: it asks for what this API does not have, or cannot be translated.
        """
        original = self._original(request)
        if original is not None:
            asked = request.output_tokens_asked
            body = body_of_original(original, model, output_tokens_max, asked, stream=request.stream)
            headers = {name: value for name, value in request.headers if name in FORWARDED_HEADERS}
        else:
            features.check(request.fields, HANDLING, self._name)
            fields = self._tool_names(request).request(request.fields)
            body = body_of(fields, model, output_tokens_max, stream=request.stream)
            headers = {}
        return UpstreamRequest(
            method="POST",
            path="/v1/messages",
            headers=(("content-type", "application/json"), *({VERSION_HEADER: API_VERSION} | headers).items()),
            body=json_body(body),
        )

    def models_request(self) -> UpstreamRequest:
        """The whole list in one page."""
        return UpstreamRequest("GET", f"/v1/models?limit={MODELS_PAGE}", headers=((VERSION_HEADER, API_VERSION),))

    def decode_models(self, body: bytes) -> list[str]:
        """See `model_list`."""
        return model_ids(self._name, body)

    def reader(self) -> SseReader:
        """Frames are Server-Sent Events."""
        return SseReader()

    def decoder(self, request: ChatRequest | None = None) -> StreamDecoder:
        """A decoder for one stream."""
        return self._tool_names(request).decoder(AnthropicStreamDecoder(self._name))

    def decode_answer(self, body: bytes, request: ChatRequest | None = None) -> list[Delta]:
        """A message object as deltas: text, thinking, tool calls, finish, usage."""
        try:
            message = loads(body)
        except (ValueError, RecursionError) as error:
            problem = f"Provider {self._name!r} sent an answer of {len(body)} bytes that is not JSON."
            raise UpstreamError(problem) from error
        if isinstance(message, dict) and (message.get("type") == "error" or message.get("error")):
            raise anthropic_error_from_object(self._name, message)
        if not isinstance(message, dict) or not isinstance(message.get("content"), list):
            raise UpstreamError(f"Provider {self._name!r} sent an answer without content.")
        return self._tool_names(request).answer(AnthropicStreamDecoder(self._name).decode_message(message))

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """See `anthropic_errors`."""
        return anthropic_error_from_response(self._name, status, headers, body)

    def _original(self, request: ChatRequest) -> Mapping[str, Any] | None:
        """The client's own fields, where it speaks this very API."""
        return request.original if request.dialect == self.dialect else None

    def _tool_names(self, request: ChatRequest | None) -> ToolNames:
        translated = request is not None and self._original(request) is None
        return ToolNames(request.fields if request is not None and translated else {}, TOOL_NAME_CHARS_MAX)
