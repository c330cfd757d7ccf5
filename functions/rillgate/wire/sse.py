"""Server-sent events: bytes from a provider to frames, cut anywhere, and frames back to bytes.

Place:  upstream bytes → wire.feed → provider.decode; `encode_frame` serves the dialects.
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2, read 2026-11-21.

The reader works on bytes: a line ends at LF, CRLF or CR and nowhere else, so U+2028 and U+0085 inside a JSON string
stay what they are, and a character cut between two chunks needs no care. It is one state machine over lines
(`_take_line`), and shortcuts that give what the machine would give, for what providers really send: a chunk that is one
`data: …` frame, with an `event: …` line before it or without, and a chunk that holds many. A shortcut is only taken
between frames. Each byte is searched for LF once and for CR once, in the chunk it came with (where an `event:` line
stands, twice); what waits for its end lies in a bytearray and is never searched again. So the work is linear in the
bytes, whatever their cut.

Differences from the specification, each because some server needs it:

* An event whose blank line is missing at the end of the stream is given out, not dropped.
* An event with empty data is not given out. No known provider says anything with one; where one comes it keeps the
  stream alive, and openai-python raises on it.
* A field `error` with a JSON object as its value (llama.cpp until late 2025) becomes a frame of event "error".
* Bare JSON between frames (Gemini, in the middle of a stream) becomes a frame of event "error" too.
"""

from __future__ import annotations

import json
import re

from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Frame

FRAME_BYTES_MAX = 8 * 1024 * 1024
"""Bound of one frame, in bytes, terminators included. An image or the arguments of a tool call fill megabytes;
the specification knows no bound, httpx2's own reader has 1 MiB."""

_BOM = b"\xef\xbb\xbf"
_LF = 10
_COLON = 58
_JSON_OPENERS = b"{["
_FIELD_INITIALS = b"deir"  # of data, event, error, id and retry; no line of JSON begins so
_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"')
_LINE_END = re.compile(rb"\r\n|\r|\n")


class SseFrame:
    """One event.

    Attributes:
        raw: the bytes of the frame as they came, in one run, from its first field to the end of its blank line.
            A byte order mark and comments before the first field are no part of it.
        data: the values of the `data` fields, joined by LF.
        event: the type, "message" where the frame names none.
        id: the last event id that the stream has set so far, None where it never has.
        plain: whether `raw` may go to a client of OpenAI's dialect as it is: nothing but `data` lines, none
            ended by a lone CR (not every client knows those), and its blank line has come.
    """

    __slots__ = ("data", "event", "id", "plain", "raw")

    def __init__(
        self, raw: bytes, data: bytes, event: str = "message", id: str | None = None, plain: bool = True
    ) -> None:
        self.raw = raw
        self.data = data
        self.event = event
        self.id = id
        self.plain = plain

    def __repr__(self) -> str:
        # Lengths only: what is in a frame is somebody's text, and a repr ends in logs.
        return f"<SseFrame {self.event!r} data={len(self.data)}B raw={len(self.raw)}B plain={self.plain}>"


