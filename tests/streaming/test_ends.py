"""Every way in which a stream ends, over real sockets: what the client gets, what the provider sees, what is left."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from rillgate.domain.ends import End
from tests.fakes.clients import collect
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import GatewayInTest, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import (
    Chunk,
    Close,
    Comment,
    Done,
    Error,
    ErrorFrame,
    Finish,
    HalfClose,
    Head,
    Pause,
    Reset,
    Role,
    Stall,
    chat,
    flood,
    runaway,
)

pytestmark = pytest.mark.anyio


def ends(g: GatewayInTest) -> dict[str, float]:
    """llm_streams_total by end cause."""
    found: dict[str, float] = {}
    for family in g.gateway.metrics.registry.collect():
        if family.name == "llm_streams":
            found = {sample.labels["end"]: sample.value for sample in family.samples}
    return found


async def settled(g: GatewayInTest, fake: FakeProvider, end: End) -> None:
    """Nothing runs any more, the books name this end once, and the provider's connection is closed or idle."""
    await g.idle()
    assert ends(g) == {end.value: 1}
    assert g.gateway.metrics.active_streams == 0


def in_band_error(frames: list[str]) -> dict[str, Any]:
    """The error of the last frame; nothing may follow it and no [DONE] may stand anywhere."""
    assert "[DONE]" not in frames
    error: dict[str, Any] = collect(frames).error or {}
    assert error, frames[-1]
    return error


async def test_end_finished_passes_everything_on_and_keeps_the_connection() -> None:
    """A whole stream arrives byte for byte, and its connection serves the next request."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        opened = []
        for _ in range(3):
            async with await g.chat(stream_options={"include_usage": True}) as client:
                assert await client.response() == 200
                answer = collect(await client.read_stream())
                assert (answer.text, answer.finish, answer.done) == ("Hello, world!", "stop", True)
                assert client.complete
            await g.idle()
            opened.append(fake.connections_opened)
        assert ends(g) == {"finished": 3}
        assert opened[1:] == opened[:1] * 2


async def test_end_finished_without_done_but_every_choice_complete() -> None:
    """Some servers send no [DONE]: a finish reason for every choice is a proper end, and ours has a [DONE]."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = chat(["all"], done=False)
        async with await g.chat() as client:
            assert await client.response() == 200
            assert collect(await client.read_stream()).done
        await settled(g, fake, End.FINISHED)


async def test_end_budget_cuts_at_the_cap_and_cancels_the_provider() -> None:
    """At most max_tokens arrive, the end is `length` with usage, and the provider is not read to its own end."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = runaway(5000, lockstep_after=500)
        asked: dict[str, Any] = {
            "model": "gpt-4o",
            "max_tokens": 512,
            "stream_options": {"include_usage": True},
        }
        async with await g.chat(**asked) as client:
            assert await client.response() == 200
            frames: list[str] = []
            content = 0
            while (frame := await client.next_frame()) is not None:
                frames.append(frame)
                if '"content":" a"' in frame:
                    content += 1
                    if content >= 500:
                        fake.allow()  # confirms one chunk, which lets the provider send the next
            answer = collect(frames)
        assert content == 512
        assert answer.text == " a" * 512
        assert answer.finish == "length"
        assert answer.done
        assert answer.usage is not None
        assert answer.usage["completion_tokens"] == 512
        exchange = await fake.closed()
        assert exchange.chunks_sent < 600
        await settled(g, fake, End.BUDGET)


@pytest.mark.parametrize("how", ["abort", "close"])
async def test_end_client_gone_in_mid_stream_closes_the_provider(how: str) -> None:
    """A closed tab stops the meter, whether it says goodbye or not."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [Role(), Chunk("one"), Stall()]
        client = await g.chat()
        assert await client.response() == 200
        await client.next_frame()
        getattr(client, how)()
        await fake.closed()
        await settled(g, fake, End.CLIENT_GONE)
        client.close()


async def test_end_client_gone_before_the_first_byte_closes_the_provider() -> None:
    """The client leaves while the provider is still thinking, headers not sent."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [Stall()]
        client = await g.chat()
        await fake.request()
        client.abort()
        await fake.closed()
        await settled(g, fake, End.CLIENT_GONE)
        client.close()


@pytest.mark.parametrize("how", ["abort", "half_close"])
async def test_end_client_gone_while_a_send_is_blocked_closes_the_provider(how: str) -> None:
    """The client stops reading, then leaves; a goodbye counts even before what it has not read is flushed."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = flood(64)
        client = await g.chat(rcvbuf=4096, max_tokens=32768)
        assert await client.response() == 200
        exchange = await fake.request()
        await exchange.stands_still()
        getattr(client, how)()
        await fake.closed()
        await settled(g, fake, End.CLIENT_GONE)
        client.close()


