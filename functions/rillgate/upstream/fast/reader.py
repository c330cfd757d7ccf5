"""One response's bytes to its head and its body: httptools' parser with bounds. It does no I/O.

Each response has a parser of its own, so nothing of one answer can leak into the next. The parser calls `list.append`
for the body: no Python of ours runs for a chunk. What it takes in without getting anywhere is counted against one
bound, so endless headers, interim responses, chunk extensions and trailers all meet it.

Source: RFC 9112, sections 4 to 6 and 9.3; RFC 9110, sections 6.4.1 and 15.2; httptools 0.9.
"""

from __future__ import annotations

from typing import Any

import httptools
import httpx2

HEAD_BYTES_MAX = 64 * 1024  # of a head, its interim responses included; h11 takes 100 KiB, nginx 4 to 8
HEADER_LINE_BYTES_MAX = 16 * 1024  # a line; nginx and Node take 8 to 16 KiB for all of them
HEADERS_MAX = 200  # Apache takes 100; providers send 10 to 40


class ResponseReader:
    """Reads one response; `feed` may cut it anywhere.

    Args:
        to_head: whether it answers a HEAD request, which has no body whatever its headers say.

    Attributes:
        parts: what has come of the body and was not taken; whoever takes it clears the list.
        headers: of the final response, names as they came.
        answered: the final response's head is complete.
        complete: so is its body.
        reusable: the connection may carry another request; known when `complete`.
    """

    def __init__(self, *, to_head: bool = False) -> None:
        self.parts: list[bytes] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.status = 0
        self.reason = b""
        self.answered = False
        self.complete = False
        self.reusable = False
        self._version = b""
        self._to_head = to_head
        self._chunked = False
        self._sized = False
        self._until_close = False
        self._fruitless_bytes = 0
        self._fault = ""
        self.on_body = self.parts.append
        self._parser: Any = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(  # what other HTTP clients take too
            lenient_chunked_length=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )

    @property
    def version(self) -> bytes:
        """As the status line says it, such as b"HTTP/1.1"."""
        return self._version

    def feed(self, data: bytes | memoryview) -> None:
        """Take what has come.

        Raises:
            httpx2.RemoteProtocolError: this is no HTTP, or more of it than our bounds allow.
        """
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.complete:
                self.forget()
                raise httpx2.RemoteProtocolError(self._fault or f"This is no HTTP response: {error}") from error
            self.reusable = False  # something follows that nobody asked for
        if self.complete:
            self.forget()
        elif self.parts:
            self._fruitless_bytes = 0
        else:
            self._fruitless_bytes += len(data)
            if self._fruitless_bytes > HEAD_BYTES_MAX:
                self.forget()
                raise httpx2.RemoteProtocolError(f"More than {HEAD_BYTES_MAX} bytes came without any content.")

    def feed_eof(self) -> None:
        """The connection was closed.

        Raises:
            httpx2.RemoteProtocolError: before the response was complete.
        """
        if self.complete:
            return
        self.forget()
        if not self._until_close:
            raise httpx2.RemoteProtocolError(
                "The connection was closed in the middle of a response."
                if self.answered
                else "The connection was closed without a response."
            )
        self.complete = True

    def forget(self) -> None:
        """Let the parser go: it and this object hold each other."""
        self._parser = None

    # What the parser calls. `on_body` stands in the constructor.

    def on_message_begin(self) -> None:
        if self.complete:
            raise ValueError("a second response")

    def on_status(self, status: bytes) -> None:
        self.reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) + len(value) > HEADER_LINE_BYTES_MAX:
            raise self._refuse(f"A header is longer than {HEADER_LINE_BYTES_MAX} bytes.")
        if self.answered:
            return  # a trailer
        if len(self.headers) == HEADERS_MAX:
            raise self._refuse(f"The response has more than {HEADERS_MAX} headers.")
        if value[-1:] in (b" ", b"\t"):
            value = value.rstrip(b" \t")
        lowered = name.lower()
        if lowered == b"content-length":
            self._sized = True
        elif lowered == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise self._refuse("The response has a transfer encoding that we did not ask for.")
            self._chunked = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status == 101:
            raise self._refuse("The provider changed the protocol without being asked.")
        if status < 200:
            return
        self.status = status
        self.answered = True
        self._version = b"HTTP/%b" % self._parser.get_http_version().encode()
        bodiless = self._to_head or status in (204, 304)
        self._until_close = not (bodiless or self._chunked or self._sized)
        if self._to_head:
            self._complete()

    def on_message_complete(self) -> None:
        if self.answered:
            self._complete()
        else:
            self.headers.clear()
            self.reason = b""
            self._chunked = self._sized = False

    def _complete(self) -> None:
        if not self.complete:
            self.complete = True
            # Where both say how long the body is, somebody on the way may have read it differently (RFC 9112, 6.3).
            self.reusable = self._parser.should_keep_alive() and not (self._chunked and self._sized)

    def _refuse(self, fault: str) -> ValueError:
        self._fault = fault
        return ValueError(fault)
