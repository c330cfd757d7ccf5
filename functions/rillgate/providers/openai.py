"""OpenAI Chat Completions and every server that speaks it: requests out, chunks to deltas.

Strategy: decoding reads only what the house needs to know (text to count, finish, usage, errors) and leaves the
rest alone, since frames for a client of the same dialect are forwarded byte for byte. Servers differ: reasoning
comes as `reasoning_content` or `reasoning`, text as a list of parts, errors as objects, strings or flat bodies,
`usage` on any chunk. Frames are read by their types first, which is fast; a frame that does not fit (an empty list
where an object belongs, half a surrogate pair, NaN) is read once more, loosely, so that nothing that a client's own
parser would take is lost here.
Source: https://platform.openai.com/docs/api-reference/chat, with the deviations of compatible servers as observed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from rillgate.domain.delta import (
    Delta,
    EndDelta,
    ErrorDelta,
    FinishDelta,
    OpaqueReasoningDelta,
    ReasoningDelta,
    RefusalDelta,
    SignatureDelta,
    TextDelta,
    ToolDelta,
    UsageDelta,
)
from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Frame, StreamDecoder
from rillgate.domain.request import ChatRequest, UpstreamRequest
from rillgate.domain.usage import Usage
from rillgate.providers.features import FEATURES, Handling
from rillgate.providers.json_body import json_body
from rillgate.providers.model_list import model_ids
from rillgate.providers.openai_errors import error_from_object, error_from_response
from rillgate.providers.openai_foreign import plain_fields, without_kept_reasoning
from rillgate.providers.tool_names import ToolNames
from rillgate.wire.loose_json import count, loads, loads_or_none
from rillgate.wire.sse import SseReader

DONE = b"[DONE]"
TOOL_NAME_CHARS_MAX = 64
CAP_FIELDS = ("max_completion_tokens", "max_tokens")
FINISH_REASONS = {"eos": "stop", "eos_token": "stop", "model_length": "length", "sensitive": "content_filter"}
FINISH_FAILURES = frozenset({"error", "insufficient_system_resource"})  # Mistral, OpenRouter; DeepSeek


class OpenAIProvider:
    """Translates for OpenAI and compatible servers.

    Args:
        name: the provider's configured name, for messages.
        own_host: True for OpenAI's own host and Azure's, which read `max_completion_tokens`; other servers
            know `max_tokens`, and some ignore the longer name.
    """

    dialect = "chat_completions"
    handling: Mapping[str, str] = dict.fromkeys((feature.name for feature in FEATURES), Handling.PASSED)
    bills_after_cancel = False
    """A closed connection ends the request: the servers that can be read (llama.cpp, vLLM) stop their work then, and
    OpenAI gives up a streamed answer with its connection. None of them sends usage for it, so what was made until the
    close was noticed, some tens of tokens, is not in our count."""

    def __init__(self, name: str, *, own_host: bool) -> None:
        self._name = name
        self._own_host = own_host
        self._cap_field = "max_completion_tokens" if own_host else "max_tokens"

    def build(self, request: ChatRequest, model: str, output_tokens_max: int) -> UpstreamRequest:
        """The client's fields with the routed model, one cap, and usage always asked for.

        Shape:  {"model": "fast", "messages": […], "max_tokens": 9} → POST /chat/completions with the routed name.
        Raises: ClientError: the fields are nested too deeply to be written, or came from another dialect with something
                in them that cannot be said here.
        """
        said = request.fields
        if request.dialect != self.dialect:
            said = plain_fields(self._tool_names(request).request(said), own_host=self._own_host)
        elif self._own_host:
            said = without_kept_reasoning(said)
        fields = {key: value for key, value in said.items() if key not in CAP_FIELDS}
        fields["model"] = model
        fields[self._cap_field] = output_tokens_max
        options = fields.pop("stream_options", None) or {}
        if request.stream:
            fields["stream_options"] = {**options, "include_usage": True}
        return UpstreamRequest(
            method="POST",
            path="/chat/completions",
            headers=(("content-type", "application/json"),),
            body=json_body(fields),
        )

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
        return self._tool_names(request).decoder(OpenAIStreamDecoder(self._name))

    def decode_answer(self, body: bytes, request: ChatRequest | None = None) -> list[Delta]:
        """A `chat.completion` object as deltas: text, tool calls, finish, usage."""
        try:
            answer = _read(body)
        except (ValueError, RecursionError) as error:
            message = f"Provider {self._name!r} sent an answer of {len(body)} bytes that is not JSON."
            raise UpstreamError(message) from error
        if answer is None or not answer.choices:
            said = loads_or_none(body)
            if _is_flat_error(said):
                raise error_from_object(self._name, said)
            raise UpstreamError(f"Provider {self._name!r} sent an answer without choices.")
        if answer.error:
            raise error_from_object(self._name, answer.error)
        deltas = _deltas(self._name, answer, whole=True)
        if deltas and isinstance(deltas[-1], ErrorDelta):
            raise deltas[-1].error
        return self._tool_names(request).answer(deltas)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """See `openai_errors`."""
        return error_from_response(self._name, status, headers, body)

    def _tool_names(self, request: ChatRequest | None) -> ToolNames:
        translated = request is not None and request.dialect != self.dialect
        return ToolNames(request.fields if request is not None and translated else {}, TOOL_NAME_CHARS_MAX)


class _Message(msgspec.Struct):
    """A choice's `delta` in a stream, its `message` in a whole answer; both have the same fields."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