async def test_end_stalled_is_our_own_deadline_and_in_band() -> None:
    """A client that takes nothing for stall_s is ended by us; if it wakes up it reads the reason, in order."""
    clock = FakeClock()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock, timeouts__stall_s=30) as g:
        fake.script = flood(64)
        client = await g.chat(rcvbuf=4096, max_tokens=32768)
        assert await client.response() == 200
        exchange = await fake.request()
        await exchange.stands_still()
        clock.advance(29)
        assert g.gateway.streams.running() == 1
        clock.advance(1)
        await fake.closed()
        await settled(g, fake, End.STALLED)
        error = in_band_error(await client.read_stream())
        assert error["code"] == "client_stalled"
        assert client.complete
        client.close()


async def test_end_idle_before_content_is_a_504() -> None:
    """A provider that sends no content within first_token_s; comments do not count."""
    clock = FakeClock()
    async with (
        FakeProvider() as fake,
        gateway_for(fake, clock=clock, timeouts__first_token_s=60, timeouts__heartbeat_s=100) as g,
    ):
        fake.script = [Comment("thinking"), Stall()]
        async with await g.chat() as client:
            await fake.request()
            await asyncio.sleep(0)
            clock.advance(59)
            assert g.gateway.streams.running() == 1
            clock.advance(1)
            assert await client.response() == 504
            assert (msgspec.json.decode(await client.read_body()))["error"]["code"] == "upstream_timeout"
        await fake.closed()
        await settled(g, fake, End.IDLE)


async def test_end_idle_in_mid_stream_is_in_band() -> None:
    """Silence for idle_s after content."""
    clock = FakeClock()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock, timeouts__idle_s=90) as g:
        fake.script = [Role(), Chunk("one"), Stall()]
        async with await g.chat() as client:
            assert await client.response() == 200
            frames = [await client.next_frame(), await client.next_frame()]
            clock.advance(89)
            assert g.gateway.streams.running() == 1
            clock.advance(1)
            rest = await client.read_stream()
            assert in_band_error([frame for frame in [*frames, *rest] if frame])["code"] == "upstream_timeout"
        await fake.closed()
        await settled(g, fake, End.IDLE)


async def test_end_deadline_in_mid_stream_is_in_band() -> None:
    """total_s is over."""
    clock = FakeClock()
    async with (
        FakeProvider() as fake,
        gateway_for(fake, clock=clock, timeouts__total_s=900, timeouts__idle_s=5000) as g,
    ):
        fake.script = [Role(), Chunk("one"), Stall()]
        async with await g.chat() as client:
            assert await client.response() == 200
            frames = [await client.next_frame(), await client.next_frame()]
            clock.advance(900)
            rest = await client.read_stream()
            assert in_band_error([frame for frame in [*frames, *rest] if frame])["code"] == "deadline_exceeded"
        await fake.closed()
        await settled(g, fake, End.DEADLINE)


async def test_end_upstream_error_as_status_is_a_true_status() -> None:
    """An error before the first event keeps its HTTP status, in the client's dialect."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [Error(429, headers={"retry-after": "7"})]
        async with await g.chat() as client:
            assert await client.response() == 429
            assert client.headers["retry-after"] == "7"
            assert (msgspec.json.decode(await client.read_body()))["error"]["code"] == "rate_limit_exceeded"
        await settled(g, fake, End.UPSTREAM_ERROR)


async def test_end_upstream_error_as_first_frame_is_a_true_status() -> None:
    """HTTP 200 from a provider does not mean success."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [ErrorFrame("no room", "overloaded_error", 503), Done()]
        async with await g.chat() as client:
            assert await client.response() == 503
            assert "no room" in (msgspec.json.decode(await client.read_body()))["error"]["message"]
        await settled(g, fake, End.UPSTREAM_ERROR)


