"""What Ollama says of an error: a sentence, `{"error": "…"}`, with or without a status.

As responses they are what compatible servers say too. Source: Ollama's server source, read 2026-11.
"""

from __future__ import annotations

from typing import Any

from rillgate.domain.errors import UpstreamError
from rillgate.providers.error_table import Said, error_in_stream
from rillgate.providers.openai_errors import error_from_object

# What is said in mid-stream, where the status is lost → the status that it has as a response
STATUS_OF_TEXT = {"not found": 404, "does not support": 400, "server busy": 503, "try again": 503}


def ollama_error_from_object(name: str, said: Any) -> UpstreamError:
    """An error inside a stream, or in a body with status 200."""
    if not isinstance(said, str):
        return error_from_object(name, said)
    status = next((status for sign, status in STATUS_OF_TEXT.items() if sign in said.lower()), 502)
    return error_in_stream(name, status, Said(said))
