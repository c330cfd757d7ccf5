"""Events of Bedrock's ConverseStream, and whole answers of Converse, to deltas.

    messageStart · (contentBlockStart? contentBlockDelta* contentBlockStop)* · messageStop · metadata

Blocks are told apart by their index, which counts texts and reasoning too; calls get indexes of their own. A stream is
complete with both of its last two events: `messageStop` says why, `metadata` what it took. Payloads carry random
padding and fields of models that we do not know; both are passed over.
Source: Amazon Bedrock API Reference, ConverseStreamOutput and ConverseResponse, as botocore 1.44.5 describes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from rillgate.domain.delta import (
    ANTHROPIC_ORIGIN,
    Delta,
    EndDelta,
    ErrorDelta,
    FinishDelta,
    OpaqueReasoningDelta,
    ReasoningDelta,
    SignatureDelta,
    TextDelta,
    ToolDelta,
    UsageDelta,
)
from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Frame
from rillgate.domain.usage import Usage
from rillgate.providers.bedrock_errors import error_from_exception
from rillgate.wire.eventstream import ERROR, EXCEPTION
from rillgate.wire.loose_json import count, loads, text

CHOICE = 0  # there is only one
FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
FINISH_FAILURES = frozenset({"malformed_model_output", "malformed_tool_use"})
SERVER_TOOL = "server_tool_use"  # a call that Bedrock answers itself


class _ReasoningText(msgspec.Struct):
    text: str | None = None
    signature: str | None = None


class _Reasoning(msgspec.Struct, rename="camel"):
    """In a stream `text` or `signature`, in a whole answer both within `reasoningText`."""

    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None
    reasoning_text: _ReasoningText | None = None


class _ToolUse(msgspec.Struct, rename="camel"):
    """`input`: a fragment of JSON text in a stream, any JSON in a whole answer."""

    tool_use_id: str | None = None
    name: str | None = None
    input: Any = None
    type: str | None = None


class _Text(msgspec.Struct):
    text: str | None = None


class _Citations(msgspec.Struct):
    content: list[_Text] | None = None


class _Content(msgspec.Struct, rename="camel"):
    """What a block holds, or begins with, or goes on with: one of these."""

    text: str | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None
    citations_content: _Citations | None = None


class _BlockEvent(msgspec.Struct, rename="camel"):
    content_block_index: int = 0
    start: _Content | None = None
    delta: _Content | None = None


class _Stop(msgspec.Struct, rename="camel"):
    stop_reason: str | None = None
    additional_model_response_fields: Any = None


class _Usage(msgspec.Struct, rename="camel"):
    input_tokens: Any = None
    output_tokens: Any = None
    cache_read_input_tokens: Any = None
    cache_write_input_tokens: Any = None


class _Metadata(msgspec.Struct):
    usage: _Usage | None = None


class _Message(msgspec.Struct):
    content: list[_Content] | None = None


class _Output(msgspec.Struct):
    message: _Message | None = None


class _Answer(msgspec.Struct, rename="camel"):
    output: _Output | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None
    additional_model_response_fields: Any = None


_BLOCK_EVENT = msgspec.json.Decoder(_BlockEvent)
_STOP = msgspec.json.Decoder(_Stop)
_METADATA = msgspec.json.Decoder(_Metadata)
_ANSWER = msgspec.json.Decoder(_Answer)


_Shape = TypeVar("_Shape")


class BedrockStreamDecoder:
    """Events of one stream to deltas.

    Args:
        name: the provider's configured name, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: dict[int, _Call] = {}  # by block
        self._stopped = False
        self._measured = False

    def decode(self, frame: Frame) -> list[Delta] | None:
        """One event's deltas.

        Shape:  contentBlockDelta {"contentBlockIndex": 0, "delta": {"text": "Hel"}} → [TextDelta(0, "Hel")]
        Raises: UpstreamError: the payload is not what its event's type says.
        """
        event = frame.event
        try:
            match event:
                case "contentBlockDelta":
                    return self._continue(_read(_BLOCK_EVENT, frame.data))
                case "contentBlockStart":
                    return self._begin(_read(_BLOCK_EVENT, frame.data))
                case "contentBlockStop":
                    return self._close(_read(_BLOCK_EVENT, frame.data))
                case "messageStop":
                    return self._stop(_read(_STOP, frame.data))
                case "metadata":
                    return self._measure(_read(_METADATA, frame.data))
                case "messageStart":
                    return []
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            message = (
                f"Provider {self._name!r} sent an event {event!r} of {len(frame.data)} bytes that is not its JSON."
            )
            raise UpstreamError(message, retryable=False) from error
        for prefix in (EXCEPTION, ERROR):
            if event.startswith(prefix):
                return [ErrorDelta(error_from_exception(self._name, event.removeprefix(prefix), frame.data))]
        return None

    def _begin(self, event: _BlockEvent) -> list[Delta]:
        use = event.start.tool_use if event.start is not None else None
        if use is None or use.type == SERVER_TOOL:
            return []
        call = self._calls[event.content_block_index] = _Call(len(self._calls))
        return [ToolDelta(CHOICE, call.index, use.tool_use_id, use.name, "")]

    def _continue(self, event: _BlockEvent) -> list[Delta]:
        delta = event.delta
        if delta is None:
            return []
        if delta.text:
            return [TextDelta(CHOICE, delta.text)]
        if delta.reasoning_content is not None:
            return list(_reasoning(delta.reasoning_content))
        call = self._calls.get(event.content_block_index)
        fragment = text(delta.tool_use.input) if delta.tool_use is not None else ""
        if call is None or not fragment:
            return []
        call.has_arguments = True
        return [ToolDelta(CHOICE, call.index, None, None, fragment)]

    def _close(self, event: _BlockEvent) -> list[Delta]:
        """A call without arguments sends none; the JSON that means so is written here."""
        call = self._calls.get(event.content_block_index)
        return [] if call is None else call.close()

    def _stop(self, event: _Stop) -> list[Delta]:
        self._stopped = True
        fields = event.additional_model_response_fields
        finish = _finish(self._name, event.stop_reason, fields, has_calls=bool(self._calls))
        if isinstance(finish, ErrorDelta):
            return [finish]
        closing = [delta for call in self._calls.values() for delta in call.close()]
        return [*closing, finish, EndDelta()] if self._measured else [*closing, finish]

    def _measure(self, event: _Metadata) -> list[Delta]:
        self._measured = True
        deltas: list[Delta] = [] if event.usage is None else [UsageDelta(_usage(event.usage))]
        return [*deltas, EndDelta()] if self._stopped else deltas


