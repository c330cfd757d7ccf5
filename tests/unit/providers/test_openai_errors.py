"""What our client is told of a provider's error: by whose fault it is, and never with the gateway's own key in it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.domain.errors import UpstreamError, UpstreamTimeout
from rillgate.providers.error_table import MESSAGE_CHARS_MAX
from rillgate.providers.openai_errors import error_from_object, error_from_response

KEY = "sk-proj-0123456789"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "code", "type", "param", "status", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


def response(status: int, detail: object = None, headers: dict[str, str] | None = None) -> UpstreamError:
    """The error of a response with this error object."""
    return error_from_response("lab", status, headers or {}, msgspec.json.encode({"error": detail}))


def said(detail: object) -> bytes:
    """A body in OpenAI's shape."""
    return msgspec.json.encode({"error": detail})


# The table


@pytest.mark.parametrize(
    ("status", "detail", "expected"),
    [
        (400, {"message": "m", "type": "invalid_request_error"}, (400, "invalid_request_error", "invalid_request")),
        (
            400,
            {"message": "m", "type": "BadRequestError", "code": 400},
            (400, "invalid_request_error", "invalid_request"),
        ),
        (400, {"message": "m", "code": "400"}, (400, "invalid_request_error", "invalid_request")),
        (
            400,
            {"message": "m", "type": "invalid_request_error", "code": "unsupported_parameter"},
            (400, "invalid_request_error", "unsupported_parameter"),
        ),
        (400, {"message": "m", "code": "content_filter"}, (400, "invalid_request_error", "content_filter")),
        (
            400,
            {"message": "m", "code": "context_length_exceeded"},
            (400, "invalid_request_error", "context_length_exceeded"),
        ),
        (401, {"message": "m"}, (502, "upstream_error", "upstream_auth")),
        (403, {"message": "m"}, (502, "upstream_error", "upstream_auth")),
        (402, {"message": "m"}, (429, "insufficient_quota", "insufficient_quota")),
        (404, {"message": "m"}, (404, "invalid_request_error", "model_not_found")),
        (404, {"message": "m", "code": "model_not_found"}, (404, "invalid_request_error", "model_not_found")),
        (408, {"message": "m"}, (504, "server_error", "upstream_timeout")),
        (409, {"message": "m"}, (409, "invalid_request_error", "invalid_request")),
        (413, {"message": "m"}, (413, "invalid_request_error", "request_too_large")),
        (422, {"message": "m"}, (422, "invalid_request_error", "invalid_request")),
        (424, {"message": "m"}, (502, "server_error", "upstream_error")),
        (429, {"message": "m", "type": "requests"}, (429, "rate_limit_error", "rate_limit_exceeded")),
        (429, {"message": "m", "code": "insufficient_quota"}, (429, "insufficient_quota", "insufficient_quota")),
        (429, {"message": "m", "type": "insufficient_quota"}, (429, "insufficient_quota", "insufficient_quota")),
        (429, {"message": "m", "code": "credit_balance_exhausted"}, (429, "insufficient_quota", "insufficient_quota")),
        (500, {"message": "m"}, (502, "server_error", "upstream_error")),
        (502, {"message": "m"}, (502, "server_error", "upstream_error")),
        (503, {"message": "m", "code": "server_is_overloaded"}, (503, "server_error", "upstream_overloaded")),
        (504, {"message": "m"}, (504, "server_error", "upstream_timeout")),
        (529, {"message": "m"}, (503, "server_error", "upstream_overloaded")),
        (302, None, (502, "server_error", "upstream_error")),
        (418, {"message": "m"}, (502, "server_error", "upstream_error")),
        (599, None, (502, "server_error", "upstream_error")),
    ],
)
def test_error_status_and_words_of_the_provider_give_ours(
    status: int, detail: dict[str, Any] | None, expected: tuple[int, str, str | None]
) -> None:
    """Status, `type` and `code` that the client sees, for each row of the table."""
    error = response(status, detail)
    assert (error.status, error.kind, error.code) == expected
    assert "'lab'" in error.message


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        *[(status, False) for status in (400, 401, 402, 404, 413, 422)],
        *[(status, True) for status in (408, 409, 429, 500, 502, 503, 504, 529)],
    ],
)
def test_error_that_may_pass_is_retryable(status: int, retryable: bool) -> None:
    """The same call may succeed after a timeout, a conflict, a rate limit or a server's fault, and never otherwise."""
    assert response(status, {"message": "m"}).retryable is retryable


