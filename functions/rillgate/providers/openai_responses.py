"""OpenAI's Responses API behind us: requests out, events to deltas. What its newer models refuse on Chat Completions
(tools beside reasoning, or any request at all) they take here.

Nothing is kept at OpenAI: every request says `store: false` and carries the whole conversation, earlier reasoning with
it, encrypted. A client of the same API is translated like any other, since `dialects.responses` has checked its
request field by field and answers under ids of ours.
Source: https://platform.openai.com/docs/api-reference/responses and openai-python 3.54.0, read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping

from rillgate.domain.delta import Delta
from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import StreamDecoder
from rillgate.domain.request import ChatRequest, UpstreamRequest
from rillgate.providers import features
from rillgate.providers.features import Handling
from rillgate.providers.json_body import json_body
from rillgate.providers.model_list import model_ids
from rillgate.providers.openai_errors import error_from_response
from rillgate.providers.openai_responses_request import body_of
from rillgate.providers.openai_responses_stream import ResponsesStreamDecoder
from rillgate.providers.tool_names import ToolNames
from rillgate.wire.loose_json import loads
from rillgate.wire.sse import SseReader

PATH = "/responses"
CHAT_DIALECT = "chat_completions"
TOOL_NAME_CHARS_MAX = 64

_PASSED, _TRANSLATED, _DROPPED, _REFUSED = Handling
HANDLING: Mapping[str, Handling] = {
    "text": _TRANSLATED,
    "images": _TRANSLATED,
    "image_urls": _TRANSLATED,
    "documents": _TRANSLATED,
    "sound": _REFUSED,
    "tools": _TRANSLATED,
    "custom_tools": _TRANSLATED,
    "functions": _REFUSED,
    "web_search": _REFUSED,  # a tool that OpenAI runs, and says of it what no other dialect has words for
    "tool_choice": _TRANSLATED,
    "parallel_tool_calls": _TRANSLATED,
    "json_schema": _TRANSLATED,
    "json_object": _TRANSLATED,
    "stop": _REFUSED,
    "temperature": _TRANSLATED,
    "top_p": _TRANSLATED,
    "top_k": _DROPPED,
    "penalties": _DROPPED,
    "seed": _DROPPED,
    "choices": _REFUSED,
    "logprobs": _REFUSED,
    "logit_bias": _REFUSED,
    "prediction": _DROPPED,
    "audio_output": _REFUSED,
    "reasoning_effort": _TRANSLATED,
    "reasoning_kept": _TRANSLATED,
    "cache_marks": _DROPPED,  # OpenAI finds by itself what it has read before
    "end_user": _TRANSLATED,
    "service_tier": _TRANSLATED,
}


class OpenAIResponsesProvider:
    """Translates for the Responses API.

    Args:
        name: the provider's configured name, for messages.
        path: where the API answers, behind the provider's base URL.
    """

    dialect = "openai_responses"  # of no client: those of `responses` get frames of our own
    handling: Mapping[str, str] = HANDLING
    bills_after_cancel = False
    """As with Chat Completions: OpenAI gives up a streamed answer with its connection; only `background` goes on, which
    is never asked for."""

    def __init__(self, name: str, *, path: str = PATH) -> None:
        self._name = name
        self._path = path

    def build(self, request: ChatRequest, model: str, output_tokens_max: int) -> UpstreamRequest:
        """The request translated, the cap as `max_output_tokens`, which counts reasoning as well.

        Shape:  {"messages": […], "stream": true} → POST /responses {"input": […], "stream": true, "store": false, …}
        Raises: ClientError: it asks for what this API does not have, or cannot be translated.
        """
        features.check(request.fields, HANDLING, self._name)
        fields = self._tool_names(request).request(request.fields)
        own_words = request.dialect == CHAT_DIALECT
        body = body_of(fields, model, output_tokens_max, stream=request.stream, own_words=own_words)
        return UpstreamRequest("POST", self._path, (("content-type", "application/json"),), json_body(body))

    def models_request(self) -> UpstreamRequest | None:
        """OpenAI's list."""
        return UpstreamRequest("GET", "/models")

    def decode_models(self, body: bytes) -> list[str]:
        """See `model_list`."""
        return model_ids(self._name, body)

    def reader(self) -> SseReader:
        """Frames are Server-Sent Events."""
        return SseReader()

    def decoder(self, request: ChatRequest | None = None) -> StreamDecoder:
        """A decoder for one stream."""
        return self._tool_names(request).decoder(ResponsesStreamDecoder(self._name))

    def decode_answer(self, body: bytes, request: ChatRequest | None = None) -> list[Delta]:
        """A response object as deltas: reasoning, text, calls, finish, usage."""
        try:
            response = loads(body)
        except (ValueError, RecursionError) as error:
            message = f"Provider {self._name!r} sent an answer of {len(body)} bytes that is not JSON."
            raise UpstreamError(message) from error
        return self._tool_names(request).answer(ResponsesStreamDecoder(self._name).decode_response(response))

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """See `openai_errors`."""
        return error_from_response(self._name, status, headers, body)

    def _tool_names(self, request: ChatRequest | None) -> ToolNames:
        return ToolNames({} if request is None else request.fields, TOOL_NAME_CHARS_MAX)
