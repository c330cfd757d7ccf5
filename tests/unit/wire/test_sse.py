"""The SSE reader: the same events however the bytes are cut, within its bound, in linear time."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from itertools import pairwise
from types import FrameType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import FrameReader
from rillgate.wire.sse import FRAME_BYTES_MAX, SseFrame, SseReader, encode_frame

BOM = b"\xef\xbb\xbf"
Event = tuple[str, bytes, str | None]


def read(chunks: Iterable[bytes], reader: SseReader | None = None) -> list[SseFrame]:
    """All frames of a stream that comes in these chunks and ends."""
    reader = reader or SseReader()
    frames = [frame for chunk in chunks for frame in reader.feed(chunk)]
    frames += reader.feed_eof()
    assert all(isinstance(frame, SseFrame) for frame in frames)
    return [frame for frame in frames if isinstance(frame, SseFrame)]


def events(frames: Iterable[SseFrame]) -> list[Event]:
    """What the frames say, without how it was written."""
    return [(frame.event, frame.data, frame.id) for frame in frames]


def single_bytes(stream: bytes) -> list[bytes]:
    """The stream in chunks of one byte."""
    return [stream[at : at + 1] for at in range(len(stream))]


def cut_at(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """The stream cut at these places, taken modulo its length."""
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def ways(stream: bytes) -> list[list[bytes]]:
    """The stream whole, byte by byte, with an empty chunk between, and cut once at each place."""
    cuts = [[stream[:at], stream[at:]] for at in range(1, len(stream))]
    return [[stream], single_bytes(stream), [b"", stream, b""], *cuts]


def reference(stream: bytes) -> list[Event]:
    """The specification, word by word on the whole stream, with the named differences."""
    found: list[Event] = []
    data: list[bytes] = []
    errors: list[bytes] = []
    event = ""
    last_id: str | None = None
    for line in [*re.split(rb"\r\n|\n|\r", stream.removeprefix(BOM)), b""]:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if b"\n".join(data):
                found.append((event or "message", b"\n".join(data), last_id))
            found += [("error", first, last_id) for first in errors[:1]]
            data, event, errors = [], "", []
        elif name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            last_id = value.decode("utf-8", "replace")
        elif name == b"error" and value.startswith(b"{"):
            errors.append(value)
    return found


# Streams of the words that matter to the format, in any order; and of these, bare JSON, and anything at all.
WORDS = [
    *(b"data", b"data: ", b"data:", b"data: {}", b"event: e", b"event", b"id: 1", b"id: \0", b"retry: 5", b"error: {}"),
    *(b"error", b": ping", b": ping\n", b":", b" ", b"x", b"data: a\n\n", b"data: b\n\ndata: c\n\n", b"data:\n\n"),
    *(b"\n", b"\n", b"\n\n", b"\r", b"\r\r", b"\r\n", b"\r\n\r\n", b"\xe2\x80\xa8", b"\xc2\x85", b"\xff", b"\0", BOM),
]
JSON_WORDS = [b"{", b"[", b"}\n", b"]\n", b'{"a": 1}\n', b'  "x": {\n', b'"}"', b'"\\""', b","]
streams = st.lists(st.sampled_from(WORDS), max_size=40).map(b"".join)
wild_streams = st.lists(st.sampled_from(WORDS + JSON_WORDS), max_size=40).map(b"".join) | st.binary(max_size=200)
places = st.lists(st.integers(0, 10_000), max_size=12)
payloads = st.binary(min_size=1, max_size=30).filter(lambda data: b"\n" not in data and b"\r" not in data)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: x\n\n", [("message", b"x", None)]),
        (b"data:x\n\n", [("message", b"x", None)]),
        (b"data:  x\n\n", [("message", b" x", None)]),
        (b"data: a\r\ndata: b\r\n\r\n", [("message", b"a\nb", None)]),
        (b"data: a\rdata: b\r\r", [("message", b"a\nb", None)]),
        (b"data: a\r\n\rdata: b\n\r\n", [("message", b"a", None), ("message", b"b", None)]),
        (b"data: a\n\n\n\ndata: b\n\n\n", [("message", b"a", None), ("message", b"b", None)]),
        ("data: a\u2028b\u0085c\u2029d\n\n".encode(), [("message", "a\u2028b\u0085c\u2029d".encode(), None)]),
        (b"data: \x0b\x0c\x1c\x1d\x1e\x85\n\n", [("message", b"\x0b\x0c\x1c\x1d\x1e\x85", None)]),
        ("data: häß 😀\n\n".encode(), [("message", "häß 😀".encode(), None)]),
        (b": comment only\n\n", []),
        (b"event: e\n\n", []),
        (b"event: e\n\ndata: x\n\n", [("message", b"x", None)]),
        (b"id: 1\n\ndata: x\n\n", [("message", b"x", "1")]),
        (b"id: 1\ndata: x\n\n: c\n\n", [("message", b"x", "1")]),
        (b"id: 1\n\nid: 2\x003\ndata: x\n\n", [("message", b"x", "1")]),
        (
            b"data: 0\n\nid: 1\ndata: x\n\ndata: y\n\n",
            [("message", b"0", None), ("message", b"x", "1"), ("message", b"y", "1")],
        ),
        (b"retry: 3000\n\n", []),
        (b"event: e\nid: 7\nretry: 1\nother: o\ndata: x\n\n", [("e", b"x", "7")]),
        (b"data\n\ndata:\n\ndata: \r\n\r\n", []),
        (b"event: e\ndata:\n\ndata: x\n\n", [("message", b"x", None)]),
        (b"data\ndata\n\n", [("message", b"\n", None)]),
        (b"data:\ndata: x\n\n", [("message", b"\nx", None)]),
        (BOM + b"data: x\n\n", [("message", b"x", None)]),
        (BOM + b": ping\ndata: x\n\n", [("message", b"x", None)]),
        (BOM + BOM + b"data: x\n\n", []),
        (b"data: x\n\n" + BOM + b"data: y\n\n", [("message", b"x", None)]),
        (b"data: x\n", [("message", b"x", None)]),
        (b"data: x\n\ndata: [DONE]", [("message", b"x", None), ("message", b"[DONE]", None)]),
        (b'error: {"message":"x"}\n\n', [("error", b'{"message":"x"}', None)]),
        (b'error: {"a":1}\n\ndata: y\n\n', [("error", b'{"a":1}', None), ("message", b"y", None)]),
        (b'data: x\nerror: {"a":1}\n\n', [("message", b"x", None), ("error", b'{"a":1}', None)]),
        (b"error: none\n\n", []),
        (b"", []),
    ],
)
def test_reader_known_stream_cut_anywhere_gives_its_events(stream: bytes, expected: list[Event]) -> None:
    """Whole, byte by byte and cut at each place, a stream gives the events that the specification says."""
    for chunks in ways(stream):
        assert events(read(chunks)) == expected, chunks


@pytest.mark.parametrize("before", [b"data: 0\n\n", b"data: 0\n\ndata: 0\n\n", b": c\r\n\r\ndata: 0\r\n\r\n"])
@pytest.mark.parametrize("after", [b"", b"data: 9\n\n", b"\r\ndata: 9\r\n\r\n", b"data: 9\n\ndata: 10\n"])
def test_reader_frame_amid_others_gives_the_same_event(before: bytes, after: bytes) -> None:
    """What stands before and after a frame in its chunk changes nothing about it."""
    stream = before + b"event: e\ndata: a\ndata: b\n\n" + after
    for chunks in ways(stream):
        assert events(read(chunks)) == reference(stream)


@given(streams, places)
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [8, 9, 10, 11])
@example(b"data: a\n\n" * 3 + BOM + b"data: b\n\n", [])
def test_reader_any_stream_any_split_agrees_with_the_specification(stream: bytes, cuts: list[int]) -> None:
    """A plain implementation of the specification on the whole stream finds the same events."""
    assert events(read(cut_at(stream, cuts))) == reference(stream)


@given(wild_streams, places)
def test_reader_anything_any_split_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    """Bytes of any kind raise nothing, and give the same events and comments whole, cut, and byte by byte."""
    whole, cut, single = SseReader(), SseReader(), SseReader()
    expected = events(read([stream], whole))
    assert events(read(cut_at(stream, cuts), cut)) == expected
    assert events(read(single_bytes(stream), single)) == expected
    assert whole.comments == cut.comments == single.comments


@given(streams.map(lambda stream: re.sub(rb"\r\n|\r", b"\n", stream)), places)
def test_reader_any_line_end_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    """A stream reads the same with LF, CRLF and CR."""
    expected = events(read([stream]))
    assert events(read(cut_at(stream.replace(b"\n", b"\r\n"), cuts))) == expected
    assert events(read(cut_at(stream.replace(b"\n", b"\r"), cuts))) == expected


@given(wild_streams.map(lambda stream: stream.replace(b"\r", b"")), st.lists(st.integers(0, 50), max_size=6), places)
def test_reader_comments_anywhere_change_nothing(stream: bytes, wheres: list[int], cuts: list[int]) -> None:
    """A comment between any two lines changes no event, and each one is counted."""
    lines = stream.split(b"\n")
    plain, commented = SseReader(), SseReader()
    for where in wheres:
        if lines[:1] != [b""] or len(lines) > 1:
            lines.insert(1 + where % len(lines), b": ping")
    expected = events(read([stream], plain))
    assert events(read(cut_at(b"\n".join(lines), cuts), commented)) == expected
    assert commented.comments == plain.comments + lines.count(b": ping") - stream.split(b"\n").count(b": ping")


def test_reader_cr_at_the_end_of_a_chunk_dispatches_at_once() -> None:
    """A blank line ended by CR needs no further byte, and the LF that follows is not another line."""
    reader = SseReader()
    assert len(reader.feed(b"data: a\r\n\r")) == 1
    assert reader.feed(b"\n") == []
    assert [frame.data for frame in reader.feed(b"data: b\r\r")] == [b"b"]


@pytest.mark.parametrize(
    ("frame", "raw", "plain"),
    [
        (b"data: x\n\n", b"data: x\n\n", True),
        (b"data:x\n\n", b"data:x\n\n", True),
        (b"data: x\ndata: y\n\n", b"data: x\ndata: y\n\n", True),
        (b"\n\ndata: x\n\n", b"data: x\n\n", True),
        (b": c\ndata: x\n\n", b"data: x\n\n", True),
        (b": c\n\n:d\ndata: x\n\n", b"data: x\n\n", True),
        (b"event: e\n\ndata: x\n\n", b"data: x\n\n", True),
        (b"data: x\n: c\n\n", b"data: x\n: c\n\n", False),
        (b"event: e\ndata: x\n\n", b"event: e\ndata: x\n\n", False),
        (b"id: 1\ndata: x\n\n", b"id: 1\ndata: x\n\n", False),
        (b"data: x\nretry: 1\n\n", b"data: x\nretry: 1\n\n", False),
        (b"data: x\nother\n\n", b"data: x\nother\n\n", False),
        (b"data: x\r\r", b"data: x\r\r", False),
        (b"data: x\rdata: y\n\n", b"data: x\rdata: y\n\n", False),
        (b"error: {}\n\n", b"error: {}\n\n", False),
    ],
)
def test_frame_raw_and_plain_are_what_came_and_what_may_go_on(frame: bytes, raw: bytes, plain: bool) -> None:
    """`raw` is the frame's own bytes; only nothing but data lines, complete, make it fit to be passed on."""
    before = b"data: 0\n\n"
    for chunks in ([frame], single_bytes(frame), [before, frame], [before + frame + before], [before, frame + before]):
        frames = read(chunks)
        found = frames[1 if chunks[0].startswith(before) else 0]
        assert found.raw == raw
        assert found.plain is plain