def test_error_timeout_is_a_timeout() -> None:
    """408 and 504 are the provider's silence, said by itself."""
    assert isinstance(response(408), UpstreamTimeout)
    assert isinstance(response(504), UpstreamTimeout)


@pytest.mark.parametrize("status", [402, 429])
@pytest.mark.parametrize("headers", [{}, {"retry-after": "1"}])
def test_error_quota_must_not_be_retried(status: int, headers: dict[str, str]) -> None:
    """No money comes back by waiting: the SDKs are told, and given no time to wait."""
    error = response(status, {"message": "m", "code": "insufficient_quota"}, headers)
    assert error.should_retry is False
    assert error.retryable is False
    assert error.retry_after_s is None


def test_error_param_passes_through() -> None:
    """The field that the provider names is the client's field."""
    assert response(400, {"message": "m", "param": "messages[0].content"}).param == "messages[0].content"
    assert response(400, {"message": "m", "param": 5}).param is None


# Keys


@pytest.mark.parametrize(
    ("status", "detail"),
    [
        (401, {"message": f"Incorrect API key provided: {KEY}.", "code": "invalid_api_key"}),
        (403, {"message": f"{KEY} may not do this"}),
        (403, KEY),
        (401, {"message": f"{KEY}: maximum context length"}),
        (401, {"message": f"{KEY}: no credit", "code": "insufficient_quota"}),
        (400, {"message": f"API key not valid ({KEY}). Please pass a valid API key.", "status": "INVALID_ARGUMENT"}),
        (400, f"Incorrect API key provided: {KEY}."),
        (500, {"message": KEY, "code": "invalid_api_key"}),
        (400, {"message": KEY, "type": "authentication_error"}),
    ],
)
def test_error_of_our_credentials_is_ours_and_says_nothing_of_them(status: int, detail: object) -> None:
    """A 401 would blame the caller, and the provider's text may repeat the key: neither reaches the client."""
    error = response(status, detail)
    assert (error.status, error.code) == (502, "upstream_auth")
    assert error.should_retry is False
    assert KEY not in str(vars(error)) + str(error)


@pytest.mark.parametrize(
    "content",
    [
        {"message": f"Incorrect API key provided: {KEY}.", "code": "invalid_api_key", "param": KEY},
        {"error": {"message": f"no: {KEY}", "code": 401}},
        {"error": {"message": f"no: {KEY}", "type": "permission_error"}},
        [{"error": {"code": 400, "message": f"API key not valid: {KEY}", "status": "INVALID_ARGUMENT"}}],
    ],
)
def test_error_of_our_credentials_in_a_stream_says_nothing_of_them(content: object) -> None:
    """The same inside a stream."""
    error = error_from_object("lab", content)
    assert (error.status, error.code) == (502, "upstream_auth")
    assert KEY not in str(vars(error)) + str(error)


# Context overflow


@pytest.mark.parametrize(
    "text",
    [
        "This model's maximum context length is 8192 tokens. However, you requested 9000.",
        "prompt plus max_tokens exceed the Context Limit",
        "the request exceeds the available context size. try increasing it",
        "The input token count (9) exceeds the maximum number of tokens allowed (8).",
        "prompt is too long: 9 tokens > 8 maximum",
        "Input is too long for requested model.",
        "prompt too long; exceeded max context length by 4 tokens",
        "input length exceeds the context length",
    ],
)
@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_error_context_overflow_is_recognised_by_its_text(text: str, status: int) -> None:
    """Whatever the status: 400, context_length_exceeded, not worth another try."""
    error = response(status, {"message": text})
    assert (error.status, error.kind, error.code) == (400, "invalid_request_error", "context_length_exceeded")
    assert error.retryable is False
    assert text in error.message


