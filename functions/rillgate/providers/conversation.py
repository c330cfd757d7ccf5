"""A request in Chat Completions vocabulary, read into what every other API family asks for: turns of parts.

Place:  dialect.parse → (fields) → here → provider.build. Shared by the providers whose requests are not OpenAI's own.

The dialect has checked the fields' outer types; what only a translation needs (an image's data, a call's arguments, to
which call a result belongs) is checked here, with `param` naming the field. Cache marks come as `cache_control`
(Anthropic's word, which gateways for OpenAI clients took over) or as OpenAI's `prompt_cache_breakpoint`. Reasoning of
earlier turns comes as `reasoning_details` (OpenRouter's word), each with the family that can read it in `format`.
Source: the request tables of the reference; https://openrouter.ai/docs (reasoning tokens); Gemini API, "OpenAI
compatibility" (`extra_content`), read 2026-11.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from rillgate.domain.delta import GOOGLE_ORIGIN, OPENAI_ORIGIN
from rillgate.domain.errors import ClientError

CACHE_TTL_DEFAULT = "5m"
WITH_CALLS = frozenset({GOOGLE_ORIGIN, OPENAI_ORIGIN})  # families whose reasoning belongs to a certain call


class Text(msgspec.Struct, frozen=True):
    """Text. `cache`: how long the prompt up to here may be kept, such as "5m"; None where nothing marks it."""

    text: str
    cache: str | None = None


class Image(msgspec.Struct, frozen=True):
    """An image: `data` is base64 and `media_type` says of what, or `url` names it.

    Attributes:
        param: the field that it stands in, for refusals.
    """

    media_type: str
    data: str
    url: str
    param: str
    cache: str | None = None


class Document(msgspec.Struct, frozen=True):
    """A file, mostly a PDF: as `Image`, with a name where the client gave one."""

    media_type: str
    data: str
    url: str
    name: str
    param: str
    cache: str | None = None


class Sound(msgspec.Struct, frozen=True):
    """Recorded sound in base64; `format` is "wav" or "mp3"."""

    format: str
    data: str
    param: str


class Reasoning(msgspec.Struct, frozen=True):
    """Reasoning of an earlier turn.

    Attributes:
        text: readable, "" where it is not.
        signature: proof that the text is unchanged, where there is one.
        data: what only the family itself can read; text and signature are empty then.
        origin: the family that made signature and data, as `domain.delta` names it; "" for text alone.
        call_id: the tool call that `data` belongs to; "" where it belongs to none.
    """

    text: str
    signature: str = ""
    data: str = ""
    origin: str = ""
    call_id: str = ""


class ToolCall(msgspec.Struct, frozen=True):
    """A call that the model made. `arguments` is what its JSON text says, an object."""

    call_id: str
    name: str
    arguments: dict[str, Any]
    cache: str | None = None


class ToolResult(msgspec.Struct, frozen=True):
    """What a call gave. `name`: the called tool's, "" where the call is not in the conversation."""

    call_id: str
    name: str
    parts: tuple[Text | Image | Document, ...]
    failed: bool = False
    cache: str | None = None


Part = Text | Image | Document | Sound | Reasoning | ToolCall | ToolResult


