"""AI SDK's UI messages in Chat Completions vocabulary: parts to content, tool calls, tool messages.

Place: part of dialect.parse. A message of the model's may hold several steps, `step-start` between them: each is a turn
of the assistant there, followed by the results of its calls. A call that has no result yet (it was cut short, or the
user went on instead of answering) is left out, since no provider takes one. What a page keeps for itself in a message
(`data-…`, sources, citations) is not the model's and stays behind.
Source: the package `ai` 7.0.173 (`ui-messages`, `convert-to-model-messages`), read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from rillgate.dialects.json_fields import invalid, missing, required_string, wrong_type
from rillgate.dialects.ui_stream_wire import OURS
from rillgate.domain.errors import ClientError

ROLES = ("system", "user", "assistant")
PAGES_OWN = frozenset({"source-url", "source-document", "custom"})  # and all that begin with "data-"
SOUNDS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
FILE_NAME_DEFAULT = "document"
DENIED = "The user did not allow this call."

Fields = Mapping[str, Any]
Part = dict[str, Any]
Message = dict[str, Any]


def translated_messages(messages: Any) -> list[Message]:
    """The conversation.

    Shape:  [{"role": "user", "parts": [{"type": "text", "text": "hi"}]}] → [{"role": "user", "content": "hi"}]
    Raises: ClientError: a field is missing or of a wrong type; `param` names it as in `messages[0].parts[1].text`.
    """
    if messages is None:
        raise missing("messages", "an array of at least one message")
    if not isinstance(messages, list):
        raise wrong_type("messages", "an array", messages)
    found: list[Message] = []
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        if not isinstance(message, dict):
            raise wrong_type(where, "an object", message)
        role = message.get("role")
        if role not in ROLES:
            raise invalid(f"{where}.role", role, f"use one of {', '.join(ROLES)}")
        parts = _parts(message, where)
        if role == "assistant":
            found.extend(_steps(parts, f"{where}.parts"))
        else:
            found.extend(_said(role, parts, f"{where}.parts"))
    if not found:
        raise ClientError("'messages' says nothing; send at least one message.", param="messages", code="invalid_value")
    return found


def _parts(message: Fields, where: str) -> list[Fields]:
    """The parts, each an object with a type."""
    parts = message.get("parts")
    if parts is None:
        raise missing(f"{where}.parts", "an array of parts, as `useChat` sends them")
    if not isinstance(parts, list):
        raise wrong_type(f"{where}.parts", "an array", parts)
    for place, part in enumerate(parts):
        if not isinstance(part, dict):
            raise wrong_type(f"{where}.parts[{place}]", "an object", part)
        required_string(part, "type", f"{where}.parts[{place}]")
    return parts


def _said(role: str, parts: list[Fields], where: str) -> Iterator[Message]:
    """What the user says, or the page for the model."""
    content: list[Part] = []
    for place, part in enumerate(parts):
        here = f"{where}[{place}]"
        if part["type"] == "text":
            content.append(_text(part, here))
        elif part["type"] == "file" and role == "user":
            content.append(_file(part, here))
        elif not _is_pages_own(part["type"]):
            raise invalid(f"{here}.type", part["type"], "here stand text and, of the user, file")
    if content:
        yield {"role": role, "content": _short(content)}


class _Step:
    """One step of the model's, and what came of its calls."""

    def __init__(self) -> None:
        self._message: Message = {"role": "assistant"}
        self._content: list[Part] = []
        self._results: list[Message] = []

    def take(self, part: Fields, where: str) -> None:
        """One more part."""
        kind: str = part["type"]
        if kind == "text":
            self._content.append(_text(part, where))
        elif kind == "reasoning":
            self._think(part, where)
        elif kind == "dynamic-tool" or kind.startswith("tool-"):
            self._call(part, where)
        elif not _is_pages_own(kind):
            raise invalid(f"{where}.type", kind, "of the model, send back text, reasoning and tool calls")

    def messages(self) -> Iterator[Message]:
        """The turn, and the results; none of a step that says nothing."""
        said = [part for part in self._content if part["text"]]
        if said or len(self._message) > 1:
            content = _short(said) if said else (None if "tool_calls" in self._message else "")
            yield {**self._message, "content": content}
            yield from self._results

    def _think(self, part: Fields, where: str) -> None:
        text = required_string(part, "text", where)
        if text:
            self._message["reasoning_content"] = self._message.get("reasoning_content", "") + text
        metadata = part.get("providerMetadata")
        kept = metadata.get(OURS) if isinstance(metadata, dict) else None
        if not isinstance(kept, dict):
            return
        details = self._message.setdefault("reasoning_details", [])
        told = {"format": str(kept.get("format") or ""), "index": len(details)}
        if isinstance(kept.get("signature"), str):
            details.append({"type": "reasoning.text", "text": text, "signature": kept["signature"], **told})
        elif isinstance(kept.get("data"), str):
            belongs = {"id": kept["id"]} if isinstance(kept.get("id"), str) else {}  # to the call that comes after it
            details.append({"type": "reasoning.encrypted", "data": kept["data"], **told, **belongs})

    def _call(self, part: Fields, where: str) -> None:
        result = _result(part)
        if result is None or part.get("providerExecuted") is True:
            return
        call_id = required_string(part, "toolCallId", where)
        dynamic = part["type"] == "dynamic-tool"
        name = required_string(part, "toolName", where) if dynamic else part["type"].removeprefix("tool-")
        given = part.get("input")
        given = part.get("rawInput") if given is None else given
        arguments = given if isinstance(given, dict) else {} if given is None else {"_raw": given}
        function = {"name": name, "arguments": _json(arguments)}
        self._message.setdefault("tool_calls", []).append({"id": call_id, "type": "function", "function": function})
        self._results.append({"role": "tool", "tool_call_id": call_id, **result})


