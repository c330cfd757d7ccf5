"""`GET /v1/models` in the shapes that clients read: OpenAI's, or Anthropic's for its own SDKs.

Source: wire formats, sections 2.2 and 4; the types of both SDKs, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rillgate.app.naming import ModelEntry
from rillgate.app.spoken import MESSAGES_DIALECT
from rillgate.domain.ports import Dialect

UNKNOWN_DATE = "1970-01-01T00:00:00Z"  # what Anthropic's SDKs are told where a release date is not known


def models_object(entries: Sequence[ModelEntry], dialect: Dialect) -> dict[str, Any]:
    """A list of models, whole."""
    data = [model_object(entry, dialect) for entry in entries]
    if dialect is not MESSAGES_DIALECT:
        return {"object": "list", "data": data}
    first, last = (entries[0].id, entries[-1].id) if entries else (None, None)
    return {"data": data, "has_more": False, "first_id": first, "last_id": last}


def model_object(entry: ModelEntry, dialect: Dialect) -> dict[str, Any]:
    """One model."""
    if dialect is not MESSAGES_DIALECT:
        return {"id": entry.id, "object": "model", "created": 0, "owned_by": entry.provider}
    return {
        "type": "model",
        "id": entry.id,
        "display_name": entry.id,
        "created_at": UNKNOWN_DATE,
        "lifecycle": "active",
    }
