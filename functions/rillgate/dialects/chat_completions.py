"""OpenAI's Chat Completions as clients speak it: what goes back over the wire.

Only `data:` fields and comments are ever written: openai-python turns a blank line after an `id:` into an event
without data and fails on it, and so do a lone `retry:` and an `event:` without data. Its stream helper joins strings
that come twice and looks tool calls up by position: so roles, ids and names are said once, and calls are numbered
from 0 without gaps.

Reasoning goes out twice where its family wants it back: as `reasoning_content` while it comes, and whole, with its
signature, as one entry of `reasoning_details` (OpenRouter's word) once the signature is there. A client that keeps
those entries with the message has all that the next turn needs, whether or not it joins them by `index`.
Source: https://platform.openai.com/docs/api-reference/chat and the official SDKs' parsers, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeGuard

import msgspec

from rillgate.dialects.chat_completions_request import parse
from rillgate.dialects.tool_calls import ToolCalls, made_up_ids
from rillgate.dialects.whole import Called, Choice, Opaque, Refused, Said, Thought, choices_of, with_ours
from rillgate.domain.delta import (
    Delta,
    FinishDelta,
    OpaqueReasoningDelta,
    ReasoningDelta,
    RefusalDelta,
    SignatureDelta,
    TextDelta,
    ToolDelta,
)
from rillgate.domain.errors import RillgateError
from rillgate.domain.ports import Encoder, Frame, Report
from rillgate.domain.request import AnswerHead
from rillgate.domain.usage import Usage
from rillgate.wire.loose_json import json_bytes, object_of
from rillgate.wire.sse import encode_frame

__all__ = ["NAME", "ChatCompletions", "ChatCompletionsEncoder", "error_object", "parse", "usage_object"]

NAME = "chat_completions"

_TEXT = msgspec.json.Encoder()
_TEXT_ENDS = b'},"finish_reason":null}]}\n\n'


class ChatCompletionsEncoder:
    """Writes one stream of `chat.completion.chunk` frames.

    Frames that we make ourselves carry the `id`, `created` and `model` of the provider's own, which `forward`
    and `amend` learn from the first; before that they carry the request's id and model.
    """

    def __init__(self, request_id: str, model: str, created_s: int) -> None:
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{request_id}",
            "object": "chat.completion.chunk",
            "created": created_s,
            "model": model,
        }
        self._learned = False
        self._roles_sent: set[int] = set()
        self._text_begins: dict[int, bytes] = {}  # all of a chunk with text that stands before the text, by choice
        self._request_id = request_id
        self._calls: dict[int, ToolCalls] = {}
        self._thoughts: dict[int, list[str]] = {}  # reasoning of a choice since its last signature
        self._details: dict[int, int] = {}  # entries of `reasoning_details` so far

    def open(self) -> bytes:
        """Nothing stands before the first chunk."""
        return b""

    def heartbeat(self) -> bytes:
        """A comment and one newline: a blank line here would be an empty event to openai-python."""
        return b": ping\n"

    def forward(self, frame: Frame) -> bytes:
        """The frame byte for byte where it is nothing but `data:` lines, else its data alone."""
        if not self._learned:
            self._learn(object_of(frame.data))
        return frame.raw if frame.plain else encode_frame(frame.data)

    def amend(self, frame: Frame, *, without_usage: bool, drop_choices: Collection[int], report: Report) -> bytes:
        """The frame with its usage or some choices taken out, or `rillgate` added; unknown fields survive."""
        chunk = object_of(frame.data)
        if not self._learned:
            self._learn(chunk)
        choices = chunk.get("choices")
        choices = choices if isinstance(choices, list) else []
        kept = [choice for choice in choices if _index(choice) not in drop_choices]
        if without_usage:
            chunk.pop("usage", None)
        if not kept and (choices or without_usage):
            return b""
        chunk["choices"] = kept
        if report:
            chunk["rillgate"] = report
        return self._frame(json_bytes(chunk))

    def encode(self, deltas: Sequence[Delta], report: Report) -> bytes:
        """Each delta as one chunk; `role` goes with a choice's first."""
        if len(deltas) == 1 and type(deltas[0]) is TextDelta:  # nearly every call
            return self._text(deltas[0])
        return b"".join(self._encode_one(delta, report) for delta in deltas)

    def _encode_one(self, delta: Delta, report: Report) -> bytes:
        match delta:
            case TextDelta():
                return self._text(delta)
            case ReasoningDelta(choice, text):
                self._thoughts.setdefault(choice, []).append(text)
                return self._chunk(choice, {"reasoning_content": text})
            case SignatureDelta(choice, signature, origin):
                thought = Thought("".join(self._thoughts.pop(choice, ())), signature, origin)
                return self._detail(choice, thought)
            case OpaqueReasoningDelta(choice, data, origin, call_id):
                return self._detail(choice, Opaque(data, origin, call_id))
            case RefusalDelta(choice, text):
                return self._chunk(choice, {"refusal": text})
            case ToolDelta():
                return self._call(delta)
            case FinishDelta(choice, reason):
                return self._empty_arguments(choice) + self._chunk(choice, {}, finish=reason, report=report)
        return b""  # usage, errors and ends have methods of their own

    def cut(self, choice: int, notice: str, report: Report) -> bytes:
        """`notice` as a last piece of text, then finish reason "length" with the report."""
        said = self._chunk(choice, {"content": notice}) if notice else b""
        return said + self._chunk(choice, {}, finish="length", report=report)

    def usage(self, usage: Usage) -> bytes:
        """The usage chunk, last before the terminal event: openai-python forgets usage at any later chunk."""
        return self._frame(json_bytes({**self._head, "choices": [], "usage": usage_object(usage)}))

    def error(self, error: RillgateError) -> bytes:
        """`data: {"error": …}`, which the official SDKs raise; no finish chunk and no [DONE] follows."""
        return self._frame(msgspec.json.encode(error_object(error)))

    def end(self) -> bytes:
        """The terminal event."""
        return self._frame(b"[DONE]")

    def _text(self, delta: TextDelta) -> bytes:
        """What `_chunk` gives for text. All but the text is the same each time, and is written once."""
        begin = self._text_begins.get(delta.choice)
        if begin is not None:
            return begin + _TEXT.encode(delta.text) + _TEXT_ENDS
        chunk = self._chunk(delta.choice, {"content": delta.text})
        empty = self._chunk(delta.choice, {"content": ""})  # the role has been said by now
        self._text_begins[delta.choice] = empty.removesuffix(b'""' + _TEXT_ENDS)
        return chunk

    def _detail(self, choice: int, thought: Thought | Opaque) -> bytes:
        index = self._details.get(choice, 0)
        self._details[choice] = index + 1
        return self._chunk(choice, {"reasoning_details": [_detail_object(thought, index)]})

    def _call(self, delta: ToolDelta) -> bytes:
        calls = self._calls.get(delta.choice)
        if calls is None:
            calls = self._calls[delta.choice] = ToolCalls(made_up_ids(self._request_id, delta.choice))
        piece = calls.take(delta)
        kind, said = ("custom", "input") if piece.custom else ("function", "arguments")
        call: dict[str, Any] = {"index": piece.position}
        if piece.call_id is None:
            call[kind] = {said: piece.arguments}
        else:
            call |= {"id": piece.call_id, "type": kind}
            call[kind] = {"name": piece.name, said: piece.arguments}
        return self._chunk(delta.choice, {"tool_calls": [call]})

    def _empty_arguments(self, choice: int) -> bytes:
        """A call that took none has an empty object for its arguments: an empty string is no JSON."""
        calls = self._calls.get(choice)
        missing = calls.without_arguments() if calls is not None else ()
        said = [{"index": position, "function": {"arguments": "{}"}} for position in missing]
        return self._chunk(choice, {"tool_calls": said}) if said else b""

    def _chunk(self, choice: int, delta: dict[str, Any], *, finish: str | None = None, report: Report = {}) -> bytes:  # noqa: B006 (never changed)
        if choice not in self._roles_sent and not self._learned:
            delta = {"role": "assistant", **delta}
        self._roles_sent.add(choice)
        chunk: dict[str, Any] = {**self._head, "choices": [{"index": choice, "delta": delta, "finish_reason": finish}]}
        if report:
            chunk["rillgate"] = report
        return self._frame(json_bytes(chunk))  # of a provider's own head, which may have half a character

    def _frame(self, data: bytes) -> bytes:
        return b"data: " + data + b"\n\n"

    def _learn(self, chunk: Mapping[str, Any]) -> None:
        self._text_begins.clear()
        # Azure begins with a chunk that has neither choices nor an id: learn from the first real one.
        self._learned = bool(chunk.get("id") or chunk.get("choices"))
        for key in ("id", "created", "model", "system_fingerprint"):
            if chunk.get(key):
                self._head[key] = chunk[key]


