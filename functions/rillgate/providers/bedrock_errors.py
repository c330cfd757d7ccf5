"""What Amazon Bedrock says of an error, as an answer and inside a stream.

The type stands in `x-amzn-errortype`, some servers write it into the body as `__type`; in a stream it is the
exception's own. Each stands for the status by which `error_table` knows it.
Source: Amazon Bedrock API Reference, Converse, "Errors"; User Guide, "Troubleshooting Amazon Bedrock API Error Codes";
AWS, "Common errors"; read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rillgate.domain.errors import UpstreamError
from rillgate.providers.error_table import Said, error_in_response, error_in_stream, refused
from rillgate.wire.loose_json import loads_or_none, text

# Type, in lower case and without "Exception" → the status that says the same.
STATUSES = {
    "validation": 400,
    "modelerror": 502,
    "modelstreamerror": 502,
    "modeltimeout": 408,
    "modelnotready": 503,
    "resourcenotfound": 404,
    "throttling": 429,
    "toomanyrequests": 429,
    "servicequotaexceeded": 429,
    "internalserver": 502,
    "internalfailure": 502,
    "serviceunavailable": 503,
}
# Our credentials, or what they may do.
REFUSED = frozenset(
    {
        "accessdenied",
        "expiredtoken",
        "incompletesignature",
        "invalidclienttokenid",
        "invalidsignature",
        "invalidtoken",
        "missingauthenticationtoken",
        "notauthorized",
        "optinrequired",
        "requestexpired",
        "requesttimetooskewed",
        "signaturedoesnotmatch",
        "unrecognizedclient",
    }
)
REMEDY = "check them, and that they may use this model"
UNKNOWN_MODEL = "model identifier is invalid"  # said with ValidationException


def error_from_answer(name: str, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """A response with an error status. Header names in lower case; `body` may be cut."""
    said = _object(body)
    kind = _kind(headers.get("x-amzn-errortype") or text(said.get("__type")))
    if kind in REFUSED or status in (401, 403):
        return refused(name, REMEDY)
    message = _message(said)
    known = _status(kind, message) or (502 if status == 424 else status)
    return _with_original(error_in_response(name, known, headers, Said(message)), said)


def error_from_exception(name: str, kind: str, data: bytes) -> UpstreamError:
    """An exception, or an error, inside a stream."""
    kind, said = _kind(kind), _object(data)
    if kind in REFUSED:
        return refused(name, REMEDY)
    message = _message(said) or f"Provider {name!r} ended its stream with an error ({kind[:60] or 'unnamed'})."
    return _with_original(error_in_stream(name, _status(kind, message) or 502, Said(message)), said)


def _status(kind: str, message: str) -> int | None:
    if kind == "validation" and UNKNOWN_MODEL in message.lower():
        return 404
    return STATUSES.get(kind)


def _with_original(error: UpstreamError, said: Mapping[str, Any]) -> UpstreamError:
    """A model's own error that lies in the request comes again with it."""
    original = said.get("originalStatusCode")
    if isinstance(original, int) and 400 <= original < 500 and original not in (408, 429):
        error.retryable = False
    return error


def _kind(given: str) -> str:
    """Shape: "com.amazonaws#ThrottlingException:http://…" → "throttling"."""
    return given.partition(":")[0].rpartition("#")[2].lower().removesuffix("exception")


def _message(said: Mapping[str, Any]) -> str:
    return text(said.get("message")) or text(said.get("Message"))


def _object(body: bytes) -> Mapping[str, Any]:
    value = loads_or_none(body)
    return value if isinstance(value, dict) else {}
