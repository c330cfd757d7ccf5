"""The body of an Ollama chat request, from Chat Completions vocabulary.

Place:  dialect.parse → here → upstream. Source: Ollama's API reference and server source, read 2026-11.

Content is one string and a list of bare images here, a call's arguments are an object, and a result names its tool. A
prompt that is longer than the model's context is to be an error: without `truncate: false` the server would drop its
beginning and say nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rillgate.providers.conversation import (
    Conversation,
    Image,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    conversation_of,
)
from rillgate.providers.options import Effort, effort_of, output_format_of, stops_of, tool_choice_of, tools_of

Fields = Mapping[str, Any]
THINK: Mapping[Effort, bool | str] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}
_OPTIONS = ("temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty")


def body_of(fields: Fields, model: str, output_tokens_max: int, *, stream: bool) -> dict[str, Any]:
    """A request in Chat Completions vocabulary as an Ollama chat request.

    Shape:  {"messages": [{"role": "user", "content": "Hi"}], "seed": 1} →
            {"model": …, "messages": […], "stream": …, "truncate": false, "options": {"num_predict": …, "seed": 1}}
    Raises: ClientError: a part, a tool or a setting that cannot be read.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": list(_messages(conversation_of(fields))),
        "stream": stream,  # left out it would be true
        "truncate": False,
        "options": {"num_predict": output_tokens_max, **_options(fields)},
    }
    tools = tools_of(fields)
    if tools and tool_choice_of(fields).mode != "none":
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            }
            for tool in tools
        ]
    effort = effort_of(fields)
    if effort is not None:  # left out, models that can think do
        body["think"] = THINK[effort]
    output = output_format_of(fields)
    if output.kind != "text":
        body["format"] = output.schema if output.kind == "json_schema" else "json"
    return body


def _options(fields: Fields) -> dict[str, Any]:
    said = {name: fields[name] for name in _OPTIONS if fields.get(name) is not None}
    stops = [stop for stop in stops_of(fields) if stop]
    return {**said, "stop": stops} if stops else said


def _messages(conversation: Conversation) -> Iterator[dict[str, Any]]:
    if conversation.system:
        yield {"role": "system", "content": _joined(conversation.system)}
    for turn in conversation.turns:
        results = [part for part in turn.parts if isinstance(part, ToolResult)]
        for result in results:
            yield _result(result)
        said = [part for part in turn.parts if not isinstance(part, ToolResult)]
        if said:
            yield _said(turn, said)


def _said(turn: Turn, parts: Sequence[Part]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": turn.role, "content": _joined(parts)}
    images = _images(parts)
    if images:
        message["images"] = images
    thought = "".join(part.text for part in parts if isinstance(part, Reasoning))
    if thought:
        message["thinking"] = thought
    calls = [part for part in parts if isinstance(part, ToolCall)]
    if calls:
        message["tool_calls"] = [
            {"id": call.call_id, "function": {"index": index, "name": call.name, "arguments": call.arguments}}
            for index, call in enumerate(calls)
        ]
    return message


def _result(result: ToolResult) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "tool", "content": _joined(result.parts), "tool_call_id": result.call_id}
    if result.name:
        message["tool_name"] = result.name
    images = _images(result.parts)
    return {**message, "images": images} if images else message


def _joined(parts: Iterable[Part]) -> str:
    return "\n".join(part.text for part in parts if isinstance(part, Text))


def _images(parts: Iterable[Part]) -> list[str]:
    return [part.data for part in parts if isinstance(part, Image)]