@pytest.mark.parametrize("cut", range(1, 11))
def test_frame_in_crlf_is_plain_when_its_last_line_end_came_whole(cut: int) -> None:
    """CRLF is as plain as LF; only a blank line whose LF had not come yet when it was given out is not."""
    stream = b"data: x\r\n\r\n"
    (frame,) = read([stream[:cut], stream[cut:]])
    assert (frame.raw, frame.plain) == ((stream, True) if cut != 10 else (stream[:10], False))


@pytest.mark.parametrize("stream", [b"data: x", b"data: x\n", b"data: x\r\n"])
def test_frame_without_its_blank_line_is_not_plain(stream: bytes) -> None:
    """A frame that the end of the stream completed cannot go on as it is: what follows would stick to it."""
    (frame,) = read([stream])
    assert (frame.data, frame.plain, frame.raw) == (b"x", False, stream)


def test_frame_after_a_byte_order_mark_is_plain_without_it() -> None:
    """The mark is the stream's, not the frame's, so the frame goes on without it."""
    for chunks in ways(BOM + b"data: x\n\n"):
        (frame,) = read(chunks)
        assert (frame.raw, frame.plain) == (b"data: x\n\n", True)


@given(wild_streams, places)
def test_plain_frames_passed_on_read_the_same_again(stream: bytes, cuts: list[int]) -> None:
    """The plain frames' bytes, one after the other, are a stream of just these events, all plain again."""
    plain = [frame for frame in read(cut_at(stream, cuts)) if frame.plain]
    again = read([b"".join(frame.raw for frame in plain)])
    assert [(frame.event, frame.data) for frame in again] == [("message", frame.data) for frame in plain]
    assert b"".join(frame.raw for frame in again) == b"".join(frame.raw for frame in plain)
    assert all(frame.plain for frame in again)
    assert all(re.fullmatch(rb"(data(:[^\r\n]*)?\r?\n)+\r?\n", frame.raw) for frame in plain)


