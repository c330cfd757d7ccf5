"""A request that is over leaves nothing to the collector of cycles: all that it had is free at once."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fakes.clients import collect
from tests.fakes.gateway import GatewayInTest, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Error, Head, Role, Stall

pytestmark = pytest.mark.anyio


@contextmanager
def found_in_cycles() -> Iterator[Counter[str]]:
    """What of Rillgate's was in cycles that nobody could reach any more; known after the block."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.update(
            f"{type(thing).__module__}.{type(thing).__qualname__}"
            for thing in gc.garbage
            if type(thing).__module__.startswith("rillgate.")
        )
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def whole_stream(g: GatewayInTest) -> None:
    async with await g.chat() as client:
        assert await client.response() == 200
        assert collect(await client.read_stream()).done
    await g.idle()


async def test_a_stream_that_finished() -> None:
    async with FakeProvider() as fake, gateway_for(fake) as g:
        await whole_stream(g)  # what lives as long as the process is made by the first
        with found_in_cycles() as found:
            for _ in range(3):
                await whole_stream(g)
    assert not found


async def test_a_whole_answer() -> None:
    async with FakeProvider() as fake, gateway_for(fake) as g:
        await whole_stream(g)
        with found_in_cycles() as found:
            for _ in range(3):
                async with await g.chat(stream=False) as client:
                    assert await client.response() == 200
                    await client.read_body()
                await g.idle()
    assert not found


async def test_a_stream_whose_client_left() -> None:
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [Head(), Role(), Chunk("Hello"), Stall()]
        with found_in_cycles() as found:
            for _ in range(3):
                async with await g.chat() as client:
                    assert await client.response() == 200
                    await client.read_some()
                await g.idle()
    assert not found


async def test_a_request_that_was_refused() -> None:
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [Error(401)]
        with found_in_cycles() as found:
            for _ in range(3):
                async with await g.chat() as client:
                    assert await client.response() >= 400
                    await client.read_body()
                await g.idle()
    assert not found
