"""A request that came in another dialect, as OpenAI and compatible servers take it.

Place: dialect.parse → (fields) → here → upstream. The fields already are in Chat Completions vocabulary; here the
extensions leave that those servers refuse or do not know, and what only stands elsewhere is moved: a tool's result
there is text. A text is sent as one string, since many servers read no others.
Source: OpenAI API reference, Chat Completions; compatible servers as observed; read 2026-11.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rillgate.domain.delta import OPENAI_ORIGIN
from rillgate.domain.errors import ClientError
from rillgate.domain.kept_reasoning import holds

PART_KINDS = frozenset({"text", "image_url", "input_audio", "file", "refusal"})
MESSAGE_FIELDS = ("role", "content", "name", "refusal", "tool_calls", "tool_call_id", "reasoning_content")
CALL_FIELDS = ("id", "type", "function")
IDENTIFIER_CHARS_MAX = 128  # of `safety_identifier`
TEXT_SEPARATOR = "\n\n"
ONLY_OWN_HOST = frozenset({"safety_identifier", "service_tier", "verbosity", "prompt_cache_key"})
NEVER_OWN_HOST = frozenset({"top_k"})

Part = Mapping[str, Any]


def plain_fields(fields: Mapping[str, Any], *, own_host: bool) -> dict[str, Any]:
    """The fields without what these servers refuse.

    Shape:  {"messages": [{"role": "tool", "tool_call_id": "t", "content": [text, image], "is_error": True}], …}
            → the text as the result, and the image in a user message after the last result in a row.
    Args:   own_host: True for OpenAI's and Azure's own hosts, which refuse every field that they do not know.
    Raises: ClientError: a part or a tool that these servers have no word for.
    """
    left_out = {"cache_control", "reasoning_summary", *(NEVER_OWN_HOST if own_host else ONLY_OWN_HOST)}
    plain = {key: value for key, value in fields.items() if key not in left_out}
    plain["messages"] = list(_messages(fields["messages"], own_host=own_host))
    if fields.get("tools"):
        plain["tools"] = [_tool(tool, f"tools[{place}]") for place, tool in enumerate(fields["tools"])]
    if fields.get("reasoning_effort") == "none":  # a hint, which models refuse that cannot think or cannot stop to
        del plain["reasoning_effort"]
    if own_host and isinstance(fields.get("response_format"), dict):
        plain["response_format"] = _strict(fields["response_format"])
    user = fields.get("safety_identifier")
    if isinstance(user, str):
        plain["safety_identifier" if own_host else "user"] = identifier(user)
    return plain


def without_kept_reasoning(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """A client's own fields without reasoning that Responses, OpenAI's other API, gave it to keep.

    Chat Completions refuses the fields that hold it. The very same fields where there is none.
    """
    if not any(holds(message, OPENAI_ORIGIN) for message in fields["messages"]):
        return fields
    messages = [
        {key: value for key, value in message.items() if key not in ("reasoning_details", "reasoning_content")}
        if holds(message, OPENAI_ORIGIN)
        else message
        for message in fields["messages"]
    ]
    return {**fields, "messages": messages}


def _messages(messages: Sequence[Mapping[str, Any]], *, own_host: bool) -> Iterator[dict[str, Any]]:
    moved: list[Part] = []  # of tool results, until the last of them in a row
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        if message["role"] != "tool" and moved:
            yield {"role": "user", "content": moved}
            moved = []
        plain = {key: message[key] for key in MESSAGE_FIELDS if key in message}
        if own_host:
            plain.pop("reasoning_content", None)
        if plain.get("tool_calls"):
            plain["tool_calls"] = [
                {key: call[key] for key in CALL_FIELDS if key in call} for call in plain["tool_calls"]
            ]
        content = plain.get("content")
        if isinstance(content, list):
            parts = [_part(part, f"{where}.content[{at}]") for at, part in enumerate(content)]
            if message["role"] == "tool":
                moved += [part for part in parts if part["type"] != "text"]
                parts = [part for part in parts if part["type"] == "text"]
            plain["content"] = _short(parts)
        yield plain
    if moved:
        yield {"role": "user", "content": moved}


def _part(part: Part, where: str) -> Part:
    kind = part["type"]
    if kind not in PART_KINDS:
        raise _unsupported(f"{where}.type", f"content of the type {kind[:40]!r}")
    file = part.get("file")
    if kind == "file" and isinstance(file, dict) and not str(file.get("file_data", "data:")).startswith("data:"):
        raise _unsupported(f"{where}.file.file_data", "files by their address; send the data")
    return {key: value for key, value in part.items() if key != "cache_control"}


def _short(parts: Sequence[Part]) -> str | Sequence[Part]:
    """Nothing but text as one string."""
    if all(part["type"] == "text" for part in parts):
        return TEXT_SEPARATOR.join(part["text"] for part in parts)
    return parts


def _tool(tool: Mapping[str, Any], where: str) -> dict[str, Any]:
    if tool.get("type") not in ("function", "custom"):
        raise _unsupported(where, f"tools of the type {str(tool.get('type'))[:40]!r}")
    return {key: value for key, value in tool.items() if key != "cache_control"}


def _strict(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer's form, held to its schema where OpenAI can do that: other dialects always promise it."""
    wrapped = given.get("json_schema")
    if not isinstance(wrapped, dict) or wrapped.get("strict") is not None or not is_closed(wrapped.get("schema")):
        return given
    return {**given, "json_schema": {**wrapped, "strict": True}}


def is_closed(schema: Any) -> bool:
    """Whether every object in it requires all of its properties and no others, which is what `strict` takes."""
    waiting = [schema]
    while waiting:  # a stack and not a recursion: how deep a schema goes is the client's choice
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            properties = value.get("properties")
            named = set(properties) if isinstance(properties, dict) else set()
            is_object = value.get("type") == "object"
            if is_object and (value.get("additionalProperties") is not False or named != set(_names(value))):
                return False
            waiting.extend(value.values())
    return True


def _names(schema: Mapping[str, Any]) -> list[str]:
    required = schema.get("required")
    return [name for name in required if isinstance(name, str)] if isinstance(required, list) else []


def identifier(user: str) -> str:
    """The same name for the same user, within OpenAI's bound."""
    return user if len(user) <= IDENTIFIER_CHARS_MAX else hashlib.sha256(user.encode()).hexdigest()


def _unsupported(param: str, what: str) -> ClientError:
    return ClientError(
        f"The provider of this model does not take {what}; leave it out or ask another model.",
        param=param,
        code="unsupported_parameter",
    )
