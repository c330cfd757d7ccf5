"""One response's bytes: cut anywhere, bounded everywhere."""

from __future__ import annotations

import itertools

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.upstream.fast.reader import HEAD_BYTES_MAX, HEADER_LINE_BYTES_MAX, HEADERS_MAX, ResponseReader

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
RESPONSES = [
    OK,
    CHUNKED + b"5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nX-Trailer: t\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK,
    b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    OK + OK,
    OK[:-1],
    OK[:30],
    CHUNKED + b"5\r\nhel",
    CHUNKED + b"zz\r\n",
    b"garbage\r\n\r\n",
    b"",
]

Outcome = tuple[int, bytes, bytes, list[tuple[bytes, bytes]], bytes, bool, bool]


def outcome(pieces: list[bytes], *, to_head: bool = False) -> Outcome:
    """Everything that a reader says of these pieces and the end behind them."""
    reader = ResponseReader(to_head=to_head)
    body = bytearray()
    try:
        for piece in pieces:
            reader.feed(piece)
            body += b"".join(reader.parts)
            reader.parts.clear()
            if reader.complete:
                break
        reader.feed_eof()
    except httpx2.RemoteProtocolError:
        body += b"".join(reader.parts)
    return reader.status, reader.version, reader.reason, reader.headers, bytes(body), reader.complete, reader.reusable


@pytest.mark.parametrize("response", RESPONSES)
def test_reader_byte_by_byte_says_the_same(response: bytes) -> None:
    """Heads, chunks, trailers, lengths, truncations: the smallest cut changes nothing but what is seen of a surplus."""
    pieces = [response[at : at + 1] for at in range(len(response))]
    whole, cut = outcome([response]), outcome(pieces)
    assert cut[:6] == whole[:6]
    assert cut[6] == whole[6] or response == OK + OK  # the surplus comes later, when the connection is idle


@given(st.sampled_from(RESPONSES[:9] + RESPONSES[10:]), st.lists(st.integers(0, 200)), st.booleans())
def test_reader_cut_anywhere_says_the_same(response: bytes, cuts: list[int], to_head: bool) -> None:
    """Wherever the network cuts, and whatever was asked."""
    at = [0, *sorted(min(cut, len(response)) for cut in cuts), len(response)]
    pieces = [response[start:end] for start, end in itertools.pairwise(at)]
    if to_head:
        assert outcome(pieces, to_head=True)[:4] == outcome([response], to_head=True)[:4]
    else:
        assert outcome(pieces) == outcome([response])


def test_reader_answer_to_head_is_complete_with_its_head() -> None:
    """Its length is that of the body it does not have."""
    assert outcome([OK[:-5]], to_head=True)[4:] == (b"", True, True)


def test_reader_of_a_complete_response_refuses_its_connection_for_a_second_one() -> None:
    """What follows unasked spoils the connection, not the answer; nothing of it gets into the body."""
    status, _, _, headers, body, complete, reusable = outcome([OK + OK])
    assert (status, body, complete, reusable) == (200, b"hello", True, False)
    assert headers == [(b"Content-Length", b"5")]


def test_reader_interim_headers_say_nothing_of_the_final_body() -> None:
    """Neither its length nor anything else."""
    interim = b"HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, _, reason, headers, body, complete, _ = outcome(
        [interim + b"HTTP/1.1 200 Fine\r\nA: b \t\r\n\r\nto the end"]
    )
    assert (status, reason, body, complete) == (200, b"Fine", b"to the end", True)
    assert headers == [(b"A", b"b")]


def test_reader_of_a_body_with_two_lengths_takes_the_chunks_and_ends_the_connection() -> None:
    """Somebody on the way may have read it differently (RFC 9112, 6.3)."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n"
    assert outcome([head + b"2\r\nok\r\n0\r\n\r\n"])[4:] == (b"ok", True, False)


@pytest.mark.parametrize("encoding", [b"gzip", b"gzip, chunked", b"identity"])
def test_reader_of_another_transfer_encoding_refuses_it(encoding: bytes) -> None:
    """We ask for none, and could not read it."""
    with pytest.raises(httpx2.RemoteProtocolError, match="transfer encoding"):
        ResponseReader().feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %b\r\n\r\n" % encoding)


@pytest.mark.parametrize(
    ("piece", "before"),
    [
        (b"x" * 1000, b"HTTP/1.1 200 OK\r\nX-Long: "),
        (b"x" * 1000, b"HTTP/1.1 200 OK\r\nX-"),
        (b"x" * 1000, b"HTTP/1.1 200 "),
        (b"X-Filler: %b\r\n" % (b"x" * 1000), b"HTTP/1.1 200 OK\r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b""),
        (b"\r\n", b""),
        (b"x" * 1000, CHUNKED + b"5;ext="),
        (b"X-Trailer: %b\r\n" % (b"x" * 1000), CHUNKED + b"0\r\n"),
    ],
    ids=["value", "name", "reason", "headers", "interim", "blank lines", "chunk extension", "trailers"],
)
def test_reader_that_gets_nowhere_stops(piece: bytes, before: bytes) -> None:
    """Whatever comes without end is refused as soon as it passes one bound."""
    reader = ResponseReader()
    reader.feed(before)
    taken = len(before)
    while taken + len(piece) <= HEAD_BYTES_MAX:
        reader.feed(piece)
        taken += len(piece)
    with pytest.raises(httpx2.RemoteProtocolError, match=f"{HEAD_BYTES_MAX} bytes"):
        reader.feed(piece)


def test_reader_line_past_its_bound_is_refused() -> None:
    """A single header, also a trailer; one below the bound is taken."""
    line = b"X: " + b"y" * (HEADER_LINE_BYTES_MAX - 1) + b"\r\n"
    ResponseReader().feed(b"HTTP/1.1 200 OK\r\n" + line + b"A: b\r\n\r\n")
    for before in (b"HTTP/1.1 200 OK\r\n", CHUNKED + b"0\r\n"):
        with pytest.raises(httpx2.RemoteProtocolError, match=f"{HEADER_LINE_BYTES_MAX} bytes"):
            ResponseReader().feed(before + b"X: " + b"y" * HEADER_LINE_BYTES_MAX + b"\r\nA: b\r\n\r\n")


def test_reader_headers_past_their_number_are_refused() -> None:
    """The last that fits is taken, one more is not."""
    ResponseReader().feed(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * HEADERS_MAX + b"\r\n")
    with pytest.raises(httpx2.RemoteProtocolError, match=f"{HEADERS_MAX} headers"):
        ResponseReader().feed(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (HEADERS_MAX + 1) + b"\r\n")
