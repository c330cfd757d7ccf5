"""The /chat routes: one prompt in, Chat Completions chunks out, for a page that has no SDK.

`POST /chat/stream` takes a small JSON body and answers plain chunks. `GET /chat/{model}` serves a browser's
`EventSource`, which reconnects by itself and can send no body: its stream numbers every event, so that a
reconnection shows itself by `Last-Event-ID` and is never a second generation.
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rillgate.dialects.chat_completions import ChatCompletions, ChatCompletionsEncoder
from rillgate.dialects.chat_completions_request import OUTPUT_TOKENS_BOUND
from rillgate.dialects.json_fields import (
    SHOWN_CHARS_MAX,
    json_object,
    optional_integer,
    optional_number,
    optional_string,
    shown,
)
from rillgate.domain.delta import Delta
from rillgate.domain.errors import ClientError, RillgateError
from rillgate.domain.ports import Encoder, Frame, Report
from rillgate.domain.request import ChatRequest
from rillgate.domain.usage import Usage
from rillgate.wire.sse import encode_frame

SYSTEM_PROMPT_DEFAULT = "You are a helpful assistant."
OUTPUT_TOKENS_DEFAULT_POST = 512
TEMPERATURE_DEFAULT = 0.7


def parse_body(body: bytes, cut_notice: str) -> ChatRequest:
    """The body of `POST /chat/stream`.

    Shape:  {"prompt": "hi", "system_prompt": "…", "max_tokens": 512, "temperature": 0.7, "model": "m"}, all but
            `prompt` optional.
    Raises: ClientError: not JSON, `prompt` missing, a wrong type or a value out of range; `param` names the field.
    """
    fields = json_object(body)
    unknown = sorted(fields.keys() - {"prompt", "system_prompt", "max_tokens", "temperature", "model"})
    if unknown:
        raise ClientError(
            f"Unknown field {shown(unknown[0])}; this route takes prompt, system_prompt, max_tokens, temperature, "
            "model. POST /v1/chat/completions takes everything else.",
            param=unknown[0][:SHOWN_CHARS_MAX],
            code="unknown_parameter",
        )
    return _request(fields, "prompt", cut_notice, OUTPUT_TOKENS_DEFAULT_POST)


def parse_query(
    model: str | None, query: Mapping[str, str], cut_notice: str, output_tokens_default: int
) -> ChatRequest:
    """The query of `GET /chat/{model}`: `message`, and optionally system_prompt, max_tokens, temperature.

    Raises: ClientError: `message` missing or a value that is no number or out of range.
    """
    fields: dict[str, Any] = {key: query[key] for key in ("message", "system_prompt") if key in query}
    fields["model"] = model
    for key, number in (("max_tokens", int), ("temperature", float)):
        if key in query:
            try:
                fields[key] = number(query[key])
            except ValueError:
                raise ClientError(
                    f"Invalid value for '{key}': {shown(query[key])} is not a number.", param=key, code="invalid_value"
                ) from None
    return _request(fields, "message", cut_notice, output_tokens_default)


def _request(fields: Mapping[str, Any], prompt_field: str, cut_notice: str, output_tokens_default: int) -> ChatRequest:
    prompt = optional_string(fields, prompt_field)
    if not prompt:
        raise ClientError(
            f"Missing required field '{prompt_field}': the text to send to the model.",
            param=prompt_field,
            code="missing_required_parameter",
        )
    system_prompt = optional_string(fields, "system_prompt")
    output_tokens = optional_integer(fields, "max_tokens", 1, OUTPUT_TOKENS_BOUND)
    temperature = optional_number(fields, "temperature", 0, 2)
    system = SYSTEM_PROMPT_DEFAULT if system_prompt is None else system_prompt
    messages = [{"role": "system", "content": system}] if system else []
    return ChatRequest(
        fields={
            "messages": [*messages, {"role": "user", "content": prompt}],
            "temperature": TEMPERATURE_DEFAULT if temperature is None else temperature,
            "stream": True,
        },
        model=optional_string(fields, "model") or None,
        stream=True,
        output_tokens_asked=output_tokens,
        output_tokens_default=output_tokens_default,
        cut_notice=cut_notice,
    )


class EventSourceEncoder:
    """Chat Completions chunks as numbered events, a named `done` event, then [DONE].

    Every event carries `id: <request-id>:<n>`. The first bytes are an id without data, which dispatches nothing
    but is remembered: a connection lost before the first chunk reconnects with `Last-Event-ID` all the same.
    """

    def __init__(self, request_id: str, model: str, created_s: int) -> None:
        self._chunks = ChatCompletionsEncoder(request_id, model, created_s)
        self._request_id = request_id
        self._number = 0

    def open(self) -> bytes:
        """An id before any event."""
        return f"id: {self._request_id}:0\n\n".encode()

    def heartbeat(self) -> bytes:
        """A comment."""
        return b": ping\n\n"

    def forward(self, frame: Frame) -> bytes:
        """The frame's data, byte for byte, under our id."""
        self._chunks.forward(frame)  # learns what the chunks that we make ourselves must carry
        return self._event(frame.data)

    def amend(self, frame: Frame, *, without_usage: bool, drop_choices: Collection[int], report: Report) -> bytes:
        """As in Chat Completions."""
        return self._numbered(
            self._chunks.amend(frame, without_usage=without_usage, drop_choices=drop_choices, report=report)
        )

    def encode(self, deltas: Sequence[Delta], report: Report) -> bytes:
        """As in Chat Completions."""
        return self._numbered(self._chunks.encode(deltas, report))

    def cut(self, choice: int, notice: str, report: Report) -> bytes:
        """As in Chat Completions."""
        return self._numbered(self._chunks.cut(choice, notice, report))

    def usage(self, usage: Usage) -> bytes:
        """As in Chat Completions."""
        return self._numbered(self._chunks.usage(usage))

    def error(self, error: RillgateError) -> bytes:
        """As in Chat Completions: a plain message event, since `error` is the browser's own event name."""
        return self._numbered(self._chunks.error(error))

    def end(self) -> bytes:
        """A named event for pages that listen for it, then the terminal event of Chat Completions."""
        return self._event(b"{}", name="done") + self._event(b"[DONE]")

    def _numbered(self, frames: bytes) -> bytes:
        """Frames of `data:` lines, each under an id of its own."""
        return b"".join(self._event(frame.removeprefix(b"data: ")) for frame in frames.split(b"\n\n") if frame)

    def _event(self, data: bytes, *, name: str | None = None) -> bytes:
        self._number += 1
        return encode_frame(data, event=name, event_id=f"{self._request_id}:{self._number}")


class EventSource(ChatCompletions):
    """Chat Completions for a browser's `EventSource`."""

    def encoder(self, request_id: str, model: str, created_s: int) -> Encoder:
        """An encoder for one stream."""
        return EventSourceEncoder(request_id, model, created_s)
