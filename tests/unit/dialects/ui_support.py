"""What `useChat` makes of a UI message stream, and what it does not put up with.

After `process-ui-message-stream` and the chunk schemas of the package `ai`: those of version 5, which take no field
that they do not name, joined with those of version 7. The package itself reads the same streams in tests/e2e.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from openai._streaming import SSEDecoder

FIELDS = {  # by type: what must stand in a chunk, and what may
    "start": (set(), {"messageId", "messageMetadata"}),
    "start-step": (set(), set()),
    "finish-step": (set(), set()),
    "finish": (set(), {"finishReason", "messageMetadata"}),
    "abort": (set(), set()),
    "error": ({"errorText"}, set()),
    "text-start": ({"id"}, {"providerMetadata"}),
    "text-delta": ({"id", "delta"}, {"providerMetadata"}),
    "text-end": ({"id"}, {"providerMetadata"}),
    "reasoning-start": ({"id"}, {"providerMetadata"}),
    "reasoning-delta": ({"id", "delta"}, {"providerMetadata"}),
    "reasoning-end": ({"id"}, {"providerMetadata"}),
    "tool-input-start": ({"toolCallId", "toolName"}, {"dynamic"}),
    "tool-input-delta": ({"toolCallId", "inputTextDelta"}, set()),
    "tool-input-available": ({"toolCallId", "toolName", "input"}, {"dynamic"}),
    "tool-input-error": ({"toolCallId", "toolName", "input", "errorText"}, {"dynamic"}),
}
REASONS = {"stop", "length", "content-filter", "tool-calls", "error", "other"}


@dataclass
class Read:
    """A message as a page has it.

    Attributes:
        ends: how the stream ended: its last chunks, of `finish`, `[DONE]`, `error` and `abort`.
    """

    message_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    parts: list[dict[str, Any]] = field(default_factory=list)
    finish: str | None = None
    ends: list[str] = field(default_factory=list)
    error: str | None = None

    def text(self, kind: str) -> str:
        """All text of the parts of one kind."""
        return "".join(part["text"] for part in self.parts if part["type"] == kind)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The parts that are tool calls."""
        return [part for part in self.parts if part["type"].startswith("tool-")]


def chunks_of(out: bytes) -> list[dict[str, Any]]:
    """The chunks of a stream, each with the fields that its type has; `[DONE]` may stand at the end alone."""
    found = []
    frames = [one.data for one in SSEDecoder().iter_bytes(iter([out])) if one.data]
    assert "[DONE]" not in frames[:-1]
    for data in frames:
        if data == "[DONE]":
            found.append({"type": "[DONE]"})
            continue
        chunk = json.loads(data)
        needed, more = FIELDS[chunk["type"]]
        assert needed <= chunk.keys() - {"type"} <= needed | more, chunk
        found.append(chunk)
    return found


def message_of(out: bytes) -> Read:
    """The message; every chunk must fit what came before it."""
    read = Read()
    running: dict[str, dict[str, Any]] = {}
    calls: dict[str, dict[str, Any]] = {}
    for chunk in chunks_of(out):
        kind = chunk["type"]
        assert "[DONE]" not in read.ends
        assert not {"error", "abort"} & set(read.ends)
        read.metadata |= chunk.get("messageMetadata") or {}
        if kind in ("finish", "error", "abort", "[DONE]"):
            read.ends.append(kind)
        if kind == "start":
            assert not read.parts
            read.message_id = chunk.get("messageId")
        elif kind == "finish":
            assert chunk["finishReason"] in REASONS
            read.finish = chunk["finishReason"]
        elif kind == "error":
            read.error = chunk["errorText"]
        elif kind == "start-step":
            read.parts.append({"type": "step-start"})
        elif kind in ("text-start", "reasoning-start"):
            running[chunk["id"]] = {"type": kind.removesuffix("-start"), "text": "", "state": "streaming"}
            read.parts.append(running[chunk["id"]])
        elif kind in ("text-delta", "reasoning-delta"):
            running[chunk["id"]]["text"] += chunk["delta"]
        elif kind in ("text-end", "reasoning-end"):
            part = running.pop(chunk["id"])
            part |= {"state": "done"} | {key: chunk[key] for key in ("providerMetadata",) if key in chunk}
        elif kind.startswith("tool-"):
            _called(chunk, calls, read.parts)
    if "finish" in read.ends:
        assert not running
    return read


def _called(chunk: dict[str, Any], calls: dict[str, dict[str, Any]], parts: list[dict[str, Any]]) -> None:
    call_id = chunk["toolCallId"]
    match chunk["type"]:
        case "tool-input-start":
            assert call_id not in calls
            part = {"type": f"tool-{chunk['toolName']}", "toolCallId": call_id, "state": "input-streaming"}
            calls[call_id] = part | {"rawInput": ""}
            parts.append(calls[call_id])
        case "tool-input-delta":
            assert calls[call_id]["state"] == "input-streaming"
            calls[call_id]["rawInput"] += chunk["inputTextDelta"]
        case "tool-input-available" | "tool-input-error":
            part = calls[call_id]
            assert part["state"] == "input-streaming"
            assert part["type"] == f"tool-{chunk['toolName']}"
            raw = part.pop("rawInput")
            available = chunk["type"] == "tool-input-available"
            assert chunk["input"] == (json.loads(raw or "{}") if available else raw)
            part |= {"state": "input-available" if available else "output-error", "input": chunk["input"]}
            part |= {key: chunk[key] for key in ("errorText",) if key in chunk}
