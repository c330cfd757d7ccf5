"""Chunks of a Gemini stream, and whole answers, to deltas: both are a GenerateContentResponse.

A part is a piece of text, a piece of thought, or a whole function call; counts stand on nearly every chunk and are
totals so far. There is no terminal event: a stream is over with its body, and whole where every candidate has a finish
reason. A plain stop is said for calls too.
Source: Gemini API reference, GenerateContentResponse; google-genai 3.4.0; read 2026-11-21.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rillgate.domain.delta import (
    GOOGLE_ORIGIN,
    Delta,
    ErrorDelta,
    FinishDelta,
    OpaqueReasoningDelta,
    ReasoningDelta,
    TextDelta,
    ToolDelta,
    UsageDelta,
)
from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Frame
from rillgate.domain.usage import Usage
from rillgate.providers.call_ids import made_id
from rillgate.providers.error_table import Said, error_in_stream
from rillgate.providers.gemini_errors import gemini_error_from_object
from rillgate.wire.loose_json import count, loads, loads_or_none

UNSPECIFIED = "FINISH_REASON_UNSPECIFIED"
FINISH_REASONS = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "LANGUAGE",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "MODEL_ARMOR",
            "ESCALATION",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "IMAGE_OTHER",
            "PUP_LIMITED_DISABLED",
        ),
        "content_filter",
    ),
}
FINISH_FAILURES = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "NO_IMAGE",
    }
)
REASON_CHARS_MAX = 200
OTHER = "OTHER"  # a failure where nothing was said


class _Call(msgspec.Struct):
    id: str | None = None
    name: str | None = None
    args: Any = None


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _Call | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    index: int | None = None
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None


class _Counts(msgspec.Struct, rename="camel"):
    prompt_token_count: Any = None
    cached_content_token_count: Any = None
    candidates_token_count: Any = None
    thoughts_token_count: Any = None
    tool_use_prompt_token_count: Any = None
    total_token_count: Any = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None
    block_reason_message: str | None = None


class _Chunk(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    usage_metadata: _Counts | None = None
    prompt_feedback: _Feedback | None = None
    error: Any = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class GeminiStreamDecoder:
    """Chunks of one stream to deltas.

    Args: name: the provider's configured name, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: dict[int, int] = {}  # by choice
        self._said: set[int] = set()  # choices that have said something
        self._finished: set[int] = set()

    def decode(self, frame: Frame) -> list[Delta] | None:
        """One chunk's deltas; None for one that is no object, or says nothing that is known here.

        Shape:  {"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]} → [TextDelta(0, "Hi")]
        Raises: UpstreamError: the chunk is not JSON, or of another shape.
        """
        if frame.event == "error":  # bare JSON between frames
            return [ErrorDelta(gemini_error_from_object(self._name, loads_or_none(frame.data)))]
        return self.decode_chunk(frame.data)

    def decode_chunk(self, data: bytes) -> list[Delta] | None:
        """As `decode`; a whole answer is one chunk."""
        try:
            chunk = _read(data)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise UpstreamError(
                f"Provider {self._name!r} sent a frame of {len(data)} bytes that is not a Gemini answer.",
                retryable=False,
            ) from error
        if chunk is None:
            return None
        if chunk.error is not None:
            return [ErrorDelta(gemini_error_from_object(self._name, loads_or_none(data)))]
        if chunk.candidates is None and chunk.usage_metadata is None and chunk.prompt_feedback is None:
            return None
        return self._deltas(chunk, data)

    def _deltas(self, chunk: _Chunk, data: bytes) -> list[Delta]:
        deltas: list[Delta] = []
        failure: UpstreamError | None = None
        for candidate in chunk.candidates or ():
            choice = candidate.index or 0
            if candidate.content is not None:
                for part in candidate.content.parts or ():
                    self._part(choice, part, data, deltas)
            reason = candidate.finish_reason
            if not reason or reason == UNSPECIFIED or choice in self._finished:
                continue
            if reason in FINISH_FAILURES or (reason == OTHER and choice not in self._said):
                failure = self._failure(candidate)
                continue
            self._finished.add(choice)
            deltas.append(FinishDelta(choice, self._reason(choice, reason)))
        if chunk.usage_metadata is not None:
            ended = failure is not None or bool(self._finished)
            deltas.append(UsageDelta(_usage(chunk.usage_metadata, ended=ended)))
        feedback = chunk.prompt_feedback
        if feedback is not None and feedback.block_reason and not chunk.candidates:
            failure = self._blocked(feedback)
        return deltas if failure is None else [*deltas, ErrorDelta(failure)]

    def _part(self, choice: int, part: _Part, data: bytes, deltas: list[Delta]) -> None:
        """Append what a part says. What its signature belongs to: the call after it, or what was said before it."""
        if part.function_call is not None:
            self._call(choice, part.function_call, part.thought_signature, data, deltas)
            return
        if part.text:
            self._said.add(choice)
            deltas.append(ReasoningDelta(choice, part.text) if part.thought else TextDelta(choice, part.text))
        if part.thought_signature:
            deltas.append(OpaqueReasoningDelta(choice, part.thought_signature, GOOGLE_ORIGIN))

    def _call(self, choice: int, call: _Call, signature: str | None, data: bytes, deltas: list[Delta]) -> None:
        index = self._calls.get(choice, 0)
        self._calls[choice] = index + 1
        self._said.add(choice)
        call_id = call.id or made_id(data, index)
        if signature:
            deltas.append(OpaqueReasoningDelta(choice, signature, GOOGLE_ORIGIN, call_id))
        arguments = msgspec.json.encode(call.args if isinstance(call.args, dict) else {}).decode()
        deltas.append(ToolDelta(choice, index, call_id, call.name or "", arguments))

    def _reason(self, choice: int, reason: str) -> str:
        """OpenAI's word; one that is new is an end like any other."""
        word = FINISH_REASONS.get(reason, "stop")
        return "tool_calls" if word == "stop" and choice in self._calls else word

    def _failure(self, candidate: _Candidate) -> UpstreamError:
        reason = f"finish reason {candidate.finish_reason!r}"
        return UpstreamError(
            f"Provider {self._name!r} gave its answer up ({reason}){_because(candidate.finish_message)}."
        )

    def _blocked(self, feedback: _Feedback) -> UpstreamError:
        """The prompt was refused, with status 200 and nothing else."""
        why = _because(feedback.block_reason_message)
        message = f"Provider {self._name!r} blocked the prompt ({feedback.block_reason}){why}."
        return error_in_stream(self._name, 400, Said(message, code="content_filter"))


