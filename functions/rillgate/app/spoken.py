"""In which dialect a request is answered where no handler says it: errors before a route, in it and instead of one."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from rillgate.dialects.chat_completions import ChatCompletions
from rillgate.dialects.messages import Messages
from rillgate.domain.ports import Dialect

OPENAI_DIALECT = ChatCompletions()
MESSAGES_DIALECT = Messages()
MESSAGES_PATH = "/v1/messages"
RESPONSES_PATH = "/v1/responses"  # its errors, and the next one's, are those of Chat Completions
UI_STREAM_PATH = "/v1/ui-stream"
_OF_OPENAI = ("/v1/chat/", "/v1/embeddings", "/chat", RESPONSES_PATH, UI_STREAM_PATH)


def dialect_of(scope: Mapping[str, Any]) -> Dialect:
    """Anthropic's on its own routes and below them; OpenAI's on its own; elsewhere Anthropic's for whoever sends
    `anthropic-version`, else OpenAI's.
    """
    path = scope["path"]
    if path == MESSAGES_PATH or path.startswith(f"{MESSAGES_PATH}/"):
        return MESSAGES_DIALECT
    if path.startswith(_OF_OPENAI):
        return OPENAI_DIALECT
    sends_version = any(name == b"anthropic-version" for name, _ in scope["headers"])
    return MESSAGES_DIALECT if sends_version else OPENAI_DIALECT


def id_headers(scope: MutableMapping[str, Any], request_id: str) -> list[tuple[bytes, bytes]]:
    """Under which names the client's SDK looks for the request's id; ours is always there."""
    value = request_id.encode()
    ours = [(b"x-request-id", value)]
    return [*ours, (b"request-id", value)] if dialect_of(scope) is MESSAGES_DIALECT else ours
