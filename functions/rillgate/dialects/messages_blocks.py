"""Deltas of one message as content blocks: numbered from 0 without gaps, one after the other, never overlapping.

Providers may write several tool calls at once, or text between the pieces of a call. The first block that is not over
is written as it comes; what belongs to later ones waits. Text and reasoning are over when anything else begins, a call
when its arguments are whole JSON, and everything at the end of the message.
"""

from __future__ import annotations

from typing import Any

from rillgate.dialects.messages_wire import event
from rillgate.dialects.tool_calls import ToolCalls, is_whole
from rillgate.domain.delta import (
    ANTHROPIC_ORIGIN,
    Delta,
    OpaqueReasoningDelta,
    ReasoningDelta,
    RefusalDelta,
    SignatureDelta,
    TextDelta,
    ToolDelta,
)
from rillgate.domain.kept_reasoning import seal


class Block:
    """One content block.

    Attributes:
        kind, start: its type, and what stands in its `content_block_start`.
        waiting: what has not been written of it.
        begun, stopped: whether its start and its stop have been written.
        sealed: nothing may be added.
        arguments: of a call, as far as they have come.
    """

    __slots__ = ("arguments", "begun", "kind", "sealed", "start", "stopped", "waiting")

    def __init__(self, start: dict[str, Any]) -> None:
        self.kind: str = start["type"]
        self.start = start
        self.waiting: list[dict[str, str]] = []
        self.begun = self.stopped = self.sealed = False
        self.arguments: list[str] = []

    @property
    def gives_way(self) -> bool:
        """Whether it is over once another block has begun."""
        return self.kind != "tool_use" or is_whole(self.arguments)


class Blocks:
    """The blocks of one message.

    Args:
        made_up: what the ids of calls begin with to which the provider gave none.

    Attributes:
        next_index: the number of the next block that begins.
        refused: whether the model refused in words.
    """

    def __init__(self, made_up: str) -> None:
        self.next_index = 0
        self.refused = False
        self._calls = ToolCalls(made_up)
        self._called: list[Block] = []
        self._open: list[Block] = []  # not stopped; all but the first wait

    @property
    def called(self) -> bool:
        """Whether there are tool calls."""
        return bool(self._called)

    def take(self, delta: Delta) -> bytes:
        """What can be written once this delta has come."""
        match delta:
            case TextDelta(_, text):
                self._say(text)
            case RefusalDelta(_, text):
                self.refused = True
                self._say(text)
            case ReasoningDelta(_, text):
                if text:
                    self._thinking().waiting.append({"type": "thinking_delta", "thinking": text})
            case SignatureDelta(_, signature, origin):
                if origin == ANTHROPIC_ORIGIN:  # another family's would come back to the wrong one
                    block = self._thinking()
                    block.waiting.append({"type": "signature_delta", "signature": signature})
                    block.sealed = True
            case OpaqueReasoningDelta(_, data, origin, call_id):
                kept = seal(origin, call_id, data)
                if kept is not None:
                    self._begin({"type": "redacted_thinking", "data": kept}).sealed = True
            case ToolDelta():
                self._call(delta)
        return self._written(last=False)

    def close(self) -> bytes:
        """Everything that waits, and the end of every block."""
        return self._written(last=True)

    def _say(self, text: str) -> None:
        if text:  # an empty block would be refused when it comes back
            self._unsealed({"type": "text", "text": ""}).waiting.append({"type": "text_delta", "text": text})

    def _thinking(self) -> Block:
        return self._unsealed({"type": "thinking", "thinking": "", "signature": ""})

    def _call(self, delta: ToolDelta) -> None:
        piece = self._calls.take(delta)
        if piece.call_id is not None:
            start: dict[str, Any] = {"type": "tool_use", "id": piece.call_id, "name": piece.name, "input": {}}
            self._called.append(self._begin(start))
        block = self._called[piece.position]
        if piece.arguments and not block.stopped:  # after whole JSON nothing but white space can follow
            block.arguments.append(piece.arguments)
            block.waiting.append({"type": "input_json_delta", "partial_json": piece.arguments})

    def _unsealed(self, start: dict[str, Any]) -> Block:
        """The last block if it is of this kind and may go on, else a new one."""
        last = self._open[-1] if self._open else None
        return last if last is not None and last.kind == start["type"] and not last.sealed else self._begin(start)

    def _begin(self, start: dict[str, Any]) -> Block:
        block = Block(start)
        self._open.append(block)
        return block

    def _written(self, *, last: bool) -> bytes:
        parts: list[bytes] = []
        while self._open:
            block = self._open[0]
            if not block.begun:
                block.begun = True
                parts.append(
                    event({"type": "content_block_start", "index": self.next_index, "content_block": block.start})
                )
                self.next_index += 1
            index = self.next_index - 1
            parts.extend(event({"type": "content_block_delta", "index": index, "delta": one}) for one in block.waiting)
            block.waiting.clear()
            if not (last or block.sealed or (len(self._open) > 1 and block.gives_way)):
                break
            block.stopped = True
            parts.append(event({"type": "content_block_stop", "index": index}))
            del self._open[0]
        return b"".join(parts)
