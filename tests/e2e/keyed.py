"""The real gateway with keys required, for browsers: a fake provider behind it and a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rillgate.app.gateway import Gateway
from tests.e2e.watch import Watch
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import GatewayInTest, settings_for
from tests.fakes.provider import FakeProvider
from tests.fakes.server import serving


@dataclass(frozen=True)
class KeyedGateway:
    """A gateway that listens and lets nobody in without a key.

    Attributes:
        inside: its parts and its store: `await inside.new_key(limits=["tokens/day=600"])`.
        watch: what stands around its application and sees every request for an answer.
        fake: its only provider, which lists `fake-model`.
        clock: the gateway's; it moves when a test says so.
    """

    inside: GatewayInTest
    watch: Watch
    fake: FakeProvider
    clock: FakeClock

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return self.inside.url


@asynccontextmanager
async def keyed_gateway(*, cors_origins: Sequence[str] = ()) -> AsyncIterator[KeyedGateway]:
    """The whole gateway on a free loopback port, keys required, its ledger in memory."""
    clock = FakeClock()
    async with FakeProvider() as fake:
        settings = settings_for(fake.base_url, auth__required=True, server__cors_origins=list(cors_origins))
        gateway = Gateway(settings, clock=clock)
        watch = Watch(gateway.asgi)
        async with serving(watch, drain=gateway.streams) as address:
            await gateway.encoders.loaded()
            yield KeyedGateway(GatewayInTest(gateway, address), watch, fake, clock)
