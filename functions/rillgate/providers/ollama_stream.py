"""Lines of an Ollama chat stream, and whole answers, to deltas: both are the same object.

A tool call comes whole, its arguments an object. The last line says `done` and counts tokens; an error in mid-stream
is a line of its own, and nothing follows it.
Source: Ollama's API reference and server source, read 2026-11.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rillgate.domain.delta import (
    Delta,
    EndDelta,
    ErrorDelta,
    FinishDelta,
    ReasoningDelta,
    TextDelta,
    ToolDelta,
    UsageDelta,
)
from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Frame
from rillgate.domain.usage import Usage
from rillgate.providers.call_ids import made_id
from rillgate.providers.ollama_errors import ollama_error_from_object
from rillgate.wire.loose_json import count, loads, text

FINISH_REASONS = {"stop": "stop", "length": "length", "load": "stop"}


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[Any] | None = None


class _Line(msgspec.Struct):
    message: _Message | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: Any = None


_LINE = msgspec.json.Decoder(_Line)


class OllamaStreamDecoder:
    """Lines of one stream to deltas.

    Args: name: the provider's configured name, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tools = 0
        self._content = False

    def decode(self, frame: Frame) -> list[Delta] | None:
        """One line's deltas; None for one that is no object, or says nothing of a chat.

        Shape:  {"message": {"content": "Hi"}, "done": false} → [TextDelta(0, "Hi")]
        Raises: UpstreamError: the line is not JSON.
        """
        return self.decode_line(frame.data)

    def decode_line(self, data: bytes) -> list[Delta] | None:
        """As `decode`; a whole answer is one line."""
        try:
            line = _read(data)
        except (ValueError, RecursionError) as error:
            raise UpstreamError(
                f"Provider {self._name!r} sent a line of {len(data)} bytes that is not JSON.", retryable=False
            ) from error
        if line is None or (line.message is None and line.error is None and not line.done):
            return None
        if line.error is not None:
            return [ErrorDelta(ollama_error_from_object(self._name, line.error))]
        deltas = self._message(line.message, data) if line.message is not None else []
        if line.done:
            deltas += self._end(line)
        return deltas

    def _message(self, message: _Message, data: bytes) -> list[Delta]:
        deltas: list[Delta] = []
        if message.thinking:
            deltas.append(ReasoningDelta(0, message.thinking))
        if message.content:
            deltas.append(TextDelta(0, message.content))
        deltas += [self._call(call, data) for call in message.tool_calls or () if isinstance(call, dict)]
        self._content |= bool(deltas)
        return deltas

    def _call(self, call: dict[str, Any], data: bytes) -> Delta:
        """A call, whole. Servers count every call as the first, so they are counted here."""
        index = self._tools
        self._tools += 1
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        arguments = function.get("arguments")
        if not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments if isinstance(arguments, dict) else {}).decode()
        call_id = text(call.get("id")) or made_id(data, index)
        return ToolDelta(0, index, call_id, text(function.get("name")), arguments or "{}")

    def _end(self, line: _Line) -> list[Delta]:
        """The finish, the counts, the end. Without a reason the process that ran the model has gone."""
        if not line.done_reason or line.done_reason == "unload":
            return [ErrorDelta(UpstreamError(f"Provider {self._name!r} lost its model while it was answering."))]
        reason = FINISH_REASONS.get(line.done_reason, "stop")
        finish = FinishDelta(0, "tool_calls" if reason == "stop" and self._tools else reason)
        return [finish, UsageDelta(self._usage(line)), EndDelta()]

    def _usage(self, line: _Line) -> Usage:
        """Counts of 0 are left out. No prompt has no tokens, so its 0 says that it was cached whole: not known."""
        output = count(line.eval_count)
        if output is None and not self._content:
            output = 0
        return Usage(input_tokens=count(line.prompt_eval_count) or None, output_tokens=output)


def _read(data: bytes) -> _Line | None:
    """A line's JSON; None where it is no object.

    Raises: ValueError, RecursionError: it is not JSON, or nested beyond reason.
    """
    try:
        return _LINE.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = loads(data)
    if not isinstance(value, dict):
        return None
    message = value.get("message")
    return _Line(
        message=_loose_message(message) if isinstance(message, dict) else None,
        done=value.get("done") is True,
        done_reason=text(value.get("done_reason")) or None,
        prompt_eval_count=count(value.get("prompt_eval_count")),
        eval_count=count(value.get("eval_count")),
        error=value.get("error"),
    )


def _loose_message(message: dict[str, Any]) -> _Message:
    calls = message.get("tool_calls")
    return _Message(
        text(message.get("content")), text(message.get("thinking")), calls if isinstance(calls, list) else None
    )
