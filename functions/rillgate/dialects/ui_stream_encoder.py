"""Writes one stream of AI SDK's UI message chunks from deltas.

    start start-step (parts: see `ui_stream_parts`) finish-step finish [DONE]
    … error                                  where an error breaks it off; abort, where somebody asked for the end

Only `data:` fields and comments are written. An error ends no part: a call that has its input is run. Neither it nor
`abort` is followed by [DONE], which says that a message is whole.
Source: the package `ai` 7.0.173, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rillgate.dialects.one_choice import NO_REPORT, OneChoiceEncoder
from rillgate.dialects.ui_stream_parts import Parts
from rillgate.dialects.ui_stream_wire import ended, finish_reason, started
from rillgate.domain.delta import Delta, TextDelta
from rillgate.domain.errors import RillgateError
from rillgate.wire.loose_json import json_bytes

CANCELLED = "cancelled"  # the code of an end that somebody asked for

_TEXT = msgspec.json.Encoder()
_TEXT_ENDS = b"}\n\n"


class UiStreamEncoder(OneChoiceEncoder):
    """One stream.

    Args:
        request_id, model: told in the message's metadata.
        message_id: of the message, which may be one that it goes on with.
    """

    def __init__(self, request_id: str, model: str, message_id: str) -> None:
        super().__init__()
        self._start = {"type": "start", "messageId": message_id, "messageMetadata": started(request_id, model)}
        self._parts = Parts(request_id)
        self._started = False
        self._text_begins: bytes | None = None  # all of a chunk with more text that stands before the text

    def heartbeat(self) -> bytes:
        """A comment."""
        return b": ping\n\n"

    def error(self, error: RillgateError) -> bytes:
        """The chunk `error`, which `useChat` shows; `abort` where somebody asked for the end."""
        said = {"type": "abort"} if error.code == CANCELLED else {"type": "error", "errorText": error.message}
        return self._begun() + _written([said])

    def end(self) -> bytes:
        """The end of the message, with its usage, and the terminal event."""
        out = self._begun() + _written(self._parts.close(self._finish))
        reason = finish_reason(self._finish, called=self._parts.called, refused=self._parts.refused)
        metadata = ended(self._usage, self._report)
        finish = {"type": "finish", "finishReason": reason, "messageMetadata": metadata}
        return out + _written([{"type": "finish-step"}, finish]) + b"data: [DONE]\n\n"

    def _text(self, delta: TextDelta) -> bytes:
        # Text after text is the same chunk each time, but for the text.
        if self._text_begins is not None and delta.text and delta.choice == 0:
            return self._text_begins + _TEXT.encode(delta.text) + _TEXT_ENDS
        out = self._encode_one(delta, NO_REPORT)
        speaking = self._parts.speaking
        if speaking is not None and delta.text and delta.choice == 0:
            again = _written([{"type": "text-delta", "id": speaking, "delta": ""}])
            self._text_begins = again.removesuffix(b'""' + _TEXT_ENDS)
        return out

    def _begun(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        return _written([self._start, {"type": "start-step"}])

    def _taken(self, delta: Delta) -> bytes:
        self._text_begins = None
        return _written(self._parts.take(delta))

    def _closed(self, reason: str) -> bytes:
        self._text_begins = None
        return _written(self._parts.close(reason))


def _written(chunks: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(b"data: " + json_bytes(chunk) + b"\n\n" for chunk in chunks)
