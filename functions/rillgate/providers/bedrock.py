"""Amazon Bedrock's Converse and ConverseStream: requests out, event-stream frames to deltas.

No client speaks this protocol, so every frame is decoded and written anew in the client's dialect. Signing is not
here: the `Endpoint` does it, over the very bytes that go out.
Source: Amazon Bedrock API Reference, Converse and ConverseStream, read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from rillgate.domain.delta import Delta
from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import StreamDecoder
from rillgate.domain.request import ChatRequest, UpstreamRequest
from rillgate.providers.bedrock_errors import error_from_answer
from rillgate.providers.bedrock_request import converse_body
from rillgate.providers.bedrock_stream import BedrockStreamDecoder, answer_deltas
from rillgate.providers.features import Handling, check
from rillgate.providers.json_body import json_body
from rillgate.providers.tool_names import ToolNames
from rillgate.wire.eventstream import EventStreamReader

DIALECT = "bedrock"
EVENT_STREAM = "application/vnd.amazon.eventstream"
TOOL_NAME_CHARS_MAX = 64

HANDLING: Mapping[str, Handling] = {
    "text": Handling.TRANSLATED,
    "images": Handling.TRANSLATED,
    "image_urls": Handling.REFUSED,
    "documents": Handling.TRANSLATED,
    "sound": Handling.TRANSLATED,
    "tools": Handling.TRANSLATED,
    "custom_tools": Handling.REFUSED,
    "functions": Handling.REFUSED,
    "web_search": Handling.REFUSED,
    "tool_choice": Handling.TRANSLATED,
    "parallel_tool_calls": Handling.TRANSLATED,  # Claude's; other models know no such wish
    "json_schema": Handling.TRANSLATED,
    "json_object": Handling.DROPPED,  # the prompt says it too, as OpenAI demands
    "stop": Handling.TRANSLATED,
    "temperature": Handling.TRANSLATED,
    "top_p": Handling.TRANSLATED,
    "top_k": Handling.TRANSLATED,
    "penalties": Handling.DROPPED,
    "seed": Handling.DROPPED,
    "choices": Handling.REFUSED,
    "logprobs": Handling.REFUSED,
    "logit_bias": Handling.REFUSED,
    "prediction": Handling.DROPPED,
    "audio_output": Handling.REFUSED,
    "reasoning_effort": Handling.TRANSLATED,
    "reasoning_kept": Handling.TRANSLATED,
    "cache_marks": Handling.TRANSLATED,
    "end_user": Handling.TRANSLATED,
    "service_tier": Handling.TRANSLATED,
}


class BedrockProvider:
    """Translates for Amazon Bedrock.

    Args:
        name: the provider's configured name, for messages.
    """

    dialect = DIALECT
    handling: Mapping[str, str] = HANDLING
    bills_after_cancel = True
    """AWS says nowhere that a closed connection ends the work, and there is no call that would. Operators who compared
    with AWS's own invocation logs saw answers generated and billed to their end after the client had gone (LiteLLM,
    pull request 36008, 2026). So whatever was abandoned is charged as if the cap had been used up."""

    def __init__(self, name: str) -> None:
        self._name = name

    def build(self, request: ChatRequest, model: str, output_tokens_max: int) -> UpstreamRequest:
        """The request as Converse, or ConverseStream, takes it; the model's id is one segment of the path.

        Shape:  {"messages": […], "stream": true}, "anthropic.claude-x-v1:0"
                → POST /model/anthropic.claude-x-v1%3A0/converse-stream
        Raises: ClientError: the request asks for something that Bedrock cannot do, or is nested too deeply.
        """
        fields = self._tool_names(request).request(request.fields)
        body = json_body(converse_body(fields, model, output_tokens_max))
        check(request.fields, HANDLING, self._name)
        operation, accept = ("converse-stream", EVENT_STREAM) if request.stream else ("converse", "application/json")
        return UpstreamRequest(
            method="POST",
            path=f"/model/{quote(model, safe='', errors='replace')}/{operation}",
            headers=(("content-type", "application/json"), ("accept", accept)),
            body=body,
        )

    def reader(self) -> EventStreamReader:
        """Frames are messages of AWS's event streams."""
        return EventStreamReader()

    def decoder(self, request: ChatRequest | None = None) -> StreamDecoder:
        """A decoder for one stream."""
        return self._tool_names(request).decoder(BedrockStreamDecoder(self._name))

    def decode_answer(self, body: bytes, request: ChatRequest | None = None) -> list[Delta]:
        """See `answer_deltas`."""
        return self._tool_names(request).answer(answer_deltas(self._name, body))

    def models_request(self) -> UpstreamRequest | None:
        """None: the list of models is another service's, with rights of its own; models are named in full."""
        return None

    def decode_models(self, body: bytes) -> list[str]:
        """Never asked for; see `models_request`."""
        raise UpstreamError(f"Provider {self._name!r} has no list of models.", retryable=False)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """See `bedrock_errors`."""
        return error_from_answer(self._name, status, headers, body)

    def _tool_names(self, request: ChatRequest | None) -> ToolNames:
        return ToolNames({} if request is None else request.fields, TOOL_NAME_CHARS_MAX)
