"""The table: what a provider said of an error, by status and words → what our client is told.

Every family reads its own bodies into `Said`, then this decides. The provider's fault must not look like the client's:
a wrong key of ours is a 502, not a 401. Source: OpenAI's error codes, and the other families' by the status that says
the same; compatible servers as observed; read 2026-11.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from rillgate.domain.errors import UpstreamError, UpstreamTimeout

MESSAGE_CHARS_MAX = 2000
RETRY_AFTER_S_MAX = 60.0  # official SDKs ignore or refuse longer waits
QUOTA = "insufficient_quota"
CONTEXT = "context_length_exceeded"
QUOTA_CODES = frozenset({QUOTA, "credit_balance_exhausted", "billing_hard_limit_reached"})
CONTEXT_CODES = frozenset({CONTEXT, "exceed_context_size_error"})
CONTEXT_TEXTS = (
    "maximum context length",
    "max context length",
    "context limit",
    "exceeds the context length",
    "exceeds context length",
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


class Said(msgspec.Struct, frozen=True):
    """What a provider says of an error.

    Attributes:
        kind, code: OpenAI's words, or others that mean nothing here.
        param: the field of the request that it is about.
    """

    message: str = ""
    kind: str | None = None
    code: str | None = None
    param: str | None = None


def refused(name: str, remedy: str = "check its api_key") -> UpstreamError:
    """Our credentials were. Nothing of what the provider said: it may repeat the key."""
    return UpstreamError(
        f"Provider {name!r} refused the gateway's credentials; {remedy}.",
        retryable=False,
        kind="upstream_error",
        code="upstream_auth",
        should_retry=False,
    )


def error_in_response(name: str, status: int, headers: Mapping[str, str], said: Said) -> UpstreamError:
    """A response with an error status. Header names in lower case."""
    return _classified(name, status, f"Provider {name!r}: ", said, _retry_after(headers))


def error_in_stream(name: str, status: int, said: Said) -> UpstreamError:
    """An error inside a stream, or in a body with status 200: its message stays what the provider said.

    Args: status: that the same error has as a response.
    """
    return _classified(name, status, "", said, None)


def _classified(name: str, status: int, prefix: str, said: Said, retry_after_s: float | None) -> UpstreamError:
    words, param = {said.kind, said.code}, said.param
    message = said.message[:MESSAGE_CHARS_MAX]
    text = f"{prefix}{message}" if message else f"Provider {name!r} answered with status {status}."
    if status in (401, 403) or not AUTH_CODES.isdisjoint(words) or _has(message, AUTH_TEXTS):
        return refused(name)
    if not CONTEXT_CODES.isdisjoint(words) or _has(message, CONTEXT_TEXTS):
        return UpstreamError(text, retryable=False, status=400, kind="invalid_request_error", code=CONTEXT, param=param)
    if status == 402 or not QUOTA_CODES.isdisjoint(words):
        return UpstreamError(text, retryable=False, status=429, kind=QUOTA, code=QUOTA, should_retry=False)
    if status == 429:
        return UpstreamError(
            text, status=429, kind="rate_limit_error", code="rate_limit_exceeded", retry_after_s=retry_after_s
        )
    if status in (408, 504):
        return UpstreamTimeout(text)
    if status in (503, 529):
        return UpstreamError(text, status=503, code="upstream_overloaded", retry_after_s=retry_after_s)
    if status == 404:
        code = said.code or "model_not_found"
        return UpstreamError(text, retryable=False, status=404, kind="invalid_request_error", code=code, param=param)
    if status in (400, 409, 413, 422):
        return UpstreamError(
            text,
            retryable=status == 409,  # a conflict passes
            status=status,
            kind="invalid_request_error",
            code=said.code or ("request_too_large" if status == 413 else "invalid_request"),
            param=param,
        )
    return UpstreamError(text)


def _has(message: str, signs: Collection[str]) -> bool:
    lowered = message.lower()
    return any(sign in lowered for sign in signs)


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
