"""What Ollama's errors mean for our client: they are a sentence, `{"error": "…"}`, with or without a status.

Source: Ollama's server source, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rillgate.domain.errors import UpstreamError
from rillgate.providers.loose_json import loads_or_none
from rillgate.providers.openai_errors import error_from_object, error_from_response

CONTEXT_TEXTS = ("max context length", "exceeds the context length", "exceeds context length")
# What is said in mid-stream, where the status is lost → the status that it has as a response
STATUS_OF_TEXT = {"not found": 404, "does not support": 400, "server busy": 503, "try again": 503}


def ollama_error_from_response(name: str, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """A response with an error status. Header names in lower case; `body` may be cut."""
    content = loads_or_none(body)
    said = content.get("error") if isinstance(content, dict) else None
    if isinstance(said, str) and _is_context(said):
        body = msgspec.json.encode({"error": {"message": said, "code": "context_length_exceeded"}})
    return error_from_response(name, status, headers, body)


def ollama_error_from_object(name: str, said: Any) -> UpstreamError:
    """An error inside a stream, or in a body with status 200."""
    if not isinstance(said, str):
        return error_from_object(name, said)
    if _is_context(said):
        return error_from_object(name, {"message": said, "code": "context_length_exceeded"})
    status = next((status for sign, status in STATUS_OF_TEXT.items() if sign in said.lower()), None)
    return error_from_object(name, {"message": said, **({"code": status} if status else {})})


def _is_context(said: str) -> bool:
    return any(sign in said.lower() for sign in CONTEXT_TEXTS)
