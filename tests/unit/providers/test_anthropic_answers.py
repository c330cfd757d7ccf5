"""Whole messages, errors and lists of models of Anthropic's API, and what no stream of the corpus shows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.domain.delta import (
    ANTHROPIC_ORIGIN,
    Delta,
    ErrorDelta,
    FinishDelta,
    OpaqueReasoningDelta,
    ReasoningDelta,
    RefusalDelta,
    SignatureDelta,
    TextDelta,
    ToolDelta,
    UsageDelta,
)
from rillgate.domain.errors import UpstreamError, UpstreamTimeout
from rillgate.domain.usage import Usage
from rillgate.providers.anthropic import AnthropicProvider
from rillgate.wire.sse import SseFrame

PROVIDER = AnthropicProvider("claude")
KEY = "sk-ant-0123456789"


def answer(*content: object, stop_reason: str | None = "end_turn", **more: Any) -> list[Delta]:
    """The deltas of a whole message with these blocks."""
    message = {"type": "message", "role": "assistant", "content": list(content), "stop_reason": stop_reason, **more}
    return PROVIDER.decode_answer(msgspec.json.encode(message))


def error_body(kind: str, message: str, **more: Any) -> bytes:
    """A body as the API writes it."""
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message, **more}})


def test_answer_is_read_block_by_block() -> None:
    """Thought with its proof, text, calls with their input, the finish and the counts."""
    found = answer(
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "opaque"},
        {"type": "text", "text": "Hi"},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1, "ü"]}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
        stop_reason="tool_use",
        usage={
            "input_tokens": 3,
            "cache_read_input_tokens": 10,
            "cache_creation_input_tokens": 5,
            "output_tokens": 7,
            "output_tokens_details": {"thinking_tokens": 2},
        },
    )
    assert found == [
        ReasoningDelta(0, "hm"),
        SignatureDelta(0, "sig", ANTHROPIC_ORIGIN),
        OpaqueReasoningDelta(0, "opaque", ANTHROPIC_ORIGIN),
        TextDelta(0, "Hi"),
        ToolDelta(0, 0, "t1", "f", ""),
        ToolDelta(0, 0, None, None, '{"a":[1,"ü"]}'),
        ToolDelta(0, 1, "t2", "g", ""),
        ToolDelta(0, 1, None, None, "{}"),
        FinishDelta(0, "tool_calls"),
        UsageDelta(Usage(18, 7, 10, 5, 2)),
    ]


@pytest.mark.parametrize(
    ("stop_reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_answer_stop_reasons_have_a_word_of_openai(stop_reason: str, expected: str) -> None:
    """The table, and a plain end for what is new."""
    assert answer({"type": "text", "text": "Hi"}, stop_reason=stop_reason)[-1] == FinishDelta(0, expected)


def test_answer_says_which_stop_sequence_was_met_and_why_it_was_refused() -> None:
    """Where the API says it."""
    assert answer(stop_reason="stop_sequence", stop_sequence="END") == [FinishDelta(0, "stop", "END")]
    details = {"type": "refusal", "explanation": "No."}
    assert answer(stop_reason="refusal", stop_details=details)[0] == RefusalDelta(0, "No.")
    assert answer(stop_reason="refusal", stop_details=None) == [FinishDelta(0, "content_filter")]


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[1]", b'{"content":"x"}', b"{}", b"\xff"])
def test_answer_that_is_none_is_the_providers_fault(body: bytes) -> None:
    """With its name; it may be tried elsewhere."""
    with pytest.raises(UpstreamError, match="'claude'") as caught:
        PROVIDER.decode_answer(body)
    assert caught.value.status == 502
    assert caught.value.retryable


def test_answer_that_is_an_error_is_raised_as_one() -> None:
    """Servers say it with status 200, too."""
    with pytest.raises(UpstreamError, match="Overloaded") as caught:
        PROVIDER.decode_answer(error_body("overloaded_error", "Overloaded"))
    assert caught.value.status == 503


ROWS = [
    (400, "invalid_request_error", "messages: at least one", (400, "invalid_request_error", "invalid_request", False)),
    (
        400,
        "invalid_request_error",
        "prompt is too long: 210000 tokens > 200000 maximum",
        (400, "invalid_request_error", "context_length_exceeded", False),
    ),
    (
        400,
        "invalid_request_error",
        "input length and `max_tokens` exceed context limit: 1 + 2 > 2",
        (400, "invalid_request_error", "context_length_exceeded", False),
    ),
    (
        400,
        "invalid_request_error",
        "Output blocked by content filtering policy",
        (400, "invalid_request_error", "content_filter", False),
    ),
    (
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the API",
        (429, "insufficient_quota", "insufficient_quota", False),
    ),
    (401, "authentication_error", f"invalid x-api-key {KEY}", (502, "upstream_error", "upstream_auth", False)),
    (402, "billing_error", "no money", (429, "insufficient_quota", "insufficient_quota", False)),
    (403, "permission_error", f"{KEY} may not", (502, "upstream_error", "upstream_auth", False)),
    (404, "not_found_error", "model: x", (404, "invalid_request_error", "model_not_found", False)),
    (409, "conflict_error", "again", (409, "invalid_request_error", "invalid_request", True)),
    (413, "request_too_large", "32 MB", (413, "invalid_request_error", "request_too_large", False)),
    (429, "rate_limit_error", "slow down", (429, "rate_limit_error", "rate_limit_exceeded", True)),
    (500, "api_error", "oops", (502, "server_error", "upstream_error", True)),
    (504, "timeout_error", "late", (504, "server_error", "upstream_timeout", True)),
    (529, "overloaded_error", "Overloaded", (503, "server_error", "upstream_overloaded", True)),
]


@pytest.mark.parametrize(("status", "kind", "message", "expected"), ROWS)
def test_error_means_the_same_as_a_response_and_in_a_stream(
    status: int, kind: str, message: str, expected: tuple[int, str, str, bool]
) -> None:
    """The table; what is said of our credentials is not repeated."""
    body = error_body(kind, message)
    deltas = PROVIDER.decoder().decode(SseFrame(b"", body, "error"))
    assert deltas is not None
    (delta,) = deltas
    assert isinstance(delta, ErrorDelta)
    for error in (PROVIDER.error(status, {}, body), delta.error):
        assert (error.status, error.kind, error.code, error.retryable) == expected
        assert KEY not in error.message
        assert isinstance(error, UpstreamTimeout) == (status == 504)


@pytest.mark.parametrize(
    "code", ["contract_spend_limit_reached", "enforced_spend_limit_reached", "ramp_limit_exceeded"]
)
def test_error_of_a_spending_limit_is_not_to_be_tried_again(code: str) -> None:
    """It has a 429's status, and passes with a new month only."""
    body = error_body("rate_limit_error", "limit", details={"error_code": code})
    error = PROVIDER.error(429, {}, body)
    assert (error.status, error.kind, error.should_retry, error.retryable) == (429, "insufficient_quota", False, False)