class _Call:
    """A call whose block has begun."""

    __slots__ = ("has_arguments", "index")

    def __init__(self, index: int) -> None:
        self.index = index
        self.has_arguments = False

    def close(self) -> list[Delta]:
        """The arguments of a call that has none."""
        if self.has_arguments:
            return []
        self.has_arguments = True
        return [ToolDelta(CHOICE, self.index, None, None, "{}")]


def answer_deltas(name: str, body: bytes) -> list[Delta]:
    """A whole answer.

    Shape:  {"output": {"message": {"content": [{"text": "Hi"}]}}, "stopReason": "end_turn", "usage": {…}}
            → [TextDelta(0, "Hi"), FinishDelta(0, "stop"), UsageDelta(…)]
    Raises: UpstreamError: it is no answer, or the model gave it up.
    """
    try:
        answer = _read(_ANSWER, body)
        message = answer.output.message if answer.output is not None else None
        deltas = list(_blocks(message.content or [])) if message is not None else []
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UpstreamError(f"Provider {name!r} sent an answer of {len(body)} bytes that is not Converse's.") from error
    if message is None:
        raise UpstreamError(f"Provider {name!r} sent an answer without a message.")
    has_calls = any(isinstance(delta, ToolDelta) for delta in deltas)
    finish = _finish(name, answer.stop_reason, answer.additional_model_response_fields, has_calls=has_calls)
    if isinstance(finish, ErrorDelta):
        raise finish.error
    usage = [] if answer.usage is None else [UsageDelta(_usage(answer.usage))]
    return [*deltas, finish, *usage]


def _blocks(content: list[_Content]) -> Iterator[Delta]:
    calls = 0
    for block in content:
        if block.text:
            yield TextDelta(CHOICE, block.text)
        if block.citations_content is not None:
            for cited in block.citations_content.content or ():
                if cited.text:
                    yield TextDelta(CHOICE, cited.text)
        if block.reasoning_content is not None:
            yield from _reasoning(block.reasoning_content)
        use = block.tool_use
        if use is not None and use.type != SERVER_TOOL:
            yield ToolDelta(CHOICE, calls, use.tool_use_id, use.name, msgspec.json.encode(use.input or {}).decode())
            calls += 1


def _reasoning(said: _Reasoning) -> Iterator[Delta]:
    """Signatures and redacted reasoning come from Claude alone."""
    whole = said.reasoning_text or said
    if whole.text:
        yield ReasoningDelta(CHOICE, whole.text)
    if whole.signature:
        yield SignatureDelta(CHOICE, whole.signature, ANTHROPIC_ORIGIN)
    if said.redacted_content:
        yield OpaqueReasoningDelta(CHOICE, said.redacted_content, ANTHROPIC_ORIGIN)


def _read(decoder: msgspec.json.Decoder[_Shape], data: bytes) -> _Shape:
    """A payload; one with half a character in it is read once more, loosely.

    Raises: MsgspecError, ValueError, RecursionError: it is no JSON, or of another shape.
    """
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.convert(loads(data), decoder.type)


def _finish(name: str, reason: str | None, fields: Any, *, has_calls: bool) -> FinishDelta | ErrorDelta:
    if reason in FINISH_FAILURES:
        return ErrorDelta(UpstreamError(f"Provider {name!r} gave its answer up (stop reason {reason!r})."))
    word = FINISH_REASONS.get(reason or "", "stop")
    if has_calls and word == "stop":
        word = "tool_calls"
    met = text(fields.get("stop_sequence")) if isinstance(fields, Mapping) and reason == "stop_sequence" else ""
    return FinishDelta(CHOICE, word, met or None)


def _usage(said: _Usage) -> Usage:
    """What is missing stays None; Bedrock's input leaves out what came from the cache or went into it."""
    total, cached, written = (
        count(each) for each in (said.input_tokens, said.cache_read_input_tokens, said.cache_write_input_tokens)
    )
    if total is not None:
        total += (cached or 0) + (written or 0)
    return Usage(
        input_tokens=total,
        output_tokens=count(said.output_tokens),
        cached_input_tokens=cached,
        cache_write_tokens=written,
    )
