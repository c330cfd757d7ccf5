"""How the tests of providers make frames."""

from __future__ import annotations

from typing import Any

import msgspec

from rillgate.domain.delta import Delta
from rillgate.domain.ports import Frame
from rillgate.providers.openai import OpenAIProvider

PROVIDER = OpenAIProvider("lab", own_host=False)


def frames(stream: bytes) -> list[Frame]:
    """All frames of a stream, its end included."""
    reader = PROVIDER.reader()
    return [*reader.feed(stream), *reader.feed_eof()]


def decode(payload: object) -> list[Delta] | None:
    """The deltas of one frame with this JSON, or with these bytes as they are."""
    data = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    (frame,) = frames(b"data: " + data + b"\n\n")
    return PROVIDER.decoder().decode(frame)


def chunk(delta: object = None, finish: object = None, **more: Any) -> dict[str, Any]:
    """A chunk with one choice; `more` stands beside its choices."""
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return {"id": "chatcmpl-7", "object": "chat.completion.chunk", "choices": [choice], **more}