def test_error_keeps_how_long_to_wait() -> None:
    """In seconds."""
    assert PROVIDER.error(429, {"retry-after": "7"}, error_body("rate_limit_error", "x")).retry_after_s == 7
    assert PROVIDER.error(529, {"retry-after": "2"}, b"<html>").retry_after_s == 2


def test_error_of_a_compatible_server_is_read_in_its_own_shape() -> None:
    """llama.cpp answers in OpenAI's."""
    said = {"code": 400, "message": "exceeds the available context size", "type": "exceed_context_size_error"}
    error = PROVIDER.error(400, {}, msgspec.json.encode({"error": said}))
    assert (error.status, error.code) == (400, "context_length_exceeded")


def test_models_are_asked_for_in_one_page() -> None:
    """Under a version, without which the API refuses."""
    listing = PROVIDER.models_request()
    assert (listing.method, listing.path) == ("GET", "/v1/models?limit=1000")
    assert dict(listing.headers) == {"anthropic-version": "2023-06-01"}
    body = b'{"data":[{"type":"model","id":"a","display_name":"A"},{"id":"b"}],"has_more":false}'
    assert PROVIDER.decode_models(body) == ["a", "b"]
    for broken in (b"", b"[]", b'{"data":[{}]}', b"\xff"):
        with pytest.raises(UpstreamError):
            PROVIDER.decode_models(broken)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "index", "delta", "content_block", "message", "usage", "error", "text", "input", "content"]
            ),
            inner | st.sampled_from(["content_block_start", "content_block_delta", "text_delta", "tool_use", "text"]),
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=4))
def test_decoder_takes_any_json(values: list[Any]) -> None:
    """Whatever comes is read or skipped, and text that is no text is no text of an answer."""
    decoder = PROVIDER.decoder()
    for value in values:
        deltas = decoder.decode(SseFrame(b"", msgspec.json.encode(value)))
        assert all(isinstance(delta.text, str) for delta in deltas or () if isinstance(delta, TextDelta))


@given(json_values)
def test_answer_of_any_json_is_read_or_refused(value: Any) -> None:
    """Never anything but deltas or an error of the provider's."""
    try:
        assert isinstance(PROVIDER.decode_answer(msgspec.json.encode(value)), list)
    except UpstreamError:
        pass