class _TextMessage(msgspec.Struct, forbid_unknown_fields=True):
    """A delta of nothing but text; what some servers say beside it each time is nothing."""

    content: str
    role: str | None = None
    refusal: None = None
    reasoning_content: None = None
    tool_calls: None = None


class _TextChoice(msgspec.Struct):
    delta: _TextMessage
    index: int = 0
    finish_reason: None = None


class _TextChunk(msgspec.Struct):
    choices: list[_TextChoice]
    usage: None = None
    error: None = None


_CHUNK = msgspec.json.Decoder(_Chunk)
_TEXT_CHUNK = msgspec.json.Decoder(_TextChunk)
_TEXT_MISSES_MAX = 4  # of a stream in a row: its server writes its chunks in another way


class OpenAIStreamDecoder:
    """Chunks of one stream to deltas.

    OpenAI's chunks stand alone. What is remembered is for llama.cpp, which runs each of `n` choices for itself and
    sends a usage chunk after each: they are added up, the prompt counted once.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._finished: set[int] = set()
        self._summed: tuple[int, int] = (0, 0)  # choices that had finished at the last usage chunk, tokens until then
        self._text_misses = 0

    def decode(self, frame: Frame) -> list[Delta] | None:
        """One chunk's deltas.

        Shape:  {"choices": [{"index": 0, "delta": {"content": "Hel"}}]} → [TextDelta(0, "Hel")]
        Raises: UpstreamError: the frame is not JSON.
        """
        data = frame.data
        if data.startswith(DONE):  # some servers pad it; nothing else starts like this
            return [EndDelta()]
        if frame.event == "error":  # older llama.cpp, Gemini: the error itself, in no frame of its own
            return [ErrorDelta(error_from_object(self._name, loads_or_none(data)))]
        if self._text_misses < _TEXT_MISSES_MAX and (text := self._text_of(data)) is not None:
            return [text]  # nearly every chunk, in half the time
        try:
            chunk = _read(data)
        except (ValueError, RecursionError) as error:
            if data.strip().startswith(DONE):
                return [EndDelta()]
            raise UpstreamError(
                f"Provider {self._name!r} sent a frame of {len(data)} bytes that is not JSON.", retryable=False
            ) from error
        if chunk is None:
            said = loads_or_none(data)  # a bare null, a number: no chunk. But Gemini puts an error into a list.
            return [ErrorDelta(error_from_object(self._name, said))] if _is_listed_error(said) else None
        if chunk.error:  # OpenRouter has choices beside it; they say nothing more
            said = chunk.error if isinstance(chunk.error, dict | str) else loads_or_none(data)
            return [ErrorDelta(error_from_object(self._name, said))]
        if chunk.choices is None and chunk.usage is None:
            said = loads_or_none(data)
            return [ErrorDelta(error_from_object(self._name, said))] if _is_flat_error(said) else None
        deltas = _deltas(self._name, chunk, whole=False)
        if len(deltas) == 1 and type(deltas[0]) is TextDelta:  # nearly every chunk
            return deltas
        self._finished.update(delta.choice for delta in deltas if isinstance(delta, FinishDelta))
        return deltas if chunk.choices else [self._sum(delta) for delta in deltas]

    def _text_of(self, data: bytes) -> TextDelta | None:
        """The text of a chunk that says nothing else; None for any other."""
        try:
            choices = _TEXT_CHUNK.decode(data).choices
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            choices = []
        if len(choices) == 1 and choices[0].delta.content:
            self._text_misses = 0
            return TextDelta(choices[0].index, choices[0].delta.content)
        self._text_misses += 1
        return None

    def _sum(self, delta: Delta) -> Delta:
        """The usage of a chunk without choices, with that of the choices before it where another one has finished."""
        if not isinstance(delta, UsageDelta) or delta.usage.output_tokens is None:
            return delta
        finished, tokens = self._summed
        if 0 < finished < len(self._finished):
            delta = UsageDelta(replace(delta.usage, output_tokens=tokens + delta.usage.output_tokens))
        self._summed = (len(self._finished), delta.usage.output_tokens or 0)
        return delta


def _deltas(name: str, chunk: _Chunk, *, whole: bool) -> list[Delta]:
    """What a chunk, or a whole answer, says; an error comes last."""
    deltas: list[Delta] = []
    for choice in chunk.choices or ():
        message = choice.message if whole else choice.delta
        if message is not None:
            _decode_message(choice.index, message, deltas)
        reason = choice.finish_reason
        if not reason or not isinstance(reason, str):  # some servers send "" until they mean it
            continue
        if reason in FINISH_FAILURES:
            failure = UpstreamError(f"Provider {name!r} gave its answer up (finish reason {reason!r}).")
            return [*deltas, ErrorDelta(failure)]
        deltas.append(FinishDelta(choice.index, FINISH_REASONS.get(reason, reason)))
    if chunk.usage:
        usage = usage_from_object(chunk.usage)
        if usage.input_tokens is not None or usage.output_tokens is not None:
            deltas.append(UsageDelta(usage))
    return deltas


def _decode_message(choice: int, message: _Message, deltas: list[Delta]) -> None:
    """Append what a message says, in the order in which a model says it."""
    reasoning = message.reasoning_content or message.reasoning
    if reasoning:
        deltas.append(ReasoningDelta(choice, _text(reasoning)))
    if isinstance(message.reasoning_details, list):
        _decode_details(choice, message.reasoning_details, deltas, said=bool(reasoning))
    content = message.content
    if content:
        if isinstance(content, str):
            deltas.append(TextDelta(choice, content))
        else:
            _decode_parts(choice, content, deltas)
    if message.refusal:
        deltas.append(RefusalDelta(choice, _text(message.refusal)))
    if isinstance(message.tool_calls, list):
        for position, call in enumerate(message.tool_calls):
            if isinstance(call, dict):
                _decode_call(choice, call, call.get("function"), position, deltas)
    if isinstance(message.function_call, dict):  # what tool calls were called before there were many
        _decode_call(choice, {}, message.function_call, 0, deltas)
    if isinstance(message.audio, dict) and message.audio:  # sound itself is no text, but a sign of life
        deltas.append(TextDelta(choice, _text(message.audio.get("transcript"))))


def _decode_details(choice: int, details: list[Any], deltas: list[Delta], *, said: bool) -> None:
    """OpenRouter's `reasoning_details`: what the model's family wants back. `said`: their text stands beside them."""
    for detail in details:
        if not isinstance(detail, dict):
            continue
        text = detail.get("text") or detail.get("summary")
        if isinstance(text, str) and not said:
            deltas.append(ReasoningDelta(choice, text))
        origin = str(detail.get("format") or "")
        if isinstance(detail.get("signature"), str) and detail["signature"]:
            deltas.append(SignatureDelta(choice, detail["signature"], origin))
        if isinstance(detail.get("data"), str) and detail["data"]:
            deltas.append(OpaqueReasoningDelta(choice, detail["data"], origin))


def _decode_parts(choice: int, parts: Any, deltas: list[Delta]) -> None:
    """Content as a list (Mistral): text and thinking; what is neither counts nothing."""
    for part in parts if isinstance(parts, list) else [parts]:
        if not isinstance(part, dict):
            continue
        thinking = part.get("thinking")
        if thinking:
            deltas.append(ReasoningDelta(choice, _text(thinking)))
        elif part.get("text"):
            deltas.append(TextDelta(choice, _text(part["text"])))


def _decode_call(choice: int, call: dict[str, Any], function: Any, position: int, deltas: list[Delta]) -> None:
    index = call.get("index")
    call_id = _get(call, "id")
    name = _get(function, "name")
    arguments = _get(function, "arguments")
    deltas.append(
        ToolDelta(
            choice,
            index=index if isinstance(index, int) else position,
            call_id=call_id if isinstance(call_id, str) and call_id not in ("", "null") else None,
            name=name if isinstance(name, str) and name else None,
            arguments=arguments if isinstance(arguments, str) else "",
        )
    )


def _text(content: Any) -> str:
    """Text of a string, or of a list of parts with text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return ""


