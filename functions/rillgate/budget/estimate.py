"""How many tokens a prompt will be: an estimate, from the fields of a Chat Completions request.

Place:  dialect.parse → budget.estimate → ledger.authorize. Pure. The provider's own usage is the truth afterwards.
Source: reference table of OpenAI's chat format: 3 tokens around each message, 1 more for a name, 3 that begin the
        reply; tools are rendered into the prompt with some tokens around each function, property and enumeration.

What is no text (images, audio, files) counts nothing: its price follows a formula of each model. Nothing here raises:
a value of a shape that is not known counts as nothing, and the provider says what it thinks of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rillgate.domain.ports import Encoding

MESSAGE_TOKENS = 4  # 3 around it, and its role, which is one token in all encodings
NAME_TOKENS = 1
REPLY_TOKENS = 3
FUNCTION_TOKENS = {"cl100k_base": 10}  # gpt-4 and gpt-3.5; others below
FUNCTION_TOKENS_DEFAULT = 7
PROPERTIES_TOKENS = 3
PROPERTY_TOKENS = 3
ENUM_TOKENS = -3
ENUM_ITEM_TOKENS = 3
TOOLS_TOKENS = 12

# Text beside `content` that a message brings to the model; the last three are extensions that some servers read.
_MESSAGE_TEXTS = ("name", "refusal", "reasoning_content", "reasoning", "thinking")
_PART_TEXTS = ("text", "refusal")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_SCHEMA_MAPS = ("$defs", "definitions")

_Part = tuple[int, str]  # tokens of the format, and text that comes with them


def prompt_texts(fields: Mapping[str, Any]) -> list[str]:
    """All texts that a request brings to the model: messages, tool calls, tool definitions, an answer's schema.

    Shape: {"messages": [{"role": "user", "content": "Hi"}]} → ["Hi"]
    """
    return [text for _, text in _parts(fields, FUNCTION_TOKENS_DEFAULT) if text]


def prompt_bytes(fields: Mapping[str, Any]) -> int:
    """Bytes of UTF-8 of these texts, and the tokens of the format: cheap, and never less than `estimate_prompt`."""
    return REPLY_TOKENS + sum(
        extra + (len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")))
        for extra, text in _parts(fields, max(FUNCTION_TOKENS_DEFAULT, *FUNCTION_TOKENS.values()))
    )


def estimate_prompt(fields: Mapping[str, Any], encoding: Encoding) -> int:
    """Tokens of the prompt, the format around the texts included.

    Shape: {"messages": [{"role": "user", "content": "Hi"}]} → 8: a message 3, its role 1, the text 1, the reply 3.
    """
    function_tokens = FUNCTION_TOKENS.get(encoding.name, FUNCTION_TOKENS_DEFAULT)
    return REPLY_TOKENS + sum(
        extra + (encoding.count(text) if text else 0) for extra, text in _parts(fields, function_tokens)
    )


def _parts(fields: Mapping[str, Any], function_tokens: int) -> Iterator[_Part]:
    for message in _dicts(fields.get("messages")):
        yield MESSAGE_TOKENS, ""
        yield from _message(message)
    functions = [_dict(tool, "function", "custom") for tool in _dicts(fields.get("tools"))]
    functions += _dicts(fields.get("functions"))
    for function in functions:
        yield from _function(function, function_tokens)
    if functions:
        yield TOOLS_TOKENS, ""
    answer_schema = _dict(_dict(fields, "response_format"), "json_schema")
    if answer_schema:
        yield from _function({**answer_schema, "parameters": answer_schema.get("schema")}, function_tokens)


def _message(message: Mapping[str, Any]) -> Iterator[_Part]:
    yield from _content(message.get("content"))
    for key in _MESSAGE_TEXTS:
        yield 0, _text(message.get(key))
    if _text(message.get("name")):
        yield NAME_TOKENS, ""
    calls = [_dict(call, "function", "custom") for call in _dicts(message.get("tool_calls"))]
    calls.append(_dict(message, "function_call"))
    for call in calls:
        for key in ("name", "arguments", "input"):
            yield 0, _text(call.get(key))


def _content(content: Any) -> Iterator[_Part]:
    if isinstance(content, str):
        yield 0, content
        return
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            yield 0, part
        elif isinstance(part, dict):
            for key in _PART_TEXTS:
                yield 0, _text(part.get(key))


def _function(function: Mapping[str, Any], function_tokens: int) -> Iterator[_Part]:
    yield function_tokens, f"{_text(function.get('name'))}:{_text(function.get('description'))}"
    grammar = _dict(_dict(function, "format"), "grammar")
    yield 0, _text(grammar.get("definition"))
    # A stack and not a recursion: how deep a schema goes is the client's choice.
    schemas = [_dict(function, "parameters")]
    while schemas:
        schema = schemas.pop()
        properties = _dict(schema, "properties")
        if properties:
            yield PROPERTIES_TOKENS, ""
        for name, value in properties.items():
            inner = value if isinstance(value, dict) else {}
            yield PROPERTY_TOKENS, f"{name}:{_type(inner)}:{_text(inner.get('description'))}"
            schemas.append(inner)
        options = schema.get("enum")
        if isinstance(options, list) and options:
            yield ENUM_TOKENS, ""
            for option in options:
                yield ENUM_ITEM_TOKENS, _text(option)
        for key in _SCHEMA_LISTS:
            schemas.extend(_dicts(schema.get(key)))
        for key in _SCHEMA_MAPS:
            schemas.extend(_dicts(list(_dict(schema, key).values())))
        schemas.extend(_dicts(schema.get("additionalProperties")))


def _type(schema: Mapping[str, Any]) -> str:
    """A schema's type; several types are written with a bar between them."""
    name = schema.get("type")
    return "|".join(_text(one) for one in name) if isinstance(name, list) else _text(name)


def _text(value: Any) -> str:
    """A string as it is, a number or a truth value as it is written, anything else as nothing."""
    if isinstance(value, str):
        return value
    # Python refuses to write out integers of thousands of digits.
    return str(value) if isinstance(value, int | float) and abs(value) < 1e100 else ""


def _dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; an object alone is a list of one."""
    if isinstance(value, dict):
        return [value]
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _dict(value: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The first of these keys that holds an object; an empty object when none does."""
    return next((found for key in keys if isinstance(found := value.get(key), dict)), {})
