"""Chat Completions bodies to requests, checked field by field.

Source: https://platform.openai.com/docs/api-reference/chat, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
from rillgate.domain.errors import ClientError
from rillgate.domain.request import ChatRequest

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
