"""Messages of Anthropic's API in Chat Completions vocabulary: blocks to parts, tool calls, tool messages.

Place: part of dialect.parse. A block that Chat Completions has no word for goes over as it is, under its own type: the
provider of another family that is asked for it refuses it by that name, and Anthropic's own gets the client's original.
Source: wire formats, sections 4.1 and 9.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from rillgate.dialects.json_fields import invalid, missing, required_string, wrong_type
from rillgate.domain.delta import ANTHROPIC_ORIGIN
from rillgate.domain.errors import ClientError
from rillgate.domain.kept_reasoning import unseal

ROLES = ("user", "assistant", "system")
DOCUMENT_NAME_DEFAULT = "document"

Part = dict[str, Any]


def translated_system(system: Any) -> list[dict[str, Any]]:
    """The system prompt as a message; none where there is none.

    Raises: ClientError: neither a string nor an array of text blocks.
    """
    if system is None or system == "":
        return []
    parts = [_text_part(block, f"system.{place}") for place, block in enumerate(_blocks(system, "system"))]
    return [{"role": "system", "content": _short(parts)}] if parts else []


def translated_messages(messages: Any) -> list[dict[str, Any]]:
    """The conversation.

    Shape:  [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "4"},
            {"type": "text", "text": "so?"}]}]
            → [{"role": "tool", "tool_call_id": "t", "content": "4"}, {"role": "user", "content": "so?"}]
    Raises: ClientError: a field is missing or of a wrong type; `param` names it as in `messages.0.content.1.text`.
    """
    if messages is None:
        raise missing("messages", "an array of at least one message")
    if not isinstance(messages, list):
        raise wrong_type("messages", "an array", messages)
    if not messages:
        raise ClientError("'messages' is empty; send at least one message.", param="messages", code="invalid_value")
    found: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        where = f"messages.{place}"
        if not isinstance(message, dict):
            raise wrong_type(where, "an object", message)
        role = message.get("role")
        if role not in ROLES:
            raise invalid(f"{where}.role", role, f"use one of {', '.join(ROLES)}")
        if message.get("content") is None:
            raise missing(f"{where}.content", "a string or an array of blocks")
        blocks = _blocks(message["content"], f"{where}.content")
        if role == "assistant":
            found.append(_assistant(blocks, f"{where}.content"))
        elif role == "system":
            parts = [_text_part(block, f"{where}.content.{at}") for at, block in enumerate(blocks)]
            found.append({"role": "system", "content": _short(parts)})
        else:
            found.extend(_user(blocks, f"{where}.content"))
    return found


def _blocks(content: Any, where: str) -> list[Mapping[str, Any]]:
    """The content as blocks, each an object with a type."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise wrong_type(where, "a string or an array of blocks", content)
    for place, block in enumerate(content):
        if not isinstance(block, dict):
            raise wrong_type(f"{where}.{place}", "an object", block)
        if not isinstance(block.get("type"), str):
            raise missing(f"{where}.{place}.type", "a string")
    return content


def _user(blocks: Sequence[Mapping[str, Any]], where: str) -> Iterator[dict[str, Any]]:
    """Tool results first, one message each, then what else the turn says."""
    parts: list[Part] = []
    for place, block in enumerate(blocks):
        here = f"{where}.{place}"
        if block["type"] == "tool_result":
            yield _result(block, here)
        else:
            parts.extend(_parts(block, here))
    if parts or not any(block["type"] == "tool_result" for block in blocks):
        yield {"role": "user", "content": _short(parts)}


def _result(block: Mapping[str, Any], where: str) -> dict[str, Any]:
    content = block.get("content")
    inner = _blocks("" if content is None else content, f"{where}.content")
    parts = [part for at, one in enumerate(inner) for part in _parts(one, f"{where}.content.{at}")]
    message: dict[str, Any] = {
        "role": "tool",
        "tool_call_id": required_string(block, "tool_use_id", where),
        "content": parts if block.get("cache_control") else _short(parts),  # the mark is the result's, not the text's
    }
    if block.get("is_error") is True:
        message["is_error"] = True
    return _marked(message, block)


def _assistant(blocks: Sequence[Mapping[str, Any]], where: str) -> dict[str, Any]:
    parts: list[Part] = []
    calls: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    reasoning = ""
    for place, block in enumerate(blocks):
        here = f"{where}.{place}"
        kind = block["type"]
        if kind == "tool_use":
            calls.append(_call(block, here))
        elif kind == "thinking":
            text, signature = required_string(block, "thinking", here), block.get("signature")
            reasoning += text
            if isinstance(signature, str) and signature:  # else another family thought it, which wants the text alone
                details.append({"type": "reasoning.text", "text": text, "signature": signature})
        elif kind == "redacted_thinking":
            details.append(_opaque(required_string(block, "data", here)))
        else:
            parts.extend(_parts(block, here))
    message: dict[str, Any] = {"role": "assistant", "content": _joined(parts)}
    if reasoning:
        message["reasoning_content"] = reasoning
    if details:
        message["reasoning_details"] = [
            {"format": ANTHROPIC_ORIGIN, **detail, "index": index} for index, detail in enumerate(details)
        ]
    if calls:
        message["tool_calls"] = calls
        message["content"] = message["content"] or None
    return message


