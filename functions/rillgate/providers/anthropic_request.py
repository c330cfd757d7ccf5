"""The body of a Messages request: from Chat Completions vocabulary, or from what a client of the same API sent.

Place:  dialect.parse → here → upstream. Source: Messages API reference and its versioning page, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rillgate.domain.errors import ClientError
from rillgate.providers.anthropic_blocks import Block, messages_of, with_cache, without_foreign_reasoning
from rillgate.providers.claude import (
    BUDGET_TOKENS_MIN,
    DISABLED,
    SUMMARIZED,
    WORDS,
    claude_of,
    is_forced,
    reasoning_is_lost,
    sampling_of,
    thinking_of,
)
from rillgate.providers.conversation import Conversation, ToolCall, ToolResult, conversation_of
from rillgate.providers.options import (
    ToolChoice,
    effort_of,
    end_user_of,
    output_format_of,
    stops_of,
    tool_choice_of,
    tools_of,
)

Fields = Mapping[str, Any]
_CHOICES = {"": "auto", "auto": "auto", "none": "none", "required": "any", "named": "tool"}


def body_of(fields: Fields, model: str, output_tokens_max: int, *, stream: bool) -> dict[str, Any]:
    """A request in Chat Completions vocabulary as a Messages request.

    Shape:  {"messages": [{"role": "user", "content": "Hi"}], "stop": "END"} →
            {"model": …, "max_tokens": …, "messages": […], "stop_sequences": ["END"]}
    Raises: ClientError: a part, a tool or a setting that cannot be said in this API.
    """
    claude = claude_of(model)
    conversation = conversation_of(fields)
    choice = tool_choice_of(fields)
    system, messages = messages_of(conversation, system_turns=claude is not None and claude.takes_system_turns)
    body: dict[str, Any] = {"model": model, "max_tokens": output_tokens_max, "messages": messages}
    if system:
        body["system"] = system
    if stream:
        body["stream"] = True
    forced = is_forced(choice, model)
    body |= _tools(fields, conversation, choice)
    body |= _stops(fields)
    thinking = _thinking(fields, conversation, model, output_tokens_max, forced=forced)
    body |= thinking
    body |= sampling_of(model, fields, thinking)
    output = output_format_of(fields)
    if output.kind == "json_schema":
        body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": output.schema}
    return body | _account(fields)


def body_of_original(
    original: Fields, model: str, output_tokens_max: int, asked: int | None, *, stream: bool
) -> dict[str, Any]:
    """A Messages request as its client sent it, under our model and cap; fields that we do not know are kept.

    Args: asked: the client's own cap. Where ours is lower, a budget of thought that no longer fits is lowered too.
    """
    body = {**original, "model": model, "max_tokens": output_tokens_max}
    body.pop("stream", None)
    if isinstance(original.get("messages"), list):
        body["messages"] = without_foreign_reasoning(original["messages"])
    if stream:
        body["stream"] = True
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    lowered = asked is not None and output_tokens_max < asked
    if lowered and isinstance(thinking, dict) and isinstance(budget, int) and budget >= output_tokens_max:
        fitting = output_tokens_max * 3 // 4
        body["thinking"] = {**thinking, "budget_tokens": fitting} if fitting >= BUDGET_TOKENS_MIN else DISABLED
    return body


def _tools(fields: Fields, conversation: Conversation, choice: ToolChoice) -> dict[str, Any]:
    tools = [
        with_cache(
            {
                "name": tool.name,
                **({"description": tool.description} if tool.description else {}),
                "input_schema": {"type": "object", "properties": {}} | tool.parameters,
                **({"strict": True} if tool.strict else {}),
            },
            tool.cache,
        )
        for tool in tools_of(fields)
    ]
    if not tools:
        return _tools_of_history(conversation)
    said: Block = {"type": _CHOICES[choice.mode]}
    if choice.mode == "named":
        said["name"] = choice.name
    if choice.parallel is False and choice.mode != "none":
        said["disable_parallel_tool_use"] = True
    return {"tools": tools, "tool_choice": said} if said != {"type": "auto"} else {"tools": tools}


def _tools_of_history(conversation: Conversation) -> dict[str, Any]:
    """A conversation that holds calls must name their tools, even when none may be called any more."""
    names = {
        part.name: None
        for turn in conversation.turns
        for part in turn.parts
        if isinstance(part, ToolCall | ToolResult) and part.name
    }
    if not names:
        return {}
    tools = [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in names]
    return {"tools": tools, "tool_choice": {"type": "none"}}


def _stops(fields: Fields) -> dict[str, Any]:
    stops = [stop for stop in stops_of(fields) if stop]
    for stop in stops:
        if not stop.strip():
            raise ClientError(
                f"Invalid value for 'stop': {stop[:20]!r}; this provider takes no stop sequence of white space alone.",
                param="stop",
                code="invalid_value",
            )
    return {"stop_sequences": stops} if stops else {}


def _thinking(
    fields: Fields, conversation: Conversation, model: str, output_tokens_max: int, *, forced: bool
) -> dict[str, Any]:
    """How much to think. A server that speaks this API for other models gets the words that are newest."""
    effort = effort_of(fields)
    if effort is None or claude_of(model) is not None:
        lost = reasoning_is_lost(conversation.merged())
        return thinking_of(model, effort, output_tokens_max, tool_forced=forced, reasoning_lost=lost)
    if effort == "none":
        return {"thinking": DISABLED}
    return {"thinking": SUMMARIZED, "output_config": {"effort": WORDS.get(effort, effort)}}


def _account(fields: Fields) -> dict[str, Any]:
    """What concerns the account rather than the answer."""
    said: dict[str, Any] = {}
    user = end_user_of(fields)
    if user is not None:
        said["metadata"] = {"user_id": user}
    tier = fields.get("service_tier")
    if tier is not None:
        said["service_tier"] = "auto" if tier == "auto" else "standard_only"
    if isinstance(fields.get("cache_control"), dict):
        said["cache_control"] = fields["cache_control"]
    return said