class Turn(msgspec.Struct, frozen=True):
    """What one side says. Tool results are said by the user; "system" is one that comes after the first turn."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]


class Conversation(msgspec.Struct, frozen=True):
    """The system prompt, and turns in order. Neighbouring turns may be of the same side; see `merged`."""

    system: tuple[Text, ...]
    turns: tuple[Turn, ...]

    def merged(self) -> tuple[Turn, ...]:
        """Turns that alternate: neighbours of one side are one turn, results before everything else in it."""
        turns: list[Turn] = []
        for turn in self.turns:
            if turns and turns[-1].role == turn.role:
                turns[-1] = Turn(turn.role, turns[-1].parts + turn.parts)
            else:
                turns.append(turn)
        return tuple(Turn(turn.role, _results_first(turn.parts)) for turn in turns)


def conversation_of(fields: Mapping[str, Any]) -> Conversation:
    """The messages of a request.

    Shape:  {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]}
            → Conversation(system=(Text("Be kind."),), turns=(Turn("user", (Text("Hi"),)),))
    Raises: ClientError: a part of an unknown type, data that is no base64, arguments that are no JSON object, a result
            without a call id.
    """
    system: list[Text] = []
    turns: list[Turn] = []
    names: dict[str, str] = {}
    for position, message in enumerate(fields["messages"]):
        where = f"messages[{position}]"
        role = message["role"]
        if role in ("system", "developer"):
            texts = tuple(part for part in _parts(message, where) if isinstance(part, Text))
            if turns:
                turns.append(Turn("system", texts))
            else:
                system.extend(texts)
        elif role == "assistant":
            parts = (*reasoning_of(message), *_parts(message, where), *_calls(message, where))
            names.update((part.call_id, part.name) for part in parts if isinstance(part, ToolCall))
            turns.append(Turn("assistant", parts))
        elif role in ("tool", "function"):
            turns.append(Turn("user", (_result(message, where, names),)))
        else:
            turns.append(Turn("user", tuple(_parts(message, where))))
    return Conversation(tuple(system), tuple(turn for turn in turns if turn.parts))


def cache_of(value: Mapping[str, Any]) -> str | None:
    """The cache mark of a part, a message or a tool: how long, "5m" where it does not say; None for no mark."""
    for key in ("cache_control", "prompt_cache_breakpoint"):
        mark = value.get(key)
        if isinstance(mark, dict):
            ttl = mark.get("ttl")
            return ttl if isinstance(ttl, str) and ttl else CACHE_TTL_DEFAULT
    return None


def _results_first(parts: Sequence[Part]) -> tuple[Part, ...]:
    results = tuple(part for part in parts if isinstance(part, ToolResult))
    return results + tuple(part for part in parts if not isinstance(part, ToolResult)) if results else tuple(parts)


def _parts(message: Mapping[str, Any], where: str) -> Iterator[Text | Image | Document | Sound]:
    """The content; empty texts say nothing, and some families refuse them. A refusal is what the model said."""
    content = message.get("content")
    if isinstance(content, str):
        mark = None if message["role"] == "tool" else message.get("cache_control")  # there, of the whole result
        content = [{"type": "text", "text": content, "cache_control": mark}]
    for position, part in enumerate(content or ()):
        read = _part(part, f"{where}.content[{position}]")
        if not (isinstance(read, Text) and not read.text):
            yield read
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        yield Text(refusal)


def _part(part: Mapping[str, Any], where: str) -> Text | Image | Document | Sound:
    kind = part["type"]
    cache = cache_of(part)
    if kind in ("text", "refusal"):
        return Text(str(part.get(kind) or ""), cache)
    if kind == "image_url":
        given = part.get("image_url")
        url = given.get("url") if isinstance(given, dict) else given
        media_type, data, address = _located(url, f"{where}.image_url.url")
        return Image(media_type, data, address, f"{where}.image_url.url", cache)
    if kind == "file":
        return _document(part.get("file"), f"{where}.file", cache)
    if kind == "input_audio":
        sound = part.get("input_audio")
        here = f"{where}.input_audio.data"
        if not isinstance(sound, dict) or not isinstance(sound.get("data"), str):
            raise _invalid(here, "it needs `data`, in base64, and a `format`")
        return Sound(str(sound.get("format") or "wav"), _base64(sound["data"], here), here)
    raise ClientError(
        f"Invalid value for '{where}.type': {kind[:40]!r} is not known here; use text, image_url, input_audio or file.",
        param=f"{where}.type",
        code="invalid_value",
    )


def _document(file: Any, where: str, cache: str | None) -> Document:
    if not isinstance(file, dict) or not isinstance(file.get("file_data"), str):
        raise _invalid(where, "it needs `file_data`, a data URL; uploaded files cannot be read here")
    media_type, data, url = _located(file["file_data"], f"{where}.file_data")
    name = file.get("filename")
    return Document(media_type, data, url, name if isinstance(name, str) else "", f"{where}.file_data", cache)


def _located(url: Any, where: str) -> tuple[str, str, str]:
    """A data URL as (media type, base64, ""), any other as ("", "", url)."""
    if not isinstance(url, str) or not url:
        raise _invalid(where, "it needs a URL")
    if not url.startswith("data:"):
        if not url.startswith(("https://", "http://")):
            raise _invalid(where, "give a data: URL or an https: one")
        return "", "", url
    head, comma, data = url[len("data:") :].partition(",")
    media_type, _, encoding = head.partition(";")
    if not comma or encoding.rpartition(";")[2] != "base64":
        raise _invalid(where, "a data: URL here is data:TYPE;base64,DATA")
    return media_type.lower(), _base64(data, where), ""


def _base64(data: str, where: str) -> str:
    try:
        b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise _invalid(where, "its data is not base64") from None
    return data


def reasoning_of(message: Mapping[str, Any]) -> Iterator[Reasoning]:
    """What the model thought before it spoke: with its proof where the client kept that, else the bare text."""
    details = message.get("reasoning_details")
    found = [_detail(detail) for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []
    if found:
        yield from (detail for detail in found if detail.text or detail.signature or detail.data)
        return
    yield from _extra_signatures(message)
    text = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(text, str) and text:
        yield Reasoning(text)


def _detail(detail: Mapping[str, Any]) -> Reasoning:
    def said(key: str) -> str:
        value = detail.get(key)
        return value if isinstance(value, str) else ""

    call_id = said("id") if said("format") in WITH_CALLS else ""  # elsewhere it is the entry's own
    return Reasoning(said("text") or said("summary"), said("signature"), said("data"), said("format"), call_id)


def _extra_signatures(message: Mapping[str, Any]) -> Iterator[Reasoning]:
    """Where Google's own surface for OpenAI clients puts them: `extra_content` of a tool call."""
    for call in message.get("tool_calls") or ():
        google = call.get("extra_content")
        for key in ("google", "thought_signature"):
            google = google.get(key) if isinstance(google, dict) else None
        if isinstance(google, str) and google and isinstance(call.get("id"), str):
            yield Reasoning("", data=google, origin=GOOGLE_ORIGIN, call_id=call["id"])


