"""The gateway and its store: what a restart keeps, what an end in mid-stream leaves, what a broken store costs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rillgate.app.gateway import Gateway
from rillgate.app.server import StartupFailed
from rillgate.ledger.admin_budgets import read_state
from rillgate.ledger.sqlite_table import SqliteTable
from rillgate.ledger.writes import Item, Key, StoreUnavailable, Write
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import CHAT, GatewayInTest, chat_body, gateway_for, settings_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Role, Stall
from tests.fakes.server import serving
from tests.streaming.asking import Got, ask

pytestmark = pytest.mark.anyio


async def chat(g: GatewayInTest, key: str) -> Got:
    """A chat with this key."""
    return await ask(g, "POST", CHAT, json=chat_body(), headers={"authorization": f"Bearer {key}"})


class Broken:
    """In the place of a store: nothing answers."""

    async def write(self, write: Write) -> Item:
        """No answer."""
        raise StoreUnavailable("nobody there")

    async def read(self, keys: Sequence[Key]) -> list[Item | None]:
        """No answer."""
        raise StoreUnavailable("nobody there")

    async def aclose(self) -> None:
        """Nothing to give up."""


def break_store(g: GatewayInTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the gateway's store does not answer; what was open is closed with the gateway all the same."""
    broken = Broken()
    monkeypatch.setattr(g.gateway.books.store, "write", broken.write)
    monkeypatch.setattr(g.gateway.books.store, "read", broken.read)


async def test_books_in_a_file_are_kept_over_a_restart(tmp_path: Path) -> None:
    """Keys, budgets and what was spent."""
    url = f"sqlite:///{tmp_path}/l.db"
    async with FakeProvider() as fake:
        async with gateway_for(fake, auth__required=True, ledger__url=url) as g:
            key = await g.new_key(limits=["requests/day=1"])
            assert (await chat(g, key)).status == 200
        async with gateway_for(fake, auth__required=True, ledger__url=url) as g:
            assert (await chat(g, key)).status == 429


async def test_books_of_a_stream_that_is_ended_by_the_shutdown_are_closed_before_the_store(tmp_path: Path) -> None:
    """Nothing stays held, and what was delivered is charged."""
    async with FakeProvider() as fake:
        fake.script = [Role(), Chunk("one"), Stall()]
        async with gateway_for(fake, ledger__url=f"sqlite:///{tmp_path}/l.db") as g:
            key = await g.new_key(limits=["tokens/total=100000"])
            client = await g.client()
            await client.request("POST", CHAT, json=chat_body(), headers={"x-api-key": key})
            assert await client.response() == 200
            while "one" not in (await client.next_frame() or "one"):
                pass
        client.close()
    with closing(SqliteTable(tmp_path / "l.db")) as table:
        state = read_state(table, f"key:{key[5:17]}", 0)
    assert state.holds == {}
    assert 0 < state.levels[0].committed < 1000


async def test_gateway_whose_file_cannot_be_used_does_not_start(tmp_path: Path) -> None:
    """Whoever starts it by other means than `rillgate serve` is told by the server."""
    gateway = Gateway(settings_for("http://127.0.0.1:9/v1", ledger__url=f"sqlite:///{tmp_path}/none/l.db"))
    with pytest.raises(StartupFailed):
        async with serving(gateway.asgi, drain=gateway.streams):
            raise AssertionError("it serves")


async def test_store_that_fails_costs_requests_and_no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """503 budget_unavailable with Retry-After, for keys that were known too once their time is over."""
    clock = FakeClock()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock, auth__required=True) as g:
        key, other = await g.new_key(), await g.new_key()
        assert (await chat(g, key)).status == 200
        await g.settled()
        break_store(g, monkeypatch)
        clock.advance(11)
        asked: list[tuple[str, str, str, Any]] = [
            ("POST", CHAT, key, chat_body()),
            ("POST", CHAT, other, chat_body()),
            ("GET", "/v1/models", other, None),
            ("GET", "/v1/usage", key, None),
        ]
        for method, path, credential, body in asked:
            got = await ask(g, method, path, json=body, headers={"x-api-key": credential})
            assert (got.status, got.error["code"]) == (503, "budget_unavailable"), path
            assert got.headers["retry-after"] == "1"
        for path in ("/healthz", "/readyz", "/"):
            assert (await ask(g, "GET", path)).status == 200
        assert len(fake.chats) == 1


async def test_store_that_fails_costs_the_accounting_where_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was known is served; one that nobody can check is not."""
    clock = FakeClock()
    async with (
        FakeProvider() as fake,
        gateway_for(fake, clock=clock, auth__required=True, ledger__on_error="allow") as g,
    ):
        key, other = await g.new_key(limits=["requests/day=1"]), await g.new_key()
        assert (await chat(g, key)).status == 200
        await g.settled()
        break_store(g, monkeypatch)
        clock.advance(11)
        assert (await chat(g, key)).status == 200
        assert (await chat(g, other)).status == 503
        metrics = (await ask(g, "GET", "/metrics")).body.decode()
        assert "llm_unaccounted_requests_total 1.0" in metrics
        while not await g.gateway.streams.settled(0):  # its record is given up after some tries
            clock.advance(3)
