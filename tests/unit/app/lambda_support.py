"""A request to an ASGI app as the streaming layer makes it, without a layer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec

from rillgate.app.context import App


@dataclass
class Answer:
    """What the app sent. `parts` are the body's messages."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self.parts)

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """ASGI."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        elif message.get("body"):
            self.parts.append(message["body"])


async def ask(
    app: App,
    key: str | None,
    body: object = None,
    *,
    path: str = "/v1/chat/completions",
    method: str = "POST",
    extensions: Mapping[str, Any] | None = None,
) -> Answer:
    """One request; comes back when the app does."""
    messages: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": b"" if body is None else msgspec.json.encode(body)})
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"abc.lambda-url.eu-central-1.on.aws"),
            *([(b"authorization", f"Bearer {key}".encode())] if key else []),
        ],
        "client": ("203.0.113.7", 0),
        "server": ("abc.lambda-url.eu-central-1.on.aws", 443),
        "extensions": {"lambda_asgi": {"context": SimpleNamespace(aws_request_id="aws-1")}, **(extensions or {})},
    }
    answer = Answer()
    await app(scope, messages.get, answer.send)
    return answer
