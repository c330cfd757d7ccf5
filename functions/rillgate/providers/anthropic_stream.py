"""Events of a Messages stream, and whole messages, to deltas.

Grammar:  message_start (content_block_start content_block_delta* content_block_stop)* message_delta+ message_stop;
`ping` and `error` anywhere. A block's index counts all blocks, so a tool's own index is counted here. A whole message
is read as a stream in which every block is complete at its start.
Source: Messages API, streaming, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from rillgate.domain.delta import (
    ANTHROPIC_ORIGIN,
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
from rillgate.domain.ports import Frame
from rillgate.domain.usage import Usage
from rillgate.providers.anthropic_errors import anthropic_error_from_object
from rillgate.wire.loose_json import UNREADABLE, count, loads, loads_or_none, text

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",  # it could go on; what there is, is not the whole answer
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class _Event(msgspec.Struct):
    """An event, as far as it concerns us. Loose where nothing is gained by being strict."""

    type: str = ""
    index: int = 0
    delta: dict[str, Any] | None = None
    content_block: dict[str, Any] | None = None
    message: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


class _TextDelta(msgspec.Struct):
    type: str
    text: str


class _TextEvent(msgspec.Struct):
    """Nearly every event of nearly every stream."""

    type: str
    delta: _TextDelta


_EVENT = msgspec.json.Decoder(_Event)
_TEXT_EVENT = msgspec.json.Decoder(_TextEvent)


class AnthropicStreamDecoder:
    """Events of one stream to deltas.

    Args: name: the provider's configured name, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tools = 0
        self._tool_of_block: dict[int, int] = {}
        self._input_due: dict[int, dict[str, Any]] = {}  # of calls of which no fragment has come, by block
        self._usage: dict[str, int] = {}
        self._reasoned: int | None = None
        self._finished = False
        self._handlers: dict[str, Callable[[_Event], list[Delta]]] = {
            "message_start": self._message_start,
            "content_block_start": self._block_start,
            "content_block_delta": self._block_delta,
            "content_block_stop": self._block_stop,
            "message_delta": self._message_delta,
            "message_stop": lambda event: [EndDelta()],
        }

    def decode(self, frame: Frame) -> list[Delta] | None:
        """One event's deltas; [] for a ping and for events that are new, None for what is no event.

        Shape:  {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
                → [TextDelta(0, "Hi")]
        Raises: UpstreamError: the frame is not JSON.
        """
        data = frame.data
        try:
            said = _TEXT_EVENT.decode(data)
        except UNREADABLE:
            return self._decode_any(frame)
        if said.type == "content_block_delta" and said.delta.type == "text_delta":
            return [TextDelta(0, said.delta.text)] if said.delta.text else []
        return self._decode_any(frame)

    def _decode_any(self, frame: Frame) -> list[Delta] | None:
        try:
            event = _read(frame.data)
        except (ValueError, RecursionError) as error:
            if frame.data.startswith(b"[DONE]"):  # other APIs' end, which some servers put behind this one's
                return None
            raise UpstreamError(
                f"Provider {self._name!r} sent a frame of {len(frame.data)} bytes that is not JSON.", retryable=False
            ) from error
        if event is None:
            return None
        if event.error is not None or event.type == "error" or frame.event == "error":
            return [ErrorDelta(anthropic_error_from_object(self._name, loads_or_none(frame.data)))]
        handler = self._handlers.get(event.type)
        if handler is None:
            return [] if event.type else None
        return handler(event)

    def decode_message(self, message: dict[str, Any]) -> list[Delta]:
        """A whole message's deltas.

        Shape:  {"content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "usage": {…}}
                → [TextDelta(0, "Hi"), FinishDelta(0, "stop"), UsageDelta(…)]
        """
        deltas: list[Delta] = []
        content = message.get("content")
        for index, block in enumerate(content if isinstance(content, list) else ()):
            if isinstance(block, dict):
                event = _Event(index=index, content_block=block)
                deltas += self._block_start(event) + self._block_stop(event)
        usage = message.get("usage")
        return deltas + self._message_delta(_Event(delta=message, usage=usage if isinstance(usage, dict) else None))

    def _message_start(self, event: _Event) -> list[Delta]:
        """What the prompt cost is known at once; what the answer will cost is not."""
        usage = (event.message or {}).get("usage")
        self._merge(usage if isinstance(usage, dict) else {})
        self._usage.pop("output_tokens", None)  # the first token, or a placeholder
        merged = self._merged()
        return [] if merged.input_tokens is None else [UsageDelta(merged)]

    def _block_start(self, event: _Event) -> list[Delta]:
        """A block opens. Some servers, and whole messages, have all of it here."""
        block = event.content_block or {}
        match block.get("type"):
            case "text":
                return [TextDelta(0, text(block.get("text")))] if block.get("text") else []
            case "thinking":
                return self._thinking(text(block.get("thinking")), text(block.get("signature")))
            case "redacted_thinking":
                return [OpaqueReasoningDelta(0, text(block.get("data")), ANTHROPIC_ORIGIN)]
            case "tool_use":
                return [self._tool_start(event.index, block)]
        return []  # tools that run at the provider, and what they gave: never ours to call

    def _tool_start(self, index: int, block: dict[str, Any]) -> Delta:
        tool = self._tool_of_block[index] = self._tools
        self._tools += 1
        given = block.get("input")  # {} stands for what is to come
        self._input_due[index] = given if isinstance(given, dict) else {}
        return ToolDelta(0, tool, text(block.get("id")) or f"toolu_{tool}", text(block.get("name")), "")

    def _block_delta(self, event: _Event) -> list[Delta]:
        delta = event.delta or {}
        match delta.get("type"):
            case "text_delta":
                return [TextDelta(0, text(delta.get("text")))] if delta.get("text") else []
            case "thinking_delta":
                return self._thinking(text(delta.get("thinking")), "")
            case "signature_delta":
                return self._thinking("", text(delta.get("signature")))
            case "input_json_delta":
                fragment = text(delta.get("partial_json"))
                tool = self._tool_of_block.get(event.index)
                if fragment and tool is not None:
                    self._input_due.pop(event.index, None)
                    return [ToolDelta(0, tool, None, None, fragment)]
        return []

    def _block_stop(self, event: _Event) -> list[Delta]:
        """A call of which no fragment has come has the input of its start; most often there is none."""
        due = self._input_due.pop(event.index, None)
        if due is None:
            return []
        return [ToolDelta(0, self._tool_of_block[event.index], None, None, msgspec.json.encode(due).decode())]

    def _message_delta(self, event: _Event) -> list[Delta]:
        deltas: list[Delta] = []
        delta = event.delta or {}
        reason = delta.get("stop_reason")
        if isinstance(reason, str) and reason and not self._finished:
            self._finished = True
            explained = (delta.get("stop_details") or {}) if reason == "refusal" else {}
            if isinstance(explained, dict) and text(explained.get("explanation")):
                deltas.append(RefusalDelta(0, text(explained["explanation"])))
            deltas.append(FinishDelta(0, self._reason(reason), text(delta.get("stop_sequence")) or None))
        if event.usage is not None:
            self._merge(event.usage)
            deltas.append(UsageDelta(self._merged()))
        return deltas

    def _reason(self, reason: str) -> str:
        """OpenAI's word; one that is new is an end like any other."""
        said = FINISH_REASONS.get(reason, "stop")
        return "tool_calls" if said == "stop" and self._tools else said

    def _thinking(self, thought: str, signature: str) -> list[Delta]:
        deltas: list[Delta] = []
        if thought:
            deltas.append(ReasoningDelta(0, thought))
        if signature:
            deltas.append(SignatureDelta(0, signature, ANTHROPIC_ORIGIN))
        return deltas

    def _merge(self, usage: dict[str, Any]) -> None:
        """Counts are totals so far: a later one replaces an earlier one, one that is missing leaves it."""
        for key in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens"):
            number = count(usage.get(key))
            if number is not None:
                self._usage[key] = number
        details = usage.get("output_tokens_details")
        reasoned = count(details.get("thinking_tokens")) if isinstance(details, dict) else None
        self._reasoned = self._reasoned if reasoned is None else reasoned

    def _merged(self) -> Usage:
        """Here a prompt's tokens exclude those of the cache; in the house they include them."""
        fresh = self._usage.get("input_tokens")
        cached, written = (self._usage.get(f"cache_{way}_input_tokens") for way in ("read", "creation"))
        return Usage(
            input_tokens=None if fresh is None else fresh + (cached or 0) + (written or 0),
            output_tokens=self._usage.get("output_tokens"),
            cached_input_tokens=cached,
            cache_write_tokens=written,
            reasoning_tokens=self._reasoned,
        )


def _read(data: bytes) -> _Event | None:
    """A frame's JSON; None where it is no object.

    Raises: ValueError, RecursionError: it is not JSON, or nested beyond reason.
    """
    try:
        return _EVENT.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = loads(data)
    if not isinstance(value, dict):
        return None
    index = value.get("index")
    parts = {name: value.get(name) for name in ("delta", "content_block", "message", "usage")}
    return _Event(
        type=text(value.get("type")),
        index=index if isinstance(index, int) else 0,
        error=value.get("error"),
        **{name: part for name, part in parts.items() if isinstance(part, dict)},
    )
