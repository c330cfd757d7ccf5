"""AWS event-stream messages, judged by botocore's own reader over arbitrary ones, and by published vectors."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import pairwise
from typing import Any
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer, ParserError
from hypothesis import given
from hypothesis import strategies as st

from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Frame
from rillgate.wire.eventstream import HEADERS_BYTES_MAX, EventStreamFrame, EventStreamReader
from tests.fakes.eventstream import error, event, exception, message

DELTA = bytes.fromhex(
    "0000009400000057b4ab9aee0b3a6576656e742d74797065070011636f6e74656e74426c6f636b44656c74610d3a636f6e74656e742d747970"
    "650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d747970650700056576656e747b22636f6e74656e74426c6f636b49"
    "6e646578223a302c2264656c7461223a7b2274657874223a224869227d7d1f944657"
)
THROTTLED = bytes.fromhex(
    "0000008800000061de0175f40f3a657863657074696f6e2d747970650700137468726f74746c696e67457863657074696f6e0d3a636f6e7465"
    "6e742d747970650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d74797065070009657863657074696f6e7b226d6573"
    "73616765223a22736c6f7720646f776e227d832ee072"
)
BROKEN = "The provider sent an event"

NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=0x7FF), min_size=1, max_size=12)
VALUES = st.one_of(
    st.text(max_size=20),
    st.sampled_from([b"\0", b"\1", b"\2x", b"\3xx", b"\4xxxx", b"\5xxxxxxxx", b"\6\0\2ab", b"\x08" + bytes(8)]),
    st.just(b"\x09" + bytes(16)),
)
KINDS = st.fixed_dictionaries(
    {},
    optional={
        ":message-type": st.sampled_from(["event", "exception", "error"]),
        ":event-type": NAMES,
        ":exception-type": NAMES,
        ":error-code": NAMES,
    },
)
MESSAGES = st.builds(
    lambda kinds, others, payload: message({**others, **kinds}, payload),
    KINDS,
    st.dictionaries(NAMES, VALUES, max_size=4),
    st.binary(max_size=200),
)


def read(chunks: Iterable[bytes]) -> list[Frame]:
    """All frames of these chunks, and what the end of the stream gives."""
    reader = EventStreamReader()
    frames = [frame for chunk in chunks for frame in reader.feed(chunk)]
    return [*frames, *reader.feed_eof()]


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def by_botocore(stream: bytes) -> tuple[list[tuple[bytes, dict[str, Any]]], bool]:
    """Payload and headers of each message, and whether the rest was refused."""
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    found: list[tuple[bytes, dict[str, Any]]] = []
    try:
        found.extend((one.payload, one.headers) for one in buffer)
    except (ParserError, UnicodeDecodeError, KeyError, struct.error):
        return found, True
    return found, False


def kind(headers: dict[str, Any]) -> str:
    """What `event` says of these headers; only text counts."""
    said = {name: value for name, value in headers.items() if isinstance(value, str)}
    if said.get(":message-type") == "exception":
        return "exception:" + said.get(":exception-type", "")
    if said.get(":message-type") == "error":
        return "error:" + said.get(":error-code", "")
    return said.get(":event-type", "")


@pytest.mark.parametrize(
    ("raw", "name", "data"),
    [
        (DELTA, "contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"Hi"}}'),
        (THROTTLED, "exception:throttlingException", b'{"message":"slow down"}'),
    ],
    ids=["event", "exception"],
)
def test_eventstream_vector_is_read_whole_and_byte_by_byte(raw: bytes, name: str, data: bytes) -> None:
    """Type, payload and the very bytes; with another message behind it as without."""
    for chunks in ([raw], [raw[at : at + 1] for at in range(len(raw))], [raw + DELTA[:40]]):
        (frame,) = read(chunks)
        assert (frame.event, frame.data, frame.raw, frame.plain) == (name, data, raw, False)


def test_eventstream_fake_writes_what_the_vectors_hold() -> None:
    """The tests' own writer is one that botocore understands."""
    assert exception("throttlingException", {"message": "slow down"}) == THROTTLED
    (payload, headers), *rest = by_botocore(event("metadata", {"usage": {}}))[0]
    assert (payload, headers[":event-type"], headers[":message-type"], rest) == (
        b'{"usage":{}}',
        "metadata",
        "event",
        [],
    )


def test_eventstream_error_without_payload_says_its_message() -> None:
    """Such a one has everything in its headers."""
    (frame,) = read([error("InternalFailure", 'it "broke"')])
    assert (frame.event, frame.data) == ("error:InternalFailure", b'{"message":"it \\"broke\\""}')


@given(messages=st.lists(MESSAGES, max_size=5), places=st.lists(st.integers(0, 2000), max_size=6))
def test_eventstream_messages_cut_anywhere_agree_with_botocore(messages: list[bytes], places: list[int]) -> None:
    """For any messages and any cuts: the same payloads and types, in order."""
    stream = b"".join(messages)
    frames = read(cut(stream, places))
    theirs, refused = by_botocore(stream)
    assert not refused
    assert [frame.raw for frame in frames] == messages
    assert [frame.event for frame in frames] == [kind(headers) for _, headers in theirs]
    for frame, (payload, _) in zip(frames, theirs, strict=True):
        assert frame.data == payload or (not payload and frame.event.startswith("error:"))


