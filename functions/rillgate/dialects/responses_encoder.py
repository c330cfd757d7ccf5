"""Writes one stream of OpenAI's Responses events from deltas.

    response.created response.in_progress (items: see `responses_output`) response.completed | .incomplete
    … error response.failed                     where an error breaks it off

Each event has the next number of one sequence, from 0 without gaps. The last one holds the whole response, which is
where the SDKs take it from, and with it the usage. There is no [DONE].

An error comes as OpenAI sends it: the event `error`, at which the SDKs raise, and then the response as it failed. It
ends no item: one that is done says that it is whole, and a client would run the call that it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rillgate.dialects.one_choice import NO_REPORT, OneChoiceEncoder
from rillgate.dialects.responses_output import Output
from rillgate.dialects.responses_wire import error_event, event, failed_object, response_object
from rillgate.domain.delta import Delta, TextDelta
from rillgate.domain.errors import RillgateError

_TEXT = msgspec.json.Encoder()
_NO_TEXT = b'"delta":""'


class ResponsesEncoder(OneChoiceEncoder):
    """One stream.

    Args:
        request_id: ours.
        head: the response as it begins.
    """

    def __init__(self, request_id: str, head: dict[str, Any]) -> None:
        super().__init__()
        self._head = head
        self._output = Output(request_id)
        self._number = 0
        # Of an event with more text: what stands before it, and what follows up to the number.
        self._text_frame: tuple[bytes, bytes] | None = None

    def heartbeat(self) -> bytes:
        """A comment and one newline: a blank line here would be an empty event to openai-python."""
        return b": ping\n"

    def error(self, error: RillgateError) -> bytes:
        """The event `error`, and the response as it failed."""
        failed = failed_object(self._head, self._output.broken_off(), error)
        return self._begun() + self._written([error_event(error), {"type": "response.failed", "response": failed}])

    def end(self) -> bytes:
        """The whole response, completed or not."""
        out = self._begun() + self._written(self._output.close(self._finish))
        whole = response_object(self._head, self._output.items(), self._finish, self._usage, self._report)
        return out + self._written([{"type": f"response.{whole['status']}", "response": whole}])

    def _text(self, delta: TextDelta) -> bytes:
        # Text after text is the same event each time, but for the text and the number.
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

    def _begun(self) -> bytes:
        if self._number:
            return b""
        both = ("response.created", "response.in_progress")
        return self._written([{"type": kind, "response": self._head} for kind in both])

    def _taken(self, delta: Delta) -> bytes:
        self._text_frame = None
        return self._written(self._output.take(delta))

    def _closed(self, reason: str) -> bytes:
        self._text_frame = None
        return self._written(self._output.close(reason))

    def _written(self, events: Sequence[dict[str, Any]]) -> bytes:
        parts = []
        for content in events:
            parts.append(event(content, self._number))
            self._number += 1
        return b"".join(parts)