def _index(choice: Any) -> int:
    index = choice.get("index") if isinstance(choice, dict) else None
    return index if isinstance(index, int) else 0


def usage_object(usage: Usage) -> dict[str, Any]:
    """Usage as OpenAI writes it; parts that are not known are left out."""
    known: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens or 0,
        "completion_tokens": usage.output_tokens or 0,
        "total_tokens": (usage.input_tokens or 0) + (usage.output_tokens or 0),
    }
    parts = {"cached_tokens": usage.cached_input_tokens, "cache_write_tokens": usage.cache_write_tokens}
    if any(count is not None for count in parts.values()):
        known["prompt_tokens_details"] = {name: count for name, count in parts.items() if count is not None}
    if usage.reasoning_tokens is not None:
        known["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return known


class ChatCompletions:
    """The dialect as the pipeline sees it."""

    name = NAME
    stream_headers: Sequence[tuple[str, str]] = ()

    def encoder(self, request_id: str, model: str, created_s: int) -> Encoder:
        """An encoder for one stream."""
        return ChatCompletionsEncoder(request_id, model, created_s)

    def answer(self, body: bytes, usage: Usage | None, report: Report) -> bytes:
        """A whole answer with our usage and report added; byte for byte when there is nothing to add."""
        return with_ours(body, None if usage is None else usage_object(usage), report)

    def encode_answer(self, head: AnswerHead, deltas: Sequence[Delta], usage: Usage, report: Report) -> bytes:
        """A `chat.completion` object of what another API family answered."""
        answer: dict[str, Any] = {
            "id": f"chatcmpl-{head.request_id}",
            "object": "chat.completion",
            "created": head.created_s,
            "model": head.model,
            "choices": [
                {"index": index, "message": _message(choice), "logprobs": None, "finish_reason": choice.finish}
                for index, choice in choices_of(head.request_id, deltas).items()
            ],
            "usage": usage_object(usage),
        }
        if report:
            answer["rillgate"] = report
        return json_bytes(answer)

    def error_body(self, error: RillgateError) -> bytes:
        """OpenAI's error object."""
        return msgspec.json.encode(error_object(error))


def _message(choice: Choice) -> dict[str, Any]:
    """A choice as an assistant message; what it does not have is left out, but for content and refusal."""
    calls = [block for block in choice.blocks if isinstance(block, Called)]
    text, refusal, reasoning = choice.text(Said), choice.text(Refused), choice.text(Thought)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not (calls or refusal) else None,
        "refusal": refusal or None,
    }
    if reasoning:
        message["reasoning_content"] = reasoning
    kept = [block for block in choice.blocks if isinstance(block, Opaque) or _is_signed(block)]
    if kept:
        message["reasoning_details"] = [_detail_object(block, index) for index, block in enumerate(kept)]
    if calls:
        message["tool_calls"] = [_call_object(call) for call in calls]
    return message


def _call_object(call: Called) -> dict[str, Any]:
    if call.custom:
        return {"id": call.call_id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    return {
        "id": call.call_id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments or "{}"},
    }


def _is_signed(block: object) -> TypeGuard[Thought]:
    return isinstance(block, Thought) and bool(block.signature)


def _detail_object(thought: Thought | Opaque, index: int) -> dict[str, Any]:
    """An entry of `reasoning_details`. `format` names the family that can read it, `id` the call it belongs to."""
    if isinstance(thought, Opaque):
        said = {"type": "reasoning.encrypted", "data": thought.data}
        if thought.call_id:
            said["id"] = thought.call_id
    else:
        said = {"type": "reasoning.text", "text": thought.text, "signature": thought.signature}
    return {**said, "format": thought.origin, "index": index}


def error_object(error: RillgateError) -> dict[str, Any]:
    """An error as OpenAI writes it."""
    return {"error": {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}}
