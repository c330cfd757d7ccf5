"""Reasoning that its family wants back, in the one field of this API that clients keep and do not read.

`encrypted_content` of a reasoning item holds base64url of JSON: what `reasoning_details` says of it, with the family in
`format`. Nothing in it is secret. What we did not write is OpenAI's own, and stays as it is; so does what OpenAI said
that belongs to no certain call.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import msgspec

from rillgate.dialects.whole import Opaque, Thought
from rillgate.domain.delta import OPENAI_ORIGIN
from rillgate.wire.loose_json import json_bytes

PREFIX = "rillgate."


def sealed(thought: Thought | Opaque) -> str:
    """For `encrypted_content`.

    Shape: Thought("Hm.", "c2ln", "anthropic-claude-v1") → "rillgate.eyJ0eXBlIjoi…"
    """
    if isinstance(thought, Opaque):
        if thought.origin == OPENAI_ORIGIN and not thought.call_id:
            return thought.data
        detail = {"type": "reasoning.encrypted", "data": thought.data, "format": thought.origin}
        if thought.call_id:
            detail["id"] = thought.call_id
    else:
        kept = {"text": thought.text, "signature": thought.signature, "format": thought.origin}
        detail = {"type": "reasoning.text", **kept}
    return PREFIX + urlsafe_b64encode(json_bytes(detail)).decode()


def opened(encrypted: str) -> dict[str, Any]:
    """What `sealed` wrote, as an entry of `reasoning_details`; anything else as OpenAI's own."""
    if encrypted.startswith(PREFIX):
        try:
            detail = msgspec.json.decode(urlsafe_b64decode(encrypted[len(PREFIX) :]))
        except (ValueError, RecursionError):  # not base64, or not JSON: cut short, or another's
            detail = None
        if isinstance(detail, dict):
            return detail
    return {"type": "reasoning.encrypted", "data": encrypted, "format": OPENAI_ORIGIN}
