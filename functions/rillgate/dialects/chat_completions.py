"""OpenAI's Chat Completions as clients speak it: bodies to requests, and what goes back over the wire.

Only `data:` fields and comments are ever written: openai-python turns a blank line after an `id:` into an event
without data and fails on it, and so do a lone `retry:` and an `event:` without data.
Source: https://platform.openai.com/docs/api-reference/chat and the official SDKs' parsers, read 2026-11.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from rillgate.dialects.json_fields import (
    json_object,
    optional_array,
    optional_bool,
    optional_integer,
    optional_number,
    optional_string,
    shown,
    wrong_type,
)
from rillgate.domain.delta import (
    Delta,
    FinishDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolDelta,
)
from rillgate.domain.errors import ClientError, RillgateError
from rillgate.domain.ports import Encoder, Frame, Report
from rillgate.domain.request import ChatRequest
from rillgate.domain.usage import Usage
from rillgate.wire.sse import encode_frame

NAME = "chat_completions"
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
CONTENT_ROLES = frozenset({"system", "developer", "user", "tool"})  # what these say cannot be nothing
OUTPUT_TOKENS_BOUND = 2**31 - 1
CHOICES_MAX = 128
STOPS_MAX = 16  # OpenAI takes 4, compatible servers more; past this it is a mistake


def parse(body: bytes) -> ChatRequest:
    """A request body, checked field by field; fields that we do not know are kept.

    Shape:  {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true, "max_tokens": 9}
            → ChatRequest(model="m", stream=True, output_tokens_asked=9, …)
    Raises: ClientError: not JSON, a wrong type or a value out of range; `param` names the field.
    """
    fields = json_object(body)
    _check_messages(fields.get("messages"))
    _check_sampling(fields)
    stream = optional_bool(fields, "stream")
    return ChatRequest(
        fields=fields,
        model=optional_string(fields, "model") or None,
        stream=stream,
        include_usage=_include_usage(fields, stream=stream),
        output_tokens_asked=_output_tokens_asked(fields),
        choices=optional_integer(fields, "n", 1, CHOICES_MAX) or 1,
    )


def _check_messages(messages: Any) -> None:
    if messages is None:
        raise ClientError(
            "Missing required field 'messages': an array of at least one message.",
            param="messages",
            code="missing_required_parameter",
        )
    if not isinstance(messages, list):
        raise wrong_type("messages", "an array", messages)
    if not messages:
        raise ClientError("'messages' is empty; send at least one message.", param="messages", code="invalid_value")
    for position, message in enumerate(messages):
        where = f"messages[{position}]"
        if not isinstance(message, dict):
            raise wrong_type(where, "an object", message)
        _check_role(where, message.get("role"))
        _check_content(where, message["role"], message.get("content"))
        for number, call in enumerate(optional_array(message, "tool_calls", f"{where}.")):
            if not isinstance(call, dict):
                raise wrong_type(f"{where}.tool_calls[{number}]", "an object", call)


def _check_role(where: str, role: Any) -> None:
    if not isinstance(role, str):
        raise wrong_type(f"{where}.role", "a string", role)
    if role not in ROLES:
        raise ClientError(
            f"Invalid value for '{where}.role': {shown(role)}; use one of {', '.join(sorted(ROLES))}.",
            param=f"{where}.role",
            code="invalid_value",
        )


def _check_content(where: str, role: str, content: Any) -> None:
    """Text or parts, each of which names its type; which types there are is the provider's to say."""
    if content is None:
        if role in CONTENT_ROLES:
            raise ClientError(
                f"Missing required field '{where}.content': a string or an array of parts.",
                param=f"{where}.content",
                code="missing_required_parameter",
            )
        return
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise wrong_type(f"{where}.content", "a string or an array of parts", content)
    for position, part in enumerate(content):
        here = f"{where}.content[{position}]"
        if not isinstance(part, dict):
            raise wrong_type(here, "an object", part)
        if not isinstance(part.get("type"), str):
            raise ClientError(
                f"Invalid value for '{here}': it needs a 'type', a string.", param=here, code="invalid_value"
            )
        if part["type"] == "text" and not isinstance(part.get("text"), str):
            raise wrong_type(f"{here}.text", "a string", part.get("text"))


def _check_sampling(fields: Mapping[str, Any]) -> None:
    optional_number(fields, "temperature", 0, 2)
    optional_number(fields, "top_p", 0, 1)
    optional_number(fields, "presence_penalty", -2, 2)
    optional_number(fields, "frequency_penalty", -2, 2)
    optional_integer(fields, "top_logprobs", 0, 20)
    optional_integer(fields, "seed", -(2**63), 2**63 - 1)
    optional_bool(fields, "logprobs")
    optional_bool(fields, "parallel_tool_calls")
    stop = fields.get("stop")
    if isinstance(stop, list):
        if len(stop) > STOPS_MAX or not all(isinstance(text, str) for text in stop):
            raise ClientError(
                f"Invalid value for 'stop': give a string or at most {STOPS_MAX} strings.",
                param="stop",
                code="invalid_value",
            )
    elif stop is not None and not isinstance(stop, str):
        raise wrong_type("stop", "a string or an array of strings", stop)
    for position, tool in enumerate(optional_array(fields, "tools")):
        if not isinstance(tool, dict):
            raise wrong_type(f"tools[{position}]", "an object", tool)


def _include_usage(fields: Mapping[str, Any], *, stream: bool) -> bool:
    options = fields.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise wrong_type("stream_options", "an object", options)
    if not stream:
        raise ClientError(
            "'stream_options' is only allowed together with \"stream\": true.",
            param="stream_options",
            code="invalid_value",
        )
    value = options.get("include_usage")
    if value is not None and not isinstance(value, bool):
        raise wrong_type("stream_options.include_usage", "a boolean", value)
    return bool(value)