@given(messages=st.lists(MESSAGES, min_size=1, max_size=3), at=st.integers(0), flip=st.integers(1, 255))
def test_eventstream_one_wrong_byte_is_found(messages: list[bytes], at: int, flip: int) -> None:
    """What comes before it is given out, nothing after it, as botocore does; and it stays the end."""
    stream = bytearray(b"".join(messages))
    at %= len(stream)
    stream[at] ^= flip
    before = 0
    while sum(map(len, messages[: before + 1])) <= at:
        before += 1
    reader = EventStreamReader()
    assert [frame.raw for frame in reader.feed(bytes(stream[:at]))] == messages[:before]
    rest = bytes(stream[at:])
    with pytest.raises(UpstreamError, match=BROKEN):
        assert not reader.feed(rest)
    theirs, refused = by_botocore(bytes(stream))
    assert (len(theirs), refused) == (before, True)
    with pytest.raises(UpstreamError, match=BROKEN):
        reader.feed(b"")
    with pytest.raises(UpstreamError, match=BROKEN):
        reader.feed_eof()


@given(block=st.binary(max_size=40), payload=st.binary(max_size=10))
def test_eventstream_any_headers_are_read_or_refused_as_by_botocore(block: bytes, payload: bytes) -> None:
    """Bytes that are no headers, under checksums that are right."""
    stream = framed(block, payload)
    theirs, refused = by_botocore(stream)
    if refused:
        with pytest.raises(UpstreamError, match=BROKEN):
            read([stream])
    else:
        assert [frame.event for frame in read([stream])] == [kind(headers) for _, headers in theirs]


def framed(block: bytes, payload: bytes = b"", *, more: int = 0, headers: int | None = None) -> bytes:
    """A message with these bytes as its headers; `more` and `headers` make its lengths untrue."""
    length = len(block) + len(payload) + 16 + more
    prelude = length.to_bytes(4) + (len(block) if headers is None else headers).to_bytes(4)
    start = prelude + crc32(prelude).to_bytes(4) + block + payload
    return start + crc32(start).to_bytes(4)


def test_eventstream_frames_before_a_broken_one_in_the_same_chunk_are_given_out_first() -> None:
    """The error comes with the next call."""
    reader = EventStreamReader()
    assert [frame.raw for frame in reader.feed(DELTA + DELTA[:-1] + b"x")] == [DELTA]
    with pytest.raises(UpstreamError, match="wrong checksum") as raised:
        reader.feed_eof()
    assert (raised.value.status, raised.value.code, raised.value.retryable) == (502, "upstream_error", True)


@pytest.mark.parametrize(
    ("prelude", "problem"),
    [
        (framed(b"", more=1000)[:12], "longer than 1000 bytes"),
        (framed(b"", more=2**31)[:12], "longer than 1000 bytes"),
        (framed(b"", more=-4)[:12], "shorter than its headers"),
        (framed(b"", headers=1)[:12], "shorter than its headers"),
        (b'{"message":"no stream"}', "whose beginning has a wrong checksum"),
    ],
)
def test_eventstream_length_that_cannot_be_is_refused_before_the_rest_comes(prelude: bytes, problem: str) -> None:
    """Nobody waits for bytes that never come, and nothing past the bound is held."""
    with pytest.raises(UpstreamError, match=problem):
        EventStreamReader(frame_bytes_max=1000).feed(prelude)


def test_eventstream_bounds_take_what_just_fits() -> None:
    """A message of exactly the bound is read, one byte more is not; likewise its headers."""
    longest = event("e", b"x" * 900)
    assert EventStreamReader(len(longest)).feed(longest)
    with pytest.raises(UpstreamError, match="longer than") as raised:
        EventStreamReader(len(longest) - 1).feed(longest)
    assert not raised.value.retryable
    big = {f"h{number}": "x" * 60_000 for number in range(2)}
    fitting = {**big, "rest": "x" * (HEADERS_BYTES_MAX - 2 * (60_000 + 6) - 8)}
    assert EventStreamReader().feed(message(fitting))
    with pytest.raises(UpstreamError, match="headers are longer"):
        EventStreamReader().feed(message({**fitting, "": ""}))


@pytest.mark.parametrize("length", [0, 1, 11, 12, 50, len(DELTA) - 1])
def test_eventstream_message_cut_short_by_the_end_says_nothing(length: int) -> None:
    """Whether the stream was whole is the decoder's to say."""
    assert [frame.raw for frame in read([DELTA + DELTA[:length]])] == [DELTA]


def test_eventstream_frame_shows_no_text() -> None:
    """A repr ends in logs."""
    assert repr(EventStreamFrame(DELTA, b"secret", "e")) == "<EventStreamFrame 'e' data=6B raw=148B>"


def test_eventstream_bound_too_small_for_any_message_is_a_mistake() -> None:
    """No message has fewer than 16 bytes."""
    with pytest.raises(ValueError, match="at least 16"):
        EventStreamReader(15)