# Waiting


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
        ({"retry-after-ms": "9999999", "retry-after": "7"}, 7),
        ({"retry-after": "60"}, 60),
        ({"retry-after": "61"}, None),
        ({"retry-after": "86400"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e400"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:00 GMT"}, None),
        ({"retry-after": "6m0s"}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503, 529])
def test_error_wait_of_the_provider_is_passed_on_where_an_sdk_would_take_it(
    headers: dict[str, str], expected: float | None, status: int
) -> None:
    """Milliseconds first; no dates, nothing past a minute, nothing that is no time."""
    assert response(status, {"message": "m"}, headers).retry_after_s == expected


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_error_that_waiting_does_not_mend_names_no_wait(status: int) -> None:
    """A wait only goes with what it helps against."""
    assert response(status, {"message": "m"}, {"retry-after": "7"}).retry_after_s is None


# Bodies


@pytest.mark.parametrize(
    "body",
    [
        said({"message": "the words"}),
        said("the words"),
        said({"error": "the words"}),
        said({"detail": "the words"}),
        b'{"message":"the words"}',
        b'{"detail":"the words"}',
        b'{"detail":[{"loc":["body"],"msg":"the words"}]}',
        b'{"error":null,"message":"the words"}',
        b'{"error":true,"message":"the words"}',
        b'{"object":"error","message":"the words","code":500}',
        b'{"code":"x","error":"the words"}',
        b'[{"error":{"code":500,"message":"the words"}}]',
        b'"the words"',
        b'\n\n{ "error" : { "message" : "the words" } }\n',
    ],
)
def test_error_body_in_any_shape_gives_its_words(body: bytes) -> None:
    """Objects, strings, flat bodies, FastAPI's lists, Gemini's list of one."""
    error = error_from_response("lab", 500, {}, body)
    assert error.message.startswith("Provider 'lab': ")
    assert "the words" in error.message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><title>502 Bad Gateway</title><body>secret-host</body></html>",
        b"upstream connect error: secret-host",
        b'{"error":{"message":"secret-host',
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b"5",
        b"[" * 60_000,
        b'{"error":{}}',
        b'{"error":{"message":5}}',
    ],
)
def test_error_body_without_words_gives_the_status_alone(body: bytes) -> None:
    """HTML, cut bodies, nothing: the status says enough, and nothing of the body is repeated."""
    error = error_from_response("lab", 500, {}, body)
    assert error.message == "Provider 'lab' answered with status 500."


def test_error_message_is_bounded() -> None:
    """A provider's novel is not passed on."""
    assert len(response(500, {"message": "x" * 50_000}).message) <= MESSAGE_CHARS_MAX + len("Provider 'lab': ")
    assert len(error_from_object("lab", {"message": "x" * 50_000}).message) == MESSAGE_CHARS_MAX


@given(content=json_values, status=st.integers(300, 599))
def test_error_of_any_json_is_a_proper_error(content: object, status: int) -> None:
    """Nothing is raised, the status is one that an error has, and 401 and 403 are never among them."""
    for error in (
        error_from_response("lab", status, {}, msgspec.json.encode(content)),
        error_from_object("lab", content),
    ):
        assert error.status in {400, 404, 409, 413, 422, 429, 502, 503, 504}
        assert error.message
        assert isinstance(error.code, str | None)
        assert isinstance(error.param, str | None)


@given(body=st.binary(max_size=200), status=st.integers(300, 599), value=st.text(max_size=20))
def test_error_of_any_bytes_is_a_proper_error(body: bytes, status: int, value: str) -> None:
    """The same for what is no JSON, and for any header."""
    error = error_from_response("lab", status, {"retry-after": value, "retry-after-ms": value}, body)
    assert error.status not in (401, 403)
    assert error.retry_after_s is None or 0 <= error.retry_after_s <= 60
