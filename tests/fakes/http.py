"""The little HTTP/1.1 that the fakes speak: heads, and bodies of a known length, in chunks or until the close.

Written apart from the gateway's own code, so that a mistake there does not meet the same mistake here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping


class Headers(Mapping[str, str]):
    """Headers by name, in any case. A name that came twice has its values joined by ", "."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.pairs = [(name, value) for name, value in pairs]
        self._values: dict[str, str] = {}
        for name, value in self.pairs:
            key = name.lower()
            self._values[key] = f"{self._values[key]}, {value}" if key in self._values else value

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({self.pairs!r})"


def take_head(buffer: bytearray) -> tuple[str, Headers] | None:
    """Cut the first line and the headers off `buffer`; None when they are not complete."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
    del buffer[: end + 4]
    pairs = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return first, Headers(pairs)


def chunk(data: bytes) -> bytes:
    """One HTTP chunk around `data`."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


class Body:
    """Takes a body out of the bytes of a connection.

    Args:
        headers: of the message.
        until_close: what neither a length nor chunks means: True for an answer (until the close), False for a
            request (no body).

    Attributes:
        complete: the body's end was seen. With `until_close` only the reader of the connection knows.
    """

    def __init__(self, headers: Headers, *, until_close: bool) -> None:
        self._chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        length = headers.get("content-length")
        self.until_close = not self._chunked and length is None and until_close
        self._left = 0 if self._chunked else int(length or 0)  # bytes of the current chunk or of the whole body
        self._in_chunk = False
        self.complete = not self._chunked and not self.until_close and self._left == 0

    def take(self, buffer: bytearray) -> bytes:
        """Cut what belongs to the body off `buffer`, without the framing. b"" when more bytes are needed."""
        if self.complete:
            return b""
        if self.until_close:
            return _cut(buffer, len(buffer))
        if not self._chunked:
            data = _cut(buffer, self._left)
            self._left -= len(data)
            self.complete = self._left == 0
            return data
        parts = []
        while not self.complete:
            part = self._take_chunk(buffer)
            if part is None:
                break
            parts.append(part)
        return b"".join(parts)

    def _take_chunk(self, buffer: bytearray) -> bytes | None:
        """Some bytes of the current chunk; None when nothing more can be taken."""
        if not self._in_chunk:
            end = buffer.find(b"\r\n")
            if end < 0:
                return None
            size = int(bytes(buffer[:end]).partition(b";")[0], 16)
            if size == 0:
                if len(buffer) < end + 4:
                    return None
                if buffer[end + 2 : end + 4] != b"\r\n":
                    raise ValueError("a trailer after the last chunk, which the fakes do not read")
                del buffer[: end + 4]
                self.complete = True
                return b""
            del buffer[: end + 2]
            self._in_chunk, self._left = True, size
        if self._left:
            data = _cut(buffer, self._left)
            self._left -= len(data)
            return data or None
        if len(buffer) < 2:
            return None
        if buffer[:2] != b"\r\n":
            raise ValueError(f"a chunk ends with {bytes(buffer[:2])!r}")
        del buffer[:2]
        self._in_chunk = False
        return b""


def _cut(buffer: bytearray, count: int) -> bytes:
    data = bytes(buffer[:count])
    del buffer[:count]
    return data