@given(st.lists(payloads.map(lambda data: b"data: " + data + b"\n\n"), max_size=8), places)
def test_ordinary_stream_cut_anywhere_comes_out_byte_for_byte(frames: list[bytes], cuts: list[int]) -> None:
    """What goes in as ordinary frames comes out as the same bytes, frame by frame."""
    found = read(cut_at(b"".join(frames), cuts))
    assert [frame.raw for frame in found] == frames
    assert all(frame.plain for frame in found)


def test_comments_of_all_kinds_are_counted() -> None:
    """Comments alone, before a frame, inside one and at the end all count, and give no frame."""
    stream = b": a\n\n:\ndata: x\n: b\n\n: c\r\n: d"
    for chunks in ways(stream):
        reader = SseReader()
        assert len(read(chunks, reader)) == 1
        assert reader.comments == 5


@pytest.mark.parametrize("prefix", [b"", b"data: x\n\n", b": c\n"])
@pytest.mark.parametrize(
    "error",
    [
        b'{\n  "error": {\n    "code": 429,\n    "message": "a \\"quoted\\" } brace"\n  }\n}\n',
        b'[{\n  "error": {\n    "code": 503\n  }\n}\n]\n',
        b'{"error":{"code":500}}\n',
        b'{\r\n"error": {}\r\n}\r\n',
        b'{"error":{"code":500}}',
    ],
)
def test_bare_json_between_frames_is_an_error_event(prefix: bytes, error: bytes) -> None:
    """An error that a server prints outside the framing is given out, with the frames around it intact."""
    after = b"data: y\n\n" if error.endswith(b"\n") else b""
    for chunks in ways(prefix + error + after):
        frames = read(chunks)
        texts = [frame.data for frame in frames if frame.event == "error"]
        assert [b"".join(text.split()) for text in texts] == [b"".join(error.split())]
        assert [frame.data for frame in frames if frame.event == "message"] == [
            value for value, part in ((b"x", prefix), (b"y", after)) if part.startswith(b"data")
        ]
        assert not any(frame.plain for frame in frames if frame.event == "error")


