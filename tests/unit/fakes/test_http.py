"""Heads and bodies as the fakes read them."""

from __future__ import annotations

import pytest

from tests.fakes import http

CHUNKED = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"


def read(headers: list[tuple[str, str]], wire: bytes, step: int) -> tuple[bytes, bool, bytes]:
    """Feed `wire` in pieces; returns the body, whether it was complete and what was left over."""
    body = http.Body(http.Headers(headers), until_close=True)
    buffer = bytearray()
    data = b""
    for start in range(0, len(wire), step):
        buffer += wire[start : start + step]
        data += body.take(buffer)
    return data, body.complete, bytes(buffer)


@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_body_chunked_cut_anywhere_gives_payload(step: int) -> None:
    """Any cut gives the same payload, and what follows the last chunk is left alone."""
    assert read([("Transfer-Encoding", "chunked")], CHUNKED + b"NEXT", step) == (b"hello world", True, b"NEXT")


@pytest.mark.parametrize("end", range(len(CHUNKED)))
def test_body_chunked_truncated_is_not_complete(end: int) -> None:
    """A chunked body that lacks any byte of its end is never complete."""
    assert read([("Transfer-Encoding", "chunked")], CHUNKED[:end], 1)[1] is False


@pytest.mark.parametrize("step", [1, 100])
def test_body_with_length_takes_exactly_that(step: int) -> None:
    """A length is taken exactly."""
    assert read([("Content-Length", "5")], b"helloNEXT", step) == (b"hello", True, b"NEXT")


def test_body_until_close_is_never_complete_by_itself() -> None:
    """Without length and chunks only the close ends an answer; a request has no body then."""
    assert read([], b"hello", 2) == (b"hello", False, b"")
    assert http.Body(http.Headers([]), until_close=False).complete


def test_head_incomplete_takes_nothing() -> None:
    """Nothing is cut off before the empty line has come."""
    buffer = bytearray(b"GET / HTTP/1.1\r\nHost: a\r\n")
    assert http.take_head(buffer) is None
    buffer += b"X-A: 1\r\nx-a: 2\r\n\r\nrest"
    head = http.take_head(buffer)
    assert head is not None
    assert head[0] == "GET / HTTP/1.1"
    assert head[1]["HOST"] == "a"
    assert head[1]["x-A"] == "1, 2"
    assert "Host" in head[1]
    assert "other" not in head[1]
    assert buffer == b"rest"
