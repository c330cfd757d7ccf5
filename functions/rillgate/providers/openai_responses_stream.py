"""Events of a Responses stream, and whole responses, to deltas.

Grammar:  response.created (response.output_item.added … response.output_item.done)* and one of response.completed,
response.incomplete, response.failed; `error` anywhere. Items are messages, reasoning, and calls; each event names its
item by `output_index`. A whole response is read as a stream in which every item is complete at its end.

Encrypted reasoning comes when its item is done, and belongs to the item behind it. It is told when that one begins:
where that is a call, with the call's id, so that it can go back to its place.
Source: https://platform.openai.com/docs/api-reference/responses-streaming; openai-python 3.54.0; read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from rillgate.domain.delta import (
    OPENAI_ORIGIN,
    Delta,
    EndDelta,
    ErrorDelta,
    FinishDelta,
    OpaqueReasoningDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolDelta,
    UsageDelta,
)
from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Frame
from rillgate.domain.usage import Usage
from rillgate.providers.openai_errors import error_from_object
from rillgate.wire.loose_json import UNREADABLE, count, loads, loads_or_none, text

DONE = b"[DONE]"  # another API's end, which some servers put behind this one's
PARAGRAPH = "\n\n"  # between the parts of a summary
CALLS = {"function_call": "arguments", "custom_tool_call": "input"}  # types of items, and where their arguments stand
INCOMPLETE_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}
# What a response fails of where the request was at fault, and the same one would fail again.
REQUEST_FAILURES = frozenset(
    {
        *("invalid_prompt", "bio_policy", "misalignment_policy_violation", "data_residency_mismatch"),
        *("invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url", "invalid_image_mode"),
        *("image_too_large", "image_too_small", "image_parse_error", "image_content_policy_violation"),
        *("image_file_too_large", "unsupported_image_media_type", "empty_image_file", "failed_to_download_image"),
        "image_file_not_found",
    }
)


class _Event(msgspec.Struct):
    """An event, as far as it concerns us. Loose where nothing is gained by being strict."""

    type: str = ""
    output_index: int = 0
    summary_index: int = 0
    delta: Any = None
    item: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    error: Any = None


class _TextEvent(msgspec.Struct):
    """Nearly every event of nearly every stream."""

    type: str
    delta: str


_EVENT = msgspec.json.Decoder(_Event)
_TEXT_EVENT = msgspec.json.Decoder(_TextEvent)


class ResponsesStreamDecoder:
    """Events of one stream to deltas.

    Args: name: the provider's configured name, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._call_of_item: dict[int, int] = {}  # the number of a call, by its item's
        self._with_arguments: set[int] = set()  # items of calls that have said some
        self._encrypted: list[str] = []  # reasoning whose next item has not begun
        self._handlers: dict[str, Callable[[_Event], list[Delta]]] = {
            "response.refusal.delta": self._refusal,
            "response.reasoning_summary_part.added": self._summary_part,
            "response.reasoning_summary_text.delta": self._thought,
            "response.reasoning_text.delta": self._thought,
            "response.output_item.added": self._item_added,
            "response.output_item.done": self._item_done,
            "response.function_call_arguments.delta": self._arguments,
            "response.custom_tool_call_input.delta": self._arguments,
            "response.completed": self._ended,
            "response.incomplete": self._ended,
            "response.failed": self._ended,
            "response.cancelled": self._ended,
        }

    def decode(self, frame: Frame) -> list[Delta] | None:
        """One event's deltas; [] for events that say nothing here, new ones too; None for what is no event.

        Shape:  {"type": "response.output_text.delta", "delta": "Hi", …} → [TextDelta(0, "Hi")]
        Raises: UpstreamError: the frame is not JSON.
        """
        try:
            said = _TEXT_EVENT.decode(frame.data)
        except UNREADABLE:
            return self._decode_any(frame)
        if said.type == "response.output_text.delta":
            return [TextDelta(0, said.delta)] if said.delta else []
        return self._decode_any(frame)

    def _decode_any(self, frame: Frame) -> list[Delta] | None:
        try:
            event = _read(frame.data)
        except (ValueError, RecursionError) as error:
            if frame.data.startswith(DONE):
                return None
            raise UpstreamError(
                f"Provider {self._name!r} sent a frame of {len(frame.data)} bytes that is not JSON.", retryable=False
            ) from error
        if event is None:
            return None
        if event.error is not None or "error" in (event.type, frame.event):
            return [ErrorDelta(self._error(loads_or_none(frame.data)))]
        if event.type == "response.output_text.delta":  # with half a character in it
            return [TextDelta(0, text(event.delta))] if text(event.delta) else []
        handler = self._handlers.get(event.type)
        if handler is None:
            return [] if event.type else None
        return handler(event)

    def decode_response(self, response: Any) -> list[Delta]:
        """A whole response's deltas.

        Shape:  {"status": "completed", "output": [{"type": "message", "content": [{"type": "output_text", "text":
                "Hi"}]}], "usage": {…}} → [TextDelta(0, "Hi"), FinishDelta(0, "stop"), UsageDelta(…)]
        Raises: UpstreamError: it is no response, or says that there is none.
        """
        output = response.get("output") if isinstance(response, dict) else None
        if isinstance(response, dict) and response.get("error"):
            raise self._error(response)
        if not isinstance(output, list):
            raise UpstreamError(f"Provider {self._name!r} sent an answer without output.")
        deltas: list[Delta] = []
        for index, item in enumerate(output):
            if isinstance(item, dict):
                event = _Event(output_index=index, item=item)
                deltas += [*self._item_added(event), *_message(item), *self._item_done(event)]
        ending = self._ended(_Event(response=response))
        if isinstance(ending[-1], ErrorDelta):
            raise ending[-1].error
        return [*deltas, *ending[:-1]]

    def _refusal(self, event: _Event) -> list[Delta]:
        return [RefusalDelta(0, text(event.delta))] if text(event.delta) else []

    def _thought(self, event: _Event) -> list[Delta]:
        return [ReasoningDelta(0, text(event.delta))] if text(event.delta) else []

    def _summary_part(self, event: _Event) -> list[Delta]:
        """A further part of a summary is a paragraph of its own."""
        return [ReasoningDelta(0, PARAGRAPH)] if event.summary_index > 0 else []

    def _item_added(self, event: _Event) -> list[Delta]:
        """An item begins, and with it ends what the reasoning before it waited for."""
        item = event.item or {}
        if text(item.get("type")) in CALLS:
            return self._call_begins(event.output_index, item)
        return [] if item.get("type") == "reasoning" else self._release(None)

    def _call_begins(self, index: int, item: dict[str, Any]) -> list[Delta]:
        number = self._call_of_item[index] = len(self._call_of_item)
        call_id = text(item.get("call_id")) or text(item.get("id")) or None
        custom = item.get("type") == "custom_tool_call"
        return [*self._release(call_id), ToolDelta(0, number, call_id, text(item.get("name")), "", custom)]

    def _arguments(self, event: _Event) -> list[Delta]:
        fragment = text(event.delta)
        number = self._call_of_item.get(event.output_index)
        if not fragment or number is None:
            return []
        self._with_arguments.add(event.output_index)
        return [ToolDelta(0, number, None, None, fragment)]

    def _item_done(self, event: _Event) -> list[Delta]:
        """What an item says at its end alone: encrypted reasoning, and a call that no fragment came of."""
        item = event.item or {}
        if item.get("type") == "reasoning":
            encrypted = text(item.get("encrypted_content"))
            if encrypted:
                self._encrypted.append(encrypted)
            return []
        argued = CALLS.get(text(item.get("type")))
        if argued is None:
            return []
        begun = [] if event.output_index in self._call_of_item else self._call_begins(event.output_index, item)
        arguments = text(item.get(argued))
        if event.output_index in self._with_arguments or not arguments:
            return begun
        self._with_arguments.add(event.output_index)
        return [*begun, ToolDelta(0, self._call_of_item[event.output_index], None, None, arguments)]

    def _release(self, call_id: str | None) -> list[Delta]:
        """Reasoning that waited for the item behind it."""
        waiting, self._encrypted = self._encrypted, []
        return [OpaqueReasoningDelta(0, data, OPENAI_ORIGIN, call_id) for data in waiting]

    def _ended(self, event: _Event) -> list[Delta]:
        """The response is over: what it was, what it took, and why if it failed."""
        response = event.response or {}
        status = text(response.get("status")) or event.type.removeprefix("response.")
        usage = response.get("usage")
        told: list[Delta] = [UsageDelta(_usage(usage))] if isinstance(usage, dict) else []
        if status not in ("completed", "incomplete"):
            return [*told, ErrorDelta(self._failure(response, status))]
        return [*self._release(None), FinishDelta(0, self._reason(response, status)), *told, EndDelta()]

    def _reason(self, response: dict[str, Any], status: str) -> str:
        """OpenAI's word of Chat Completions; a new reason for being incomplete is an end before its time."""
        if status == "incomplete":
            details = response.get("incomplete_details")
            reason = text(details.get("reason")) if isinstance(details, dict) else ""
            return INCOMPLETE_REASONS.get(reason, "length")
        return "tool_calls" if self._call_of_item else "stop"

    def _failure(self, response: dict[str, Any], status: str) -> UpstreamError:
        if response.get("error"):
            return self._error(response)
        return UpstreamError(f"Provider {self._name!r} gave its answer up (status {status!r}).")

    def _error(self, said: Any) -> UpstreamError:
        """An error event, or a response that failed."""
        detail = said.get("error") if isinstance(said, dict) else None
        detail = detail if isinstance(detail, dict) else said
        if isinstance(detail, dict) and text(detail.get("code")) in REQUEST_FAILURES:
            error = error_from_object(self._name, {**detail, "code": 400})
            error.code = detail["code"]
            return error
        return error_from_object(self._name, detail)


