"""What a request says beside its messages (tools, their choice, the answer's form, reasoning), read for translation.

Place: as `conversation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from rillgate.domain.errors import ClientError
from rillgate.providers.conversation import cache_of

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call. `parameters` is a JSON schema, {} for none."""

    name: str
    description: str
    parameters: dict[str, Any]
    strict: bool | None
    cache: str | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """How the model may call tools.

    Attributes:
        mode: "" where the client says nothing.
        name: of the one tool that must be called, where mode is "named".
        parallel: whether several calls may come at once; None where the client says nothing.
    """

    mode: Literal["", "auto", "none", "required", "named"] = ""
    name: str = ""
    parallel: bool | None = None


class OutputFormat(msgspec.Struct, frozen=True):
    """The form that the answer must have. `schema` is set for "json_schema"."""

    kind: Literal["text", "json_object", "json_schema"] = "text"
    schema: dict[str, Any] = msgspec.field(default_factory=dict)
    name: str = ""
    description: str = ""
    strict: bool | None = None


def tools_of(fields: Mapping[str, Any]) -> tuple[Tool, ...]:
    """The tools, those alone that `tool_choice` allows where it is a list of allowed ones.

    Raises: ClientError: one is no function.
    """
    tools = [_tool(tool, f"tools[{position}]") for position, tool in enumerate(fields.get("tools") or ())]
    allowed = _allowed(fields.get("tool_choice"))
    return tuple(tool for tool in tools if allowed is None or tool.name in allowed)


def tool_choice_of(fields: Mapping[str, Any]) -> ToolChoice:
    """How tools may be called.

    Shape:  "required" → ToolChoice("required")
            {"type": "function", "function": {"name": "f"}} → ToolChoice("named", "f")
    Raises: ClientError: none of the forms that OpenAI documents.
    """
    parallel = fields.get("parallel_tool_calls")
    choice = fields.get("tool_choice")
    if choice is None:
        return ToolChoice(parallel=parallel)
    if choice in ("auto", "none", "required"):
        return ToolChoice(choice, parallel=parallel)
    if isinstance(choice, dict):
        function = choice.get("function")
        if choice.get("type") == "function" and isinstance(function, dict) and isinstance(function.get("name"), str):
            return ToolChoice("named", function["name"], parallel)
        allowed = choice.get("allowed_tools")
        if choice.get("type") == "allowed_tools" and isinstance(allowed, dict):
            return ToolChoice("required" if allowed.get("mode") == "required" else "auto", parallel=parallel)
    raise _invalid("tool_choice", 'use "auto", "none", "required" or {"type": "function", "function": {"name": …}}')


def output_format_of(fields: Mapping[str, Any]) -> OutputFormat:
    """The form of the answer.

    Raises: ClientError: an unknown type, or a schema that is missing.
    """
    given = fields.get("response_format")
    if given is None:
        return OutputFormat()
    kind = given.get("type") if isinstance(given, dict) else None
    if kind in ("text", "json_object"):
        return OutputFormat(kind)
    wrapped = given.get("json_schema") if isinstance(given, dict) else None
    if kind != "json_schema" or not isinstance(wrapped, dict) or not isinstance(wrapped.get("schema"), dict):
        raise _invalid("response_format", "give text, json_object, or json_schema with json_schema.schema")
    strict = wrapped.get("strict")
    return OutputFormat(
        "json_schema",
        wrapped["schema"],
        str(wrapped.get("name") or ""),
        str(wrapped.get("description") or ""),
        strict if isinstance(strict, bool) else None,
    )


def effort_of(fields: Mapping[str, Any]) -> Effort | None:
    """How much the model shall think first; None where the client leaves it to the model.

    Raises: ClientError: a word that OpenAI does not know.
    """
    effort = fields.get("reasoning_effort")
    if effort is None:
        return None
    if effort not in EFFORTS:
        raise _invalid("reasoning_effort", f"use one of {', '.join(EFFORTS)}")
    found: Effort = effort
    return found


def stops_of(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """The stop sequences; the dialect has checked them."""
    stop = fields.get("stop")
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def end_user_of(fields: Mapping[str, Any]) -> str | None:
    """Who is talking, as the client names them to the provider."""
    for key in ("safety_identifier", "user"):
        value = fields.get(key)
        if isinstance(value, str) and value:
            return value
    return None


def _tool(tool: Mapping[str, Any], where: str) -> Tool:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict) or not _is_name(function.get("name")):
        raise _invalid(where, 'only {"type": "function", "function": {"name": …}} can be translated')
    parameters = function.get("parameters")
    strict = function.get("strict")
    return Tool(
        function["name"],
        str(function.get("description") or ""),
        parameters if isinstance(parameters, dict) else {},
        strict if isinstance(strict, bool) else None,
        cache_of(tool),
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _allowed(choice: Any) -> frozenset[str] | None:
    allowed = choice.get("allowed_tools") if isinstance(choice, dict) else None
    tools = allowed.get("tools") if isinstance(allowed, dict) else None
    if not isinstance(tools, list):
        return None
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)]
    return frozenset(str(function.get("name")) for function in functions if isinstance(function, dict))


def _invalid(param: str, remedy: str) -> ClientError:
    return ClientError(f"Invalid value for '{param}': {remedy}.", param=param, code="invalid_value")
