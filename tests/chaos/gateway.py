"""The whole gateway in the test's own event loop, before the chaos provider, and what has to hold when it is over."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rillgate.app.gateway import Gateway
from rillgate.app.http_protocol import HttpLimits
from rillgate.app.settings.load import load_settings
from rillgate.domain.ports import Clock
from rillgate.identity import keys
from rillgate.ledger.items import HOLD, LIVE, number
from rillgate.ledger.keys import scope_key
from rillgate.ledger.writes import EMPTY, Item
from rillgate.upstream.fast.transport import FastTransport
from tests.chaos.client import Ask, ChaosClient, Got, asked
from tests.chaos.provider import ChaosProvider
from tests.fakes.gateway import GatewayInTest
from tests.fakes.server import serving

FAR: Final = 1_000_000_000  # a limit that is never met
PATIENCE_S: Final = 60.0  # a guard against hanging tests, never what a test waits for


@dataclass
class InChaos:
    """A running gateway.

    Attributes:
        inside: its parts.
        provider: everybody whom it asks.
        key: what clients present; the budget of its scope is far away.
        scopes: whose books are looked into.
    """

    inside: GatewayInTest
    provider: ChaosProvider
    key: str = ""
    scopes: Sequence[str] = ()
    got: list[Got] = field(default_factory=list)
    _kept: list[ChaosClient] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.inside.port

    @property
    def credential(self) -> dict[str, str]:
        """The key as a header."""
        return {"authorization": f"Bearer {self.key}"}

    async def ask(self, ask: Ask, *, kept: bool = False) -> Got:
        """One request, read to its end, on a connection of its own or on one that was `kept` from another.

        Raises: Wrong: its answer breaks a promise.
        """
        if kept:
            got = Got(ask)
            client = self._kept.pop() if self._kept else await self.client()
            await client.send(ask.request(self.credential))
            await client.read(got)
            self._kept.append(client)
        else:
            got = await asked(self.port, ask, **self.credential)
        self.got.append(got)
        return got

    def let_go(self) -> None:
        """Close what was kept."""
        while self._kept:
            self._kept.pop().close()

    async def client(self, *, rcvbuf: int | None = None) -> ChaosClient:
        """A connection."""
        return await ChaosClient.open(self.port, rcvbuf=rcvbuf)

    async def item(self, scope: str) -> Item:
        """A scope's counters and holds, as they are now."""
        (item,) = await self.inside.gateway.books.store.read([scope_key(scope)])
        return item or EMPTY

    async def holds(self) -> int:
        """How many are outstanding in all scopes, and that they are as many as are counted."""
        found = 0
        for scope in self.scopes:
            item = await self.item(scope)
            holds = sum(name.startswith(HOLD) for name in item)
            assert number(item, LIVE) == holds
            found += holds
        return found

    async def charged(self) -> int:
        """Tokens, in the key's own scope."""
        return number(await self.item(self.scopes[-1]), "tT")

    def _no_connection_is_busy(self) -> bool:
        """Not even with the list of a provider's models, which is asked for when the gateway starts."""
        for transport in self.inside.gateway.exchange._transports.values():
            assert isinstance(transport, FastTransport)
            if transport.slots != transport.idle:
                return False
        return True

    async def settled(self) -> None:
        """Everything that was begun is over: nothing runs, nothing is held, no connection carries anything."""
        async with asyncio.timeout(PATIENCE_S):
            await self.inside.settled()
            await self.inside.gateway.books.quiet(PATIENCE_S)
        assert await self.holds() == 0
        await turns_until(self._no_connection_is_busy)
        assert await self.charged() >= sum(got.words for got in self.got)


@asynccontextmanager
async def in_chaos(clock: Clock | None = None, ledger: str = "memory:", **variables: str) -> AsyncIterator[InChaos]:
    """Serve the whole gateway; at the end of the block, check that nothing of it is left.

    Args: variables: of the environment, without RILLGATE_.
    """
    (await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)).close()  # libuv keeps a descriptor from then on
    await asyncio.sleep(0)
    tasks, descriptors = asyncio.all_tasks(), open_descriptors()
    async with ChaosProvider() as provider:
        environ = {"RILLGATE_LEDGER__URL": ledger, "RILLGATE_AUTH__REQUIRED": "true", **provider.variables()}
        environ |= {f"RILLGATE_{name}": value for name, value in variables.items()}
        settings = load_settings(config=None, flags={}, environ=environ, cwd=Path(tempfile.gettempdir()) / "nowhere")
        gateway = Gateway(settings, clock=clock)
        limits = HttpLimits(linger_s=settings.timeouts.stall_s)
        async with serving(gateway.asgi, drain=gateway.streams, limits=limits) as address:
            await gateway.encoders.loaded()
            inside = GatewayInTest(gateway, address)
            key = await inside.new_key(limits=[f"tokens/total={FAR}"])
            await inside.set_budget("global", [f"tokens/total={FAR}"])
            chaos = InChaos(inside, provider, key, ("global", f"key:{keys.parse(key)}"))
            yield chaos
            chaos.let_go()
            await chaos.settled()
    await turns_until(lambda: asyncio.all_tasks() <= tasks)
    await turns_until(lambda: open_descriptors() <= descriptors)


async def turns_until(there: object, turns: int = 20_000) -> None:
    """Give the event loop so many turns for something to become true."""
    assert callable(there)
    for _ in range(turns):
        if there():
            return
        await asyncio.sleep(0)
    assert there()


def open_descriptors() -> int:
    """Of this process; 0 where they cannot be counted."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0