@pytest.mark.parametrize(
    "noise", [b"[info] starting\n", b"{not json}\n", b"{\n\n", b"[\n", b"{}}{\n", b"[" * 5000 + b"\n", b'{"a":\n: c\n']
)
def test_bare_text_that_is_no_json_is_an_unknown_field(noise: bytes) -> None:
    """What only looks like JSON is ignored as the specification says, and hides no frame that follows."""
    for chunks in ([noise + b"data: x\n\n"], single_bytes(noise + b"data: x\n\n")):
        assert events(read(chunks)) == [("message", b"x", None)]


@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + b"x" * 93 + b"\n\n",
        b"data: x\n" * 13,
        b"data: " + b"x" * 200,
        b": " + b"x" * 100,
        b"{" + b" " * 100 + b"\n",
        b'{\n"a":\n' + b" 1\n" * 40,
        b"event: " + b"e" * 100 + b"\r\r",
    ],
)
@pytest.mark.parametrize("before", [b"", b"data: 0\n\n"])
def test_frame_over_its_bound_raises_after_what_was_complete(stream: bytes, before: bytes) -> None:
    """Frames before the one that is too long are given out; then the reader says whose fault it is, and stays so."""
    for chunks in ([before + stream], [before, stream], single_bytes(before + stream)):
        reader = SseReader(frame_bytes_max=100)
        found: list[bytes] = []

        def feed(chunks: list[bytes] = chunks, reader: SseReader = reader, found: list[bytes] = found) -> None:
            for chunk in chunks:
                found.extend(frame.data for frame in reader.feed(chunk))
            reader.feed(b"data: y\n\n")

        with pytest.raises(UpstreamError, match="100 bytes") as raised:
            feed()
        assert found == ([b"0"] if before else [])
        assert (raised.value.retryable, raised.value.code, raised.value.status) == (False, "upstream_error", 502)
        for again in (lambda reader=reader: reader.feed(b"data: y\n\n"), reader.feed_eof):
            with pytest.raises(UpstreamError):
                again()


