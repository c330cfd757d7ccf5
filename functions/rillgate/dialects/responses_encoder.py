"""Writes one stream of OpenAI's Responses events from deltas.

    response.created response.in_progress (items: see `responses_output`) response.completed | .incomplete
    … error response.failed                     where an error breaks it off

Each event has the next number of one sequence, from 0 without gaps. The last one holds the whole response, which is
where the SDKs take it from, and with it the usage. There is no [DONE].

An error comes as OpenAI sends it: the event `error`, at which the SDKs raise, and then the response as it failed. It
ends no item: one that is done says that it is whole, and a client would run the call that it holds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from rillgate.dialects.responses_output import Output
from rillgate.dialects.responses_wire import error_event, event, failed_object, response_object
from rillgate.domain.delta import Delta, FinishDelta, TextDelta
from rillgate.domain.errors import RillgateError
from rillgate.domain.ports import Frame, Report
from rillgate.domain.usage import Usage

NO_REPORT: Report = {}

_TEXT = msgspec.json.Encoder()
_NO_TEXT = b'"delta":""'


class ResponsesEncoder:
    """One stream. A response has one choice; what is said of others is left out.

    Args:
        request_id: ours.
        head: the response as it begins.
    """

    def __init__(self, request_id: str, head: dict[str, Any]) -> None:
        self._head = head
        self._output = Output(request_id)
        self._number = 0
        self._finish = "stop"
        self._report = NO_REPORT
        self._usage: Usage | None = None
        self._text_frame: tuple[bytes, bytes] | None = (
            None  # of an event with more text: before it, and up to its number
        )

    def open(self) -> bytes:
        """Nothing stands before the first event."""
        return b""

    def heartbeat(self) -> bytes:
        """A comment and one newline: a blank line here would be an empty event to openai-python."""
        return b": ping\n"

    def forward(self, frame: Frame) -> bytes:
        """Nothing: no provider's frames are in this dialect."""
        return b""

    def amend(self, frame: Frame, *, without_usage: bool, drop_choices: Collection[int], report: Report) -> bytes:
        """As `forward`."""
        return b""

    def encode(self, deltas: Sequence[Delta], report: Report) -> bytes:
        """Deltas as items; a finish waits for the usage."""
        if len(deltas) == 1 and type(deltas[0]) is TextDelta:  # nearly every call
            return self._text(deltas[0])
        return b"".join(self._encode_one(delta, report) for delta in deltas)

    def cut(self, choice: int, notice: str, report: Report) -> bytes:
        """`notice` as text after what was said, then the end for reason "max_output_tokens" with the report."""
        if choice != 0:
            return b""
        said = self._started() + (self._written(self._output.take(TextDelta(0, notice))) if notice else b"")
        return said + self._finished("length", report)

    def usage(self, usage: Usage) -> bytes:
        """Kept for the last event."""
        self._usage = usage
        return b""

    def error(self, error: RillgateError) -> bytes:
        """The event `error`, and the response as it failed."""
        failed = failed_object(self._head, self._output.broken_off(), error)
        return self._started() + self._written([error_event(error), {"type": "response.failed", "response": failed}])

    def end(self) -> bytes:
        """The whole response, completed or not."""
        out = self._started() + self._written(self._output.close(self._finish))
        whole = response_object(self._head, self._output.items(), self._finish, self._usage, self._report)
        return out + self._written([{"type": f"response.{whole['status']}", "response": whole}])

    def _encode_one(self, delta: Delta, report: Report) -> bytes:
        if getattr(delta, "choice", None) != 0:
            return b""
        if isinstance(delta, FinishDelta):
            return self._finished(delta.reason, report)
        self._text_frame = None
        return self._started() + self._written(self._output.take(delta))

    def _finished(self, reason: str, report: Report) -> bytes:
        self._text_frame = None
        self._finish, self._report = reason, report
        return self._started() + self._written(self._output.close(reason))

    def _text(self, delta: TextDelta) -> bytes:
        """Text after text is the same event each time, but for the text and the number."""
        speaking = self._output.speaking
        if self._text_frame is None or speaking is None or not delta.text or delta.choice != 0:
            return self._first_text(delta)
        before, after = self._text_frame
        out = before + _TEXT.encode(delta.text) + after + b"%d}\n\n" % self._number
        speaking.extend(delta.text)
        self._number += 1
        return out

    def _first_text(self, delta: TextDelta) -> bytes:
        out = self._encode_one(delta, NO_REPORT)
        if self._output.speaking is not None and delta.text and delta.choice == 0:
            # The same event without its text, cut where the text and the number stand.
            last = self._output.speaking.say("output_text", "")[-1]
            before, _, after = event(last, 0).partition(_NO_TEXT)
            self._text_frame = before + b'"delta":', after.removesuffix(b"0}\n\n")
        return out

    def _started(self) -> bytes:
        """What every stream begins with, once."""
        if self._number:
            return b""
        both = ("response.created", "response.in_progress")
        return self._written([{"type": kind, "response": self._head} for kind in both])

    def _written(self, events: Sequence[dict[str, Any]]) -> bytes:
        parts = []
        for content in events:
            parts.append(event(content, self._number))
            self._number += 1
        return b"".join(parts)
