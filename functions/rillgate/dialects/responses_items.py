"""Input items of OpenAI's Responses API in Chat Completions vocabulary: what was said, thought, called and answered.

Place: part of dialect.parse. Items of the model's own that stand beside each other (reasoning, a message, calls) are
one message of the assistant there, since the results of its calls must follow it. Only what this gateway can do at all
is taken: an item that OpenAI keeps, or that one of its own tools made, is refused by its name.
Source: wire formats, section 9.2; https://platform.openai.com/docs/api-reference/responses, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rillgate.dialects.json_fields import invalid, missing, required_string, shown, wrong_type
from rillgate.dialects.responses_reasoning import opened
from rillgate.domain.errors import ClientError

ROLES = ("user", "assistant", "system", "developer")
FILE_NAME_DEFAULT = "document"
NOTHING_IS_KEPT = 'Rillgate keeps no responses; send the item itself (and say "store": false, so that your SDK does)'

Fields = Mapping[str, Any]
Part = dict[str, Any]
Message = dict[str, Any]


def translated_input(given: Any, instructions: str | None) -> list[Message]:
    """The conversation.

    Shape:  "Hi" → [{"role": "user", "content": "Hi"}]
            [{"type": "function_call_output", "call_id": "c", "output": "4"}, {"role": "user", "content": "so?"}]
            → [{"role": "tool", "tool_call_id": "c", "content": "4"}, {"role": "user", "content": "so?"}]
    Raises: ClientError: a field is missing or of a wrong type; `param` names it as in `input[0].content[1].text`.
    """
    messages: list[Message] = [{"role": "system", "content": instructions}] if instructions else []
    if given is None:
        raise missing("input", "a string or an array of items")
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    if not isinstance(given, list):
        raise wrong_type("input", "a string or an array of items", given)
    if not given:
        raise ClientError("'input' is empty; send at least one item.", param="input", code="invalid_value")
    for place, item in enumerate(given):
        where = f"input[{place}]"
        if not isinstance(item, dict):
            raise wrong_type(where, "an object", item)
        kind = item.get("type") or ("message" if "role" in item else None)
        if kind is None:
            raise missing(f"{where}.type", f"one of {', '.join(_ITEMS)}")
        if kind == "item_reference":
            raise _refused(f"{where}.type", kind, NOTHING_IS_KEPT)
        take = _ITEMS.get(kind) if isinstance(kind, str) else None
        if take is None:
            raise _refused(f"{where}.type", kind, f"items here are {', '.join(_ITEMS)}")
        take(messages, item, where)
    return [_closed(message) for message in messages]


def _message(messages: list[Message], item: Fields, where: str) -> None:
    role = item.get("role")
    if role not in ROLES:
        raise invalid(f"{where}.role", role, f"use one of {', '.join(ROLES)}")
    content = item.get("content")
    if content is None:
        raise missing(f"{where}.content", "a string or an array of parts")
    parts = _parts(content, f"{where}.content")
    if role == "assistant":
        _assistant(messages).setdefault("content", []).extend(parts)
    else:
        messages.append({"role": role, "content": _short(parts)})


def _call(messages: list[Message], item: Fields, where: str) -> None:
    function = {"name": required_string(item, "name", where), "arguments": required_string(item, "arguments", where)}
    call = {"id": required_string(item, "call_id", where), "type": "function", "function": function}
    _assistant(messages).setdefault("tool_calls", []).append(call)


def _result(messages: list[Message], item: Fields, where: str) -> None:
    output = item.get("output")
    if output is None:
        raise missing(f"{where}.output", "a string or an array of parts")
    call_id = required_string(item, "call_id", where)
    messages.append({"role": "tool", "tool_call_id": call_id, "content": _short(_parts(output, f"{where}.output"))})


def _reasoning(messages: list[Message], item: Fields, where: str) -> None:
    """What the model thought, with its proof where there is one, and the text for whom it is all there is."""
    encrypted = item.get("encrypted_content")
    if encrypted is not None and not isinstance(encrypted, str):
        raise wrong_type(f"{where}.encrypted_content", "a string", encrypted)
    said = _texts(item.get("content"), f"{where}.content") or _texts(item.get("summary"), f"{where}.summary")
    message = _assistant(messages)
    if said:
        message["reasoning_content"] = message.get("reasoning_content", "") + said
    if encrypted:
        details = message.setdefault("reasoning_details", [])
        details.append({**opened(encrypted), "index": len(details)})


_ITEMS: Mapping[str, Callable[[list[Message], Fields, str], None]] = {
    "message": _message,
    "function_call": _call,
    "function_call_output": _result,
    "reasoning": _reasoning,
}


def _assistant(messages: list[Message]) -> Message:
    """The model's turn that is being read."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant"})
    return messages[-1]


