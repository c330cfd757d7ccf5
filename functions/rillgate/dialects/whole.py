"""Whole answers: deltas gathered into what each choice says, in order; and what we add to an answer passed through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from rillgate.dialects.tool_calls import ToolCalls, made_up_ids
from rillgate.domain.delta import (
    Delta,
    FinishDelta,
    OpaqueReasoningDelta,
    ReasoningDelta,
    RefusalDelta,
    SignatureDelta,
    TextDelta,
    ToolDelta,
)
from rillgate.domain.ports import Report
from rillgate.wire.loose_json import json_bytes, object_of


class Said(msgspec.Struct):
    """Visible text."""

    text: str = ""


class Refused(msgspec.Struct):
    """Text with which the model refuses."""

    text: str = ""


class Thought(msgspec.Struct):
    """Reasoning, with its proof and the family that can check it where there is one."""

    text: str = ""
    signature: str = ""
    origin: str = ""


class Opaque(msgspec.Struct):
    """Reasoning that only its own family can read."""

    data: str
    origin: str
    call_id: str | None = None


class Called(msgspec.Struct):
    """A tool call; `arguments` is JSON text, or free text for a custom tool."""

    call_id: str
    name: str
    arguments: str = ""
    custom: bool = False


Block = Said | Refused | Thought | Opaque | Called
B = TypeVar("B", Said, Refused)


class Choice:
    """One choice.

    Attributes:
        blocks: what it says.
        finish: why it ended, in OpenAI's words; "stop" until it says so.
        stop_sequence: the one that was met.
    """

    def __init__(self, made_up: str) -> None:
        self.blocks: list[Block] = []
        self.finish = "stop"
        self.stop_sequence: str | None = None
        self._calls = ToolCalls(made_up)
        self._called: list[Called] = []

    def take(self, delta: Delta) -> None:
        """One more delta."""
        match delta:
            case TextDelta(_, text):
                self._open(Said).text += text
            case RefusalDelta(_, text):
                self._open(Refused).text += text
            case ReasoningDelta(_, text):
                self._thought().text += text
            case SignatureDelta(_, signature, origin):
                thought = self._thought()
                thought.signature, thought.origin = signature, origin
            case OpaqueReasoningDelta(_, data, origin, call_id):
                self.blocks.append(Opaque(data, origin, call_id))
            case ToolDelta():
                self._call(delta)
            case FinishDelta(_, reason, stop_sequence):
                self.finish, self.stop_sequence = reason, stop_sequence

    def text(self, kind: type[Said] | type[Refused] | type[Thought]) -> str:
        """All text of one kind."""
        return "".join(block.text for block in self.blocks if isinstance(block, kind))

    def _open(self, kind: type[B]) -> B:
        last = self.blocks[-1] if self.blocks else None
        if isinstance(last, kind):
            return last
        block = kind()
        self.blocks.append(block)
        return block

    def _thought(self) -> Thought:
        """The one that is being thought; a signature ends it."""
        last = self.blocks[-1] if self.blocks else None
        if isinstance(last, Thought) and not last.signature:
            return last
        block = Thought()
        self.blocks.append(block)
        return block

    def _call(self, delta: ToolDelta) -> None:
        piece = self._calls.take(delta)
        if piece.call_id is not None:
            self._called.append(Called(piece.call_id, piece.name or "", custom=piece.custom))
            self.blocks.append(self._called[-1])
        self._called[piece.position].arguments += piece.arguments


def choices_of(request_id: str, deltas: Sequence[Delta]) -> dict[int, Choice]:
    """The choices of a whole answer by their number; without any content there is none."""
    choices: dict[int, Choice] = {}
    for delta in deltas:
        number = getattr(delta, "choice", None)
        if number is not None:
            if number not in choices:
                choices[number] = Choice(made_up_ids(request_id, number))
            choices[number].take(delta)
    return dict(sorted(choices.items()))


def with_ours(body: bytes, usage: dict[str, Any] | None, report: Report) -> bytes:
    """A provider's answer with usage, in its dialect, and our report; byte for byte when there is nothing to add."""
    if usage is None and not report:
        return body
    answer = object_of(body)
    if usage is not None:
        answer["usage"] = usage
    if report:
        answer["rillgate"] = report
    return json_bytes(answer)
