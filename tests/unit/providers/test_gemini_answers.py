"""What Gemini's whole answers, lists and errors mean. What its streams mean stands in the corpus."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rillgate.domain.delta import (
    GOOGLE_ORIGIN,
    Delta,
    FinishDelta,
    OpaqueReasoningDelta,
    ReasoningDelta,
    TextDelta,
    ToolDelta,
    UsageDelta,
)
from rillgate.domain.errors import UpstreamError, UpstreamTimeout
from rillgate.domain.usage import Usage
from rillgate.providers.gemini import GeminiProvider

PROVIDER = GeminiProvider("google")


def decode(answer: object) -> list[Delta]:
    """The deltas of a whole answer."""
    return PROVIDER.decode_answer(answer if isinstance(answer, bytes) else msgspec.json.encode(answer))


def refused(answer: object) -> UpstreamError:
    """The error that a whole answer is."""
    with pytest.raises(UpstreamError) as found:
        decode(answer)
    return found.value


def status(code: int, name: str, *details: Any, message: str = "no") -> bytes:
    """A body with a google.rpc.Status."""
    error = {"code": code, "message": message, "status": name, "details": list(details)}
    return msgspec.json.encode({"error": error})


def test_whole_answer_says_all_of_it_in_order() -> None:
    """Thought, text, a signed call, the finish, the counts."""
    parts = [
        {"text": "hm", "thought": True},
        {"text": "Hi"},
        {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"},
    ]
    answer = {
        "candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4, "thoughtsTokenCount": 2},
    }
    assert decode(answer) == [
        ReasoningDelta(0, "hm"),
        TextDelta(0, "Hi"),
        OpaqueReasoningDelta(0, "c2ln", GOOGLE_ORIGIN, "a"),
        ToolDelta(0, 0, "a", "f", '{"x":1}'),
        FinishDelta(0, "tool_calls"),
        UsageDelta(Usage(9, 6, reasoning_tokens=2)),
    ]


def test_whole_answer_that_is_none_is_an_error() -> None:
    """Blocked, given up, empty, no JSON, an error with status 200."""
    blocked = refused({"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "Not that."}})
    assert (blocked.status, blocked.code, blocked.retryable) == (400, "content_filter", False)
    assert blocked.message.endswith("blocked the prompt (SAFETY): Not that.")
    given_up = {"candidates": [{"finishReason": "UNEXPECTED_TOOL_CALL", "finishMessage": "why"}]}
    assert "'UNEXPECTED_TOOL_CALL'): why" in refused(given_up).message
    nothing: list[object] = [{}, {"candidates": []}, {"usageMetadata": {"promptTokenCount": 1}}, [], b"null"]
    for empty in nothing:
        assert "without candidates" in refused(empty).message
    assert "is not a Gemini answer" in refused(b"<html>").message
    assert refused(status(503, "UNAVAILABLE")).status == 503


def test_models_that_serve_here_are_listed_by_their_names() -> None:
    """Those for chats and for embeddings; one that does not say what for may be either."""
    models = [
        {"name": "models/a", "supportedGenerationMethods": ["generateContent", "countTokens"]},
        {"name": "models/b", "supportedGenerationMethods": ["predict"]},
        {"name": "models/c", "supportedGenerationMethods": ["embedContent"]},
        {"name": "tunedModels/d"},
    ]
    assert PROVIDER.decode_models(msgspec.json.encode({"models": models})) == ["a", "c", "tunedModels/d"]
    assert PROVIDER.decode_models(b"{}") == []
    with pytest.raises(UpstreamError):
        PROVIDER.decode_models(b'{"models": 1}')


QUOTA = {"@type": "type.googleapis.com/google.rpc.QuotaFailure"}


@pytest.mark.parametrize(
    ("http_status", "body", "expected"),
    [
        (400, status(400, "INVALID_ARGUMENT"), (400, "invalid_request", False)),
        (400, status(400, "INVALID_ARGUMENT", {"reason": "API_KEY_INVALID"}), (502, "upstream_auth", False)),
        (400, status(400, "INVALID_ARGUMENT", message="API key not valid."), (502, "upstream_auth", False)),
        (400, status(400, "FAILED_PRECONDITION", message="User location"), (502, "upstream_auth", False)),
        (403, status(403, "PERMISSION_DENIED"), (502, "upstream_auth", False)),
        (404, status(404, "NOT_FOUND"), (404, "model_not_found", False)),
        (429, status(429, "RESOURCE_EXHAUSTED"), (429, "rate_limit_exceeded", True)),
        (
            429,
            status(429, "RESOURCE_EXHAUSTED", {**QUOTA, "violations": [{"quotaId": "GenerateRequestsPerDayPerModel"}]}),
            (429, "insufficient_quota", False),
        ),
        (500, status(500, "INTERNAL"), (502, "upstream_error", True)),
        (503, status(503, "UNAVAILABLE"), (503, "upstream_overloaded", True)),
        (504, status(504, "DEADLINE_EXCEEDED"), (504, "upstream_timeout", True)),
        (499, status(499, "CANCELLED"), (502, "upstream_error", True)),
        (418, status(418, "TEAPOT"), (502, "upstream_error", True)),
        (400, b'[{"error": {"code": 404, "message": "x", "status": "NOT_FOUND"}}]', (404, "model_not_found", False)),
        (502, b"<html>bad gateway</html>", (502, "upstream_error", True)),
        (401, b'{"error": "who"}', (502, "upstream_auth", False)),
    ],
)
def test_error_status_is_ours_by_what_google_calls_it(http_status: int, body: bytes, expected: Any) -> None:
    """The table of all families, by the status that Google names."""
    error = PROVIDER.error(http_status, {}, body)
    assert (error.status, error.code, error.retryable) == expected


@pytest.mark.parametrize(
    ("headers", "delay", "expected"),
    [({}, "34s", 34.0), ({}, "0.5s", 0.5), ({"retry-after": "7"}, "34s", 7.0), ({}, "3600s", None), ({}, 5, None)],
)
def test_error_says_how_long_to_wait(headers: dict[str, str], delay: Any, expected: float | None) -> None:
    """Google says it in the details; a header would count more, a long wait is not passed on."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    assert PROVIDER.error(429, headers, status(429, "RESOURCE_EXHAUSTED", info)).retry_after_s == expected


def test_error_never_repeats_a_key() -> None:
    """Google's own words on a key may hold it."""
    body = status(400, "INVALID_ARGUMENT", {"reason": "API_KEY_INVALID"}, message="AIza-secret is not valid")
    assert "AIza" not in PROVIDER.error(400, {}, body).message
    assert isinstance(PROVIDER.error(408, {}, b""), UpstreamTimeout)
