"""Bodies of OpenAI's `POST /v1/responses` to requests, checked field by field.

Nothing is stored: what would need it is refused by its name, `store` alone is taken and answered as false, since SDKs
leave it at its default of true. Tools are the client's own functions; those that OpenAI itself runs are refused.
Source: wire formats, section 9.2; https://platform.openai.com/docs/api-reference/responses, read 2026-11.
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
    shown,
    wrong_type,
)
from rillgate.dialects.responses_items import translated_input
from rillgate.domain.errors import ClientError
from rillgate.domain.request import ChatRequest

NAME = "responses"
TOP_LOGPROBS_BOUND = 20
TOOL_CHOICES = ("auto", "none", "required")
KEPT_NOWHERE = "Rillgate keeps no responses; send the earlier items in 'input'"
REFUSED = {
    "previous_response_id": KEPT_NOWHERE,
    "conversation": KEPT_NOWHERE,
    "prompt": "prompts that OpenAI stores cannot be read here; send 'instructions' and 'input'",
}
LOGPROBS = "message.output_text.logprobs"


def parse(body: bytes) -> ChatRequest:
    """A request body.

    Shape:  {"model": "m", "input": "hi", "max_output_tokens": 9}
            → ChatRequest(dialect="responses", output_tokens_asked=9, fields={"messages": […]}, original={…}, …)
    Raises: ClientError: not JSON, a wrong type, a value out of range, or something that would need a store or one of
            OpenAI's own tools; `param` names the field.
    """
    original = json_object(body)
    _check_refused(original)
    stream = optional_bool(original, "stream")
    return ChatRequest(
        fields={**_translated(original), "stream": stream},
        model=optional_string(original, "model") or None,
        stream=stream,
        include_usage=True,  # each answer of this dialect says it
        output_tokens_asked=optional_integer(original, "max_output_tokens", 1, OUTPUT_TOKENS_BOUND),
        dialect=NAME,
        original=original,
    )


def _check_refused(original: Mapping[str, Any]) -> None:
    """What cannot be done for anybody, whatever answers."""
    for param, remedy in REFUSED.items():
        if original.get(param) is not None:
            raise _unsupported(param, remedy)
    if optional_bool(original, "background"):
        raise _unsupported("background", 'Rillgate keeps no responses; send "background": false and stream')
    optional_bool(original, "store")
    if LOGPROBS in optional_array(original, "include"):
        raise _unsupported("include", f"{LOGPROBS!r} cannot be given here; leave it out")
    if optional_integer(original, "top_logprobs", 0, TOP_LOGPROBS_BOUND):
        raise _unsupported("top_logprobs", "probabilities of tokens cannot be given here; leave it out")


def _translated(original: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of Chat Completions that say the same."""
    fields: dict[str, Any] = {
        "messages": translated_input(original.get("input"), optional_string(original, "instructions")),
        "temperature": optional_number(original, "temperature", 0, 2),
        "top_p": optional_number(original, "top_p", 0, 1),
        "reasoning_effort": _reasoning(original, "effort"),
        "reasoning_summary": _reasoning(original, "summary"),
        "user": optional_string(original, "user"),
        "safety_identifier": optional_string(original, "safety_identifier"),
        "service_tier": optional_string(original, "service_tier"),
        "prompt_cache_key": optional_string(original, "prompt_cache_key"),
        **dict(_tools(original)),
        **dict(_text(original)),
    }
    optional_object(original, "metadata")
    optional_object(original, "stream_options")
    return {name: value for name, value in fields.items() if value is not None}


def _reasoning(original: Mapping[str, Any], name: str) -> str | None:
    """How much to think, and how to tell of it. Where a model shows what it thinks anyway, that is told unasked."""
    said = optional_object(original, "reasoning").get(name)
    if said is not None and not isinstance(said, str):
        raise wrong_type(f"reasoning.{name}", "a string", said)
    return said


def _tools(original: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Tools and their choice, which says nothing where there are none."""
    tools = [_tool(tool, f"tools[{place}]") for place, tool in enumerate(optional_array(original, "tools"))]
    choice = _tool_choice(original.get("tool_choice"))
    parallel = original.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        raise wrong_type("parallel_tool_calls", "a boolean", parallel)
    if tools:
        yield from (("tools", tools), ("tool_choice", choice), ("parallel_tool_calls", parallel))


def _tool(tool: Any, where: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise wrong_type(where, "an object", tool)
    if tool.get("type") != "function":
        kind = shown(tool.get("type"))
        raise _unsupported(f"{where}.type", f"only functions of your own can be called here, and {kind} is none")
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        raise missing(f"{where}.name", "a string")
    parameters = tool.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise wrong_type(f"{where}.parameters", "a JSON schema", parameters)
    said = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {name: tool[name] for name in said if tool.get(name) is not None}}


def _tool_choice(choice: Any) -> Any:
    """The choice as Chat Completions nests it."""
    if choice is None or choice in TOOL_CHOICES:
        return choice
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "function":
        return _named(choice, "tool_choice")
    if kind == "allowed_tools":
        allowed = optional_array(choice, "tools", "tool_choice.")
        tools = [_named(tool, f"tool_choice.tools[{place}]") for place, tool in enumerate(allowed)]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.get("mode") or "auto", "tools": tools}}
    raise invalid("tool_choice", choice, "use auto, none, required, or an object of the type function or allowed_tools")


def _named(choice: Any, where: str) -> dict[str, Any]:
    if not isinstance(choice, dict) or choice.get("type") != "function" or not isinstance(choice.get("name"), str):
        raise invalid(where, choice, 'give {"type": "function", "name": …}')
    return {"type": "function", "function": {"name": choice["name"]}}


def _text(original: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The form of the answer, and how many words it makes."""
    text = optional_object(original, "text")
    verbosity = text.get("verbosity")
    if verbosity is not None and not isinstance(verbosity, str):
        raise wrong_type("text.verbosity", "a string", verbosity)
    yield "verbosity", verbosity
    form = optional_object(text, "format", "text.")
    kind = form.get("type") if form else "text"
    if kind == "json_object":
        yield "response_format", {"type": "json_object"}
    elif kind == "json_schema":
        if not isinstance(form.get("schema"), dict):
            raise missing("text.format.schema", "a JSON schema")
        said = ("name", "description", "schema", "strict")
        schema = {"name": "answer"} | {name: form[name] for name in said if form.get(name) is not None}
        yield "response_format", {"type": "json_schema", "json_schema": schema}
    elif kind != "text":
        raise invalid("text.format.type", kind, "use text, json_object or json_schema")


def _unsupported(param: str, remedy: str) -> ClientError:
    return ClientError(f"Unsupported parameter '{param}': {remedy}.", param=param, code="unsupported_parameter")
