"""The routes of a gateway that shares its address with other processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rillgate.app.gateway import Gateway
from rillgate.domain.errors import CapacityError
from tests.fakes.gateway import GatewayInTest, settings_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Role, Stall
from tests.fakes.server import serving

pytestmark = pytest.mark.anyio


class Others:
    """Processes beside this one."""

    def __init__(self) -> None:
        self.serve: set[tuple[str, str]] = set()
        self.asked: list[tuple[str, str]] = []
        self.known = True

    async def cancel(self, request_id: str, owner: str) -> bool:
        self.asked.append((request_id, owner))
        return (request_id, owner) in self.serve

    async def metrics(self) -> tuple[bytes, str]:
        if not self.known:
            raise CapacityError("not now", retry_after_s=1)
        return b"llm_workers 7\n", "text/plain; version=0.0.4"


@asynccontextmanager
async def one_of(others: Others, fake: FakeProvider, **overrides: Any) -> AsyncIterator[GatewayInTest]:
    """A gateway with siblings."""
    gateway = Gateway(settings_for(fake.base_url, **overrides), siblings=others)
    async with serving(gateway.asgi, drain=gateway.streams) as address:
        await gateway.encoders.loaded()
        yield GatewayInTest(gateway, address)


async def ask(g: GatewayInTest, method: str, path: str, key: str | None = None) -> tuple[int, bytes]:
    """One request."""
    async with await g.client() as client:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        await client.request(method, path, headers=headers, body=b"" if method == "POST" else None)
        return await client.response(), await client.read_body()


async def test_cancel_of_a_request_that_a_sibling_serves_is_done_at_once() -> None:
    """As if it ran here; asked in the name of whoever asks, and only when it does not run here."""
    others = Others()
    async with FakeProvider() as fake, one_of(others, fake, auth__required=True) as g:
        key = await g.new_key()
        status, body = await ask(g, "POST", "/v1/requests/req_1/cancel", key)
        assert status == 404
        assert b"request_not_found" in body
        ((_, owner),) = others.asked
        assert owner
        others.serve = {("req_1", owner)}
        status, body = await ask(g, "POST", "/v1/requests/req_1/cancel", key)
        assert (status, body) == (200, b'{"id":"req_1","cancelled":true}')
        stranger = await g.new_key()
        assert (await ask(g, "POST", "/v1/requests/req_1/cancel", stranger))[0] == 404
        assert len({owner for _, owner in others.asked}) == 2


async def test_cancel_of_a_request_that_runs_here_asks_nobody() -> None:
    """Nor does an id that none can be."""
    others = Others()
    async with FakeProvider() as fake, one_of(others, fake) as g:
        fake.script = [Role(), Chunk("a"), Stall()]
        async with await g.chat() as client:
            assert await client.response() == 200
            request_id = client.headers["x-request-id"]
            assert (await ask(g, "POST", f"/v1/requests/{request_id}/cancel"))[0] == 200
            await client.read_stream()
        assert (await ask(g, "POST", f"/v1/requests/{'x' * 129}/cancel"))[0] == 404
        assert others.asked == []


async def test_metrics_are_those_of_all_siblings() -> None:
    """Under the same rule as one's own; and when they cannot be added up it is no other number, but 503."""
    others = Others()
    async with FakeProvider() as fake, one_of(others, fake) as g:
        assert await ask(g, "GET", "/metrics") == (200, b"llm_workers 7\n")
        others.known = False
        assert (await ask(g, "GET", "/metrics"))[0] == 503
    async with FakeProvider() as fake, one_of(others, fake, server__metrics="off") as g:
        assert (await ask(g, "GET", "/metrics"))[0] == 404
