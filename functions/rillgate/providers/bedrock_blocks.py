"""Parts of a conversation as content blocks of Amazon Bedrock's Converse.

Media go along as bytes: Bedrock fetches nothing but objects of S3, and the gateway fetches nothing for a client.
Source: Amazon Bedrock API Reference, ContentBlock and its members, as botocore 1.44.5 describes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from rillgate.domain.errors import ClientError
from rillgate.providers.claude import is_signed
from rillgate.providers.conversation import Document, Image, Part, Reasoning, Sound, Text, ToolCall, ToolResult, Turn

IMAGE_FORMATS = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
DOCUMENT_FORMATS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
CACHE_TTL_LONG = "1h"  # the other one, 5 minutes, is what a model does by itself; not every model knows this one
DOCUMENT_NAME_CHARS_MAX = 200
EMPTY: dict[str, Any] = {"text": "(empty)"}  # of a result: neither nothing nor a blank text is taken
TOOL_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9\s()\[\]-]+")
_SPACES = re.compile(r"\s+")
_EXTENSION = re.compile(r"\.[a-zA-Z0-9]{1,5}$")


class Blocks:
    """The blocks of one request.

    Args:
        caches: whether the model knows cache points.
        signed: whether it takes signed reasoning back; no other reasoning is ever sent.
    """

    def __init__(self, *, caches: bool, signed: bool) -> None:
        self._caches = caches
        self._signed = signed
        self._names: set[str] = set()  # of documents, which Bedrock wants to be different

    def of_turn(self, turn: Turn) -> list[dict[str, Any]]:
        """The blocks of a turn, in order, a cache point after each part that is marked.

        Raises: ClientError: media by address or of a type that Bedrock does not take, a document without text.
        """
        blocks: list[dict[str, Any]] = []
        for part in turn.parts:
            blocks.extend(self._of_part(part))
            mark = getattr(part, "cache", None)
            if self._caches and mark:
                blocks.append(cache_point(mark))
        documents = [part for part in turn.parts if isinstance(part, Document)]
        if documents and not any(isinstance(part, Text) for part in turn.parts):
            raise _invalid(documents[0].param, "Bedrock wants text beside a file, in the same message")
        return blocks

    def _of_part(self, part: Part) -> Iterator[dict[str, Any]]:
        match part:
            case Text(text):
                yield {"text": text}
            case Image():
                yield {"image": _image(part)}
            case Document():
                yield {"document": self._document(part)}
            case Sound():
                yield {"audio": {"format": part.format, "source": {"bytes": part.data}}}
            case Reasoning():
                yield from self._reasoning(part)
            case ToolCall():
                call = {"toolUseId": tool_id(part.call_id), "name": part.name, "input": part.arguments}
                yield {"toolUse": call}
            case ToolResult():
                yield {"toolResult": self._result(part)}

    def _document(self, document: Document) -> dict[str, Any]:
        kind = _format(DOCUMENT_FORMATS, document)
        return {"format": kind, "name": self._name(document.name), "source": {"bytes": document.data}}

    def _name(self, given: str) -> str:
        """A name in the characters that Bedrock takes, and another one than those before it."""
        plain = _SPACES.sub(" ", _NOT_IN_NAMES.sub(" ", _EXTENSION.sub("", given))).strip()
        base = plain[: DOCUMENT_NAME_CHARS_MAX - 8].strip() or "document"
        name, number = base, 1
        while name in self._names:
            number += 1
            name = f"{base} {number}"
        self._names.add(name)
        return name

    def _reasoning(self, reasoning: Reasoning) -> Iterator[dict[str, Any]]:
        if not self._signed or not is_signed(reasoning):
            return
        if reasoning.data:
            yield {"reasoningContent": {"redactedContent": reasoning.data}}
        else:
            said = {"text": reasoning.text, "signature": reasoning.signature}
            yield {"reasoningContent": {"reasoningText": said}}

    def _result(self, result: ToolResult) -> dict[str, Any]:
        content: list[dict[str, Any]] = []
        for part in result.parts:
            if not is_blank(part):
                content.extend(self._of_part(part))
        said: dict[str, Any] = {"toolUseId": tool_id(result.call_id), "content": content or [EMPTY]}
        if result.failed:
            said["status"] = "error"
        return said


def is_blank(part: Part) -> bool:
    """Whether it is a text that Bedrock refuses for having nothing in it."""
    return isinstance(part, Text) and not part.text.strip()


def cache_point(ttl: str) -> dict[str, Any]:
    """Keep the prompt up to here."""
    point = {"type": "default"}
    if ttl == CACHE_TTL_LONG:
        point["ttl"] = ttl
    return {"cachePoint": point}


def tool_id(call_id: str) -> str:
    """A call's id as Bedrock takes it: itself, or one that is made of it and the same each time."""
    if TOOL_ID.fullmatch(call_id):
        return call_id
    return f"call_{sha256(call_id.encode('utf-8', 'replace')).hexdigest()[:32]}"


def _image(image: Image) -> dict[str, Any]:
    return {"format": _format(IMAGE_FORMATS, image), "source": {"bytes": image.data}}


def _format(formats: dict[str, str], part: Image | Document) -> str:
    if part.url:
        raise _invalid(part.param, "Bedrock takes data only, no addresses; send it as a data: URL")
    found = formats.get(part.media_type)
    if found is None:
        raise _invalid(part.param, f"{part.media_type[:60]!r} is none of {', '.join(formats)}, which Bedrock takes")
    return found


def _invalid(param: str, remedy: str) -> ClientError:
    return ClientError(f"Invalid value for '{param}': {remedy}.", param=param, code="invalid_value")
