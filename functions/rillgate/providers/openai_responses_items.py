"""Messages of Chat Completions as input items of the Responses API.

    system, developer, user → a message of that role          tool → function_call_output
    assistant → its reasoning, then what it said, then its calls, each call behind the reasoning that led to it

Both are OpenAI's, so most words are moved and not read: a call's arguments stay the very text that the model wrote.
Items have no ids: with `store: false` OpenAI keeps none, and looks up in vain what is sent with one. Reasoning goes
back where only OpenAI can read it; texts of reasoning are refused there, and left out.
Source: https://platform.openai.com/docs/api-reference/responses/create, "Reasoning models" (encrypted reasoning items)
and openai-python 3.54.0; what clients report of ids and of the length of `call_id`; read 2026-11-22.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from rillgate.domain.delta import OPENAI_ORIGIN
from rillgate.domain.errors import ClientError
from rillgate.providers.conversation import reasoning_of

CALL_ID_CHARS_MAX = 64
TEXT_SEPARATOR = "\n\n"

Json = dict[str, Any]
Fields = Mapping[str, Any]


def input_of(messages: Sequence[Fields], *, reasons: bool = True) -> list[Json]:
    """The conversation.

    Shape:  [{"role": "user", "content": "Hi"}] → [{"role": "user", "content": "Hi"}]
            {"role": "tool", "tool_call_id": "c", "content": "4"}
            → {"type": "function_call_output", "call_id": "c", "output": "4"}
    Args:   reasons: whether the model takes back what was thought before.
    Raises: ClientError: a part that cannot be said in this API, a call without a name, a result without a call id.
    """
    items: list[Json] = []
    custom: set[str] = set()  # ids of calls of custom tools, whose results are of another type
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        role = message["role"]
        if role == "assistant":
            items += (turn := list(_turn(message, where, reasons=reasons)))
            custom.update(item["call_id"] for item in turn if item["type"] == "custom_tool_call")
        elif role in ("tool", "function"):
            items.append(_result(message, where, custom))
        else:
            items.append({"role": role, "content": _content(message.get("content"), f"{where}.content")})
    return items


def _turn(message: Fields, where: str, *, reasons: bool) -> Iterator[Json]:
    """What the model thought, said and called."""
    calls = list(_calls(message, where))
    called = {call["call_id"] for call in calls}
    first: list[Json] = []
    before: dict[str, list[Json]] = {}
    for thought in reasoning_of(message) if reasons else ():
        if thought.origin == OPENAI_ORIGIN and thought.data:
            item = {"type": "reasoning", "summary": [], "encrypted_content": thought.data}
            call_id = _call_id(thought.call_id)
            (before.setdefault(call_id, []) if call_id in called else first).append(item)
    yield from first
    said = list(_said(message, f"{where}.content"))
    if said:
        yield {"type": "message", "role": "assistant", "content": said}
    for call in calls:
        yield from before.pop(call["call_id"], ())
        yield call


def _said(message: Fields, where: str) -> Iterator[Json]:
    content = message.get("content")
    for place, part in enumerate([{"type": "text", "text": content}] if isinstance(content, str) else content or ()):
        kind = part["type"]
        if kind not in ("text", "refusal"):
            raise _unsupported(f"{where}[{place}].type", f"{kind[:40]!r} in what the model said")
        text = part.get(kind)
        if isinstance(text, str) and text:
            yield _refusal(text) if kind == "refusal" else {"type": "output_text", "text": text, "annotations": []}
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        yield _refusal(refusal)


def _refusal(text: str) -> Json:
    return {"type": "refusal", "refusal": text}


def _calls(message: Fields, where: str) -> Iterator[Json]:
    former = message.get("function_call")  # as there were no ids yet, a result names the function
    if isinstance(former, dict) and isinstance(former.get("name"), str):
        yield _call(former["name"], former, f"{where}.function_call")
    for place, call in enumerate(message.get("tool_calls") or ()):
        here = f"{where}.tool_calls[{place}]"
        call_id = call.get("id")
        if not isinstance(call_id, str) or not call_id:
            raise _invalid(f"{here}.id", "it needs one, which its result names")
        if call.get("type") == "custom":
            yield _custom_call(call_id, call.get("custom"), f"{here}.custom")
        else:
            yield _call(call_id, call.get("function"), f"{here}.function")


def _call(call_id: str, function: Any, where: str) -> Json:
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise _invalid(where, "it needs a `name`")
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode() if isinstance(arguments, dict) else ""
    return {"type": "function_call", "call_id": _call_id(call_id), "name": name, "arguments": arguments or "{}"}


def _custom_call(call_id: str, custom: Any, where: str) -> Json:
    name = custom.get("name") if isinstance(custom, dict) else None
    if not isinstance(name, str) or not name:
        raise _invalid(where, "it needs a `name`")
    return {
        "type": "custom_tool_call",
        "call_id": _call_id(call_id),
        "name": name,
        "input": str(custom.get("input") or ""),
    }


def _result(message: Fields, where: str, custom: set[str]) -> Json:
    call_id = message.get("tool_call_id") or message.get("name")
    if not isinstance(call_id, str) or not call_id:
        raise _invalid(f"{where}.tool_call_id", "a result needs the id of its call")
    output = _content(message.get("content"), f"{where}.content")
    kind = "custom_tool_call_output" if _call_id(call_id) in custom else "function_call_output"
    return {"type": kind, "call_id": _call_id(call_id), "output": output}


def _call_id(call_id: str) -> str:
    """Within OpenAI's bound: other families' ids may be longer."""
    if len(call_id) <= CALL_ID_CHARS_MAX:
        return call_id
    return f"call_{hashlib.sha256(call_id.encode('utf-8', 'replace')).hexdigest()[: CALL_ID_CHARS_MAX - 5]}"


def _content(content: Any, where: str) -> str | list[Json]:
    """What is not the model's: one string, or parts."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    parts = [_part(part, f"{where}[{place}]") for place, part in enumerate(content)]
    if all(part.keys() == {"type", "text"} for part in parts):
        return TEXT_SEPARATOR.join(part["text"] for part in parts)
    return parts