def _steps(parts: list[Fields], where: str) -> Iterator[Message]:
    step = _Step()
    for place, part in enumerate(parts):
        here = f"{where}[{place}]"
        if part["type"] in ("step-start", "steering-message"):
            yield from step.messages()
            step = _Step()
        if part["type"] == "steering-message":  # what the user said between two steps
            yield from _said("user", _parts(part, here), f"{here}.parts")
        elif part["type"] != "step-start":
            step.take(part, here)
    yield from step.messages()


def _result(part: Fields) -> dict[str, Any] | None:
    """What came of a call, as a tool's message says it; None where nothing has yet."""
    approval = part.get("approval")
    approval = approval if isinstance(approval, dict) else {}
    state = part.get("state")
    if state == "output-available":
        output = part.get("output")
        return {"content": output if isinstance(output, str) else _json(output)}
    if state == "output-error":
        return {"content": str(part.get("errorText") or ""), "is_error": True}
    if state == "output-denied" or (state == "approval-responded" and approval.get("approved") is False):
        return {"content": str(approval.get("reason") or DENIED), "is_error": True}
    return None


def _is_pages_own(kind: str) -> bool:
    return kind in PAGES_OWN or kind.startswith("data-")


def _text(part: Fields, where: str) -> Part:
    return {"type": "text", "text": required_string(part, "text", where)}


def _file(part: Fields, where: str) -> Part:
    """An image, a sound or a document, by its media type."""
    if part.get("providerReference") is not None:
        raise invalid(f"{where}.providerReference", part["providerReference"], "uploaded files cannot be read here")
    url, media_type = required_string(part, "url", where), required_string(part, "mediaType", where)
    if not url.startswith(("data:", "https://", "http://")):
        raise invalid(f"{where}.url", url, "give a data: URL or an https: one; a page's own blob: is read by it alone")
    if media_type.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    if media_type in SOUNDS and url.startswith("data:"):
        sound = {"data": url.partition(",")[2], "format": SOUNDS[media_type]}
        return {"type": "input_audio", "input_audio": sound}
    name = part.get("filename")
    return {
        "type": "file",
        "file": {"filename": name if isinstance(name, str) and name else FILE_NAME_DEFAULT, "file_data": url},
    }


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError as error:
        raise ClientError("The request is nested too deeply.", code="invalid_json") from error


def _short(parts: list[Part]) -> str | list[Part]:
    """A single text as a plain string, which every server reads."""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts
