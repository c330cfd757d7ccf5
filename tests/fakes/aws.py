"""What AWS puts beside a program, on loopback: a service, the container endpoint, the instance metadata."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

from rillgate.domain.request import Endpoint
from rillgate.upstream.aws_metadata import CONTAINER_URL, INSTANCE_URL, ROLE_PATH
from rillgate.upstream.exchange import Exchange, UpstreamResponse
from tests.fakes.exchange import Exchange as Seen
from tests.fakes.exchange import Script
from tests.fakes.provider import FakeProvider

CONTAINER_PATH = "/v2/credentials"
ROLE = "gateway-role"


class FakeAws(FakeProvider):
    """A scriptable server that answers each path by a script of its own; a path without one is a 404.

    Attributes:
        routes: method and path → the script, the same for every request until it is replaced.
        others: the requests so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.routes: dict[tuple[str, str], Script] = {}

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def script_for(self, exchange: Seen) -> Script:
        """What answers this request."""
        return self.routes.get((exchange.method, exchange.path)) or super().script_for(exchange)

    def serve_container(self, content: Mapping[str, Any]) -> None:
        """Answer as the container endpoint does."""
        self.routes["GET", CONTAINER_PATH] = answer(content)

    def serve_instance(self, content: Mapping[str, Any]) -> None:
        """Answer as the instance metadata does: nothing without the token that a PUT gave."""

        async def token(exchange: Seen) -> None:
            seconds = exchange.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
            await exchange.answer_json(b"imds-token", 200 if seconds.isdigit() else 400)

        def guarded(body: bytes) -> Script:
            async def give(exchange: Seen) -> None:
                allowed = exchange.headers.get("x-aws-ec2-metadata-token") == "imds-token"
                await exchange.answer_json(body if allowed else b"", 200 if allowed else 401)

            return give

        self.routes["PUT", "/latest/api/token"] = token
        self.routes["GET", ROLE_PATH] = guarded(f"{ROLE}\n".encode())
        self.routes["GET", ROLE_PATH + ROLE] = guarded(msgspec.json.encode({"Code": "Success", **content}))


def answer(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Script:
    """One JSON answer, as a script."""

    async def give(exchange: Seen) -> None:
        await exchange.answer_json(content, status, headers)

    return give


def document(name: str = "ONE", expires_s: float | None = None) -> dict[str, Any]:
    """Credentials as the endpoints give them, with everything derived from `name`."""
    content: dict[str, Any] = {"AccessKeyId": f"AKIA{name}", "SecretAccessKey": secret(name), "Token": f"token-{name}"}
    if expires_s is not None:
        content["Expiration"] = datetime.fromtimestamp(expires_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return content


def secret(name: str) -> str:
    """The secret of `document(name)`."""
    return f"secret-of-{name}"


class ReroutedExchange(Exchange):
    """Takes the calls to AWS's fixed addresses to a fake.

    Attributes:
        asked: the base URLs that were called, as they were meant.
    """

    def __init__(self, fake: FakeAws) -> None:
        super().__init__(connections_max=4, user_agent="rillgate/test")
        self._fake = fake
        self.asked: list[str] = []

    @asynccontextmanager
    async def open(
        self, provider: str, endpoint: Endpoint, *args: Any, **options: Any
    ) -> AsyncIterator[UpstreamResponse]:
        """As `Exchange.open`."""
        self.asked.append(endpoint.base_url)
        if endpoint.base_url in (CONTAINER_URL, INSTANCE_URL):
            endpoint = Endpoint(self._fake.url, endpoint.headers)
        async with super().open(provider, endpoint, *args, **options) as response:
            yield response


@asynccontextmanager
async def aws_and_exchange() -> AsyncIterator[tuple[FakeAws, ReroutedExchange]]:
    """A fake, and an exchange that finds it behind AWS's fixed addresses."""
    async with FakeAws() as fake:
        exchange = ReroutedExchange(fake)
        try:
            yield fake, exchange
        finally:
            await exchange.aclose()