def _part(part: Fields, where: str) -> Json:
    kind = part["type"]
    if kind in ("text", "refusal"):
        said: Json = {"type": "input_text", "text": str(part.get(kind) or "")}
    elif kind == "image_url":
        said = _image(part.get("image_url"), f"{where}.image_url")
    elif kind == "file":
        said = _file(part.get("file"), f"{where}.file")
    else:
        raise _unsupported(f"{where}.type", f"content of the type {kind[:40]!r}")
    mark = part.get("prompt_cache_breakpoint")  # OpenAI's own word, the same in both APIs
    return {**said, "prompt_cache_breakpoint": mark} if isinstance(mark, dict) else said


def _image(given: Any, where: str) -> Json:
    url = given.get("url") if isinstance(given, dict) else given
    if not isinstance(url, str) or not url:
        raise _invalid(f"{where}.url", "it needs a URL")
    detail = given.get("detail") if isinstance(given, dict) else None
    return {"type": "input_image", "image_url": url, "detail": detail if isinstance(detail, str) else "auto"}


def _file(file: Any, where: str) -> Json:
    """As data, by its address, or by the id that OpenAI gave it when it was uploaded."""
    given = file if isinstance(file, dict) else {}
    data, file_id, name = (given.get(key) for key in ("file_data", "file_id", "filename"))
    if isinstance(data, str) and data.startswith(("https://", "http://")):
        return {"type": "input_file", "file_url": data}
    if isinstance(data, str) and data:
        return {"type": "input_file", "filename": name if isinstance(name, str) else "document", "file_data": data}
    if isinstance(file_id, str) and file_id:
        return {"type": "input_file", "file_id": file_id}
    raise _invalid(where, "it needs `file_data`, a data URL, or a `file_id`")


def _unsupported(param: str, what: str) -> ClientError:
    return ClientError(
        f"The provider of this model does not take {what}; leave it out or ask another model.",
        param=param,
        code="unsupported_parameter",
    )


def _invalid(param: str, remedy: str) -> ClientError:
    return ClientError(f"Invalid value for '{param}': {remedy}.", param=param, code="invalid_value")
