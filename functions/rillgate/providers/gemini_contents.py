"""Turns of parts as Gemini's contents, and the signatures of its thoughts back in their places.

A thought signature stands beside the function call, or the text, that it came with. Clients keep it elsewhere (as
reasoning that names its call), so it is put back here. Where it was lost, Google's own word for that takes its place,
or models from Gemini 3 on would refuse the conversation: at the first call of a turn only, since the calls beside it
are not signed.

Media go along as data, or by their https address, which Google fetches; the gateway fetches nothing for a client.
Source: Gemini API reference, Content and Part; "Thought signatures", "File input methods", read 2026-11-21.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from rillgate.domain.delta import GOOGLE_ORIGIN
from rillgate.providers.conversation import (
    Conversation,
    Document,
    Image,
    Part,
    Reasoning,
    Sound,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)

LOST_SIGNATURE = b64encode(b"skip_thought_signature_validator").decode()
# Of files that are only named, by the end of their name; without it Google finds out for itself.
MEDIA_TYPES = {
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "pdf": "application/pdf",
    "png": "image/png",
    "webp": "image/webp",
}
ROLES = {"user": "user", "system": "user", "assistant": "model"}

Json = dict[str, Any]


def contents_of(conversation: Conversation, *, signed: bool) -> tuple[Json | None, list[Json]]:
    """The system instruction, None where there is none, and contents that alternate.

    Shape:  Turn("assistant", (Text("Hi"),)) → {"role": "model", "parts": [{"text": "Hi"}]}
    Args:   signed: whether the model refuses a call without a signature.
    """
    system, turns = conversation.system, conversation.turns
    if not turns:  # there is always something to answer
        system, turns = (), (Turn("user", system),)
    placed = tuple(Turn("user" if turn.role == "system" else turn.role, turn.parts) for turn in turns)
    contents = []
    for turn in Conversation((), placed).merged():
        parts = _model_parts(turn.parts, signed=signed) if turn.role == "assistant" else _user_parts(turn.parts)
        if parts:
            contents.append({"role": ROLES[turn.role], "parts": parts})
    instruction = {"parts": [{"text": text.text} for text in system]} if system else None
    return instruction, contents


def _user_parts(parts: Sequence[Part]) -> list[Json]:
    """Results first, as they come in a merged turn; media that a result holds stand after the last of them."""
    said: list[Json] = []
    moved: list[Json] = []
    for part in parts:
        if isinstance(part, ToolResult):
            said.append({"functionResponse": _response(part)})
            moved += [_media(inner) for inner in part.parts if not isinstance(inner, Text)]
            continue
        said += moved
        moved = []
        said += _said(part)
    return said + moved


def _model_parts(parts: Sequence[Part], *, signed: bool) -> list[Json]:
    signatures = {
        part.call_id: part.data for part in parts if isinstance(part, Reasoning) and part.origin == GOOGLE_ORIGIN
    }
    said: list[Json] = []
    calls = 0
    for part in parts:
        if isinstance(part, ToolCall):
            written: Json = {"functionCall": {"id": part.call_id, "name": part.name, "args": part.arguments}}
            signature = signatures.get(part.call_id)
            if signature is None and signed and calls == 0:
                signature = LOST_SIGNATURE
            said.append({**written, "thoughtSignature": signature} if signature else written)
            calls += 1
        else:
            said += _said(part)
    return _with_signature(said, signatures.get("", ""))


def _with_signature(parts: list[Json], signature: str) -> list[Json]:
    """The signature of what was said: at its last text, as it came at the end; with an empty one where none is left."""
    if not signature:
        return parts
    at = max((place for place, part in enumerate(parts) if "text" in part), default=None)
    if at is None:
        return [{"text": "", "thoughtSignature": signature}, *parts]
    return [{**part, "thoughtSignature": signature} if place == at else part for place, part in enumerate(parts)]


def _said(part: Part) -> Iterator[Json]:
    match part:
        case Text(text):
            yield {"text": text}
        case Image() | Document() | Sound():
            yield _media(part)
        case _:
            pass  # reasoning: its text is not wanted back


def _media(part: Part) -> Json:
    match part:
        case Sound(format, data):
            return {"inlineData": {"mimeType": f"audio/{format}", "data": data}}
        case Image() | Document():
            if not part.url:
                return {"inlineData": {"mimeType": part.media_type, "data": part.data}}
            kind = MEDIA_TYPES.get(urlsplit(part.url).path.rpartition(".")[2].lower())
            return {"fileData": {"fileUri": part.url, **({"mimeType": kind} if kind else {})}}
    raise AssertionError(f"no medium: {type(part).__name__}")


def _response(result: ToolResult) -> Json:
    """What a call gave. Gemini looks it up by name; where the call is not in the conversation there is only its id."""
    texts = "\n".join(part.text for part in result.parts if isinstance(part, Text))
    said = {"error" if result.failed else "output": texts}
    return {"id": result.call_id, "name": result.name or result.call_id, "response": said}
