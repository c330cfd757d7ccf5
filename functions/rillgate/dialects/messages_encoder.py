"""Writes one stream of Anthropic's Messages events, from deltas or from frames that already are in this dialect.

    message_start (content_block_start content_block_delta* content_block_stop)* message_delta message_stop

`message_delta` is held until the usage is known that it must carry. Frames of the same dialect are passed on as they
came; of those it is noted which block stands open and whether the message has ended, so that a cut can end it as the
model itself would.

An error does not close the block that it breaks off, as Anthropic's own do not: a closed block says that it is whole,
and a client would run the tool call that it holds. The SDKs raise at the error and close the message themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from rillgate.dialects.messages_blocks import Blocks
from rillgate.dialects.messages_wire import error_object, event, message_id, stop_reason, usage_object
from rillgate.dialects.tool_calls import made_up_ids
from rillgate.domain.delta import Delta, FinishDelta, TextDelta
from rillgate.domain.errors import RillgateError
from rillgate.domain.ports import Frame, Report
from rillgate.domain.usage import Usage
from rillgate.wire.loose_json import object_of
from rillgate.wire.sse import encode_frame

NO_REPORT: Report = {}

_TEXT = msgspec.json.Encoder()
_TEXT_ENDS = b"}}\n\n"


class MessagesEncoder:
    """One stream. A message has one choice; what is said of others is left out."""

    def __init__(self, request_id: str, model: str) -> None:
        self._request_id = request_id
        self._model = model
        self._blocks = Blocks(made_up_ids(request_id, 0))
        self._passed_on: int | None = None  # the provider's own block that stands open
        self._started = False
        self._ending: dict[str, Any] | None = None  # the `message_delta` that waits for usage
        self._ended = False  # it has been written
        self._text_begins: bytes | None = None  # all of an event with more text that stands before the text

    def open(self) -> bytes:
        """Nothing stands before the first event."""
        return b""

    def heartbeat(self) -> bytes:
        """Anthropic's own event for it."""
        return event({"type": "ping"})

    def forward(self, frame: Frame) -> bytes:
        """The frame byte for byte where it is nothing but its event and its data."""
        if frame.event == "content_block_delta":
            return _as_it_came(frame, frame.event)
        return self._noted(frame, NO_REPORT)

    def amend(self, frame: Frame, *, without_usage: bool, drop_choices: Collection[int], report: Report) -> bytes:
        """The frame with `rillgate` added where it ends the message; nothing of a message that was cut."""
        return b"" if drop_choices else self._noted(frame, report)

    def encode(self, deltas: Sequence[Delta], report: Report) -> bytes:
        """Deltas as blocks; a finish waits for the usage."""
        if len(deltas) == 1 and type(deltas[0]) is TextDelta:  # nearly every call
            return self._text(deltas[0])
        out = b""
        for delta in deltas:
            if isinstance(delta, FinishDelta):
                if delta.choice == 0:
                    self._finish(delta.reason, delta.stop_sequence, report)
            elif getattr(delta, "choice", None) == 0:
                out += self._start() + self._blocks.take(delta)
        return out

    def _text(self, delta: TextDelta) -> bytes:
        """Text after text is the same event each time, but for the text."""
        if delta.choice != 0:
            return b""
        if self._text_begins is not None and delta.text:
            return self._text_begins + _TEXT.encode(delta.text) + _TEXT_ENDS
        out = self._start() + self._blocks.take(delta)
        # Where this text was written last, its block is the one that stands open, and the next text goes on with it.
        said = {"type": "text_delta", "text": delta.text}
        last = event({"type": "content_block_delta", "index": self._blocks.next_index - 1, "delta": said})
        if out.endswith(last):
            self._text_begins = last.removesuffix(_TEXT.encode(delta.text) + _TEXT_ENDS)
        return out

    def cut(self, choice: int, notice: str, report: Report) -> bytes:
        """`notice` as text after what was said, then the end for reason "max_tokens" with the report."""
        if choice != 0:
            return b""
        out = self._start() + (self._blocks.take(TextDelta(0, notice)) if notice else b"") + self._blocks.close()
        self._finish("length", None, report)
        return out

    def usage(self, usage: Usage) -> bytes:
        """The end of the message with the counts of all of it; nothing where the provider's own has been passed on."""
        if self._ended:
            return b""
        self._ended = True
        out = self._start() + self._blocks.close()
        if self._ending is None:
            self._finish("stop", None, NO_REPORT)
        return out + event({**(self._ending or {}), "usage": usage_object(usage)})

    def error(self, error: RillgateError) -> bytes:
        """`event: error`, which the SDKs raise. Nothing follows it."""
        return event(error_object(error, self._request_id))

    def end(self) -> bytes:
        """The terminal event."""
        return self.usage(Usage()) + event({"type": "message_stop"})

    def _start(self) -> bytes:
        """The beginning of the message, once; and the end of a block of the provider's, which ours would overlap.

        To be asked before anything that a block may begin or end with.
        """
        self._text_begins = None
        if self._passed_on is not None:
            stop = event({"type": "content_block_stop", "index": self._passed_on})
            self._passed_on = None
            return stop
        if self._started:
            return b""
        self._started = True
        message: dict[str, Any] = {
            "id": message_id(self._request_id),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},  # both come at the end
        }
        return event({"type": "message_start", "message": message})

    def _finish(self, finish: str, stop_sequence: str | None, report: Report) -> None:
        reason = stop_reason(finish, stop_sequence, called=self._blocks.called, refused=self._blocks.refused)
        delta = {"stop_reason": reason, "stop_sequence": stop_sequence if reason == "stop_sequence" else None}
        self._ending = _reported({"type": "message_delta", "delta": delta}, report)

    def _noted(self, frame: Frame, report: Report) -> bytes:
        """Remember where the provider's own message stands, and pass the frame on."""
        content: dict[str, Any] = object_of(frame.data)
        kind = str(content.get("type") or frame.event)
        match kind:
            case "message_start":
                self._started = True
            case "content_block_start":
                index = content.get("index")
                self._passed_on = index if isinstance(index, int) else self._blocks.next_index
                self._blocks.next_index = self._passed_on + 1
            case "content_block_stop":
                self._passed_on = None
            case "message_delta":
                return self._noted_end(frame, content, report)
            case "message_stop":
                return b""  # `end` writes it
        return _as_it_came(frame, kind)

    def _noted_end(self, frame: Frame, content: dict[str, Any], report: Report) -> bytes:
        if not isinstance(content.get("usage"), dict):  # the SDKs' helpers need one: `usage` adds ours
            self._ending = _reported(content, report)
            return b""
        delta = content.get("delta")
        self._ended = isinstance(delta, dict) and delta.get("stop_reason") is not None
        return event(_reported(content, report)) if report else _as_it_came(frame, "message_delta")


def _reported(content: dict[str, Any], report: Report) -> dict[str, Any]:
    return {**content, "rillgate": report} if report else content


def _as_it_came(frame: Frame, kind: str) -> bytes:
    """The frame's own bytes where they are an event line and a data line, else its data under its event."""
    raw = frame.raw
    whole = raw.endswith((b"\n\n", b"\r\n\r\n"))  # else what follows would be part of it
    if whole and frame.event == kind and raw.count(b"\n") == 3 and raw.count(b"\r") in (0, 3):
        return raw
    return encode_frame(frame.data, event=kind if kind.isidentifier() else frame.event)