def test_frame_at_its_bound_passes() -> None:
    """A frame of exactly the bound is read, however it comes, and any number of them after each other."""
    frame = b"data: " + b"x" * 92 + b"\n\n"
    for chunks in ([frame * 50], [frame] * 50, single_bytes(frame * 50), [b": c\n" * 60 + frame * 50]):
        assert len(read(chunks, SseReader(frame_bytes_max=100))) == 50


def test_default_bound_is_eight_mebibytes() -> None:
    """A frame of 8 MiB is read, one byte more is not."""
    most = b"data: " + b"x" * (FRAME_BYTES_MAX - 8) + b"\n\n"
    assert len(most) == 8 * 1024 * 1024
    assert len(SseReader().feed(most)) == 1
    with pytest.raises(UpstreamError):
        SseReader().feed(b"data: x" + most[6:])


@pytest.mark.parametrize(
    "frame",
    [
        b'event: message_start\ndata: {"a":1}\n\n',
        b"event: \ndata: x\n\n",
        b"event: e\ndata: \n\n",
        b"event: e\ndata:  x\n\n",
        b"event: e\ndata: a\ndata: b\n\n",
        b"event: e\nid: 3\ndata: x\n\n",
        b"event:e\ndata:x\n\n",
        b"event: e\n\n",
        b"event: e\n\ndata: x\n\n",
        b"event: e\ndata: x\r\n\n",
    ],
)
def test_named_frame_is_the_same_in_any_cut(frame: bytes) -> None:
    """A shortcut gives what the machine gives, alone in a chunk, among others, and byte by byte."""

    def read(chunks: list[bytes]) -> list[tuple[bytes, bytes, str, bool]]:
        reader = SseReader()
        found = [each for chunk in [b"data: first\n\n", *chunks] for each in reader.feed(chunk)]
        return [(each.raw, each.data, each.event, each.plain) for each in found]

    alone = read([frame, frame])
    assert alone == read([frame + frame])
    assert alone == read(single_bytes(frame + frame))


@example(25, b'data: a\n\ndata: data: {}:{"a": 1}\n\r\n', [])
@given(st.integers(1, 60), wild_streams, places)
def test_bound_holds_for_anything_in_any_split(bound: int, stream: bytes, cuts: list[int]) -> None:
    """Whether and where a stream breaks the bound does not depend on its cut, and no frame ever exceeds it."""

    def outcome(chunks: list[bytes]) -> tuple[list[Event], bool]:
        reader = SseReader(bound)
        found: list[Event] = []
        try:
            for chunk in [*chunks, b""]:
                for frame in reader.feed(chunk):
                    assert len(frame.raw) <= bound
                    found += events([frame]) if isinstance(frame, SseFrame) else []
        except UpstreamError:
            return found, True
        return found, False

    assert outcome(cut_at(stream, cuts)) == outcome([stream]) == outcome(single_bytes(stream))


class Chunk(bytes):
    """A chunk that counts how many of its bytes are searched."""

    searched = 0

    def find(self, needle: bytes, start: int = 0) -> int:  # type: ignore[override]
        found = super().find(needle, start)
        self.searched += (len(self) if found < 0 else found + len(needle)) - start
        return found

    def split(self, separator: bytes) -> list[bytes]:  # type: ignore[override]
        self.searched += len(self)
        return super().split(separator)


