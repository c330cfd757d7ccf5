"""A cancel that reaches the process it did not come to: two gateways on one ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from rillgate.app.gateway import Gateway
from rillgate.ledger.writes import Key
from rillgate.pipeline.cancel_watch import LOOK_S
from tests.fakes.clients import RawClient
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import CHAT, GatewayInTest, chat_body, settings_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Role, Stall
from tests.fakes.server import serving

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def one_of_several(fake: FakeProvider, file: Path, clock: FakeClock) -> AsyncIterator[GatewayInTest]:
    """A gateway that shares its ledger, as environments of a function do."""
    settings = settings_for(fake.base_url, auth__required=True, ledger__url=f"sqlite:///{file}")
    gateway = Gateway(settings, clock=clock, several=True)
    async with serving(gateway.asgi, drain=gateway.streams) as address:
        await gateway.encoders.loaded()
        yield GatewayInTest(gateway, address)


async def begun(g: GatewayInTest, key: str, **headers: str) -> RawClient:
    """A stream that has sent its first chunk and goes no further."""
    client = await g.client()
    await client.request("POST", CHAT, json=chat_body(), headers={"authorization": f"Bearer {key}", **headers})
    assert await client.response() == 200
    await client.read_until(b'"a"')
    return client


async def cancel(g: GatewayInTest, request_id: str, key: str) -> tuple[int, Any]:
    """POST …/cancel, as the owner of `key`."""
    async with await g.client() as client:
        path = f"/v1/requests/{request_id}/cancel"
        await client.request("POST", path, headers={"authorization": f"Bearer {key}"}, body=b"")
        status = await client.response()
        return status, await client.read_body()


async def looked(g: GatewayInTest) -> None:
    """Wait until a look that is due is over: the store's thread answers in order."""
    for _ in range(3):
        await checkpoint()
        await g.gateway.books.store.read([Key("nothing")])


@pytest.mark.parametrize("by_client_id", [False, True])
async def test_cancel_elsewhere_ends_the_stream_in_band_within_one_look(tmp_path: Path, by_client_id: bool) -> None:
    """Asked of the other process it is 202, and the stream ends, its provider closed, at the next look."""
    here, there = FakeClock(), FakeClock()
    async with (
        FakeProvider() as fake,
        one_of_several(fake, tmp_path / "l.db", here) as one,
        one_of_several(fake, tmp_path / "l.db", there) as other,
    ):
        fake.script = [Role(), Chunk("a"), Stall()]
        key = await one.new_key(limits=["tokens/day=100000"])
        client = await begun(one, key, **{"x-client-request-id": "mine 1"} if by_client_id else {})
        status, body = await cancel(other, "mine%201" if by_client_id else client.headers["x-request-id"], key)
        assert status == 202, body
        assert b'"requested":true' in body
        here.advance(LOOK_S)
        frames = await client.read_stream()
        assert '"code":"cancelled"' in frames[-1]
        await fake.closed()
        await one.settled()
        client.close()


async def test_cancel_elsewhere_of_another_keys_stream_changes_nothing(tmp_path: Path) -> None:
    """To others it does not exist: the same answer as for an id that nobody has, and the stream goes on."""
    here, there = FakeClock(), FakeClock()
    async with (
        FakeProvider() as fake,
        one_of_several(fake, tmp_path / "l.db", here) as one,
        one_of_several(fake, tmp_path / "l.db", there) as other,
    ):
        fake.script = [Role(), Chunk("a"), Stall()]
        key, strangers = await one.new_key(), await one.new_key()
        client = await begun(one, key)
        status, _ = await cancel(other, client.headers["x-request-id"], strangers)
        assert status == 202
        assert (await cancel(other, "req_nobody", strangers))[0] == 202
        here.advance(LOOK_S)
        await looked(one)
        assert one.gateway.streams.running() == 1
        status, _ = await cancel(one, client.headers["x-request-id"], key)
        assert status == 200
        await client.read_stream()
        await one.settled()
        client.close()


async def test_cancel_elsewhere_of_an_id_that_none_can_be_is_not_found(tmp_path: Path) -> None:
    """Nothing is written for it."""
    async with FakeProvider() as fake, one_of_several(fake, tmp_path / "l.db", FakeClock()) as one:
        key = await one.new_key()
        status, body = await cancel(one, "x" * 129, key)
        assert status == 404
        assert b"request_not_found" in body
