"""How many tokens a prompt will be: an estimate, from the fields of a Chat Completions request.

Place:  dialect.parse → budget.estimate → ledger.authorize. Pure. The provider's own usage is the truth afterwards.
Source: reference table of OpenAI's chat format: 3 tokens around each message, 1 more for a name, 3 that begin the
        reply; tools are rendered into the prompt with some tokens around each function, property and enumeration.

What is no text (images, audio, files) counts nothing here: `media` bounds it, for holds. Nothing here raises: a value
of a shape that is not known counts as nothing, and the provider says what it thinks of it.
"""

from __future__ import annotations

from collections.abc import Mapping
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
TEMPLATE_TOKENS = 32  # of a system prompt that a template brings along: 20 to 30 where models have one

# Text beside `content` that a message brings to the model; the last three are extensions that some servers read.
_MESSAGE_TEXTS = ("name", "refusal", "reasoning_content", "reasoning", "thinking")
_PART_TEXTS = ("text", "refusal")
_CALL_TEXTS = ("name", "arguments", "input")
_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems", "items", "additionalProperties")
_SCHEMA_MAPS = ("$defs", "definitions")


def prompt_texts(fields: Mapping[str, Any]) -> list[str]:
    """All texts that a request brings to the model: messages, tool calls, tool definitions, an answer's schema; or what
    is to be embedded.

    Shape: {"messages": [{"role": "user", "content": "Hi"}]} → ["Hi"]
    """
    texts: list[str] = []
    _read(fields, FUNCTION_TOKENS_DEFAULT, texts)
    return texts


def prompt_bytes(fields: Mapping[str, Any]) -> int:
    """Bytes of UTF-8 of these texts, and the tokens of the format: cheap, and never less than `estimate_prompt`."""
    texts: list[str] = []
    tokens = _read(fields, max(FUNCTION_TOKENS_DEFAULT, *FUNCTION_TOKENS.values()), texts)
    return tokens + sum(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in texts)


def estimate_prompt(fields: Mapping[str, Any], encoding: Encoding) -> int:
    """Tokens of the prompt, the format around the texts included.

    Shape: {"messages": [{"role": "user", "content": "Hi"}]} → 8: a message 3, its role 1, the text 1, the reply 3.
    """
    texts: list[str] = []
    tokens = _read(fields, FUNCTION_TOKENS.get(encoding.name, FUNCTION_TOKENS_DEFAULT), texts)
    return tokens + sum(map(encoding.count, texts))


def prompt_tokens_max(fields: Mapping[str, Any], estimated: int) -> int:
    """What a tokenizer that is not ours makes of a prompt, at most as far as one can say, from our estimate of it.

    Vocabularies differ by half in English and code; small ones spell other scripts nearly byte by byte; and a template
    may add a system prompt where the request has none. Measured with a vocabulary of a quarter of ours.

    Shape: 100 tokens of English → 182; 80 tokens that are 100 Chinese characters → 302.
    """
    texts = prompt_texts(fields)
    beyond_ascii = sum(len(text.encode("utf-8", "surrogatepass")) - len(text) for text in texts if not text.isascii())
    other = -(-estimated * 3 // 2) + -(-beyond_ascii * 3 // 4)
    return min(other, prompt_bytes(fields)) + TEMPLATE_TOKENS


# Each of the following appends the texts it finds and returns the tokens that the format adds to them.


def _read(fields: Mapping[str, Any], function_tokens: int, texts: list[str]) -> int:
    if "input" in fields and "messages" not in fields:
        return _read_input(fields["input"], texts)
    tokens = REPLY_TOKENS
    for message in _dicts(fields.get("messages")):
        tokens += _read_message(message, texts)
    functions = [_dict(tool, "function", "custom") for tool in _dicts(fields.get("tools"))]
    functions += _dicts(fields.get("functions"))
    for function in functions:
        tokens += function_tokens + _read_function(function, _dict(function, "parameters"), texts)
    if functions:
        tokens += TOOLS_TOKENS
    answer = _dict(_dict(fields, "response_format"), "json_schema")
    if answer:
        tokens += function_tokens + _read_function(answer, _dict(answer, "schema"), texts)
    return tokens


def _read_input(given: Any, texts: list[str]) -> int:
    """What is to be embedded: texts as they are, and token ids, which count themselves."""
    inputs = given if isinstance(given, list) else [given]
    texts.extend(one for one in inputs if isinstance(one, str))
    return sum(len(one) if isinstance(one, list) else isinstance(one, int) for one in inputs)


def _read_message(message: Mapping[str, Any], texts: list[str]) -> int:
    content = message.get("content")
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            texts.extend(_strings(part, _PART_TEXTS))
    texts.extend(_strings(message, _MESSAGE_TEXTS))
    for call in _dicts(message.get("tool_calls")):
        texts.extend(_strings(_dict(call, "function", "custom"), _CALL_TEXTS))
    texts.extend(_strings(_dict(message, "function_call"), _CALL_TEXTS))
    return MESSAGE_TOKENS + (NAME_TOKENS if isinstance(message.get("name"), str) else 0)


def _read_function(function: Mapping[str, Any], schema: dict[str, Any], texts: list[str]) -> int:
    texts.append(f"{_text(function.get('name'))}:{_text(function.get('description'))}")
    texts.extend(_strings(_dict(_dict(function, "format"), "grammar"), ("definition",)))
    tokens = 0
    # A stack and not a recursion: how deep a schema goes is the client's choice.
    schemas = [schema]
    while schemas:
        schema = schemas.pop()
        properties = _dict(schema, "properties")
        if properties:
            tokens += PROPERTIES_TOKENS
        for name, value in properties.items():
            inner = value if isinstance(value, dict) else {}
            texts.append(f"{name}:{_type(inner)}:{_text(inner.get('description'))}")
            tokens += PROPERTY_TOKENS
            schemas.append(inner)
        options = schema.get("enum")
        if isinstance(options, list) and options:
            texts.extend(map(_text, options))
            tokens += ENUM_TOKENS + ENUM_ITEM_TOKENS * len(options)
        for key in _SCHEMAS:
            schemas.extend(_dicts(schema.get(key)))
        for key in _SCHEMA_MAPS:
            schemas.extend(_dicts(list(_dict(schema, key).values())))
    return tokens


def _strings(value: Mapping[str, Any], keys: tuple[str, ...]) -> list[str]:
    """Those of these fields that are strings."""
    return [found for key in keys if key in value and isinstance(found := value[key], str)]


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
