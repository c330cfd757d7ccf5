"""Ids for tool calls of servers that give none."""

from __future__ import annotations

import hashlib

ID_CHARS = 24  # as many as Ollama's and OpenAI's own ids have, behind "call_"


def made_id(data: bytes, index: int) -> str:
    """An id unlike those of the conversation's other turns.

    Args:
        data: what the call came in. It holds a time in nanoseconds or an id of the answer: no two turns have the same.
        index: of the call in its answer.
    """
    return "call_" + hashlib.sha256(data + b"#%d" % index).hexdigest()[:ID_CHARS]
