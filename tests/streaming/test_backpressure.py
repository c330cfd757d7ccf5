"""Order, backpressure, fairness and cancellation, over real sockets."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import AsyncExitStack

import pytest

from rillgate.delivery.writer import BUFFER_BYTES_HIGH
from rillgate.upstream.fast.transport import FastTransport
from tests.fakes.clients import RawClient, collect
from tests.fakes.gateway import GatewayInTest, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Repeat, Role, Stall, chat, flood

pytestmark = pytest.mark.anyio


async def test_stream_lockstep_delivers_each_chunk_before_the_next_is_sent() -> None:
    """Chunk n + 1 leaves the provider only after the client has confirmed chunk n: nothing waits for company."""
    texts = [f"word{number} " for number in range(200)]
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = chat(texts, lockstep_after=0)
        async with await g.chat() as client:
            assert await client.response() == 200
            frames = [await client.next_frame()]  # the role
            for text in texts:
                fake.allow()
                frame = await client.next_frame()
                assert frame is not None
                assert f'"content":"{text}"' in frame
                frames.append(frame)
            answer = collect([frame for frame in frames if frame] + await client.read_stream())
        assert answer.text == "".join(texts)
        assert answer.done


async def test_stream_stalled_client_stops_the_providers_writes() -> None:
    """With more than 16 MB to come, the provider's counter stands still far below that, and memory stays bounded."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = flood(17, frame_bytes=2048)
        client = await g.chat(rcvbuf=4096, max_tokens=32768, model="big")
        assert await client.response() == 200
        exchange = await fake.request()
        stood_at = await exchange.stands_still()
        assert stood_at < 8 * 1024 * 1024
        (run,) = g.gateway.streams._running
        assert run.stage.writer.stats.buffer_bytes_peak < 3 * BUFFER_BYTES_HIGH  # type: ignore[attr-defined]
        waiting = g.gateway.metrics.registry.get_sample_value("llm_queue_bytes")
        assert waiting == run.queue_bytes > 0
        client.abort()
        await fake.closed()
        client.close()
        await g.idle()
        assert g.gateway.metrics.registry.get_sample_value("llm_queue_bytes") == 0


async def test_stream_slow_client_gets_every_byte_in_order() -> None:
    """A client that pauses and goes on loses nothing, although frames were merged for it."""
    texts = [f"<{number}>" for number in range(4000)]
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = chat(texts, per_write=50)
        client = await g.chat(rcvbuf=4096, max_tokens=32768)
        assert await client.response() == 200
        exchange = await fake.request()
        frames: list[str] = []
        for _ in range(20):
            await asyncio.sleep(0)
            frame = await client.next_frame()
            assert frame is not None
            frames.append(frame)
        answer = collect(frames + await client.read_stream())
        assert answer.text == "".join(texts)
        assert answer.done
        assert exchange.outcome == "finished"
        client.close()


async def test_stream_bursting_lets_ninety_nine_lockstep_streams_go_on() -> None:
    """Beside 200,000 frames in a burst, each of 99 lock-step streams makes its progress before the burst is over."""
    steps = 20
    async with FakeProvider() as fake, gateway_for(fake) as g, AsyncExitStack() as stack:
        fake.by_model["burst"] = chat(Repeat("x", 200_000), per_write=100)
        fake.by_model["steps"] = chat(Repeat("y", steps), lockstep_after=0)
        burst = await stack.enter_async_context(await g.chat(model="burst", max_tokens=32768))
        assert await burst.response() == 200
        burst_bytes = 0
        over = asyncio.Event()

        async def read_burst() -> None:
            nonlocal burst_bytes
            while data := await burst.read_some():
                burst_bytes += len(data)
            over.set()

        async def lockstep(client: RawClient, number: int) -> tuple[int, bool]:
            assert await client.response() == 200
            await client.next_frame()
            exchange = next(e for e in fake.chats if e.json["messages"][0]["content"] == str(number))
            for _ in range(steps):
                exchange.allow()
                assert await client.next_frame()
            return burst_bytes, over.is_set()

        reading = asyncio.ensure_future(read_burst())
        clients = [await stack.enter_async_context(await g.client()) for _ in range(99)]
        for number, client in enumerate(clients):
            await client.request(
                "POST",
                "/v1/chat/completions",
                json={
                    "model": "steps",
                    "stream": True,
                    "messages": [{"role": "user", "content": str(number)}],
                },
            )
        results = await asyncio.gather(*(lockstep(client, number) for number, client in enumerate(clients)))
        assert not any(finished_after for _, finished_after in results)
        await reading


def open_descriptors() -> int:
    """Of this process."""
    return len(os.listdir("/proc/self/fd"))


async def test_thousand_random_cancels_leave_nothing_behind() -> None:
    """No task, no descriptor and no pool slot stays, wherever the client left."""
    chance = random.Random(20261121)
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.by_model["stalls"] = [Role(), Chunk("one"), Stall()]
        fake.by_model["silent"] = [Stall()]
        fake.by_model["floods"] = flood(8)
        fake.by_model["answers"] = chat()
        await one_whole_answer(g)
        tasks, descriptors = len(asyncio.all_tasks()), open_descriptors()
        for _ in range(20):
            await asyncio.gather(*(cancel_somewhere(g, chance.random(), chance.random()) for _ in range(50)))
        await one_whole_answer(g)
        await g.idle()
        for exchange in fake.chats:
            if exchange.connection.how != "open":
                await exchange.closed.wait()
        while len(asyncio.all_tasks()) > tasks or open_descriptors() > descriptors + 50:
            await asyncio.sleep(0)
        transport = transport_of(g)
        assert transport.slots == transport.idle
        assert g.gateway.metrics.active_streams == 0


def transport_of(g: GatewayInTest) -> FastTransport:
    """The one origin's."""
    (transport,) = g.gateway.exchange._transports.values()
    assert isinstance(transport, FastTransport)
    return transport


async def one_whole_answer(g: GatewayInTest) -> None:
    """The gateway still serves."""
    async with await g.chat(model="answers") as client:
        assert await client.response() == 200
        assert collect(await client.read_stream()).done


async def cancel_somewhere(g: GatewayInTest, which: float, when: float) -> None:
    """Leave before, at or after some point of a stream."""
    model = ("stalls", "silent", "floods", "answers")[int(which * 4)]
    client = await g.chat(model=model, max_tokens=32768)
    try:
        for _ in range(int(when * 6)):
            await asyncio.sleep(0)
        if when > 0.3 and model != "silent":
            await client.response()
        if when > 0.6 and model != "silent":
            await client.next_frame()
    finally:
        client.abort()
        client.close()