async def test_end_upstream_error_in_mid_stream_is_in_band_without_done() -> None:
    """vLLM sends [DONE] after its error frame: it is not passed on."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [Role(), Chunk("one"), ErrorFrame("fell over"), Done()]
        async with await g.chat() as client:
            assert await client.response() == 200
            assert in_band_error(await client.read_stream())["message"] == "fell over"
            assert client.complete
        await settled(g, fake, End.UPSTREAM_ERROR)


async def test_end_upstream_error_after_a_heartbeat_is_in_band() -> None:
    """Once a heartbeat has committed the status, an error can only be said in-band."""
    clock = FakeClock()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock, timeouts__heartbeat_s=12) as g:
        fake.script = [Pause(), Error(500)]
        async with await g.chat() as client:
            await fake.request()
            clock.advance(12)
            assert await client.response() == 200
            fake.allow()
            assert in_band_error(await client.read_stream())["code"] == "upstream_error"
        await settled(g, fake, End.UPSTREAM_ERROR)


@pytest.mark.parametrize("cut", [Reset(), Close(), HalfClose()], ids=["reset", "close", "half-close"])
async def test_end_truncated_in_mid_stream_is_an_error_and_never_done(cut: Any) -> None:
    """A provider that stops in the middle is reported, whatever way it goes."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [Role(), Chunk("half an ans"), cut]
        async with await g.chat() as client:
            assert await client.response() == 200
            assert in_band_error(await client.read_stream())["code"] == "upstream_truncated"
            assert client.complete
        await settled(g, fake, End.TRUNCATED)


async def test_end_truncated_by_a_proper_end_of_body_is_an_error() -> None:
    """A body that ends well, without finish reason and [DONE], is no answer either."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = chat(["half"], finish=None, done=False, usage=False)
        async with await g.chat() as client:
            assert await client.response() == 200
            assert in_band_error(await client.read_stream())["code"] == "upstream_truncated"
        await settled(g, fake, End.TRUNCATED)


async def test_end_truncated_before_the_first_event_is_a_502() -> None:
    """Headers and then nothing."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [Head(), Reset()]
        async with await g.chat() as client:
            assert await client.response() == 502
        await g.idle()
        assert ends(g) in ({"truncated": 1}, {"upstream_error": 1})


async def test_end_truncated_after_the_finish_reason_is_a_whole_answer() -> None:
    """The answer is complete; only [DONE] was lost, and we know that it was due."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [Role(), Chunk("whole"), Finish(), Reset()]
        async with await g.chat() as client:
            assert await client.response() == 200
            answer = collect(await client.read_stream())
            assert (answer.text, answer.finish, answer.done) == ("whole", "stop", True)
        await settled(g, fake, End.FINISHED)


async def test_end_cancelled_from_outside_is_in_band_and_closes_the_provider() -> None:
    """Another request cancels a stream by its id; a second one finds nothing."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [Role(), Chunk("one"), Stall()]
        async with await g.chat() as client, await g.client() as other:
            assert await client.response() == 200
            await client.next_frame()
            path = f"/v1/requests/{client.headers['x-request-id']}/cancel"
            await other.request("POST", path)
            assert await other.response() == 200
            await other.read_body()
            assert in_band_error(await client.read_stream())["code"] == "cancelled"
            await fake.closed()
            await settled(g, fake, End.CANCELLED)
            await other.request("POST", path)
            assert await other.response() == 404


async def test_end_shutdown_after_the_grace_is_in_band() -> None:
    """A stream that does not finish in time is told so before the process goes."""
    async with FakeProvider() as fake, gateway_for(fake, grace_s=0) as g:
        fake.script = [Role(), Chunk("one"), Stall()]
        async with await g.chat() as client:
            assert await client.response() == 200
            await client.next_frame()
            g.address.server.stop()
            assert in_band_error(await client.read_stream())["code"] == "shutting_down"
            await fake.closed()
            await settled(g, fake, End.SHUTDOWN)


async def test_shutdown_within_the_grace_lets_a_stream_finish() -> None:
    """SIGTERM ends no stream that can finish by itself, and no new one begins."""
    async with FakeProvider() as fake, gateway_for(fake, grace_s=30) as g:
        fake.script = [Role(), Chunk("one"), Pause(), Chunk("two"), Finish(), Done()]
        async with await g.chat() as client:
            assert await client.response() == 200
            await client.next_frame()
            g.address.server.stop()
            assert g.gateway.streams.draining
            fake.allow()
            answer = collect(await client.read_stream())
            assert (answer.finish, answer.done) == ("stop", True)
        await g.address.served
        assert ends(g) == {"finished": 1}
