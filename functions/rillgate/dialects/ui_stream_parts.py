"""Deltas of one message as chunks of AI SDK's UI message stream: text, reasoning, tool calls.

A page builds its parts from them: each has a beginning, pieces and an end under an id of its own. Text and reasoning
are over when anything else begins. A call is over when something else begins and its arguments are whole, or else at
the end, and then `useChat` has it run; calls that a provider writes at once stand open beside each other. A call that
was cut short is left as it is: nobody shall run it.
Source: the package `ai` 7.0.173 (`process-ui-message-stream`), read 2026-11.
"""

from __future__ import annotations

from typing import Any

from rillgate.dialects.tool_calls import ToolCalls, is_whole, made_up_ids
from rillgate.dialects.ui_stream_wire import CUT_SHORT, NOT_JSON, input_of, proof
from rillgate.dialects.whole import Opaque, Thought
from rillgate.domain.delta import (
    Delta,
    OpaqueReasoningDelta,
    ReasoningDelta,
    RefusalDelta,
    SignatureDelta,
    TextDelta,
    ToolDelta,
)

Json = dict[str, Any]


class _Call:
    """A tool call as far as it has come."""

    def __init__(self, call_id: str, name: str) -> None:
        self.call_id = call_id
        self.name = name
        self.pieces: list[str] = []
        self.over = False


class Parts:
    """The parts of one message.

    Attributes:
        refused: whether the model refused in words.
    """

    def __init__(self, request_id: str) -> None:
        self.refused = False
        self._count = 0
        self._open: tuple[str, str] | None = None  # "text" or "reasoning", and the id of the part that is being written
        self._calls = ToolCalls(made_up_ids(request_id, 0))
        self._called: list[_Call] = []

    @property
    def called(self) -> bool:
        """Whether there are tool calls."""
        return bool(self._called)

    @property
    def speaking(self) -> str | None:
        """The id of the text that more text would go on with."""
        return self._open[1] if self._open is not None and self._open[0] == "text" else None

    def take(self, delta: Delta) -> list[Json]:
        """The chunks of one delta of the only choice."""
        match delta:
            case TextDelta(_, text):
                return self._more("text", text)
            case RefusalDelta(_, text):
                self.refused = True
                return self._more("text", text)
            case ReasoningDelta(_, text):
                return self._more("reasoning", text)
            case SignatureDelta(_, signature, origin):
                return [*self._begin("reasoning"), *self._end(proof(Thought("", signature, origin)))]
            case OpaqueReasoningDelta(_, data, origin, call_id):
                return [*self._end(), *self._begin("reasoning"), *self._end(proof(Opaque(data, origin, call_id)))]
            case ToolDelta():
                return self._call(delta)
        return []

    def close(self, finish: str) -> list[Json]:
        """The end of everything that is open.

        Args: finish: why, in OpenAI's words in Chat Completions.
        """
        chunks = self._end()
        for call in self._called:
            if not call.over:
                chunks += self._input(call, cut_short=finish in CUT_SHORT)
        return chunks

    def _more(self, kind: str, text: str) -> list[Json]:
        if not text:
            return []
        begun = self._begin(kind)
        return [*begun, {"type": f"{kind}-delta", "id": self._id, "delta": text}]

    def _begin(self, kind: str) -> list[Json]:
        """The end of what gives way to it, and its beginning; nothing where it is going on."""
        if self._open is not None and self._open[0] == kind:
            return []
        chunks = [*self._end(), *self._whole_calls()]
        self._open = kind, f"{kind}-{self._count}"
        self._count += 1
        return [*chunks, {"type": f"{kind}-start", "id": self._id}]

    def _end(self, metadata: Json | None = None) -> list[Json]:
        if self._open is None:
            return []
        (kind, part_id), self._open = self._open, None
        more = {} if metadata is None else {"providerMetadata": metadata}
        return [{"type": f"{kind}-end", "id": part_id, **more}]

    @property
    def _id(self) -> str:
        return "" if self._open is None else self._open[1]

    def _call(self, delta: ToolDelta) -> list[Json]:
        piece = self._calls.take(delta)
        chunks: list[Json] = []
        if piece.call_id is not None:
            chunks = [*self._end(), *self._whole_calls()]
            self._called.append(_Call(piece.call_id, piece.name or ""))
            chunks.append({"type": "tool-input-start", "toolCallId": piece.call_id, "toolName": piece.name or ""})
        call = self._called[piece.position]
        if piece.arguments and not call.over:  # after whole JSON nothing but white space can follow
            call.pieces.append(piece.arguments)
            more = {"toolCallId": call.call_id, "inputTextDelta": piece.arguments}
            chunks.append({"type": "tool-input-delta", **more})
        return chunks

    def _whole_calls(self) -> list[Json]:
        """Calls whose arguments are whole are over once anything else begins."""
        over = [call for call in self._called if not call.over and is_whole(call.pieces)]
        return [chunk for call in over for chunk in self._input(call, cut_short=False)]

    def _input(self, call: _Call, *, cut_short: bool) -> list[Json]:
        given, is_json = input_of("".join(call.pieces))
        if cut_short and not (is_json and call.pieces):
            return []
        call.over = True
        said = {"toolCallId": call.call_id, "toolName": call.name, "input": given}
        if is_json:
            return [{"type": "tool-input-available", **said}]
        return [{"type": "tool-input-error", **said, "errorText": NOT_JSON}]