class SseReader:
    """Bytes of one stream to frames.

    Shape:   feed(b'data: {"a":') → []; feed(b'1}\\n\\n') → [SseFrame(data=b'{"a":1}')].
    Args:    frame_bytes_max: bound of one frame in bytes, and of what the reader holds.
    Raises:  UpstreamError from `feed` and `feed_eof`: a frame is longer than the bound (the upstream's fault, not
             retryable). Frames that were complete before it are given out first; afterwards every call raises.

    Attributes:
        comments: comment lines seen so far. Providers keep a silent stream alive with them.
    """

    __slots__ = (
        "_after_cr",
        "_data",
        "_error",
        "_event",
        "_failed",
        "_frame_bytes_max",
        "_has_data",
        "_idle",
        "_json",
        "_json_depth",
        "_last_id",
        "_partial",
        "_plain",
        "_raw",
        "_started",
        "comments",
    )

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        if frame_bytes_max < 1:
            raise ValueError(f"frame_bytes_max is {frame_bytes_max!r}, at least 1 is needed")
        self.comments = 0
        self._frame_bytes_max = frame_bytes_max
        self._failed = False
        self._started = False  # whether a first line is complete: a byte order mark can only stand before it
        self._idle = False  # whether the reader stands between two frames with nothing held: shortcuts may be taken
        self._after_cr = False  # whether the last byte was a CR, whose LF may be the next
        self._partial = bytearray()  # the line that has no end yet
        self._raw = bytearray()  # the complete lines of the frame that has no end yet
        self._data = bytearray()
        self._has_data = False
        self._event = ""
        self._error: bytes | None = None
        self._plain = True
        self._last_id: str | None = None
        self._json = bytearray()  # bare JSON whose brackets are still open
        self._json_depth = 0

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take the next bytes, of any length, and give out the frames they complete, in order."""
        if (
            self._idle
            and chunk.endswith(b"\n\n")
            and chunk.startswith(b"data: ")
            and chunk.find(b"\n") == len(chunk) - 2
            and 8 < len(chunk) <= self._frame_bytes_max
            and chunk.find(b"\r") < 0
        ):
            return [SseFrame(chunk, chunk[6:-2], "message", self._last_id, True)]
        if (
            self._idle
            and chunk.endswith(b"\n\n")
            and chunk.startswith(b"event: ")
            and len(chunk) <= self._frame_bytes_max
            and chunk.find(b"\r") < 0
        ):
            frame = _named(chunk[:-2], self._last_id)
            if frame is not None:
                return [frame]
        return self._feed(chunk)

    def feed_eof(self) -> list[Frame]:
        """Take the end of the stream and give out what only lacked its end, never `plain`.

        Whether the stream ended as it should is the decoder's to say: only it knows the terminal event.
        """
        self._raise_if_failed()
        frames: list[Frame] = []
        self._plain = False
        if self._partial:
            line = bytes(self._partial)
            self._partial.clear()
            self._take_line(line, b"", frames)
        self._end_frame(b"", frames)
        self._after_cr = self._idle = False
        return frames

    def _feed(self, chunk: bytes) -> list[Frame]:
        """The general way: any bytes in any state."""
        self._raise_if_failed()
        frames: list[Frame] = []
        # In steps of the bound, so that a frame that lies whole in one step is within the bound.
        step = self._frame_bytes_max
        if len(chunk) <= step:
            self._feed_step(chunk, frames)
        else:
            for start in range(0, len(chunk), step):
                self._feed_step(chunk[start : start + step], frames)
                if self._failed:
                    break
        if not frames:
            self._raise_if_failed()
        self._idle = self._started and not (self._failed or self._after_cr or self._holding)
        return frames

    @property
    def _holding(self) -> bool:
        """Whether the beginning of a line, a frame or bare JSON has come and its end has not."""
        return bool(self._partial or self._raw or self._json)

    def _feed_step(self, chunk: bytes, frames: list[Frame]) -> None:
        size = len(chunk)
        position = self._swallow_lf(chunk)
        next_lf = next_cr = -1
        shortcut = True
        while position < size:
            # Both positions are kept until passed, so that neither search ever runs over the same bytes twice.
            if next_cr < position:
                next_cr = chunk.find(b"\r", position)
                next_cr = size if next_cr < 0 else next_cr
            if shortcut and next_cr == size and self._started and not self._holding:
                shortcut = False
                position = self._take_whole_frames(chunk, position, frames)
                continue
            if next_lf < position:
                next_lf = chunk.find(b"\n", position)
                next_lf = size if next_lf < 0 else next_lf
            end = min(next_lf, next_cr)
            if end == size:
                self._hold(chunk[position:])
                return
            following = end + 1
            ending = b"\n"
            if end == next_cr:
                ending = b"\r"
                if following == size:
                    self._after_cr = True
                elif following == next_lf:
                    following += 1
                    ending = b"\r\n"
                else:
                    self._plain = False
            line = chunk[position:end]
            if self._partial:
                line = bytes(self._partial + line)
                self._partial.clear()
            self._take_line(line, ending, frames)
            if self._failed:
                return
            position = following

    def _swallow_lf(self, chunk: bytes) -> int:
        """Settle what the CR at the end of the last chunk was; returns where the next line begins."""
        if not (self._after_cr and chunk):
            return 0
        self._after_cr = False
        if chunk[0] != _LF:
            if self._raw:
                self._plain = False
            return 0
        if self._raw:
            self._raw += b"\n"
        return 1

    def _hold(self, rest: bytes) -> None:
        self._partial += rest
        if len(self._partial) + len(self._raw) + len(self._json) > self._frame_bytes_max:
            self._fail()

    def _take_whole_frames(self, chunk: bytes, position: int, frames: list[Frame]) -> int:
        """Take all whole frames of a chunk without CR, from a frame's beginning; returns where the rest begins."""
        parts = (chunk[position:] if position else chunk).split(b"\n\n")
        rest = parts.pop()
        last_id = self._last_id
        for part in parts:
            if part[:6] == b"data: " and part.find(b"\n") < 0 and len(part) > 6 and not self._json:
                frames.append(SseFrame(part + b"\n\n", part[6:], "message", last_id, True))
                continue
            if part[:7] == b"event: " and not self._json and (frame := _named(part, last_id)) is not None:
                frames.append(frame)
                continue
            for line in part.split(b"\n"):
                self._take_line(line, b"\n", frames)
            self._take_line(b"", b"\n", frames)
            if self._failed:
                break
            last_id = self._last_id
        return len(chunk) - len(rest)

    def _take_line(self, line: bytes, ending: bytes, frames: list[Frame]) -> None:
        """Take one complete line, without and with its ending: a field, a comment, or the end of a frame."""
        if not self._started:
            self._started = True
            line = line.removeprefix(_BOM)
        if len(line) + len(self._raw) + len(self._json) > self._frame_bytes_max:  # as where it had come in pieces
            self._fail()
            return
        if not line:
            self._end_frame(ending, frames)
            return
        if not self._raw:
            if line[0] == _COLON:
                self.comments += 1
                self._plain = True
                return
            if line[0] in _JSON_OPENERS or (self._json and line[0] not in _FIELD_INITIALS):
                self._take_json_line(line, frames)
                return
            self._drop_json()
        self._raw += line
        self._raw += ending
        if len(self._raw) > self._frame_bytes_max:
            self._fail()
            return
        self._take_field(line)

    def _take_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            if self._has_data:
                self._data += b"\n"
            self._has_data = True
            self._data += value
            return
        self._plain = False
        if not name:
            self.comments += 1
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            if b"\0" not in value:
                self._last_id = value.decode("utf-8", "replace")
        elif name == b"error" and value[:1] == b"{" and self._error is None:
            self._error = value

    def _end_frame(self, ending: bytes, frames: list[Frame]) -> None:
        """A blank line: give out the frame if it has data, and begin the next."""
        if self._raw:
            self._raw += ending
            raw = bytes(self._raw)
            # A lone CR counts as two: whether its LF follows must not depend on where the bytes were cut.
            if len(raw) + (ending == b"\r") > self._frame_bytes_max:
                self._fail()
                return
            if self._data:
                # A lone CR may get its LF with the next chunk, too late to be part of `raw`.
                plain = self._plain and ending != b"\r"
                frames.append(SseFrame(raw, bytes(self._data), self._event or "message", self._last_id, plain))
            if self._error is not None:
                frames.append(SseFrame(raw, self._error, "error", self._last_id, False))
            self._raw.clear()
            self._data.clear()
            self._has_data = False
            self._event = ""
            self._error = None
        self._drop_json()
        self._plain = True

    def _take_json_line(self, line: bytes, frames: list[Frame]) -> None:
        """Take a line of bare JSON; when all brackets are closed and it is JSON, it was an error.

        No JSON string holds a line break, so brackets can be counted line by line.
        """
        self._plain = True
        self._json += line + b"\n"
        if len(self._json) > self._frame_bytes_max:
            self._fail()
            return
        outside = _JSON_STRING.sub(b"", line)
        self._json_depth += outside.count(b"{") + outside.count(b"[") - outside.count(b"}") - outside.count(b"]")
        if self._json_depth > 0:
            return
        raw = bytes(self._json)
        self._drop_json()
        try:
            json.loads(raw)
        except (ValueError, RecursionError):
            return  # it only looked like JSON
        frames.append(SseFrame(raw, raw[:-1], "error", self._last_id, False))

    def _drop_json(self) -> None:
        """Forget bare JSON: it has been given out, or its brackets never closed and it was unknown fields."""
        self._json.clear()
        self._json_depth = 0

    def _fail(self) -> None:
        self._failed = True
        self._idle = False
        for held in (self._partial, self._raw, self._data, self._json):
            held.clear()

    def _raise_if_failed(self) -> None:
        if self._failed:
            raise UpstreamError(
                f"The provider sent an event longer than {self._frame_bytes_max!r} bytes, the most that is read.",
                retryable=False,
            )


