"""Who is refused before anybody's key is looked at, and who never is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from rillgate.app.address_limits import (
    CROWDED_EXTENSION,
    TOO_FAST,
    TOO_MANY,
    UNANSWERED_MIN,
    AddressLimits,
    Connections,
    connections_of,
    limited,
)
from rillgate.app.addresses import Networks, Rates
from rillgate.app.context import JOURNAL
from rillgate.pipeline.journal import Journal
from tests.fakes.clock import FakeClock
from tests.unit.app.settings.settings_support import load

pytestmark = pytest.mark.anyio
PROXIES = Networks(("10.0.0.0/8",))


async def nothing() -> Any:
    raise AssertionError("a refusal reads no body")


class Guarded:
    """An application behind limits, whose requests end when the test says so."""

    def __init__(self, *, rates: Rates | None = None, running_max: int = 0) -> None:
        self.clock = FakeClock()
        self.refused: list[str] = []
        self.served = 0
        self.finish = asyncio.Event()
        self.finish.set()
        self.journal = Journal("req_1", "POST", 0)
        self._limits = AddressLimits(
            self._app,
            self.clock,
            trusted=PROXIES,
            rates=rates,
            running_max=running_max,
            on_refused=self.refused.append,
        )

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.served += 1
        await self.finish.wait()

    async def ask(self, peer: str | None = "203.0.113.9", **scope: Any) -> list[dict[str, Any]]:
        """What is sent to a client at this address; nothing by the application itself."""
        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        usual = {"type": "http", "path": "/v1/chat/completions", "headers": [], JOURNAL: self.journal}
        client = None if peer is None else (peer, 5)
        await self._limits({**usual, "client": client, **scope}, nothing, send)
        return sent


def answer_of(sent: list[dict[str, Any]]) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and body of a refusal."""
    start, body = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, json.loads(body["body"])


async def test_address_too_fast_is_refused_until_there_is_a_token() -> None:
    """429 with the time until then, counted and logged; afterwards it is served."""
    g = Guarded(rates=Rates(0.5, 2))
    assert [await g.ask() for _ in range(2)] == [[], []]
    status, headers, body = answer_of(await g.ask())
    assert (status, headers["retry-after"], headers["retry-after-ms"]) == (429, "2", "2000")
    assert body["error"]["code"] == TOO_FAST
    assert body["error"]["type"] == "rate_limit_error"
    assert "limits.address_rate_max" in body["error"]["message"]
    assert (g.refused, g.journal.error, g.served) == ([TOO_FAST], TOO_FAST, 2)
    g.clock.advance(2)
    assert await g.ask() == []


async def test_address_that_would_have_to_wait_for_long_is_told_a_minute() -> None:
    """The SDKs sleep for as long as they are told, or ignore it."""
    g = Guarded(rates=Rates(0.001, 1))
    await g.ask()
    _, headers, _ = answer_of(await g.ask())
    assert headers["retry-after"] == "60"


async def test_address_refused_is_told_in_its_dialect() -> None:
    """Anthropic's clients read Anthropic's shape."""
    g = Guarded(rates=Rates(1, 1))
    await g.ask()
    _, _, body = answer_of(await g.ask(path="/v1/messages"))
    assert (body["type"], body["error"]["type"]) == ("error", "rate_limit_error")


async def test_address_with_too_much_running_is_refused_and_served_when_one_ends() -> None:
    """Requests that run count, those that have ended or crashed do not."""
    g = Guarded(running_max=2)
    g.finish.clear()
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(g.ask())
        await anyio.wait_all_tasks_blocked()
        status, headers, body = answer_of(await g.ask())
        assert (status, headers["retry-after"], body["error"]["code"]) == (429, "5", TOO_MANY)
        assert await served_at_once(g, "198.51.100.1")
        g.finish.set()
    assert await g.ask() == []
    assert g.refused == [TOO_MANY]


async def served_at_once(g: Guarded, peer: str) -> bool:
    """Whether a request of another address reaches the application while others run."""
    before = g.served
    task = asyncio.create_task(g.ask(peer))
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    return g.served == before + 1


async def test_address_counts_with_its_whole_64() -> None:
    """A subscriber who takes another address for each request is one subscriber; so is IPv4 in IPv6."""
    g = Guarded(rates=Rates(1, 2))
    assert [bool(await g.ask(f"2001:db8::{number}")) for number in range(4)] == [False, False, True, True]
    assert [bool(await g.ask(peer)) for peer in ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1")] == [False, False, True]


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", None, "not an address"])
async def test_address_of_a_proxy_or_of_nobody_is_not_limited(peer: str | None) -> None:
    """A proxy's own probes, and a unix socket whose proxy names nobody."""
    g = Guarded(rates=Rates(1, 1), running_max=1)
    assert [await g.ask(peer) for _ in range(5)] == [[]] * 5


async def test_address_of_a_lifespan_is_none() -> None:
    """What is no request passes."""
    g = Guarded(rates=Rates(1, 1))
    assert await g.ask(type="lifespan") == []
    assert g.served == 1


async def test_crowded_connection_is_refused_and_closed() -> None:
    """The answer says that the connection ends, so that its place is free."""
    g = Guarded(running_max=5)
    status, headers, body = answer_of(await g.ask(extensions={CROWDED_EXTENSION: {}}))
    assert (status, headers["connection"], headers["retry-after"]) == (429, "close", "5")
    assert body["error"]["code"] == TOO_MANY


async def test_connections_beyond_the_limit_are_crowded_and_far_beyond_hopeless() -> None:
    """Who was there first keeps its seat; a seat that is left is free again."""
    refused: list[str] = []
    connections = Connections(2, PROXIES, refused.append)
    seats = [connections.opened(("203.0.113.9", port)) for port in range(UNANSWERED_MIN + 4)]
    assert all(seats)
    taken = [seat for seat in seats if seat]
    assert [seat.crowded for seat in taken] == [False, False] + [True] * (UNANSWERED_MIN + 2)
    assert [seat.hopeless for seat in taken] == [False] * (UNANSWERED_MIN + 2) + [True] * 2
    assert refused == [TOO_MANY] * 2
    assert connections.opened(("10.0.0.1", 1)) is None
    assert connections.opened(None) is None
    for seat in taken:
        seat.leave()
    assert len(connections) == 0


@pytest.mark.parametrize(
    ("toml", "connections", "rate"),
    [
        ("", False, False),
        ("[limits]\naddress_connections_max = 2000", True, False),
        ("[limits]\naddress_rate_max = 0.5", False, True),
    ],
)
async def test_limits_as_configured(tmp_path: Path, toml: str, connections: bool, rate: bool) -> None:
    """Off by default, when nothing stands in a request's way."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    settings = load(tmp_path, toml)
    nobody: Callable[[str], None] = lambda reason: None  # noqa: E731
    assert (connections_of(settings, nobody) is not None) == connections
    guarded = limited(app, settings, FakeClock(), nobody)
    assert (guarded is not app) == (connections or rate)
