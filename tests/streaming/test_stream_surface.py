"""A stream as its client sees it: headers, frames, heartbeats."""

from __future__ import annotations

import pytest

from tests.fakes.clients import collect
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import CHAT, chat_body, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Done, Finish, Head, Pause, Role, Send, chat
from tests.streaming.asking import ask

pytestmark = pytest.mark.anyio

PROMPT = {"prompt": "Why is the sky blue?"}


async def test_stream_has_the_headers_that_keep_proxies_from_holding_it() -> None:
    """On every route that streams; and the id is ours, not the provider's."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        for got in (
            await ask(g, "POST", CHAT, json=chat_body()),
            await ask(g, "POST", "/chat/stream", json=PROMPT),
            await ask(g, "GET", "/chat?message=hi"),
        ):
            assert got.status == 200
            assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert got.headers["cache-control"] == "no-cache, no-transform"
            assert got.headers["x-accel-buffering"] == "no"
            assert "content-length" not in got.headers
            assert "server" not in got.headers
            got.check_id()


async def test_stream_passes_frames_byte_for_byte_without_usage_that_nobody_asked_for() -> None:
    """Unknown fields, white space and comments' absence: the client reads what the provider wrote."""
    frames = [
        b'data: {"id":"c1", "object":"chat.completion.chunk","created":1,"model":"m","x":{"y": 1},'
        b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n',
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m",'
        b'"choices":[{"index":0,"delta":{"content":"caf\xc3\xa9 \xe2\x80\xa8","z":0.10},"finish_reason":null}]}\n\n',
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m",'
        b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    ]
    usage = (
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],'
        b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}\n\n'
    )
    done = b"data: [DONE]\n\n"
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [Send(b": hello\n\n"), *(Send(frame) for frame in frames), Send(usage), Send(done)]
        got = await ask(g, "POST", CHAT, json=chat_body())
        assert got.body == b"".join(frames) + done
        got = await ask(g, "POST", CHAT, json=chat_body(stream_options={"include_usage": True}))
        assert got.body == b"".join(frames) + usage + done


async def test_stream_answered_with_json_becomes_a_stream() -> None:
    """Some servers ignore `stream`: their answer is told as chunks, with its usage and its tool calls."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = chat(["Hello", " there"], as_json=True, model="reported")
        got = await ask(g, "POST", CHAT, json=chat_body(stream_options={"include_usage": True}))
        assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
        answer = got.stream
        assert (answer.text, answer.finish, answer.done, answer.after_done) == ("Hello there", "stop", True, 0)
        assert answer.usage is not None
        assert answer.usage["prompt_tokens"] == 9
        chunks = [event.json for event in got.events if event.data != "[DONE]"]
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        got = await ask(g, "GET", "/chat?message=hi")
        assert got.events[-2].event == "done"


async def test_stream_answered_compressed_is_an_error() -> None:
    """identity was asked for: what comes compressed all the same is refused, not passed on as garbage."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [Head(headers={"content-encoding": "gzip"}), Send(b"\x1f\x8b\x08")]
        for stream in (True, False):
            got = await ask(g, "POST", CHAT, json=chat_body(stream=stream))
            assert got.status == 502
            assert "gzip" in got.error["message"]
            assert fake.chats[-1].headers["accept-encoding"] == "identity"


async def test_stream_before_its_first_event_is_kept_alive_by_heartbeats() -> None:
    """Nothing from the provider for heartbeat_s: status 200 and a comment, again and again, then the answer."""
    clock = FakeClock()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock, timeouts__heartbeat_s=12) as g:
        fake.script = [Pause(), Role(), Chunk("late"), Finish(), Done()]
        async with await g.chat() as client:
            await fake.request()
            clock.advance(11.9)
            assert g.gateway.streams.running() == 1
            for _ in range(3):
                clock.advance(12)
                if client.status == 0:
                    assert await client.response() == 200
                assert await client.read_some() == b": ping\n"
            fake.allow()
            answer = collect(await client.read_stream())
            assert (answer.text, answer.done) == ("late", True)


async def test_stream_in_mid_stream_silence_is_kept_alive_at_event_boundaries() -> None:
    """On /chat the comment is an event of its own; it stands between whole frames, and only after silence."""
    clock = FakeClock()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock, timeouts__heartbeat_s=12) as g:
        for path, ping in ((CHAT, b": ping\n"), ("/chat/stream", b": ping\n"), ("/chat?message=hi", b": ping\n\n")):
            fake.script = [Role(), Chunk("one"), Pause(), Chunk("two"), Finish(), Done()]
            async with await g.client() as client:
                if path.startswith("/chat?"):
                    await client.request("GET", path)
                else:
                    await client.request("POST", path, json=chat_body() if path == CHAT else PROMPT)
                assert await client.response() == 200
                raw = b""
                while b'"one"' not in raw:
                    event = await client.next_event()
                    assert event is not None
                    raw = event.raw
                    assert event.comments == ()
                clock.advance(12)
                assert await client.read_some() == ping
                fake.allow()
                rest = await client.read_body()
                assert b"ping" not in rest
                assert b'"two"' in rest
                assert rest.endswith(b"data: [DONE]\n\n")
