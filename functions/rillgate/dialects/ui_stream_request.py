"""Bodies of `POST /v1/ui-stream`, as `useChat` sends them, to requests, checked field by field.

`DefaultChatTransport` sends `id`, `messages`, `trigger` and `messageId`, and beside them whatever the page gives it as
`body`: the model and the settings of AI SDK's own calls, under the names that they have there. What else stands there
is the page's own and says nothing here; but a setting by another dialect's name is refused, lest it be thought to
count.
Source: the package `ai` 7.0.173 (`http-chat-transport`), read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rillgate.dialects.chat_completions_request import OUTPUT_TOKENS_BOUND
from rillgate.dialects.json_fields import (
    invalid,
    json_object,
    missing,
    optional_array,
    optional_bool,
    optional_integer,
    optional_number,
    optional_object,
    optional_string,
    wrong_type,
)
from rillgate.dialects.ui_stream_messages import translated_messages
from rillgate.domain.errors import ClientError
from rillgate.domain.request import ChatRequest

NAME = "ui_stream"
TOP_K_BOUND = 2**31 - 1
TOOL_CHOICES = ("auto", "none", "required")
ELSEWHERE = {
    "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens",
    "max_output_tokens": "maxOutputTokens",
    "maxTokens": "maxOutputTokens",
    "top_p": "topP",
    "top_k": "topK",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "stop": "stopSequences",
    "stop_sequences": "stopSequences",
    "tool_choice": "toolChoice",
    "reasoning_effort": "reasoning",
}


def parse(body: bytes) -> ChatRequest:
    """A request body.

    Shape:  {"id": "chat1", "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}],
             "trigger": "submit-message", "model": "m", "maxOutputTokens": 9}
            → ChatRequest(dialect="ui_stream", output_tokens_asked=9, fields={"messages": […]}, original={…}, …)
    Raises: ClientError: not JSON, a wrong type, a value out of range, or a field by another dialect's name.
    """
    original = json_object(body)
    for name, ours in ELSEWHERE.items():
        if original.get(name) is not None:
            raise ClientError(
                f"Unknown field '{name}': it is called '{ours}' here.", param=name, code="unknown_parameter"
            )
    stream = optional_bool(original, "stream", default=True)
    fields = {name: value for name, value in _translated(original).items() if value is not None}
    return ChatRequest(
        fields={**fields, "stream": stream},
        model=optional_string(original, "model") or None,
        stream=stream,
        include_usage=True,  # each message of this dialect says it
        output_tokens_asked=optional_integer(original, "maxOutputTokens", 1, OUTPUT_TOKENS_BOUND),
        dialect=NAME,
        original=original,
    )


def message_id(original: Mapping[str, Any], request_id: str) -> str:
    """Of the message that the answer is: the last one, where it is the model's and goes on, else a new one."""
    messages = original.get("messages") or [{}]
    last = messages[-1]
    if last.get("role") == "assistant" and isinstance(last.get("id"), str) and last["id"]:
        return str(last["id"])
    return "msg_" + request_id.removeprefix("req_")


def _translated(original: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of Chat Completions that say the same."""
    system = optional_string(original, "instructions") or optional_string(original, "system")  # its name until `ai` 7
    messages = translated_messages(original.get("messages"))
    stops = optional_array(original, "stopSequences")
    if not all(isinstance(stop, str) for stop in stops):
        raise invalid("stopSequences", stops, "give an array of strings")
    effort = optional_string(original, "reasoning")
    return {
        "messages": [{"role": "system", "content": system}, *messages] if system else messages,
        "temperature": optional_number(original, "temperature", 0, 2),
        "top_p": optional_number(original, "topP", 0, 1),
        "top_k": optional_integer(original, "topK", 0, TOP_K_BOUND),
        "presence_penalty": optional_number(original, "presencePenalty", -2, 2),
        "frequency_penalty": optional_number(original, "frequencyPenalty", -2, 2),
        "seed": optional_integer(original, "seed", -(2**63), 2**63 - 1),
        "stop": stops or None,
        "reasoning_effort": None if effort == "provider-default" else effort,
        **dict(_tools(original)),
    }


def _tools(original: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Tools that the page runs, and their choice, which says nothing where there are none."""
    tools = [_tool(name, tool) for name, tool in optional_object(original, "tools").items()]
    choice = original.get("toolChoice")
    if isinstance(choice, dict) and choice.get("type") == "tool" and isinstance(choice.get("toolName"), str):
        choice = {"type": "function", "function": {"name": choice["toolName"]}}
    elif choice is not None and choice not in TOOL_CHOICES:
        raise invalid("toolChoice", choice, 'use "auto", "none", "required" or {"type": "tool", "toolName": …}')
    if tools:
        yield from (("tools", tools), ("tool_choice", choice))


def _tool(name: str, tool: Any) -> dict[str, Any]:
    """`{"description", "inputSchema"}` by its name, the schema as JSON."""
    where = f"tools.{name}"
    if not isinstance(tool, dict):
        raise wrong_type(where, "an object", tool)
    schema = tool.get("inputSchema")
    if not isinstance(schema, dict):
        raise missing(f"{where}.inputSchema", "a JSON schema")
    function: dict[str, Any] = {"name": name, "parameters": schema}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}
