"""Bodies of Anthropic's `POST /v1/messages` to requests, checked field by field.

Two forms come out of it: the client's own fields, for Anthropic's models, with everything that we do not know; and
their translation, for all others. So what only one of them can do (an uploaded file, a server tool) is not judged here.
Source: wire formats, sections 4.1 and 9.1; https://docs.claude.com/en/api/messages, read 2026-11.
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
from rillgate.dialects.messages_content import translated_messages, translated_system
from rillgate.domain.request import ChatRequest

NAME = "messages"
FORWARDED_HEADERS = ("anthropic-version", "anthropic-beta")
TOP_K_BOUND = 2**31 - 1
EFFORTS = ("low", "medium", "high", "xhigh", "max")
ADAPTIVE_EFFORT = "medium"  # thinking was asked for, how much is the model's to say: OpenAI's own default
EFFORT_OF_BUDGET = ((4096, "low"), (12_288, "medium"))  # thinking tokens up to which a budget is that effort
TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
OUTPUT_SCHEMA_NAME = "answer"  # OpenAI wants one


def parse(body: bytes, headers: Mapping[str, str]) -> ChatRequest:
    """A request body. `headers` are the client's, in lower case.

    Shape:  {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
            → ChatRequest(dialect="messages", output_tokens_asked=9, fields={"messages": […]}, original={…}, …)
    Raises: ClientError: not JSON, a wrong type or a value out of range; `param` names the field.
    """
    return _parsed(json_object(body), headers, output_tokens_required=True)


def parse_count(body: bytes, headers: Mapping[str, str]) -> ChatRequest:
    """A body of `POST /v1/messages/count_tokens`: the same without `max_tokens`.

    Raises: ClientError: as `parse`.
    """
    return _parsed(json_object(body), headers, output_tokens_required=False)


def _parsed(original: dict[str, Any], headers: Mapping[str, str], *, output_tokens_required: bool) -> ChatRequest:
    output_tokens = optional_integer(original, "max_tokens", 1, OUTPUT_TOKENS_BOUND)
    if output_tokens is None and output_tokens_required:
        raise missing("max_tokens", "how many tokens the answer may have")
    stream = optional_bool(original, "stream")
    fields = dict(_translated(original))
    fields["stream"] = stream
    return ChatRequest(
        fields=fields,
        model=optional_string(original, "model") or None,
        stream=stream,
        include_usage=True,  # each answer of this dialect says it
        output_tokens_asked=output_tokens,
        dialect=NAME,
        original=original,
        headers=tuple((name, headers[name]) for name in FORWARDED_HEADERS if headers.get(name)),
    )


def _translated(original: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields of Chat Completions that say the same."""
    messages = translated_messages(original.get("messages"))
    yield "messages", [*translated_system(original.get("system")), *messages]
    for name, number in (
        ("temperature", optional_number(original, "temperature", 0, 1)),
        ("top_p", optional_number(original, "top_p", 0, 1)),
        ("top_k", optional_integer(original, "top_k", 0, TOP_K_BOUND)),
    ):
        if number is not None:
            yield name, number
    stops = optional_array(original, "stop_sequences")
    if not all(isinstance(stop, str) for stop in stops):
        raise invalid("stop_sequences", stops, "give an array of strings")
    if stops:
        yield "stop", stops
    yield from _tools(original)
    yield from _output(original)
    user = optional_object(original, "metadata").get("user_id")
    if isinstance(user, str) and user:
        yield "safety_identifier", user
    tier = optional_string(original, "service_tier")
    if tier is not None:
        yield "service_tier", "default" if tier == "standard_only" else tier
    mark = optional_object(original, "cache_control")
    if mark:
        yield "cache_control", mark


def _tools(original: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Tools and their choice, which says nothing where there are none. Whole servers of tools count as tools."""
    tools = [_tool(tool, f"tools.{place}") for place, tool in enumerate(optional_array(original, "tools"))]
    tools += [{"type": "mcp"} for _ in optional_array(original, "mcp_servers")]
    choice = optional_object(original, "tool_choice")
    kind = choice.get("type")
    if choice and kind not in (*TOOL_CHOICES, "tool"):
        raise invalid("tool_choice.type", kind, "use auto, any, tool or none")
    if kind == "tool" and not isinstance(choice.get("name"), str):
        raise missing("tool_choice.name", "the name of the tool that must be called")
    if not tools:
        return
    yield "tools", tools
    if kind == "tool":
        yield "tool_choice", {"type": "function", "function": {"name": choice["name"]}}
    elif kind is not None:
        yield "tool_choice", TOOL_CHOICES[kind]
    if choice.get("disable_parallel_tool_use") is True:
        yield "parallel_tool_calls", False


def _tool(tool: Any, where: str) -> dict[str, Any]:
    """A tool as a function; one that Anthropic itself runs, as it is."""
    if not isinstance(tool, dict):
        raise wrong_type(where, "an object", tool)
    if tool.get("type") not in (None, "custom"):
        return dict(tool)
    if not isinstance(tool.get("name"), str):
        raise missing(f"{where}.name", "a string")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        raise missing(f"{where}.input_schema", "a JSON schema")
    function: dict[str, Any] = {"name": tool["name"], "parameters": schema}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    translated = {"type": "function", "function": function}
    if tool.get("cache_control") is not None:
        translated["cache_control"] = tool["cache_control"]
    return translated


def _output(original: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """How much to think, and the form of the answer."""
    config = optional_object(original, "output_config")
    effort = _effort(original, config)
    if effort is not None:
        yield "reasoning_effort", effort
    form = optional_object(config, "format", "output_config.")
    if not form:
        return
    schema = form.get("schema")
    if form.get("type") != "json_schema" or not isinstance(schema, dict):
        raise invalid("output_config.format", form, 'give {"type": "json_schema", "schema": {…}}')
    yield "response_format", {"type": "json_schema", "json_schema": {"name": OUTPUT_SCHEMA_NAME, "schema": schema}}


def _effort(original: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """One word for thinking and effort together; None where the client says nothing of either."""
    effort = config.get("effort")
    if effort is not None and effort not in EFFORTS:
        raise invalid("output_config.effort", effort, f"use one of {', '.join(EFFORTS)}")
    thinking = optional_object(original, "thinking")
    kind = thinking.get("type")
    if thinking and not isinstance(kind, str):
        raise missing("thinking.type", "a string")
    if kind == "disabled":
        return "none"
    if effort is not None or not thinking:
        return effort
    if kind != "enabled":
        return ADAPTIVE_EFFORT
    budget = optional_integer(thinking, "budget_tokens", 1, OUTPUT_TOKENS_BOUND, "thinking.")
    if budget is None:
        raise missing("thinking.budget_tokens", "how many tokens the model may think")
    return next((word for bound, word in EFFORT_OF_BUDGET if budget <= bound), "high")
