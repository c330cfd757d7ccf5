"""The body of a Messages request: from Chat Completions vocabulary, or from what a client of the same API sent.

Place:  dialect.parse → here → upstream. Source: Messages API reference and its versioning page, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rillgate.domain.errors import ClientError
from rillgate.providers.anthropic_blocks import TOOL_NAME, Block, history_name, is_kept, messages_of, with_cache
from rillgate.providers.anthropic_models import BUDGET_TOKENS_MIN, Abilities, abilities_of, budget_of
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
    abilities = abilities_of(model)
    conversation = conversation_of(fields)
    choice = tool_choice_of(fields)
    system, messages = messages_of(conversation, system_turns=abilities.system_turns)
    body: dict[str, Any] = {"model": model, "max_tokens": output_tokens_max, "messages": messages}
    if system:
        body["system"] = system
    if stream:
        body["stream"] = True
    body |= _tools(fields, conversation, choice, abilities)
    body |= _stops(fields)
    thinking = _thinking(fields, conversation, choice, abilities, output_tokens_max)
    body |= thinking
    if abilities.sampling and thinking.get("thinking", _OFF) == _OFF:
        body |= _sampling(fields, abilities)
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
    if stream:
        body["stream"] = True
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    lowered = asked is not None and output_tokens_max < asked
    if lowered and isinstance(thinking, dict) and isinstance(budget, int) and budget >= output_tokens_max:
        fitting = output_tokens_max * 3 // 4
        body["thinking"] = {**thinking, "budget_tokens": fitting} if fitting >= BUDGET_TOKENS_MIN else _OFF
    return body


_OFF: Block = {"type": "disabled"}


def _tools(fields: Fields, conversation: Conversation, choice: ToolChoice, abilities: Abilities) -> dict[str, Any]:
    _check_names(fields)
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
    if choice.mode in ("required", "named") and not abilities.forced_tools:
        raise ClientError(
            "This model cannot be told that it must call a tool; use \"auto\" for 'tool_choice', or another model.",
            param="tool_choice",
            code="unsupported_parameter",
        )
    if choice.mode == "named":
        said["name"] = choice.name
    if choice.parallel is False and choice.mode != "none":
        said["disable_parallel_tool_use"] = True
    return {"tools": tools, "tool_choice": said} if said != {"type": "auto"} else {"tools": tools}


def _check_names(fields: Fields) -> None:
    """Names are refused, not rewritten: an answer's calls would have to be written back."""
    for position, tool in enumerate(fields.get("tools") or ()):
        function = tool.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str) and not TOOL_NAME.fullmatch(name):
            raise ClientError(
                f"Invalid value for 'tools[{position}].function.name': {name[:80]!r}; this provider takes 1 to 128 "
                "letters, digits, underscores and dashes.",
                param=f"tools[{position}].function.name",
                code="invalid_value",
            )


def _tools_of_history(conversation: Conversation) -> dict[str, Any]:
    """A conversation that holds calls must name their tools, even when none may be called any more."""
    names = {
        history_name(part.name): None
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
    fields: Fields, conversation: Conversation, choice: ToolChoice, abilities: Abilities, output_tokens_max: int
) -> dict[str, Any]:
    """How much to think, in the words of the model's generation. An effort is a hint: where it cannot be, none."""
    effort = effort_of(fields)
    if effort is None or abilities.thinking == "none":
        return {}
    off = effort == "none" or _lost_its_thought(conversation)
    if abilities.thinking == "adaptive":
        said = _OFF if off else {"type": "adaptive", "display": "summarized"}  # else newer models send no text of it
        if effort == "none":
            return {"thinking": said}
        return {"thinking": said, "output_config": {"effort": "low" if effort == "minimal" else effort}}
    if off or choice.mode in ("required", "named"):  # a budget and a forced tool exclude each other
        return {}
    budget = budget_of(effort, output_tokens_max)
    return {"thinking": {"type": "enabled", "budget_tokens": budget}} if budget else {}


def _lost_its_thought(conversation: Conversation) -> bool:
    """Whether the answer goes on after tool results, and the thought before their calls has not come back."""
    turns = conversation.merged()
    if len(turns) < 2 or not any(isinstance(part, ToolResult) for part in turns[-1].parts):
        return False
    before = turns[-2].parts
    return any(isinstance(part, ToolCall) for part in before) and not any(map(is_kept, before))


def _sampling(fields: Fields, abilities: Abilities) -> dict[str, Any]:
    """Settings that the model takes; its temperature ends at 1, OpenAI's at 2."""
    said: dict[str, Any] = {}
    temperature = fields.get("temperature")
    if temperature is not None:
        said["temperature"] = min(temperature, 1)
    if fields.get("top_p") is not None and (temperature is None or abilities.temperature_with_top_p):
        said["top_p"] = fields["top_p"]
    if fields.get("top_k") is not None:
        said["top_k"] = fields["top_k"]
    return said


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
