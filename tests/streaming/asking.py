"""One question to a gateway and its whole answer, for tests of what routes say rather than of how streams flow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tests.fakes.clients import Answer, RawClient, ServerEvent, collect
from tests.fakes.gateway import GatewayInTest
from tests.fakes.http import Headers
from tests.streaming.described import check_answer


@dataclass(frozen=True)
class Got:
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object, checked to be in OpenAI's shape, under an id of ours."""
        assert self.headers["content-type"] == "application/json"
        self.check_id()
        answer: dict[str, dict[str, Any]] = self.json
        assert list(answer) == ["error"]
        error = answer["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        assert isinstance(error["type"], str)
        return error

    def check_id(self) -> str:
        """The answer's id: ours, and once."""
        ids = [value for name, value in self.headers.pairs if name.lower() == "x-request-id"]
        assert len(ids) == 1, ids
        assert ids[0].startswith("req_")
        return ids[0]

    @property
    def stream(self) -> Answer:
        """The Chat Completions stream in the body, added up."""
        return collect([event.data for event in self.events if event.data is not None])

    @property
    def events(self) -> list[ServerEvent]:
        """The SSE events in the body."""
        return [_parse(raw + b"\n\n") for raw in self.body.split(b"\n\n") if raw]


def _parse(raw: bytes) -> ServerEvent:
    fields: dict[str, list[str]] = {}
    for line in raw.decode().rstrip("\n").split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    return ServerEvent(
        raw,
        "\n".join(fields["data"]) if "data" in fields else None,
        fields.get("event", ["message"])[-1],
        fields.get("id", [None])[-1] if "id" in fields else None,
        tuple(fields.get("", ())),
    )


async def read(client: RawClient, *, without_body: bool = False) -> Got:
    """The answer to the request that was sent last. `without_body`: to HEAD, and the connection must be closed."""
    status = await client.response()
    if without_body:
        body = await client.read_some()
        assert body == b""
    else:
        body = await client.read_body()
    return Got(status, client.headers, body)


async def ask(
    g: GatewayInTest,
    method: str,
    path: str,
    *,
    json: object = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Got:
    """One request on a connection of its own, whose answer is as `GET /openapi.json` says.

    What stands in events is looked at by test_openapi.py alone: many tests have a provider say what none would.
    """
    async with await g.client() as client:
        await client.request(method, path, json=json, body=body, headers={"connection": "close", **(headers or {})})
        got = await read(client, without_body=method == "HEAD")
    if method != "OPTIONS":  # CORS answers it, for every path
        check_answer(method, path, got.status, got.headers, got.body, events=False)
    return got
