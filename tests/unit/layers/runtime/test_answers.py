"""An app's response in Lambda's forms."""

from __future__ import annotations

import base64
import json
import logging

import pytest

from lambda_asgi.answers import PRELUDE_BYTES_MAX, checked, prelude, whole_answer
from lambda_asgi.logs import log


def test_prelude_is_compact_json_and_eight_nuls() -> None:
    """Repeated headers are joined, cookies stand apart, names are in lower case."""
    headers = checked([(b"Vary", b"a"), (b"vary", b"b"), (b"Set-Cookie", b"a=1, b"), (b"X", "é".encode("latin-1"))])
    assert prelude(201, headers) == (
        b'{"statusCode":201,"headers":{"vary":"a,b","x":"\\u00e9"},"cookies":["a=1, b"]}' + bytes(8)
    )


def test_headers_of_the_connection_are_left_out() -> None:
    """They would describe a connection that is not the client's."""
    names = [b"Connection", b"Keep-Alive", b"Transfer-Encoding", b"Content-Length", b"Upgrade", b"TE", b"Trailer"]
    assert checked([(name, b"x") for name in names] + [(b"etag", b"1")]) == [(b"etag", b"1")]


@pytest.mark.parametrize("bad", [(b"a\r", b""), (b"a", b"b\nc"), (b"a", b"\0")])
def test_header_with_a_line_end_or_nul_is_refused(bad: tuple[bytes, bytes]) -> None:
    """Whoever chose it must not write headers of his own."""
    with pytest.raises(ValueError, match="line end or a NUL"):
        checked([bad])


def test_prelude_beyond_what_api_gateway_takes_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A Function URL may take it, so it is sent, with a line in the log."""
    log.propagate = True
    with caplog.at_level(logging.WARNING):
        text = prelude(200, [(b"x", b"a" * PRELUDE_BYTES_MAX)])
    assert len(text) > PRELUDE_BYTES_MAX
    assert "longer than API Gateway takes" in caplog.text


@pytest.mark.parametrize(
    ("headers", "body", "is_text"),
    [
        ([(b"content-type", b"application/json")], b"{}", True),
        ([(b"content-type", b"application/problem+json; charset=utf-8")], b"{}", True),
        ([(b"content-type", b"TEXT/html")], b"<p>", True),
        ([(b"content-type", b"application/x-ndjson")], b"{}\n", True),
        ([(b"content-type", b"image/svg+xml")], b"<svg/>", True),
        ([(b"content-type", b"image/png")], b"plain", False),
        ([(b"content-type", b"text/plain"), (b"content-encoding", b"gzip")], b"abc", False),
        ([(b"content-type", b"text/plain; charset=latin-1")], b"\xe9", False),
        ([], b"abc", False),
        ([], b"", True),
        ([(b"content-type", b"image/png")], b"", True),
    ],
)
def test_body_goes_as_text_only_where_it_is_one(headers: list[tuple[bytes, bytes]], body: bytes, is_text: bool) -> None:
    """Else as base64, and the answer says which."""
    for payload in ("1.0", "2.0"):
        answer = json.loads(whole_answer(200, headers, body, payload))
        assert answer["isBase64Encoded"] is not is_text
        decoded = answer["body"].encode() if is_text else base64.b64decode(answer["body"])
        assert decoded == body
