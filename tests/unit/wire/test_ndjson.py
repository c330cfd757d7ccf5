"""The NDJSON reader: the same lines however the bytes are cut, within its bound."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.domain.errors import UpstreamError
from rillgate.wire.ndjson import NdjsonReader
from rillgate.wire.sse import FRAME_BYTES_MAX

STREAM = '{"a":1}\n{"b":"grüße \u2028 \u0085 👋"}\r\n\n \t\n{"c":3}\n'.encode()
LINES = [b'{"a":1}', '{"b":"grüße \u2028 \u0085 👋"}'.encode(), b'{"c":3}']


def read(chunks: Iterable[bytes], frame_bytes_max: int = FRAME_BYTES_MAX) -> list[bytes]:
    """The data of all lines of a stream that comes in these chunks and ends."""
    reader = NdjsonReader(frame_bytes_max)
    frames = [frame for chunk in chunks for frame in reader.feed(chunk)]
    return [frame.data for frame in [*frames, *reader.feed_eof()]]


def test_reader_cut_anywhere_gives_the_same_lines() -> None:
    """Whole, byte by byte, with nothing between, and cut once at each place."""
    assert read([STREAM]) == LINES
    assert read(STREAM[at : at + 1] for at in range(len(STREAM))) == LINES
    assert read([b"", STREAM, b""]) == LINES
    for at in range(len(STREAM)):
        assert read([STREAM[:at], STREAM[at:]]) == LINES


@given(st.lists(st.binary(min_size=0, max_size=9)))
def test_reader_gives_what_splitting_at_line_feeds_gives(chunks: list[bytes]) -> None:
    """For any bytes in any cut."""
    assert read(chunks) == [line.strip() for line in b"".join(chunks).split(b"\n") if line.strip()]


def test_reader_frames_hold_their_bytes_and_are_never_plain() -> None:
    """What came stands in `raw`, its end with it; no client speaks in such frames."""
    frames = NdjsonReader().feed(b' {"a":1}\r\n{"b":2}\n{')
    assert [frame.raw for frame in frames] == [b' {"a":1}\r\n', b'{"b":2}\n']
    assert {frame.event for frame in frames} == {"message"}
    assert not any(frame.plain for frame in frames)
    assert "a" not in repr(frames[0]).removeprefix("<NdjsonFrame data=")[:1]


def test_reader_gives_a_last_line_that_only_lacks_its_end() -> None:
    """At the end of the stream, once."""
    reader = NdjsonReader()
    assert reader.feed(b'{"a":1}') == []
    assert [frame.data for frame in reader.feed_eof()] == [b'{"a":1}']
    assert reader.feed_eof() == []


@pytest.mark.parametrize("cut", [1, 3, 100])
def test_reader_refuses_a_line_past_its_bound(cut: int) -> None:
    """What was complete before it is given out; then every call raises, and nothing is held."""
    stream = b"1234567\n" + b"123456789\n"
    reader = NdjsonReader(frame_bytes_max=8)
    found: list[bytes] = []

    def feed_all() -> None:
        for at in range(0, len(stream), cut):
            found.extend(frame.data for frame in reader.feed(stream[at : at + cut]))
        reader.feed_eof()

    with pytest.raises(UpstreamError) as caught:
        feed_all()
    assert found == [b"1234567"]
    assert caught.value.retryable is False
    assert "8 bytes" in caught.value.message
    with pytest.raises(UpstreamError):
        reader.feed(b"x\n")
    with pytest.raises(UpstreamError):
        reader.feed_eof()


def test_reader_takes_a_line_of_its_bound() -> None:
    """The bound counts the line's end, and is 8 MiB unless another is given."""
    assert read([b"1234567\n"], frame_bytes_max=8) == [b"1234567"]
    assert FRAME_BYTES_MAX == 8 * 1024 * 1024
    with pytest.raises(ValueError, match="at least 1"):
        NdjsonReader(0)
