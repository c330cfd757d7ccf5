"""The real gateway with a fake provider behind it, for browsers: as the fixtures of this folder need it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rillgate.app.gateway import Gateway
from tests.e2e.watch import Watch
from tests.fakes.gateway import settings_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Error, ErrorFrame, chat, error
from tests.fakes.server import serving


@dataclass(frozen=True)
class RealGateway:
    """A gateway that listens.

    Attributes:
        url: where, without a slash at the end.
        watch: what stands around its application and sees every request.
        fake: its only provider, which lists `fake-model`.
    """

    url: str
    watch: Watch
    fake: FakeProvider

    @property
    def generations(self) -> int:
        """How many requests for an answer the provider has got."""
        return len(self.fake.chats)

    def say(self, *words: str) -> None:
        """The provider answers with one chunk for each word, and ends properly."""
        self.fake.script = chat(words)

    def fail_after(self, *words: str, message: str) -> None:
        """The provider sends one chunk for each word and then an error; without words it answers 400."""
        if words:
            self.fake.script = [*map(Chunk, words), ErrorFrame(message)]
        else:
            self.fake.script = [Error(400, error(message, "invalid_request_error", None))]


@asynccontextmanager
async def real_gateway() -> AsyncIterator[RealGateway]:
    """The whole gateway, keys off, on a free loopback port."""
    async with FakeProvider() as fake:
        gateway = Gateway(settings_for(fake.base_url))
        watch = Watch(gateway.asgi)
        async with serving(watch, drain=gateway.streams) as address:
            await gateway.encoders.loaded()
            yield RealGateway(address.url, watch, fake)