def _read(data: bytes) -> _Chunk | None:
    """A frame's or an answer's JSON; None where it is no object.

    Raises: ValueError, RecursionError: it is not JSON, or nested beyond reason.
    """
    try:
        return _CHUNK.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = loads(data)
    if not isinstance(value, dict):
        return None
    choices = value.get("choices")
    usage = value.get("usage")
    return _Chunk(
        choices=[_loose_choice(choice) for choice in choices if isinstance(choice, dict)]
        if isinstance(choices, list)
        else None,
        usage=usage if isinstance(usage, dict) else None,
        error=value.get("error"),
    )


def _loose_choice(choice: dict[str, Any]) -> _Choice:
    index = choice.get("index")
    return _Choice(
        index=index if isinstance(index, int) else 0,
        delta=_loose_message(choice.get("delta")),
        message=_loose_message(choice.get("message")),
        finish_reason=choice.get("finish_reason"),
    )


def _loose_message(message: Any) -> _Message | None:
    if not isinstance(message, dict):
        return None
    return _Message(**{name: message.get(name) for name in _Message.__struct_fields__})


def _is_flat_error(value: Any) -> bool:
    """Whether an object without choices and usage is an error: `{"object": "error", …}`, `{"detail": …}`, ..."""
    if not isinstance(value, dict):
        return _is_listed_error(value)
    if value.get("error") is not None or "error" in (value.get("object"), value.get("type")):
        return True
    return any(isinstance(value.get(key), str | list) and value[key] for key in ("message", "detail"))


def _is_listed_error(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "error" in value[0]


def usage_from_object(usage: Mapping[str, Any]) -> Usage:
    """OpenAI's `usage` object; what is missing stays None.

    DeepSeek reports cached tokens as `prompt_cache_hit_tokens`.
    """
    cached = count(_get(usage.get("prompt_tokens_details"), "cached_tokens"))
    return Usage(
        input_tokens=count(usage.get("prompt_tokens")),
        output_tokens=count(usage.get("completion_tokens")),
        cached_input_tokens=count(usage.get("prompt_cache_hit_tokens")) if cached is None else cached,
        cache_write_tokens=count(_get(usage.get("prompt_tokens_details"), "cache_write_tokens")),
        reasoning_tokens=count(_get(usage.get("completion_tokens_details"), "reasoning_tokens")),
    )


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None
