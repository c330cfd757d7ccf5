"""The body of a request to OpenAI's Responses API, from Chat Completions vocabulary.

    messages → input, by `openai_responses_items` · tools, their choice → the same, without the inner object
    response_format, verbosity → text · reasoning_effort → reasoning · cap → max_output_tokens

Responses takes a tool for `strict` where nothing is said, Chat Completions does not: so it is always said. A summary
of what the model thinks is asked for only where the client asked for one: OpenAI refuses it to organisations that it
has not verified, and an answer is worth more than its summary.
Source: https://platform.openai.com/docs/api-reference/responses/create; openai-python 3.54.0; read 2026-11-22.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rillgate.domain.errors import ClientError
from rillgate.providers.openai_foreign import identifier, is_closed
from rillgate.providers.openai_responses_items import input_of
from rillgate.providers.options import end_user_of, output_format_of

Fields = Mapping[str, Any]
Json = dict[str, Any]

CAP_MIN = 16  # the least that the API takes
SCHEMA_NAME_DEFAULT = "answer"
ENCRYPTED_REASONING = "reasoning.encrypted_content"
NO_PARAMETERS: Json = {"type": "object", "properties": {}}
# The same words in both APIs.
SAME = (
    *("temperature", "top_p", "service_tier", "metadata"),
    *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
)
# Models that do not reason refuse to be asked for it, and to be given any. A name that is not known here is taken for a
# newer one.
_DOES_NOT_REASON = re.compile(r"(?:^|[/:])(?:gpt-3|gpt-4|chatgpt-)|gpt-[\d.]+-chat|^chat-latest")


def body_of(fields: Fields, model: str, output_tokens_max: int, *, stream: bool, own_words: bool) -> Json:
    """The JSON of one request.

    Shape:  {"messages": [{"role": "user", "content": "Hi"}]}, "gpt-6-luna", 900
            → {"model": "gpt-6-luna", "input": [{"role": "user", "content": "Hi"}], "max_output_tokens": 900,
               "store": False, "include": ["reasoning.encrypted_content"]}
    Args:   own_words: whether the client itself spoke Chat Completions, so that everything in it is meant as it is.
    Raises: ClientError: a part, a tool or a setting that cannot be said in this API.
    """
    body: Json = {
        "model": model,
        "input": input_of(fields["messages"], reasons=reasons(model)),
        "max_output_tokens": max(CAP_MIN, output_tokens_max),
        "store": False,
    }
    if reasons(model):
        body["include"] = [ENCRYPTED_REASONING]
    if stream:
        body["stream"] = True
    body |= dict(_tools(fields))
    text, reasoning = dict(_text(fields, own_words=own_words)), dict(_reasoning(fields, own_words=own_words))
    if text:
        body["text"] = text
    if reasoning:
        body["reasoning"] = reasoning
    body |= {name: fields[name] for name in SAME if fields.get(name) is not None}
    user = end_user_of(fields)
    if user is not None:
        body["safety_identifier"] = identifier(user)
    return body


def reasons(model: str) -> bool:
    """Whether a model thinks before it answers, as far as its name says."""
    return _DOES_NOT_REASON.search(model) is None


def _tools(fields: Fields) -> Iterator[tuple[str, Any]]:
    """Tools and their choice, which says nothing where there are none."""
    tools = fields.get("tools")
    if not tools:
        return
    yield "tools", [_tool(tool, f"tools[{place}]") for place, tool in enumerate(tools)]
    choice = fields.get("tool_choice")
    if choice is not None:
        yield "tool_choice", _choice(choice)
    parallel = fields.get("parallel_tool_calls")
    if isinstance(parallel, bool):
        yield "parallel_tool_calls", parallel


def _tool(tool: Fields, where: str) -> Json:
    if tool.get("type") == "custom":
        return _custom_tool(tool.get("custom"), f"{where}.custom")
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _invalid(where, 'only {"type": "function", "function": {"name": …}} can be translated')
    said: Json = {"type": "function", "name": function["name"]}
    if isinstance(function.get("description"), str):
        said["description"] = function["description"]
    parameters = function.get("parameters")
    said["parameters"] = parameters if isinstance(parameters, dict) and parameters else NO_PARAMETERS
    return {**said, "strict": function.get("strict") is True}


def _custom_tool(custom: Any, where: str) -> Json:
    """A tool that takes free text, perhaps after a grammar, which Chat Completions alone puts into an object."""
    if not isinstance(custom, dict) or not isinstance(custom.get("name"), str):
        raise _invalid(where, "it needs a `name`")
    said: Json = {"type": "custom", **custom}
    form = custom.get("format")
    grammar = form.get("grammar") if isinstance(form, dict) else None
    return {**said, "format": {"type": "grammar", **grammar}} if isinstance(grammar, dict) else said


def _choice(choice: Any) -> Any:
    """The choice without the inner objects of Chat Completions."""
    if choice in ("auto", "none", "required"):
        return choice
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind in ("function", "custom"):
        return _named(choice, "tool_choice")
    allowed = choice.get("allowed_tools") if kind == "allowed_tools" else None
    if isinstance(allowed, dict) and isinstance(allowed.get("tools"), list):
        tools = [_named(tool, f"tool_choice.allowed_tools.tools[{at}]") for at, tool in enumerate(allowed["tools"])]
        mode = "required" if allowed.get("mode") == "required" else "auto"
        return {"type": "allowed_tools", "mode": mode, "tools": tools}
    raise _invalid("tool_choice", 'use "auto", "none", "required" or {"type": "function", "function": {"name": …}}')


def _named(choice: Any, where: str) -> Json:
    kind = "custom" if isinstance(choice, dict) and choice.get("type") == "custom" else "function"
    tool = choice.get(kind) if isinstance(choice, dict) else None
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        raise _invalid(where, 'give {"type": "function", "function": {"name": …}}')
    return {"type": kind, "name": tool["name"]}


def _text(fields: Fields, *, own_words: bool) -> Iterator[tuple[str, Any]]:
    """The form of the answer, held to its schema as Chat Completions would, and how many words it makes."""
    wanted = output_format_of(fields)
    if wanted.kind == "json_object":
        yield "format", {"type": "json_object"}
    elif wanted.kind == "json_schema":
        strict = wanted.strict
        if strict is None:
            strict = not own_words and is_closed(wanted.schema)  # other dialects always promise it
        said = {"type": "json_schema", "name": wanted.name or SCHEMA_NAME_DEFAULT, "schema": wanted.schema}
        described = {"description": wanted.description} if wanted.description else {}
        yield "format", {**said, **described, "strict": strict}
    if isinstance(fields.get("verbosity"), str):
        yield "verbosity", fields["verbosity"]


def _reasoning(fields: Fields, *, own_words: bool) -> Iterator[tuple[str, Any]]:
    """How much to think, and whether to tell of it."""
    effort = fields.get("reasoning_effort")
    if isinstance(effort, str) and (own_words or effort != "none"):  # a hint, which models refuse that cannot stop to
        yield "effort", effort
    summary = fields.get("reasoning_summary")
    if isinstance(summary, str):
        yield "summary", summary


def _invalid(param: str, remedy: str) -> ClientError:
    return ClientError(f"Invalid value for '{param}': {remedy}.", param=param, code="invalid_value")
