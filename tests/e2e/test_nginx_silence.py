"""A provider that says nothing for two minutes, behind a real nginx: in real time, since nginx's clock is its own."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import pytest

from tests.e2e.nginx import need_nginx
from tests.e2e.proxied import WAYS, Proxied, proxied
from tests.fakes import clients
from tests.fakes.clients import collect
from tests.fakes.script import Chunk, Done, Finish, Role, Sleep, Stall

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SILENCE_S: Final = 121
NEVER_S: Final = 3600
HEARTBEATS: Final = {"with heartbeats": 12, "without heartbeats": NEVER_S}


@pytest.fixture
def anyio_backend() -> str:
    """nginx and the gateway are processes of their own."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _nginx_is_there() -> None:
    need_nginx()


async def test_nginx_that_is_less_patient_than_the_provider_breaks_the_stream() -> None:
    """What the next test shows hangs on `proxy_read_timeout`, and heartbeats are worth having."""
    changed = {"proxy_read_timeout 300s": "proxy_read_timeout 1s"}
    async with proxied("unix", changed=changed, timeouts__heartbeat_s=NEVER_S) as through:
        through.fake.script = [Role(), Chunk("one"), Stall()]
        async with await through.chat() as client:
            assert await client.response() == 200
            assert collect(await client.read_stream()).text == "one"
            assert client.truncated
        await through.fake.closed()


async def test_provider_silent_for_two_minutes_is_waited_for_behind_nginx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its first token and after it, over TCP and a unix socket, with heartbeats and without: all at once."""
    monkeypatch.setattr(clients, "TIMEOUT_S", 2.0 * SILENCE_S)
    async with asyncio.TaskGroup() as group:
        for way in WAYS:
            for heartbeat_s in HEARTBEATS.values():
                group.create_task(silent(way, heartbeat_s))


async def silent(way: str, heartbeat_s: int) -> None:
    """Two streams through one gateway."""
    patience: dict[str, Any] = {"timeouts__first_token_s": 180, "timeouts__idle_s": 180}
    async with proxied(way, timeouts__heartbeat_s=heartbeat_s, **patience) as through, asyncio.TaskGroup() as group:
        through.fake.by_model["late"] = [Sleep(SILENCE_S), Role(), Chunk("one two"), Finish(), Done()]
        through.fake.by_model["pausing"] = [Role(), Chunk("one"), Sleep(SILENCE_S), Chunk(" two"), Finish(), Done()]
        for model in ("late", "pausing"):
            group.create_task(waits(through, model))


async def waits(through: Proxied, model: str) -> None:
    """The client gets the whole answer, after all that time."""
    began = time.monotonic()
    async with await through.chat(model=model) as client:
        assert await client.response() == 200
        answer = collect(await client.read_stream())
    assert time.monotonic() - began > SILENCE_S
    assert (answer.text, answer.done) == ("one two", True)
