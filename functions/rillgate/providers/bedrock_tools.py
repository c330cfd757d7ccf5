"""Tools, and how they may be called, as Amazon Bedrock's Converse takes them.

Source: Amazon Bedrock API Reference, ToolConfiguration, as botocore 1.44.5 describes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rillgate.providers.bedrock_blocks import cache_point
from rillgate.providers.claude import claude_of, is_forced
from rillgate.providers.conversation import ToolCall, ToolResult, Turn
from rillgate.providers.options import Tool, ToolChoice, tool_choice_of, tools_of

SCHEMA_NONE = {"type": "object", "properties": {}}  # of a tool that takes nothing, or whose schema is not known
WITHOUT_STRICT = ("amazon.", "meta.", "cohere.", "ai21.")
STRUCTURED_SINCE = (4, 5)  # of Claude: strict tools, and calls one at a time


def tool_config(fields: Mapping[str, Any], turns: Sequence[Turn], model: str, *, caches: bool) -> dict[str, Any]:
    """`toolConfig`, {} for none. Bedrock wants one wherever the conversation has calls or results.

    There is no choice "none": the tools are left out then, unless the conversation has calls. Tools that were called
    and are no longer there are written without their schema.

    Args:   caches: whether the model knows cache points among its tools.
    Raises: ClientError: no function, or one that must be called by a model that cannot be told so.
    """
    choice = tool_choice_of(fields)
    called = [part for turn in turns for part in turn.parts if isinstance(part, ToolCall | ToolResult)]
    if choice.mode == "none" and not called:
        return {}
    specs: list[dict[str, Any]] = []
    for tool in tools_of(fields):
        specs.append({"toolSpec": _spec(tool, model)})
        if caches and tool.cache:
            specs.append(cache_point(tool.cache))
    if not specs:
        names = sorted({part.name for part in called if part.name})
        return {"tools": [{"toolSpec": _bare(name)} for name in names]} if names else {}
    wanted = _choice(choice, model)
    return {"tools": specs, "toolChoice": wanted} if wanted else {"tools": specs}


def one_call_at_a_time(config: Mapping[str, Any] | None, choice: ToolChoice, model: str) -> dict[str, Any]:
    """Claude's own field for it; {} where it was not asked for, or the model is another and knows none.

    It says how tools may be called too, which Bedrock refuses to be told twice.
    """
    if config is None or not _says_it_itself(choice, model):
        return {}
    once = {"disable_parallel_tool_use": True}
    return {"tool_choice": once if "toolChoice" in config else {"type": "auto", **once}}


def _choice(choice: ToolChoice, model: str) -> dict[str, Any]:
    if is_forced(choice, model):
        return {"tool": {"name": choice.name}} if choice.mode == "named" else {"any": {}}
    return {"auto": {}} if choice.mode == "auto" and not _says_it_itself(choice, model) else {}


def _says_it_itself(choice: ToolChoice, model: str) -> bool:
    claude = claude_of(model)
    return choice.parallel is False and claude is not None and claude.version >= STRUCTURED_SINCE


def _spec(tool: Tool, model: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": tool.parameters or SCHEMA_NONE}}
    if tool.description.strip():
        spec["description"] = tool.description
    if tool.strict and _knows_strict(model):
        spec["strict"] = True
    return spec


def _bare(name: str) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"json": SCHEMA_NONE}}


def _knows_strict(model: str) -> bool:
    claude = claude_of(model)
    if claude is not None:
        return claude.version >= STRUCTURED_SINCE
    return not any(sign in model.lower() for sign in WITHOUT_STRICT)