def _calls(message: Mapping[str, Any], where: str) -> Iterator[ToolCall]:
    former = message.get("function_call")  # as there were no ids yet, a result names the function
    if isinstance(former, dict) and isinstance(former.get("name"), str) and former["name"]:
        name = former["name"]
        yield ToolCall(name, name, _arguments(former.get("arguments"), f"{where}.function_call"))
    for position, call in enumerate(message.get("tool_calls") or ()):
        here = f"{where}.tool_calls[{position}]"
        function = call.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str) or not name:
            raise _invalid(f"{here}.function", "it needs a `name`; calls of custom tools cannot be translated")
        call_id = call.get("id")
        if not isinstance(call_id, str) or not call_id:
            raise _invalid(f"{here}.id", "it needs one, which its result names")
        yield ToolCall(call_id, name, _arguments(function.get("arguments"), f"{here}.function"), cache_of(call))


def _arguments(text: Any, where: str) -> dict[str, Any]:
    """The arguments as an object; none at all are an empty one."""
    if isinstance(text, dict):
        return text
    if not text:
        return {}
    try:
        value = msgspec.json.decode(text) if isinstance(text, str) else None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _invalid(f"{where}.arguments", "they must be the text of a JSON object")
    return value


def _result(message: Mapping[str, Any], where: str, names: Mapping[str, str]) -> ToolResult:
    call_id = message.get("tool_call_id") or message.get("name")
    if not isinstance(call_id, str) or not call_id:
        raise _invalid(f"{where}.tool_call_id", "a result needs the id of its call")
    parts = tuple(part for part in _parts(message, where) if not isinstance(part, Sound))
    return ToolResult(
        call_id, names.get(call_id, ""), parts, failed=message.get("is_error") is True, cache=cache_of(message)
    )


def _invalid(param: str, remedy: str) -> ClientError:
    return ClientError(f"Invalid value for '{param}': {remedy}.", param=param, code="invalid_value")