def _because(message: str | None) -> str:
    """The provider's own words on it, at the end of a sentence of ours."""
    return f": {message[:REASON_CHARS_MAX].rstrip('. ')}" if message else ""


def _usage(counts: _Counts, *, ended: bool) -> Usage:
    """Here a prompt's tokens exclude those of tools that Google runs, and an answer's exclude thoughts, save on some
    servers: what of the total is no prompt is the answer, thoughts included. Counts of 0 are left out.
    """
    prompt, tools = count(counts.prompt_token_count), count(counts.tool_use_prompt_token_count) or 0
    said, thought = count(counts.candidates_token_count), count(counts.thoughts_token_count)
    total = count(counts.total_token_count)
    output = None if said is None and thought is None and not ended else (said or 0) + (thought or 0)
    if output is not None and prompt is not None and total is not None and total >= prompt + tools:
        output = total - prompt - tools
    return Usage(
        input_tokens=None if prompt is None else prompt + tools,
        output_tokens=output,
        cached_input_tokens=count(counts.cached_content_token_count),
        reasoning_tokens=thought,
    )


def _read(data: bytes) -> _Chunk | None:
    """A chunk; None where it is no object. One with half a character in it is read once more, loosely.

    Raises: MsgspecError, ValueError, RecursionError: it is no JSON, or of another shape.
    """
    try:
        return _CHUNK.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = loads(data)
    return msgspec.convert(value, _Chunk) if isinstance(value, dict) else None