def _closed(message: Message) -> Message:
    """The model's turn with its content as servers read it: one text as a string, none beside calls as null."""
    if message["role"] != "assistant":
        return message
    parts = message.get("content")
    content = _short(parts) if parts else (None if message.get("tool_calls") else "")
    return {**message, "content": content}


def _parts(content: Any, where: str) -> list[Part]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise wrong_type(where, "a string or an array of parts", content)
    return [_part(part, f"{where}[{place}]") for place, part in enumerate(content)]


def _part(part: Any, where: str) -> Part:
    if not isinstance(part, dict):
        raise wrong_type(where, "an object", part)
    kind = part.get("type")
    if not isinstance(kind, str):
        raise missing(f"{where}.type", "a string")
    if kind not in _PARTS:
        raise invalid(f"{where}.type", kind, f"use one of {', '.join(_PARTS)}")
    translated = _PARTS[kind](part, where)
    mark = part.get("prompt_cache_breakpoint")
    if isinstance(mark, dict):
        translated["cache_control"] = {"type": "ephemeral"} | ({"ttl": mark["ttl"]} if "ttl" in mark else {})
    return translated


def _text(part: Fields, where: str) -> Part:
    return {"type": "text", "text": required_string(part, "text", where)}


def _refusal(part: Fields, where: str) -> Part:
    return {"type": "refusal", "refusal": required_string(part, "refusal", where)}


def _image(part: Fields, where: str) -> Part:
    if part.get("image_url") is None and part.get("file_id") is not None:
        raise _refused(f"{where}.file_id", part["file_id"], "uploaded files cannot be read here; send 'image_url'")
    image: dict[str, Any] = {"url": required_string(part, "image_url", where)}
    if isinstance(part.get("detail"), str):
        image["detail"] = part["detail"]
    return {"type": "image_url", "image_url": image}


def _file(part: Fields, where: str) -> Part:
    if part.get("file_id") is not None:
        raise _refused(f"{where}.file_id", part["file_id"], "uploaded files cannot be read here; send 'file_data'")
    data = required_string(part, "file_url" if part.get("file_data") is None else "file_data", where)
    name = part.get("filename")
    return {
        "type": "file",
        "file": {"filename": name if isinstance(name, str) else FILE_NAME_DEFAULT, "file_data": data},
    }


def _sound(part: Fields, where: str) -> Part:
    sound = part.get("input_audio")
    if not isinstance(sound, dict):
        raise wrong_type(f"{where}.input_audio", "an object", sound)
    return {"type": "input_audio", "input_audio": sound}


_PARTS: Mapping[str, Callable[[Fields, str], Part]] = {
    "input_text": _text,
    "output_text": _text,
    "refusal": _refusal,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _sound,
}


def _short(parts: list[Part]) -> str | list[Part]:
    """A single text without a mark as a plain string, which every server reads."""
    only = parts[0] if len(parts) == 1 else {}
    return only["text"] if only.keys() == {"type", "text"} else parts


def _texts(parts: Any, where: str) -> str:
    """All texts of a reasoning item's parts; paragraphs, where there are several."""
    if parts is None:
        return ""
    if not isinstance(parts, list):
        raise wrong_type(where, "an array", parts)
    for place, part in enumerate(parts):
        if not isinstance(part, dict):
            raise wrong_type(f"{where}[{place}]", "an object", part)
    return "\n\n".join(part["text"] for part in parts if isinstance(part.get("text"), str) and part["text"])


def _refused(param: str, value: Any, remedy: str) -> ClientError:
    return ClientError(
        f"Unsupported value for '{param}': {shown(value)}; {remedy}.", param=param, code="unsupported_value"
    )