def _message(item: dict[str, Any]) -> list[Delta]:
    """What a whole item says in words."""
    kind = item.get("type")
    found: list[Delta] = []
    if kind == "reasoning":
        summary = [text(part.get("text")) for part in _parts(item, "summary")]
        said = PARAGRAPH.join(summary) or "".join(text(part.get("text")) for part in _parts(item, "content"))
        return [ReasoningDelta(0, said)] if said else []
    for part in _parts(item, "content") if kind == "message" else ():
        if part.get("type") == "output_text" and text(part.get("text")):
            found.append(TextDelta(0, text(part["text"])))
        elif part.get("type") == "refusal" and text(part.get("refusal")):
            found.append(RefusalDelta(0, text(part["refusal"])))
    return found


def _parts(item: dict[str, Any], key: str) -> list[dict[str, Any]]:
    parts = item.get(key)
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _usage(usage: dict[str, Any]) -> Usage:
    def detail(key: str, name: str) -> int | None:
        details = usage.get(key)
        return count(details.get(name)) if isinstance(details, dict) else None

    return Usage(
        input_tokens=count(usage.get("input_tokens")),
        output_tokens=count(usage.get("output_tokens")),
        cached_input_tokens=detail("input_tokens_details", "cached_tokens"),
        cache_write_tokens=detail("input_tokens_details", "cache_write_tokens"),
        reasoning_tokens=detail("output_tokens_details", "reasoning_tokens"),
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
    index, summary, item, response = (value.get(key) for key in ("output_index", "summary_index", "item", "response"))
    return _Event(
        type=text(value.get("type")),
        output_index=index if isinstance(index, int) else 0,
        summary_index=summary if isinstance(summary, int) else 0,
        delta=value.get("delta"),
        item=item if isinstance(item, dict) else None,
        response=response if isinstance(response, dict) else None,
        error=value.get("error"),
    )