def bytes_touched(stream: bytes, step: int) -> int:
    """How many bytes a reader looks at for this stream, at most.

    In a chunk, where a search goes on from place to place, what is searched counts. Each method called on a buffer,
    a line or a part counts with its whole length.
    """
    touched = 0

    def on_call(_frame: FrameType, kind: str, function: object) -> None:
        nonlocal touched
        owner = getattr(function, "__self__", None)
        if kind == "c_call" and isinstance(owner, bytes | bytearray) and not isinstance(owner, Chunk):
            touched += len(owner)

    reader = SseReader()
    chunks = [Chunk(stream[at : at + step]) for at in range(0, len(stream), step)]
    sys.setprofile(on_call)
    try:
        for chunk in chunks:
            reader.feed(chunk)
    finally:
        sys.setprofile(None)
    return touched + sum(chunk.searched for chunk in chunks)


@pytest.mark.parametrize(
    ("stream", "step"),
    [
        (b"data: " + b"x" * (1 << 20) + b"\n\n", 100),
        (b"data: " + b"x" * (1 << 20) + b"\n\n", 4096),
        (b"data: " + b"x" * (1 << 20) + b"\n\n", 1 << 21),
        (b"data: " + b"x" * 30_000 + b"\n\n", 1),
        (b"data: x\n\n" * 10_000, 65_536),
        (b"data: x\r\n\r\n" * 10_000, 1 << 20),
        (b"data: x\r\r" * 10_000, 1 << 20),
        (b"data: x\n" * 10_000 + b"\n", 1 << 20),
        (b"data: x\r" * 10_000 + b"\n", 7),
        (b": ping\n" * 10_000, 1 << 20),
        (b"{\n" * 10_000, 1 << 20),
    ],
)
def test_reader_work_is_linear_in_the_bytes(stream: bytes, step: int) -> None:
    """However a stream is built and cut, each of its bytes is looked at a few times: nothing is searched anew."""
    assert len(stream) <= bytes_touched(stream, step) <= 10 * len(stream)


@given(st.binary(max_size=60), st.none() | st.text("ab:\u2028 ", max_size=5), st.none() | st.text("0:-", max_size=5))
def test_encoded_frame_read_again_is_the_same(data: bytes, event: str | None, event_id: str | None) -> None:
    """What is written is read back, with line breaks of any kind as LF."""
    frame = encode_frame(data, event=event, event_id=event_id)
    for chunks in ([frame], single_bytes(frame), [b": warm\n", frame]):
        frames = read(chunks)
        assert bool(frames) is bool(data)
        if not frames:
            continue  # an event that says nothing is not given out
        (found,) = frames
        assert found.data == re.sub(rb"\r\n|\r", b"\n", data)
        assert (found.event, found.id) == (event or "message", event_id)
        assert found.plain is (event is None and event_id is None)


def test_encoded_frame_in_its_parts_is_written_plainly() -> None:
    """One space after the colon, LF everywhere, `data` last, one blank line."""
    assert encode_frame(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert encode_frame(b"a\r\nb", event="done", event_id="r:1") == b"id: r:1\nevent: done\ndata: a\ndata: b\n\n"
    assert encode_frame(b"") == b"data: \n\n"


@pytest.mark.parametrize("bad", ["a\nb", "a\r", "\0"])
def test_encoded_frame_with_a_line_break_in_a_field_is_refused(bad: str) -> None:
    """A line break in a name or an id would begin another field: the caller is told."""
    with pytest.raises(ValueError, match="event"):
        encode_frame(b"x", event=bad)
    with pytest.raises(ValueError, match="id"):
        encode_frame(b"x", event_id=bad)


def test_reader_is_a_frame_reader_and_its_frames_hide_their_text() -> None:
    """The reader fits its port; a frame's repr, which ends in logs, shows lengths and no text."""
    reader: FrameReader = SseReader()
    (frame,) = reader.feed(b"data: secret\n\n")
    assert "secret" not in repr(frame)
    assert "data=6B" in repr(frame)


def test_reader_bound_below_one_byte_is_refused() -> None:
    """A bound that no frame can keep is the caller's mistake."""
    with pytest.raises(ValueError, match="frame_bytes_max"):
        SseReader(0)
