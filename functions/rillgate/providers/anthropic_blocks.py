"""Turns of parts as Anthropic's messages of content blocks.

Place:  providers.conversation → here → anthropic_request. Source: Messages API reference, read 2026-11.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rillgate.domain.delta import ANTHROPIC_ORIGIN
from rillgate.domain.errors import ClientError
from rillgate.domain.kept_reasoning import unseal
from rillgate.providers.claude import is_signed
from rillgate.providers.conversation import (
    Conversation,
    Document,
    Image,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)
from rillgate.wire.loose_json import text

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
CACHE_TTL_LONG = "1h"  # writing costs more than for the default, so no other duration is taken for it
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9_-]")

Block = dict[str, Any]


def messages_of(conversation: Conversation, *, system_turns: bool) -> tuple[list[Block], list[Block]]:
    """The system prompt's blocks, and messages that alternate.

    Shape:  Turn("user", (Text("Hi"),)) → {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
    Args:   system_turns: whether the model takes a system message right after a user's; elsewhere its text is the
            user's.
    Raises: ClientError: an image or a document of a type that the API does not take.
    """
    system, turns = conversation.system, conversation.turns
    if not turns:  # there is always something to answer
        system, turns = (), (Turn("user", system),)
    placed = Conversation(system, tuple(_placed(turns, system_turns=system_turns))).merged()
    ids = _CallIds()
    messages = []
    for turn in placed:
        content = [block for part in turn.parts for block in _blocks(part, ids)]
        if content:
            messages.append({"role": turn.role, "content": content})
    return [block for part in system for block in _text(part)], messages


def without_foreign_reasoning(messages: list[Any]) -> list[Any]:
    """A client's own messages without reasoning that other families made, which this API refuses to take back: blocks
    that hold another family's data, and thoughts that nobody signed. The very same list where there is none.
    """
    if not any(_is_foreign(block) for message in messages for block in _content(message)):
        return messages
    kept: list[Any] = []
    for message in messages:
        content = _content(message)
        own = [block for block in content if not _is_foreign(block)]
        if len(own) == len(content):
            kept.append(message)
        elif own:
            kept.append({**message, "content": own})
    return kept


def with_cache(block: Block, ttl: str | None) -> Block:
    """The block, marked as the end of a prompt that may be kept: an hour where that is asked for, else 5 minutes."""
    if ttl is not None:
        block["cache_control"] = {"type": "ephemeral", **({"ttl": CACHE_TTL_LONG} if ttl == CACHE_TTL_LONG else {})}
    return block


def _content(message: Any) -> list[Any]:
    content = message.get("content") if isinstance(message, dict) and message.get("role") == "assistant" else None
    return content if isinstance(content, list) else []


def _is_foreign(block: Any) -> bool:
    if not isinstance(block, dict):
        return False
    if block.get("type") == "thinking":
        return block.get("signature") == ""
    return block.get("type") == "redacted_thinking" and unseal(text(block.get("data")))[0] != ANTHROPIC_ORIGIN


def _placed(turns: Sequence[Turn], *, system_turns: bool) -> Iterator[Turn]:
    before = ""
    for turn in turns:
        role = turn.role
        if role == "system" and not (system_turns and before == "user"):
            role = "user"
        before = role
        yield Turn(role, turn.parts)


class _CallIds:
    """Ids of calls as the API takes them: its characters only, and none twice in a conversation."""

    def __init__(self) -> None:
        self._written: dict[str, str] = {}  # by the client's id, of its last call
        self._taken: set[str] = set()

    def of_call(self, call_id: str) -> str:
        safe = _NOT_IN_ID.sub("_", call_id)
        number = 1
        while safe in self._taken:
            number += 1
            safe = f"{_NOT_IN_ID.sub('_', call_id)}_{number}"
        self._taken.add(safe)
        self._written[call_id] = safe
        return safe

    def of_result(self, call_id: str) -> str:
        return self._written.get(call_id) or _NOT_IN_ID.sub("_", call_id)


def _blocks(part: Part, ids: _CallIds) -> Iterator[Block]:
    match part:
        case Text():
            yield from _text(part)
        case Image():
            yield _image(part)
        case Document():
            yield _document(part)
        case Reasoning():
            yield from _reasoning(part)
        case ToolCall(call_id, name, arguments, cache):
            call = {"type": "tool_use", "id": ids.of_call(call_id), "name": name, "input": arguments}
            yield with_cache(call, cache)
        case ToolResult():
            yield _result(part, ids)


def _text(part: Text) -> Iterator[Block]:
    if part.text.strip():  # a block of nothing but white space is refused
        yield with_cache({"type": "text", "text": part.text}, part.cache)


def _image(part: Image) -> Block:
    if part.url:
        return with_cache({"type": "image", "source": {"type": "url", "url": part.url}}, part.cache)
    media_type = "image/jpeg" if part.media_type == "image/jpg" else part.media_type
    if media_type not in IMAGE_TYPES:
        raise _refused(part.param, part.media_type, IMAGE_TYPES)
    source = {"type": "base64", "media_type": media_type, "data": part.data}
    return with_cache({"type": "image", "source": source}, part.cache)


def _document(part: Document) -> Block:
    source: Block
    if part.url:
        source = {"type": "url", "url": part.url}
    elif part.media_type == "application/pdf":
        source = {"type": "base64", "media_type": part.media_type, "data": part.data}
    elif part.media_type == "text/plain":
        said = b64decode(part.data).decode("utf-8", "replace")
        source = {"type": "text", "media_type": part.media_type, "data": said}
    else:
        raise _refused(part.param, part.media_type, ("application/pdf", "text/plain"))
    block: Block = {"type": "document", "source": source}
    if part.name:
        block["title"] = part.name
    return with_cache(block, part.cache)


def _reasoning(part: Reasoning) -> Iterator[Block]:
    """What the family itself said, unchanged; what would be refused is left out."""
    if not is_signed(part):
        return
    if part.data:
        yield {"type": "redacted_thinking", "data": part.data}
    else:
        yield {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _result(part: ToolResult, ids: _CallIds) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": ids.of_result(part.call_id)}
    content = [inner for each in part.parts for inner in _blocks(each, ids)]
    if content:
        block["content"] = content
    if part.failed:
        block["is_error"] = True
    return with_cache(block, part.cache)


def _refused(param: str, media_type: str, known: Iterable[str]) -> ClientError:
    return ClientError(
        f"Invalid value for '{param}': {media_type[:60]!r} is not taken here; use {', '.join(sorted(known))}.",
        param=param,
        code="invalid_value",
    )
