"""What a parser does for each byte does not grow with the number of bytes: steps and memory, not seconds.

Steps are lines of our own code that run. What one step costs in C is not seen here; `make fuzz` calls an input a
finding that takes half a minute.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Sequence
from types import FrameType
from typing import Any

import pytest

from tests.fuzz.registry import targets
from tests.fuzz.target import Target

pytestmark = pytest.mark.slow

SMALL, TIMES = 320, 4
SLACK = 1.25
OURS = ("/rillgate/", "/lambda_asgi/")
CUT = sorted(name for name, target in targets().items() if target.cut)
BEHIND_A_READER = ("provider_", "relay_", "lambda_")  # their cuts are a reader's, which has its own tests
WHOLE = sorted(name for name, target in targets().items() if not target.cut)

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PATTERNS = {
    **{
        repr(each): each
        for each in (b"\n", b"\r", b":", b" ", b"{", b'"', b"\\", b",", b"\0", b"\xff", b"a=b&", b"%20")
    },
    "data without end": b"data: x\n",
    "empty data": b"data:\n\n",
    "frames": b'data: {"choices":[]}\n\n',
    "cr lf": b"data: {}\r\n\r\n",
    "comments": b": c\n",
    "events": b"event: x\n",
    "ids": b"id: 1\n\n",
    "bare json": b"[\n",
    "lines": b"{}\n",
    "nested": b'{"a":',
    "text": b'data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n',
    "anthropic": b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"hello"}}\n\n',
    "ollama": b'{"message":{"content":"hello"},"done":false}\n',
    "addresses": b"10.0.0.1,",
    "headers": b"x: y\r\n",
    "tables": b"[[routes]]\n",
    "array": b"[],",
}


class Steps:
    """Counts the lines of our own code that run within."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Steps:
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if any(part in frame.f_code.co_filename for part in OURS) else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.count += 1
        return self._line


def inputs(target: Target, pattern: bytes, size: int) -> bytes:
    """So many bytes of a pattern, behind a head where the parser wants one."""
    head = HEAD if "http" in target.name else b""
    return head + (pattern * (size // len(pattern) + 1))[:size]


def pieces(data: bytes, size: int) -> list[bytes]:
    """In pieces of this size."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def steps(target: Target, given: Sequence[bytes]) -> int:
    """Lines that ran for this input."""
    with Steps() as counted:
        target.run(given)
    return counted.count


def assert_linear(target: Target, pattern: bytes, piece: int | None) -> None:
    """Four times the bytes take four times the steps, and some for beginning."""
    small, large = (inputs(target, pattern, size) for size in (SMALL, SMALL * TIMES))
    first, second = (steps(target, pieces(data, piece or len(data))) for data in (small, large))
    assert second <= first * TIMES * SLACK + 400, f"{first} steps became {second}"


@pytest.mark.parametrize("name", CUT)
def test_steps_for_each_byte_do_not_grow_however_it_is_cut(name: str) -> None:
    """Whole and in small pieces, for endless lines, frames, comments, brackets and blank lines."""
    for pattern in PATTERNS.values():
        for piece in (None, 32 if name.startswith(BEHIND_A_READER) else 1):
            assert_linear(targets()[name], pattern, piece)


@pytest.mark.parametrize("name", WHOLE)
def test_steps_for_each_byte_of_a_body_do_not_grow(name: str) -> None:
    """The same for what is parsed at once."""
    for pattern in PATTERNS.values():
        assert_linear(targets()[name], pattern, None)


@pytest.mark.parametrize("name", sorted(targets()))
def test_memory_for_each_byte_is_bounded(name: str) -> None:
    """A parser holds a small multiple of what it was given."""
    target = targets()[name]
    for pattern in PATTERNS.values():
        data = inputs(target, pattern, 16_384)
        target.run([data])  # what is made once
        tracemalloc.start()
        try:
            target.run([data])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 400 * len(data), f"{pattern!r}: {peak / len(data):.0f} bytes for each"
