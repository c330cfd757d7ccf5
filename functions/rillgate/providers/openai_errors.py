"""What the errors of OpenAI and compatible servers mean for our client.

The provider's fault must not look like the client's: a wrong key of ours is a 502, not a 401. Bodies come as
`{"error": {…}}`, `{"error": "text"}`, `{"message": …}`, `{"detail": …}` or HTML; all are read, none is trusted
to have a shape. Source: https://platform.openai.com/docs/guides/error-codes and compatible servers as observed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from rillgate.domain.errors import UpstreamError, UpstreamTimeout

MESSAGE_CHARS_MAX = 2000
RETRY_AFTER_S_MAX = 60.0  # official SDKs ignore or refuse longer waits
QUOTA_CODES = frozenset({"insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached"})
CONTEXT_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
CONTEXT_TEXTS = (
    "maximum context length",
    "context limit",
    "exceeds the available context size",
    "exceeds the maximum number of tokens",
    "prompt is too long",
    "input is too long",
)
AUTH_CODES = frozenset({"invalid_api_key", "authentication_error"})
AUTH_TEXTS = (
    "api key not valid",
    "incorrect api key",
    "invalid api key",
    "api_key_invalid",
)  # said with status 400 too
# error.type or error.code inside a stream → the status that the same error has as a response
STATUS_OF_WORD = {
    "invalid_request_error": 400,
    "exceed_context_size_error": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "slow_down": 429,
    "insufficient_quota": 429,
    "requests": 429,
    "tokens": 429,
    "server_is_overloaded": 503,
    "overloaded_error": 503,
    "service_unavailable_error": 503,
    "unavailable_error": 503,
    "timeout": 504,
}


def error_from_response(name: str, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """A response with an error status. Header names in lower case; `body` may be cut."""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = None  # HTML, or a body that was cut
    return _classify(name, status, f"Provider {name!r}: ", _detail(content), _retry_after(headers))


def error_from_object(name: str, content: Any) -> UpstreamError:
    """An error inside a stream, or in a body with status 200: its status is in `code`, or follows from its words.

    Its message stays what the provider said.
    """
    detail = _detail(content)
    return _classify(name, _status_of(detail), "", detail, None)


def _classify(name: str, status: int, prefix: str, detail: Any, retry_after_s: float | None) -> UpstreamError:
    """The table: status and words of the provider → what our client is told."""
    said, kind, code, param = _words(detail)
    text = f"{prefix}{said}" if said else f"Provider {name!r} answered with status {status}."
    if status in (401, 403) or not AUTH_CODES.isdisjoint((kind, code)) or _has(said, AUTH_TEXTS):
        # Nothing of what it said: it may repeat the key.
        return UpstreamError(
            f"Provider {name!r} refused the gateway's credentials; check its api_key.",
            retryable=False,
            kind="upstream_error",
            code="upstream_auth",
            should_retry=False,
        )
    if not CONTEXT_CODES.isdisjoint((kind, code)) or _has(said, CONTEXT_TEXTS):
        return UpstreamError(
            text, retryable=False, status=400, kind="invalid_request_error", code="context_length_exceeded", param=param
        )
    if status == 402 or code in QUOTA_CODES or kind in QUOTA_CODES:
        return UpstreamError(
            text,
            retryable=False,
            status=429,
            kind="insufficient_quota",
            code="insufficient_quota",
            should_retry=False,
        )
    if status == 429:
        return UpstreamError(
            text, status=429, kind="rate_limit_error", code="rate_limit_exceeded", retry_after_s=retry_after_s
        )
    if status in (408, 504):
        return UpstreamTimeout(text)
    if status in (503, 529):
        return UpstreamError(text, status=503, code="upstream_overloaded", retry_after_s=retry_after_s)
    if status == 404:
        return UpstreamError(
            text, retryable=False, status=404, kind="invalid_request_error", code=code or "model_not_found", param=param
        )
    if status in (400, 409, 413, 422):
        return UpstreamError(
            text,
            retryable=status == 409,  # a conflict passes
            status=status,
            kind="invalid_request_error",
            code=code or ("request_too_large" if status == 413 else "invalid_request"),
            param=param,
        )
    return UpstreamError(text)


def _has(said: str, signs: Collection[str]) -> bool:
    lowered = said.lower()
    return any(sign in lowered for sign in signs)


def _detail(content: Any) -> Any:
    """What is said about the error: the value of `error`, or a flat body itself, alone or in a list of one (Gemini)."""
    if isinstance(content, list) and content:
        content = content[0]
    if isinstance(content, dict):
        inner = content.get("error")
        if inner and isinstance(inner, dict | str):
            return inner
    return content


def _words(detail: Any) -> tuple[str, str | None, str | None, str | None]:
    """(message, type, code, param) of whatever came."""
    if isinstance(detail, str):
        return detail[:MESSAGE_CHARS_MAX], None, None, None
    if not isinstance(detail, dict):
        return "", None, None, None
    message = detail.get("message") or detail.get("detail") or detail.get("error")
    if message and isinstance(message, dict | list):
        message = msgspec.json.encode(message).decode()
    code = _string(detail.get("code"))
    return (
        (_string(message) or "")[:MESSAGE_CHARS_MAX],
        _string(detail.get("type")),
        None if code is None or code.isdigit() else code,  # a status as text is no code
        _string(detail.get("param")),
    )


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _status_of(detail: Any) -> int:
    if not isinstance(detail, dict):
        return 502
    for key in ("code", "status", "status_code"):
        value = detail.get(key)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
            value = int(value)
        if isinstance(value, int) and 400 <= value <= 599:
            return value
    for key in ("code", "type"):
        status = STATUS_OF_WORD.get(str(detail.get(key)))
        if status is not None:
            return status
    return 502


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """`retry-after-ms`, else `retry-after` in seconds; dates are left out, since clocks differ."""
    for key, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[key]) * scale
        except (KeyError, ValueError):
            continue
        if 0 <= seconds <= RETRY_AFTER_S_MAX:
            return seconds
    return None