def _named(part: bytes, last_id: str | None) -> SseFrame | None:
    """A frame of one `event: …` line and one `data: …` line with something in it; None where it is another."""
    end = part.find(b"\n")
    if end < 0 or part[end + 1 : end + 7] != b"data: " or len(part) == end + 7 or part.find(b"\n", end + 7) >= 0:
        return None
    return SseFrame(
        part + b"\n\n", part[end + 7 :], part[7:end].decode("utf-8", "replace") or "message", last_id, False
    )


def encode_frame(data: bytes, *, event: str | None = None, event_id: str | None = None) -> bytes:
    """Write one event.

    Shape:   b'{"a":1}' → b'data: {"a":1}\\n\\n'; data of several lines gets one `data:` line for each.
    Args:    data: the payload; CR and CRLF in it arrive as LF, since the format has no other way to say them.
             event: its type, None for the default. event_id: its id, None for none (openai-python fails on comments
             after an id).
    Raises:  ValueError: a line break in `event` or `event_id`, or a NUL in `event_id`; a mistake of the caller.
    """
    if event is None and event_id is None and b"\n" not in data and b"\r" not in data:
        return b"data: " + data + b"\n\n"
    out = bytearray()
    for name, value in ((b"id: ", event_id), (b"event: ", event)):
        if value is None:
            continue
        if "\n" in value or "\r" in value or "\0" in value:
            raise ValueError(f"{value!r} cannot be sent as {name[:-2].decode()!r}: a line break or NUL ends the field")
        out += name + value.encode() + b"\n"
    for line in _LINE_END.split(data):
        out += b"data: " + line + b"\n"
    out += b"\n"
    return bytes(out)
