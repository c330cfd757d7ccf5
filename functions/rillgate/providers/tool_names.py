"""Names of tools that a provider does not take, written as it does, and back again in its answer.

Place:  build: fields → here → the provider's own request; decode: its deltas → here → the client's dialect.

Providers differ in what a tool may be called. Both ways follow from the request alone, so nothing is remembered between
them. Requests of the provider's own dialect are not translated: what it says of their names is the client's to read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from rillgate.domain.delta import Delta, ToolDelta
from rillgate.domain.ports import Frame, StreamDecoder

DIGEST_CHARS = 8

_NOT_TAKEN = re.compile(r"[^A-Za-z0-9_-]")  # by any of them
_LETTER_FIRST = re.compile(r"[A-Za-z_]")


class ToolNames:
    """Which names of one request are written differently; none, nearly always.

    Shape:  fields with the tools "web.search" and "read" → {"web.search": "web_search"}
    Args:
        fields: in Chat Completions vocabulary; {} for a request whose names stay as they are.
        chars_max: how long the provider lets a name be, in letters, digits, `_` and `-`.
        letter_first: whether it must begin with a letter or `_`.
    """

    def __init__(self, fields: Mapping[str, Any], chars_max: int, *, letter_first: bool = False) -> None:
        found = dict.fromkeys(_names(fields))
        prefixes = {name: "_" for name in found if letter_first and not _LETTER_FIRST.match(name)}
        taken = {
            name for name in found if len(name) <= chars_max and not _NOT_TAKEN.search(name) and name not in prefixes
        }
        self.written: dict[str, str] = {}
        for name in found:
            if name not in taken:
                self.written[name] = written = _written(prefixes.get(name, "") + name, chars_max, taken)
                taken.add(written)
        self._given = {written: name for name, written in self.written.items()}

    def request(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The fields with every name as the provider takes it; the very same where all are."""
        if not self.written:
            return fields
        changed: dict[str, Any] = {**fields, "messages": [self._message(each) for each in fields["messages"]]}
        if fields.get("tools"):
            changed["tools"] = [self._named(tool) for tool in fields["tools"]]
        choice = fields.get("tool_choice")
        if isinstance(choice, dict):
            changed["tool_choice"] = self._choice(choice)
        return changed

    def answer(self, deltas: list[Delta]) -> list[Delta]:
        """The deltas with every name as the client gave it."""
        if not self._given:
            return deltas
        return [self._call(delta) if isinstance(delta, ToolDelta) else delta for delta in deltas]

    def decoder(self, decoder: StreamDecoder) -> StreamDecoder:
        """A decoder that gives every name as the client gave it."""
        return _Decoder(decoder, self.answer) if self._given else decoder

    def _call(self, delta: ToolDelta) -> ToolDelta:
        name = self._given.get(delta.name or "")
        return delta if name is None else replace(delta, name=name)

    def _message(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        changed = dict(message)
        if message.get("tool_calls"):
            changed["tool_calls"] = [self._named(call) for call in message["tool_calls"]]
        if isinstance(message.get("function_call"), dict):
            changed["function_call"] = self._renamed(message["function_call"])
        return self._renamed(changed) if message.get("role") == "function" else changed

    def _choice(self, choice: Mapping[str, Any]) -> Any:
        allowed = choice.get("allowed_tools")
        if isinstance(allowed, dict) and isinstance(allowed.get("tools"), list):
            return {**choice, "allowed_tools": {**allowed, "tools": [self._named(each) for each in allowed["tools"]]}}
        return self._named(choice)

    def _named(self, value: Any) -> Any:
        """A tool, a call or a choice: `{"function": {"name": …}}`."""
        if not isinstance(value, dict) or not isinstance(value.get("function"), dict):
            return value
        return {**value, "function": self._renamed(value["function"])}

    def _renamed(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        name = value.get("name")
        return {**value, "name": self.written[name]} if isinstance(name, str) and name in self.written else value


class _Decoder:
    def __init__(self, decoder: StreamDecoder, answer: Callable[[list[Delta]], list[Delta]]) -> None:
        self._decoder = decoder
        self._answer = answer

    def decode(self, frame: Frame) -> list[Delta] | None:
        deltas = self._decoder.decode(frame)
        return None if deltas is None else self._answer(deltas)


def _names(fields: Mapping[str, Any]) -> Iterator[str]:
    """Of the tools, then of what was called before and is perhaps no tool any more."""
    messages = fields.get("messages", ())
    named = [tool.get("function") for tool in fields.get("tools") or ()]
    named += [call.get("function") for message in messages for call in message.get("tool_calls") or ()]
    named += [message.get("function_call") for message in messages]
    for each in named:
        name = each.get("name") if isinstance(each, dict) else None
        if isinstance(name, str) and name:
            yield name


def _written(name: str, chars_max: int, taken: set[str]) -> str:
    """A name that says the same; with a digest where it was cut, or would be another tool's."""
    plain = _NOT_TAKEN.sub("_", name)
    if len(plain) <= chars_max and plain not in taken:
        return plain
    digest = sha256(name.encode("utf-8", "replace")).hexdigest()[:DIGEST_CHARS]
    return f"{plain[: chars_max - DIGEST_CHARS - 1]}_{digest}"
