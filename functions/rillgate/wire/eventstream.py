"""AWS event-stream messages: bytes from a provider to frames, cut anywhere.

    total length u32 | headers length u32 | CRC of these 8 bytes | headers | payload | CRC of everything before it

All big-endian, both checksums CRC-32. Both are checked, the first one as soon as it has come: a length that is not
true would let the reader wait for bytes that never come. After a frame that is broken nothing can be found again, so
it is the end of the stream. A message is an event, or an exception or error that ends the stream; `EventStreamFrame`
says which in `event`.

Source: Smithy, "Amazon Event Stream Specification" (application/vnd.amazon.eventstream), read 2026-11-21; botocore's
own reader is the judge in the tests.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from zlib import crc32

import msgspec

from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Frame

FRAME_BYTES_MAX = 8 * 1024 * 1024
"""Bound of one message, in bytes. botocore takes payloads of 24 MiB; a model's longest delta is some kilobytes."""
HEADERS_BYTES_MAX = 128 * 1024
"""Bound of one message's headers, in bytes; botocore has the same. Real ones take some hundred bytes."""

EXCEPTION = "exception:"
ERROR = "error:"

_LENGTHS = struct.Struct(">III")  # of the message and of its headers, and the checksum of both
_PRELUDE = _LENGTHS.size
_FRAMING = _PRELUDE + 4
_STRING = 7
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}  # of a header's value, by type; 6 and 7 say it themselves
_SIZED = (6, 7)


class EventStreamFrame:
    """One message.

    Attributes:
        raw: the bytes of the message as they came.
        data: the payload; of an error message without one, `{"message": …}` made of its headers.
        event: the event's type; "exception:" and the type of an exception; "error:" and the code of an error.
        plain: False: no client speaks this protocol.
    """

    __slots__ = ("data", "event", "raw")

    plain = False

    def __init__(self, raw: bytes, data: bytes, event: str) -> None:
        self.raw = raw
        self.data = data
        self.event = event

    def __repr__(self) -> str:
        # Lengths only: what is in a frame is somebody's text, and a repr ends in logs.
        return f"<EventStreamFrame {self.event!r} data={len(self.data)}B raw={len(self.raw)}B>"


class EventStreamReader:
    """Bytes of one stream to frames.

    Shape:   feed(message[:50]) → []; feed(message[50:]) → [EventStreamFrame(event="contentBlockDelta", data=b'{…}')]
    Args:    frame_bytes_max: bound of one message in bytes, and of what the reader holds beside the last chunk.
    Raises:  UpstreamError from `feed` and `feed_eof`: a message is longer than the bound (not retryable), or broken.
             Frames that were complete before it are given out first; afterwards every call raises.
    """

    __slots__ = ("_block", "_broken", "_checked", "_event", "_frame_bytes_max", "_headers", "_held")

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        if frame_bytes_max < _FRAMING:
            raise ValueError(f"frame_bytes_max is {frame_bytes_max!r}, at least {_FRAMING} is needed")
        self._frame_bytes_max = frame_bytes_max
        self._held = bytearray()
        self._checked = False  # whether the prelude of the message that is held is known to be true
        self._broken: _Broken | None = None
        self._block = b""  # the last headers, and what they say: most messages repeat them
        self._headers: Mapping[str, str] = {}
        self._event = ""

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take the next bytes, of any length, and give out the frames they complete, in order."""
        self._raise_if_broken()
        source: bytes | bytearray = chunk
        if self._held:
            self._held += chunk
            source = self._held
        at = 0
        frames: list[Frame] = []
        try:
            while (length := self._complete(source, at)) is not None:
                frames.append(self._frame(bytes(source[at : at + length])))
                at += length
                self._checked = False
        except _Broken as error:
            self._broken = error
            self._held.clear()
            if not frames:
                self._raise_if_broken()
            return frames
        if self._held:
            del self._held[:at]
        else:
            self._held += chunk[at:]
        return frames

    def feed_eof(self) -> list[Frame]:
        """Take the end of the stream. A message that is not whole says nothing: what is missing cannot be known."""
        self._raise_if_broken()
        self._held.clear()
        return []

    def _complete(self, source: bytes | bytearray, at: int) -> int | None:
        """The length of the message that begins at this place, once it is whole."""
        there = len(source) - at
        if there < _PRELUDE:
            return None
        length: int
        length, headers_length, checksum = _LENGTHS.unpack_from(source, at)
        if not self._checked:
            if crc32(source[at : at + 8]) != checksum:
                raise _Broken("whose beginning has a wrong checksum")
            self._check_lengths(length, headers_length)
            self._checked = True
        return length if there >= length else None

    def _check_lengths(self, length: int, headers_length: int) -> None:
        if length > self._frame_bytes_max:
            raise _Broken(f"longer than {self._frame_bytes_max!r} bytes, the most that is read", retryable=False)
        if headers_length > HEADERS_BYTES_MAX:
            raise _Broken(f"whose headers are longer than {HEADERS_BYTES_MAX!r} bytes", retryable=False)
        if length < _FRAMING + headers_length:
            raise _Broken("that is shorter than its headers")

    def _frame(self, raw: bytes) -> EventStreamFrame:
        if crc32(raw[:-4]) != int.from_bytes(raw[-4:]):
            raise _Broken("with a wrong checksum")
        end = _PRELUDE + int.from_bytes(raw[4:8])
        block = raw[_PRELUDE:end]
        if block != self._block:
            self._headers, self._block = dict(_strings(block)), block
            self._event = _event(self._headers)
        data = raw[end:-4]
        if not data and self._headers.get(":message-type") == "error":
            data = msgspec.json.encode({"message": self._headers.get(":error-message", "")})
        return EventStreamFrame(raw, data, self._event)

    def _raise_if_broken(self) -> None:
        if self._broken is not None:
            message = f"The provider sent an event {self._broken.problem}."
            raise UpstreamError(message, retryable=self._broken.retryable)


class _Broken(Exception):
    """A message that cannot be read, in the words that follow "an event"."""

    def __init__(self, problem: str, *, retryable: bool = True) -> None:
        super().__init__(problem)
        self.problem = problem
        self.retryable = retryable


def _event(headers: Mapping[str, str]) -> str:
    """What `EventStreamFrame.event` is."""
    match headers.get(":message-type"):
        case "exception":
            return EXCEPTION + headers.get(":exception-type", "")
        case "error":
            return ERROR + headers.get(":error-code", "")
    return headers.get(":event-type", "")


def _strings(block: bytes) -> Iterator[tuple[str, str]]:
    """The headers whose value is text; those of other types are passed over.

    Raises: _Broken: a type that does not exist, text that is not UTF-8, a name that comes twice, or too few bytes.
    """
    seen: set[bytes] = set()
    at = 0
    while at < len(block):
        name = block[at + 1 : at + 1 + block[at]]
        at += 1 + len(name)
        if at >= len(block) or name in seen:
            raise _Broken("with headers that cannot be read")
        seen.add(name)
        kind = block[at]
        at += 1
        if kind in _SIZED:
            size = int.from_bytes(block[at : at + 2])
            at += 2
        elif kind in _SIZES:
            size = _SIZES[kind]
        else:
            raise _Broken(f"with a header of the unknown type {kind!r}")
        value = block[at : at + size]
        at += size
        if at > len(block):
            raise _Broken("with headers that are cut short")
        try:
            text = (name.decode(), value.decode() if kind == _STRING else "")
        except UnicodeDecodeError:
            raise _Broken("with headers that are not UTF-8") from None
        if kind == _STRING:
            yield text
