"""OpenAI Chat Completions and every server that speaks it: requests out, chunks to deltas.

Strategy: decoding reads only what the house needs to know (text to count, finish, usage, errors) and leaves the
rest alone, since frames for a client of the same dialect are forwarded byte for byte. Servers differ: reasoning
comes as `reasoning_content` or `reasoning`, errors as objects, strings or flat bodies, `usage` on any chunk.
Source: https://platform.openai.com/docs/api-reference/chat, with the deviations of compatible servers as observed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rillgate.domain.delta import (
    Delta,
    EndDelta,
    ErrorDelta,
    FinishDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolDelta,
    UsageDelta,
)
from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Frame
from rillgate.domain.request import ChatRequest, UpstreamRequest
from rillgate.domain.usage import Usage
from rillgate.providers.openai_errors import error_from_object, error_from_response
from rillgate.wire.sse import SseReader

DONE = b"[DONE]"
CAP_FIELDS = ("max_completion_tokens", "max_tokens")


class OpenAIProvider:
    """Translates for OpenAI and compatible servers.

    Args:
        name: the provider's configured name, for messages.
        own_host: True for OpenAI's and Azure's own hosts, which read `max_completion_tokens`; other servers
            know `max_tokens`, and some ignore the longer name.
    """

    dialect = "chat_completions"

    def __init__(self, name: str, *, own_host: bool) -> None:
        self._name = name
        self._cap_field = "max_completion_tokens" if own_host else "max_tokens"

    def build(self, request: ChatRequest, model: str, output_tokens_max: int) -> UpstreamRequest:
        """The client's fields with the routed model, one cap, and usage always asked for.

        Shape: {"model": "fast", "messages": […], "max_tokens": 9} → POST /chat/completions with the routed name.
        """
        fields = {key: value for key, value in request.fields.items() if key not in CAP_FIELDS}
        fields["model"] = model
        fields[self._cap_field] = output_tokens_max
        if request.stream:
            fields["stream_options"] = {**(fields.get("stream_options") or {}), "include_usage": True}
        return UpstreamRequest(
            method="POST",
            path="/chat/completions",
            headers=(("content-type", "application/json"),),
            body=msgspec.json.encode(fields),
        )

    def reader(self) -> SseReader:
        """Frames are Server-Sent Events."""
        return SseReader()

    def decoder(self) -> OpenAIStreamDecoder:
        """A decoder for one stream."""
        return OpenAIStreamDecoder(self._name)

    def decode_answer(self, body: bytes) -> list[Delta]:
        """A `chat.completion` object as deltas: text, tool calls, finish, usage."""
        try:
            answer = _ANSWER.decode(body)
        except msgspec.MsgspecError as error:
            raise UpstreamError(f"Provider {self._name!r} sent an answer that is not a chat completion.") from error
        if answer.error is not None:
            raise error_from_object(self._name, answer.error)
        if answer.choices is None:
            raise UpstreamError(f"Provider {self._name!r} sent an answer without choices.")
        deltas: list[Delta] = []
        for choice in answer.choices:
            _decode_message(choice.index, choice.message, deltas)
            if isinstance(choice.finish_reason, str):
                deltas.append(FinishDelta(choice.index, choice.finish_reason))
        if answer.usage is not None:
            deltas.append(UsageDelta(usage_from_object(answer.usage)))
        return deltas

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """See `openai_errors`."""
        return error_from_response(self._name, status, headers, body)


class _Function(msgspec.Struct):
    name: Any = None
    arguments: Any = None


class _ToolCall(msgspec.Struct):
    index: Any = 0
    id: Any = None
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Message | None = None
    finish_reason: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


class _AnswerChoice(msgspec.Struct):
    index: int = 0
    message: _Message | None = None
    finish_reason: Any = None


class _Answer(msgspec.Struct):
    choices: list[_AnswerChoice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


_CHUNK = msgspec.json.Decoder(_Chunk)
_ANSWER = msgspec.json.Decoder(_Answer)


class OpenAIStreamDecoder:
    """Chunks of one stream to deltas; keeps no state, since OpenAI's chunks stand alone."""

    def __init__(self, name: str) -> None:
        self._name = name

    def decode(self, frame: Frame) -> list[Delta] | None:
        """One chunk's deltas.

        Shape:  {"choices": [{"index": 0, "delta": {"content": "Hel"}}]} → [TextDelta(0, "Hel")]
        Raises: UpstreamError: the frame is not JSON.
        """
        data = frame.data
        if data.startswith(DONE):  # some servers pad it; nothing else starts like this
            return [EndDelta()]
        try:
            chunk = _CHUNK.decode(data)
        except msgspec.ValidationError:
            return None  # JSON, but no chunk: a bare null, a list, a number
        except msgspec.DecodeError as error:
            raise UpstreamError(
                f"Provider {self._name!r} sent a frame of {len(data)} bytes that is not JSON.", retryable=False
            ) from error
        if chunk.error is not None:
            return [ErrorDelta(error_from_object(self._name, chunk.error))]
        if frame.event == "error":  # older llama.cpp: the error itself as an SSE field
            return [ErrorDelta(error_from_object(self._name, msgspec.json.decode(data)))]
        if chunk.choices is None and chunk.usage is None:
            return None
        deltas: list[Delta] = []
        for choice in chunk.choices or ():
            if choice.delta is not None:
                _decode_message(choice.index, choice.delta, deltas)
            if isinstance(choice.finish_reason, str):
                deltas.append(FinishDelta(choice.index, choice.finish_reason))
        if chunk.usage is not None:
            deltas.append(UsageDelta(usage_from_object(chunk.usage)))
        return deltas


def _decode_message(choice: int, message: _Message | None, deltas: list[Delta]) -> None:
    """Append what a delta or a whole message says; both have the same fields."""
    if message is None:
        return
    if message.content:
        deltas.append(TextDelta(choice, _text(message.content)))
    reasoning = message.reasoning_content or message.reasoning
    if reasoning:
        deltas.append(ReasoningDelta(choice, _text(reasoning)))
    if message.refusal:
        deltas.append(RefusalDelta(choice, _text(message.refusal)))
    for position, call in enumerate(message.tool_calls or ()):
        function = call.function or _Function()
        deltas.append(
            ToolDelta(
                choice,
                index=call.index if isinstance(call.index, int) else position,
                call_id=call.id if isinstance(call.id, str) else None,
                name=function.name if isinstance(function.name, str) else None,
                arguments=function.arguments if isinstance(function.arguments, str) else "",
            )
        )


def _text(content: Any) -> str:
    """Text of a string or of a list of parts (Mistral sends parts; what is not text counts nothing)."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_text(part.get("text") or part.get("thinking")) for part in content if isinstance(part, dict))
    return ""


def usage_from_object(usage: Mapping[str, Any]) -> Usage:
    """OpenAI's `usage` object; what is missing stays None.

    DeepSeek reports cached tokens as `prompt_cache_hit_tokens`.
    """
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        cached_input_tokens=_count(_get(prompt, "cached_tokens")) or _count(usage.get("prompt_cache_hit_tokens")),
        reasoning_tokens=_count(_get(completion, "reasoning_tokens")),
    )


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
