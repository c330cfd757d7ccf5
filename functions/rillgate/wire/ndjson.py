"""Newline-delimited JSON: bytes from a provider to frames, cut anywhere.

Place:  upstream bytes → wire.feed → provider.decode.
Source: https://github.com/ndjson/ndjson-spec, read 2026-11-21.

A line ends at LF and nowhere else: U+2028 and U+0085 may stand inside a JSON string as they are, and a character cut
between two chunks needs no care. White space around a line, the CR of CRLF with it, is no part of its data, and a line
of nothing else says nothing. Each byte is searched once, in the chunk that it came with.
"""

from __future__ import annotations

from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Frame
from rillgate.wire.sse import FRAME_BYTES_MAX


class NdjsonFrame:
    """One line.

    Attributes:
        raw: the line as it came, its end included.
        data: the line without white space around it.
        event: "message", as of a server-sent event that names none.
        plain: False: no client's protocol has such frames.
    """

    __slots__ = ("data", "raw")

    event = "message"
    plain = False

    def __init__(self, raw: bytes, data: bytes) -> None:
        self.raw = raw
        self.data = data

    def __repr__(self) -> str:
        # Lengths only: what is in a frame is somebody's text, and a repr ends in logs.
        return f"<NdjsonFrame data={len(self.data)}B>"


class NdjsonReader:
    """Bytes of one stream to frames.

    Shape:   feed(b'{"a":') → []; feed(b'1}\\n{') → [NdjsonFrame(data=b'{"a":1}')].
    Args:    frame_bytes_max: bound of one line in bytes, and of what the reader holds.
    Raises:  UpstreamError from `feed` and `feed_eof`: a line is longer than the bound (the upstream's fault, not
             retryable). Lines that were complete before it are given out first; afterwards every call raises.
    """

    __slots__ = ("_failed", "_frame_bytes_max", "_partial")

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        if frame_bytes_max < 1:
            raise ValueError(f"frame_bytes_max is {frame_bytes_max!r}, at least 1 is needed")
        self._frame_bytes_max = frame_bytes_max
        self._partial = bytearray()  # the line that has no end yet
        self._failed = False

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take the next bytes, of any length, and give out the lines they complete, in order."""
        self._raise_if_failed()
        frames: list[Frame] = []
        if chunk and chunk.find(b"\n") == len(chunk) - 1 and not self._partial:  # one line: nearly every chunk
            self._take(chunk, frames)
            self._raise_if_failed()
            return frames
        *ended, rest = chunk.split(b"\n")
        for line in ended:
            whole = bytes(self._partial + line) if self._partial else line
            self._partial.clear()
            self._take(whole + b"\n", frames)
            if self._failed:
                break
        else:
            self._partial += rest
            if len(self._partial) > self._frame_bytes_max:
                self._fail()
        if not frames:
            self._raise_if_failed()
        return frames

    def feed_eof(self) -> list[Frame]:
        """Take the end of the stream and give out a last line that only lacked its end.

        Whether the stream ended as it should is the decoder's to say: only it knows the terminal line.
        """
        self._raise_if_failed()
        frames: list[Frame] = []
        line = bytes(self._partial)
        self._partial.clear()
        self._take(line, frames)
        return frames

    def _take(self, raw: bytes, frames: list[Frame]) -> None:
        if len(raw) > self._frame_bytes_max:
            self._fail()
            return
        data = raw.strip()
        if data:
            frames.append(NdjsonFrame(raw, data))

    def _fail(self) -> None:
        self._failed = True
        self._partial.clear()

    def _raise_if_failed(self) -> None:
        if self._failed:
            raise UpstreamError(
                f"The provider sent a line longer than {self._frame_bytes_max!r} bytes, the most that is read.",
                retryable=False,
            )