def _opaque(data: str) -> dict[str, Any]:
    """Under its family's name, which need not be Anthropic, beside the call it belongs to."""
    origin, call_id, kept = unseal(data)
    detail = {"type": "reasoning.encrypted", "data": kept, "format": origin}
    return {**detail, "id": call_id} if call_id else detail


def _call(block: Mapping[str, Any], where: str) -> dict[str, Any]:
    arguments = block.get("input")
    if not isinstance(arguments, dict):
        raise wrong_type(f"{where}.input", "an object", arguments)
    try:
        text = msgspec.json.encode(arguments).decode()
    except RecursionError as error:
        raise ClientError("The request is nested too deeply.", code="invalid_json") from error
    function = {"name": required_string(block, "name", where), "arguments": text}
    return _marked({"id": required_string(block, "id", where), "type": "function", "function": function}, block)


def _parts(block: Mapping[str, Any], where: str) -> Iterator[Part]:
    """A block that stands in a message or in a tool's result."""
    kind = block["type"]
    if kind == "text":
        yield _text_part(block, where)
    elif kind == "image":
        yield from _image(block, where)
    elif kind == "document":
        yield from _document(block, where)
    elif kind == "search_result":
        texts = [str(block.get("title") or ""), *_texts(block.get("content"))]
        yield _marked({"type": "text", "text": "\n".join(text for text in texts if text)}, block)
    else:
        yield dict(block)


def _text_part(block: Mapping[str, Any], where: str) -> Part:
    if block["type"] != "text":
        raise invalid(f"{where}.type", block["type"], "only text can stand here")
    return _marked({"type": "text", "text": required_string(block, "text", where)}, block)


def _image(block: Mapping[str, Any], where: str) -> Iterator[Part]:
    source = _source(block, where)
    url = _url(source, f"{where}.source")
    yield dict(block) if url is None else _marked({"type": "image_url", "image_url": {"url": url}}, block)


def _document(block: Mapping[str, Any], where: str) -> Iterator[Part]:
    """A file as a file; a document that is text or blocks already, as those."""
    source = _source(block, where)
    if source.get("type") == "text":
        yield _marked({"type": "text", "text": required_string(source, "data", f"{where}.source")}, block)
        return
    if source.get("type") == "content":
        inner = _blocks(source.get("content"), f"{where}.source.content")
        for place, one in enumerate(inner):
            yield from _parts(one, f"{where}.source.content.{place}")
        return
    url = _url(source, f"{where}.source")
    if url is None:
        yield dict(block)
        return
    title = block.get("title")
    name = title if isinstance(title, str) and title else DOCUMENT_NAME_DEFAULT
    yield _marked({"type": "file", "file": {"filename": name, "file_data": url}}, block)


def _source(block: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    source = block.get("source")
    if not isinstance(source, dict):
        raise wrong_type(f"{where}.source", "an object", source)
    return source


def _url(source: Mapping[str, Any], where: str) -> str | None:
    """A source as a URL: of data, or its own; None for one that only Anthropic can read, such as an uploaded file."""
    if source.get("type") == "base64":
        return f"data:{required_string(source, 'media_type', where)};base64,{required_string(source, 'data', where)}"
    if source.get("type") == "url":
        return required_string(source, "url", where)
    return None


def _texts(content: Any) -> Iterator[str]:
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict) and isinstance(block.get("text"), str):
            yield block["text"]


def _short(parts: list[Part]) -> str | list[Part]:
    """A single text without a mark as a plain string, which every server reads."""
    if not parts:
        return ""
    only = parts[0]
    return only["text"] if len(parts) == 1 and _is_plain(only) else parts


def _joined(parts: list[Part]) -> str | list[Part]:
    """What the model said as one string, unless something is marked or is no text: it may have come in many blocks."""
    if not all(map(_is_plain, parts)):
        return parts
    return "".join(part["text"] for part in parts)


def _is_plain(part: Part) -> bool:
    """Whether it is text and nothing else; what we do not know goes on as it is."""
    return part.keys() == {"type", "text"} and part["type"] == "text"


def _marked(part: Part, block: Mapping[str, Any]) -> Part:
    """The part with the block's cache mark."""
    if block.get("cache_control") is not None:
        part["cache_control"] = block["cache_control"]
    return part
