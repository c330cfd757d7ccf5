"""OpenAI's own Python SDK in front of a gateway that asks for keys, for tests of its retries.

Both clients run as they come, with their two retries. Their sleeps take no time and are remembered; what they wait
for happens meanwhile. Attempts are those that reached the gateway, with the number that the SDK gives each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from openai import AsyncOpenAI, OpenAI

from rillgate.app.gateway import Gateway
from tests.e2e.keyed import KeyedGateway
from tests.e2e.watch import Watch
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import GatewayInTest, settings_for
from tests.fakes.ledger import FakeLedger
from tests.fakes.provider import FakeProvider
from tests.fakes.server import serving

QUESTION: Any = [{"role": "user", "content": "Say hello."}]
PRICED = {"fake/fake-model": {"input": 1.0, "output": 2.0}}
MIDNIGHT_S = 1_795_046_400  # 2026-11-19T00:00:00Z
MIDNIGHT = "2026-11-19T00:00:00Z"
DAYTIME_S = MIDNIGHT_S - 12 * 3600 - 20  # 20 seconds before the next minute

Call = Callable[[Any], Any]
Sdk = Callable[[KeyedGateway, str, Call], Awaitable[Any]]
"""Calls a client that has a key: sdk(gate, key, lambda client: client.models.list())."""


async def asynchronous(gate: KeyedGateway, key: str, call: Call) -> Any:
    """With `AsyncOpenAI`."""
    async with AsyncOpenAI(base_url=f"{gate.url}/v1", api_key=key) as client:
        assert client.max_retries == 2
        return await call(client)


async def blocking(gate: KeyedGateway, key: str, call: Call) -> Any:
    """With `OpenAI`, in a thread."""

    def work() -> Any:
        with OpenAI(base_url=f"{gate.url}/v1", api_key=key) as client:
            assert client.max_retries == 2
            return call(client)

    return await asyncio.to_thread(work)


@dataclass
class Naps:
    """What stands for `time.sleep` and `anyio.sleep`.

    Attributes:
        asked_s: the seconds of each, in order.
        meanwhile: what happens during each, in the gateway's event loop.
    """

    asked_s: list[float] = field(default_factory=list)
    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def sleep(self, delay: float) -> None:
        """As `anyio.sleep`."""
        self.asked_s.append(delay)
        if self.meanwhile is not None:
            await self.meanwhile()

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let nobody in this process sleep for real, neither here nor in a thread."""
        loop = asyncio.get_running_loop()

        def sleep(seconds: float) -> None:
            asyncio.run_coroutine_threadsafe(self.sleep(seconds), loop).result(30)

        monkeypatch.setattr(time, "sleep", sleep)
        monkeypatch.setattr(anyio, "sleep", self.sleep)


@asynccontextmanager
async def gateway(
    *, wall_s: float = DAYTIME_S, ledger: FakeLedger | None = None, **overrides: Any
) -> AsyncIterator[KeyedGateway]:
    """A gateway that lets nobody in without a key and counts who comes; its budgets are real unless `ledger` is."""
    clock = FakeClock(wall=wall_s)
    async with FakeProvider() as fake:
        settings = settings_for(fake.base_url, auth__required=True, prices=PRICED, **overrides)
        gateway = Gateway(settings, clock=clock, ledger=ledger)
        watch = Watch(gateway.asgi)
        async with serving(watch, drain=gateway.streams) as address:
            await gateway.encoders.loaded()
            yield KeyedGateway(GatewayInTest(gateway, address), watch, fake, clock)


async def attempts(gate: KeyedGateway) -> list[tuple[str, int]]:
    """Requests that reached the gateway since the last call: the SDK's own number of the try, and the status."""
    visits = [await gate.watch.visit() for _ in range(gate.watch.unseen)]
    return [(visit.headers["x-stainless-retry-count"], visit.status) for visit in visits]


def asking(**fields: Any) -> Call:
    """A call for an answer."""
    fields = {"model": "fake-model", "messages": QUESTION, "max_tokens": 100, **fields}
    return lambda client: client.chat.completions.create(**fields)
