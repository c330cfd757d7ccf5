"""Reasoning that one family made, kept by a client that speaks another family's dialect, until it goes back.

A client of Anthropic's sends back whatever stands in a `redacted_thinking` block, unread. So what the models of Google
and OpenAI want back travels there too, with its family's name and the tool call that it belongs to in front.
Anthropic's own data is base64 and holds no colon, so the two cannot be mistaken for each other. Pure; both sides of the
house use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rillgate.domain.delta import ANTHROPIC_ORIGIN, GOOGLE_ORIGIN, OPENAI_ORIGIN

SEPARATOR = ":"
CARRIED = frozenset({GOOGLE_ORIGIN, OPENAI_ORIGIN})  # families whose providers take back what they gave


def seal(origin: str, call_id: str | None, data: str) -> str | None:
    """What Anthropic's client keeps: its own family's as it is, None for what nobody here would take back.

    Shape: ("google-gemini-v1", "call_1", "Q0E=") → "google-gemini-v1:call_1:Q0E="
    """
    if origin == ANTHROPIC_ORIGIN:
        return data
    return SEPARATOR.join((origin, call_id or "", data)) if origin in CARRIED else None


def unseal(kept: str) -> tuple[str, str, str]:
    """Origin, call id ("" for none) and data of what it kept. Only ids may hold colons."""
    origin, separator, rest = kept.partition(SEPARATOR)
    if not separator or origin not in CARRIED:
        return ANTHROPIC_ORIGIN, "", kept
    call_id, _, data = rest.rpartition(SEPARATOR)
    return origin, call_id, data


def holds(message: Mapping[str, Any], origin: str) -> bool:
    """Whether a message in Chat Completions vocabulary brings back what this family made."""
    kept = message.get("reasoning_details")
    return isinstance(kept, list) and any(
        isinstance(detail, dict) and detail.get("format") == origin for detail in kept
    )
