"""What Gemini says of an error: a google.rpc.Status, in an answer or inside a stream, alone or in a list of one.

Its `status` says more than the HTTP status: a wrong key is 400 INVALID_ARGUMENT with the reason API_KEY_INVALID, a
place or an account that may not ask is 400 FAILED_PRECONDITION. How long to wait stands in the details, not in a
header.
Source: Gemini API, "Troubleshooting" and "Rate limits"; google.rpc.Status, ErrorInfo, RetryInfo and QuotaFailure of
googleapis; read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rillgate.domain.errors import UpstreamError
from rillgate.providers.error_table import QUOTA, Said, error_in_response, error_in_stream, refused
from rillgate.providers.openai_errors import error_from_object, error_from_response
from rillgate.wire.loose_json import loads_or_none, text

STATUSES = {
    "INVALID_ARGUMENT": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 502,
    "UNKNOWN": 502,
    "INTERNAL": 502,
    "DATA_LOSS": 502,
    "UNIMPLEMENTED": 502,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
REFUSED_KEYS = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED", "ACCESS_TOKEN_EXPIRED"})
PRECONDITION = "FAILED_PRECONDITION"
REMEDY = "check the account's billing, and that Gemini answers where it asks from"
PER_DAY = "PerDay"  # in the name of a quota that no client waits for


def gemini_error_from_response(name: str, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """A response with an error status. Header names in lower case; `body` may be cut."""
    error = _error(loads_or_none(body))
    if error is None:
        return error_from_response(name, status, headers, body)
    waits = {} if "retry-after" in headers else _retry_delay(error)
    return _refusal(name, error) or error_in_response(
        name, STATUSES.get(error["status"], status), {**headers, **waits}, _said(error)
    )


def gemini_error_from_object(name: str, content: Any) -> UpstreamError:
    """An error inside a stream, or in a body with status 200."""
    error = _error(content)
    if error is None:
        return error_from_object(name, content)
    return _refusal(name, error) or error_in_stream(name, STATUSES.get(error["status"], 502), _said(error))


def _error(content: Any) -> dict[str, Any] | None:
    """The error of {"error": {"code", "message", "status", "details"}}; None for any other shape."""
    if isinstance(content, list) and content:
        content = content[0]
    error = content.get("error") if isinstance(content, dict) else None
    return error if isinstance(error, dict) and text(error.get("status")) else None


def _refusal(name: str, error: Mapping[str, Any]) -> UpstreamError | None:
    if error["status"] == PRECONDITION:
        return refused(name, REMEDY)
    reasons = {text(detail.get("reason")) for detail in _details(error)}
    return refused(name) if reasons & REFUSED_KEYS else None


def _said(error: Mapping[str, Any]) -> Said:
    quotas = [
        text(violation.get("quotaId")) for detail in _details(error) for violation in _dicts(detail.get("violations"))
    ]
    return Said(text(error.get("message")), code=QUOTA if any(PER_DAY in quota for quota in quotas) else None)


def _retry_delay(error: Mapping[str, Any]) -> dict[str, str]:
    """Shape: {"@type": "…/google.rpc.RetryInfo", "retryDelay": "34s"} → {"retry-after": "34"}"""
    delays = [text(detail.get("retryDelay")) for detail in _details(error)]
    return next(({"retry-after": delay.removesuffix("s")} for delay in delays if delay.endswith("s")), {})


def _details(error: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    return _dicts(error.get("details"))


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    return (each for each in (value if isinstance(value, list) else ()) if isinstance(each, dict))