def _output_tokens_asked(fields: Mapping[str, Any]) -> int | None:
    """The cap under either name; where both are given, the smaller."""
    named = [
        value
        for value in (
            optional_integer(fields, "max_completion_tokens", 1, OUTPUT_TOKENS_BOUND),
            optional_integer(fields, "max_tokens", 1, OUTPUT_TOKENS_BOUND),
        )
        if value is not None
    ]
    return min(named, default=None)


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

    def open(self) -> bytes:
        """Nothing stands before the first chunk."""
        return b""

    def heartbeat(self) -> bytes:
        """A comment and one newline: a blank line here would be an empty event to openai-python."""
        return b": ping\n"

    def forward(self, frame: Frame) -> bytes:
        """The frame byte for byte where it is nothing but `data:` lines, else its data alone."""
        if not self._learned:
            self._learn(_object(frame.data))
        return frame.raw if frame.plain else encode_frame(frame.data)

    def amend(self, frame: Frame, *, without_usage: bool, drop_choices: Collection[int], report: Report) -> bytes:
        """The frame with its usage or some choices taken out, or `rillgate` added; unknown fields survive."""
        chunk = _object(frame.data)
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
        return self._frame(_json(chunk))

    def encode(self, deltas: Sequence[Delta], report: Report) -> bytes:
        """Each delta as one chunk; `role` goes with a choice's first."""
        return b"".join(self._encode_one(delta, report) for delta in deltas)

    def _encode_one(self, delta: Delta, report: Report) -> bytes:
        match delta:
            case TextDelta(choice, text):
                return self._chunk(choice, {"content": text})
            case ReasoningDelta(choice, text):
                return self._chunk(choice, {"reasoning_content": text})
            case RefusalDelta(choice, text):
                return self._chunk(choice, {"refusal": text})
            case ToolDelta(choice, index, call_id, name, arguments):
                call: dict[str, Any] = {"index": index}
                if call_id is not None:
                    call |= {"id": call_id, "type": "function"}
                call["function"] = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
                return self._chunk(choice, {"tool_calls": [call]})
            case FinishDelta(choice, reason):
                return self._chunk(choice, {}, finish=reason, report=report)
        return b""  # usage, errors and ends have methods of their own

    def cut(self, choice: int, notice: str, report: Report) -> bytes:
        """`notice` as a last piece of text, then finish reason "length" with the report."""
        said = self._chunk(choice, {"content": notice}) if notice else b""
        return said + self._chunk(choice, {}, finish="length", report=report)

    def usage(self, usage: Usage) -> bytes:
        """The usage chunk, last before the terminal event: openai-python forgets usage at any later chunk."""
        return self._frame(msgspec.json.encode({**self._head, "choices": [], "usage": usage_object(usage)}))

    def error(self, error: RillgateError) -> bytes:
        """`data: {"error": …}`, which the official SDKs raise; no finish chunk and no [DONE] follows."""
        return self._frame(msgspec.json.encode(error_object(error)))

    def end(self) -> bytes:
        """The terminal event."""
        return self._frame(b"[DONE]")

    def _chunk(self, choice: int, delta: dict[str, Any], *, finish: str | None = None, report: Report = {}) -> bytes:  # noqa: B006 (never changed)
        if choice not in self._roles_sent and not self._learned:
            delta = {"role": "assistant", **delta}
        self._roles_sent.add(choice)
        chunk: dict[str, Any] = {**self._head, "choices": [{"index": choice, "delta": delta, "finish_reason": finish}]}
        if report:
            chunk["rillgate"] = report
        return self._frame(msgspec.json.encode(chunk))

    def _frame(self, data: bytes) -> bytes:
        return b"data: " + data + b"\n\n"

    def _learn(self, chunk: Mapping[str, Any]) -> None:
        # Azure begins with a chunk that has neither choices nor an id: learn from the first real one.
        self._learned = bool(chunk.get("id") or chunk.get("choices"))
        for key in ("id", "created", "model", "system_fingerprint"):
            if chunk.get(key):
                self._head[key] = chunk[key]


def _object(data: bytes) -> dict[str, Any]:
    """A JSON object, as loosely as clients read it: half a surrogate pair, NaN."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = json.loads(data.decode("utf-8", "replace"))
    return value if isinstance(value, dict) else {}


def _json(value: dict[str, Any]) -> bytes:
    """Compact JSON; escapes stand where UTF-8 has no bytes for half a surrogate pair."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


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
    if usage.cached_input_tokens is not None:
        known["prompt_tokens_details"] = {"cached_tokens": usage.cached_input_tokens}
    if usage.reasoning_tokens is not None:
        known["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return known


class ChatCompletions:
    """The dialect as the pipeline sees it."""

    name = NAME

    def encoder(self, request_id: str, model: str, created_s: int) -> Encoder:
        """An encoder for one stream."""
        return ChatCompletionsEncoder(request_id, model, created_s)

    def answer(self, body: bytes, usage: Usage | None, report: Report) -> bytes:
        """A whole answer with our usage and report added; byte for byte when there is nothing to add."""
        if usage is None and not report:
            return body
        answer = _object(body)
        if usage is not None:
            answer["usage"] = usage_object(usage)
        if report:
            answer["rillgate"] = report
        return _json(answer)

    def error_body(self, error: RillgateError) -> bytes:
        """OpenAI's error object."""
        return msgspec.json.encode(error_object(error))


def error_object(error: RillgateError) -> dict[str, Any]:
    """An error as OpenAI writes it."""
    return {"error": {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}}
