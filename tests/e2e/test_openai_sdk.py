"""OpenAI's own Python SDK, as it is installed, with nothing changed but its base_url."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from rillgate.delivery.writer import WriterStats
from tests.fakes.clock import FakeClock
from tests.fakes.exchange import Exchange
from tests.fakes.gateway import GatewayInTest, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Close, Done, Error, ErrorFrame, Finish, Pause, Reset, Role, Stall, ToolCall, chat

pytestmark = pytest.mark.anyio

QUESTION: Any = [{"role": "user", "content": "Say hello."}]
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("weather", "time")
]
TOOL_CALLS = [
    ToolCall("call_Ab1", "weather", ['{"city"', ': "Köln', '"}']),
    ToolCall("call_Cd2", "time", ["{", "}"]),
]


@asynccontextmanager
async def sdk(g: GatewayInTest, *, max_retries: int = 0, **options: Any) -> AsyncIterator[AsyncOpenAI]:
    """The asynchronous client."""
    async with AsyncOpenAI(base_url=f"{g.url}/v1", api_key="sk-whatever", max_retries=max_retries, **options) as client:
        yield client


@contextmanager
def blocking_sdk(g: GatewayInTest) -> Iterator[OpenAI]:
    """The synchronous client, for a thread."""
    with OpenAI(base_url=f"{g.url}/v1", api_key="sk-whatever", max_retries=0) as client:
        yield client


async def test_sdk_streaming_reads_chunks_and_usage_only_when_asked() -> None:
    """Text, finish reason and model arrive chunk by chunk; the usage chunk is the last, and only for who wants it."""
    async with FakeProvider() as fake, gateway_for(fake) as g, sdk(g) as client:
        fake.script = chat(["Hel", "lo", "!"], model="m-2026-11")
        for asked in (False, True):
            options: Any = {"stream_options": {"include_usage": True}} if asked else {}
            stream = await client.chat.completions.create(model="m", messages=QUESTION, stream=True, **options)
            chunks = [chunk async for chunk in stream]
            texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
            assert [text for text in texts if text] == ["Hel", "lo", "!"]
            assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
            assert {chunk.model for chunk in chunks} == {"m-2026-11"}
            usages = [chunk.usage for chunk in chunks if chunk.usage]
            assert len(usages) == (1 if asked else 0)
            if asked:
                assert chunks[-1].usage is usages[0]
                assert (usages[0].prompt_tokens, usages[0].completion_tokens) == (9, 3)
            request_id = stream.response.headers["x-request-id"]
            assert request_id.startswith("req_")


async def test_sdk_without_streaming_reads_a_whole_answer() -> None:
    """The SDK's own types, the id of the request, and the gateway's field where usage is an estimate."""
    async with FakeProvider() as fake, gateway_for(fake) as g, sdk(g) as client:
        answer = await client.chat.completions.create(model="m", messages=QUESTION, max_completion_tokens=50)
        assert answer.choices[0].message.content == "Hello, world!"
        assert answer.usage is not None
        assert answer.usage.total_tokens == 13
        assert answer._request_id is not None
        assert answer._request_id.startswith("req_")
        assert fake.chats[0].json["max_tokens"] == 50
        fake.script = chat(usage=False)
        answer = await client.chat.completions.create(model="m", messages=QUESTION)
        assert answer.usage is not None
        assert answer.usage.completion_tokens > 0
        assert answer.model_extra == {"rillgate": {"estimated": True}}


async def test_sdk_stream_helper_builds_tool_calls_untouched() -> None:
    """Ids, names and arguments of two calls come out as the provider wrote them, at indexes without gaps."""
    async with FakeProvider() as fake, gateway_for(fake) as g, sdk(g) as client:
        fake.script = chat([], tools=TOOL_CALLS)
        async with client.chat.completions.stream(model="m", messages=QUESTION, tools=TOOLS) as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_completion()
        assert kinds.count("tool_calls.function.arguments.done") == 2
        message = final.choices[0].message
        assert final.choices[0].finish_reason == "tool_calls"
        assert message.role == "assistant"
        assert message.tool_calls is not None
        assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls] == [
            ("call_Ab1", "weather", '{"city": "Köln"}'),
            ("call_Cd2", "time", "{}"),
        ]
        assert fake.chats[0].json["tools"] == TOOLS


async def test_sdk_streamed_tool_fragments_keep_their_indexes() -> None:
    """Frame by frame: the index goes 0, 1; id and name come once for each call."""
    async with FakeProvider() as fake, gateway_for(fake) as g, sdk(g) as client:
        fake.script = chat([], tools=TOOL_CALLS)
        stream = await client.chat.completions.create(model="m", messages=QUESTION, tools=TOOLS, stream=True)
        fragments = [
            fragment async for chunk in stream for choice in chunk.choices for fragment in choice.delta.tool_calls or ()
        ]
        assert [fragment.index for fragment in fragments] == [0, 0, 0, 0, 1, 1, 1]
        assert [fragment.id for fragment in fragments if fragment.id] == ["call_Ab1", "call_Cd2"]
        names = [fragment.function.name for fragment in fragments if fragment.function and fragment.function.name]
        assert names == ["weather", "time"]


async def test_sdk_tools_in_a_whole_answer_and_back_in_the_conversation() -> None:
    """A tool's result goes upstream as the SDK sends it."""
    async with FakeProvider() as fake, gateway_for(fake) as g, sdk(g) as client:
        fake.script = chat([], tools=TOOL_CALLS)
        answer = await client.chat.completions.create(model="m", messages=QUESTION, tools=TOOLS)
        message = answer.choices[0].message
        assert message.tool_calls is not None
        results: Any = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in message.tool_calls]
        fake.script = chat(["It is sunny."])
        conversation: Any = [*QUESTION, message, *results]
        again = await client.chat.completions.create(model="m", messages=conversation, tools=TOOLS)
        assert again.choices[0].message.content == "It is sunny."
        sent = fake.chats[1].json["messages"]
        assert [call["id"] for call in sent[1]["tool_calls"]] == ["call_Ab1", "call_Cd2"]
        assert sent[2:] == results


async def test_sdk_stream_helper_of_several_choices_survives_a_cut() -> None:
    """With n = 2 each choice is cut at the cap for itself, and the helper still builds both."""
    async with FakeProvider() as fake, gateway_for(fake) as g, sdk(g) as client:
        fake.script = chat([" a"] * 20, n=2, finish="length")
        async with client.chat.completions.stream(
            model="gpt-4o", messages=QUESTION, n=2, max_tokens=5, stream_options={"include_usage": True}
        ) as stream:
            seen = [event.type async for event in stream]
            final = await stream.until_done()
            snapshot = final.current_completion_snapshot
        assert "chunk" in seen
        assert [choice.message.content for choice in snapshot.choices] == [" a" * 5] * 2
        assert [choice.finish_reason for choice in snapshot.choices] == ["length"] * 2
        assert snapshot.usage is not None
        assert snapshot.usage.completion_tokens == 10


async def test_sdk_errors_before_the_stream_are_of_the_right_class() -> None:
    """Statuses arrive as the classes that programs catch, with code, parameter and request id, streaming or not."""
    too_long = {"error": {"message": "maximum context length is 8192 tokens", "type": "invalid_request_error"}}
    cases: list[tuple[Any, type[openai.APIStatusError], int, str]] = [
        ([Error(400, too_long)], openai.BadRequestError, 400, "context_length_exceeded"),
        ([Error(404)], openai.NotFoundError, 404, "model_not_found"),
        ([Error(429)], openai.RateLimitError, 429, "rate_limit_exceeded"),
        ([Error(401)], openai.InternalServerError, 502, "upstream_auth"),
        ([Error(500)], openai.InternalServerError, 502, "upstream_error"),
        ([Error(503)], openai.InternalServerError, 503, "upstream_overloaded"),
        ([Error(504)], openai.InternalServerError, 504, "upstream_timeout"),
        ([Reset()], openai.InternalServerError, 502, "upstream_truncated"),
    ]
    async with FakeProvider() as fake, gateway_for(fake) as g, sdk(g) as client:
        for script, kind, status, code in cases:
            for streaming in (False, True):
                # A kept connection that is reset before a byte of an answer is tried once more.
                fake.queue(*[script] * (2 if isinstance(script[0], Reset) else 1))
                with pytest.raises(openai.APIStatusError) as caught:
                    await client.chat.completions.create(model="m", messages=QUESTION, stream=streaming)
                assert type(caught.value) is kind, script
                assert (caught.value.status_code, caught.value.code) == (status, code)
                assert str(caught.value.request_id).startswith("req_")


async def test_sdk_errors_of_our_own_are_of_the_right_class() -> None:
    """What the gateway itself refuses is told apart as well."""
    async with (
        FakeProvider() as fake,
        gateway_for(fake, limits__body_bytes_max=2000, limits__streams_max=1) as g,
        sdk(g) as client,
    ):
        with pytest.raises(openai.BadRequestError) as bad:
            await client.chat.completions.create(model="m", messages=QUESTION, temperature=9)
        assert (bad.value.param, bad.value.code) == ("temperature", "invalid_value")
        with pytest.raises(openai.NotFoundError) as missing:
            await client.models.retrieve("none")
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.APIStatusError) as large:
            await client.chat.completions.create(model="m", messages=QUESTION, user="x" * 2000)
        assert large.value.status_code == 413
        with pytest.raises(openai.PermissionDeniedError):
            await client.models.list(extra_headers={"origin": "https://foreign.example"})
        fake.script = [Role(), Chunk("one"), Stall()]
        async with await g.chat() as taking_the_only_place:
            assert await taking_the_only_place.response() == 200
            with pytest.raises(openai.InternalServerError) as full:
                await client.chat.completions.create(model="m", messages=QUESTION)
            assert (full.value.status_code, full.value.code) == (503, "overloaded")
            assert full.value.response.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("last", "code"),
    [(ErrorFrame("the model fell over"), "upstream_error"), (Close(), "upstream_truncated")],
    ids=["error", "close"],
)
async def test_sdk_error_in_mid_stream_is_raised_after_what_came(last: Any, code: str) -> None:
    """Never a silent end: the chunks that came are there, then APIError, by hand and in the helper."""
    async with FakeProvider() as fake, gateway_for(fake) as g, sdk(g) as client:
        fake.script = [Role(), Chunk("one"), Chunk(" two"), last]
        texts = []
        stream = await client.chat.completions.create(model="m", messages=QUESTION, stream=True)

        async def read() -> None:
            async for chunk in stream:
                texts.append(chunk.choices[0].delta.content)  # noqa: PERF401 (what came before the error counts)

        with pytest.raises(openai.APIError) as caught:
            await read()
        assert texts == ["", "one", " two"]
        assert caught.value.code == code
        assert caught.value.message
        async with client.chat.completions.stream(model="m", messages=QUESTION) as helper:
            with pytest.raises(openai.APIError):
                await helper.get_final_completion()


async def test_sdk_retries_only_what_may_succeed() -> None:
    """A provider that wants its bill paid or another key is asked once, although the SDK would try three times."""
    quota = {"error": {"message": "pay", "type": "insufficient_quota", "code": "insufficient_quota"}}
    async with FakeProvider() as fake, gateway_for(fake) as g, sdk(g, max_retries=2) as client:
        for number, script in enumerate(([Error(429, quota)], [Error(401)]), start=1):
            fake.script = script
            with pytest.raises(openai.APIStatusError):
                await client.chat.completions.create(model="m", messages=QUESTION)
            assert len(fake.chats) == number


async def test_sdk_reads_over_heartbeats_wherever_they_stand() -> None:
    """Comments before the first chunk and between any two leave the parser where it was."""
    clock = FakeClock()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock, timeouts__heartbeat_s=12) as g, sdk(g) as client:
        fake.script = [
            *(Pause(), Role(), Pause(), Chunk("one"), Pause(), Chunk(" two")),
            *(Pause(), Finish(), Pause(), Done()),
        ]
        asking = asyncio.ensure_future(client.chat.completions.create(model="m", messages=QUESTION, stream=True))
        exchange = await fake.request()
        heartbeats = [await heartbeat(g, clock, exchange)]
        stream = await asking
        texts = []
        async for chunk in stream:
            texts.append(chunk.choices[0].delta.content or chunk.choices[0].finish_reason)
            heartbeats.append(await heartbeat(g, clock, exchange))
        assert texts == [None, "one", " two", "stop"]
        assert heartbeats == [1, 2, 3, 4, 5]


async def heartbeat(g: GatewayInTest, clock: FakeClock, exchange: Exchange) -> int:
    """Silence for long enough, then the provider's next step. Gives the number of heartbeats so far."""
    (run,) = g.gateway.streams._running
    stats: WriterStats = run.stage.writer.stats  # type: ignore[attr-defined]
    sent = stats.sends
    while not exchange.paused:
        await asyncio.sleep(0)
    clock.advance(12)
    while stats.sends == sent:
        await asyncio.sleep(0)
    exchange.allow()
    return stats.heartbeats


async def test_sdk_stream_closed_early_closes_the_provider() -> None:
    """Leaving the loop and closing the stream is what a stop button does."""
    async with FakeProvider() as fake, gateway_for(fake) as g, sdk(g) as client:
        fake.script = [Role(), Chunk("one"), Stall()]
        stream = await client.chat.completions.create(model="m", messages=QUESTION, stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await stream.close()
        await fake.closed()
        await g.idle()


@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "answer"])
async def test_sdk_call_cancelled_closes_the_provider(*, streaming: bool) -> None:
    """A cancelled task, before anything has come."""
    async with FakeProvider() as fake, gateway_for(fake) as g, sdk(g) as client:
        fake.script = [Stall()]
        calling = asyncio.ensure_future(client.chat.completions.create(model="m", messages=QUESTION, stream=streaming))
        await fake.request()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await fake.closed()
        await g.idle()


async def test_sdk_models_are_listed_and_retrieved() -> None:
    """Also one whose id has a slash."""
    async with FakeProvider() as fake, gateway_for(fake) as g, sdk(g) as client:
        fake.model_ids = ["small", "org/model-7b"]
        assert [model.id async for model in client.models.list()] == ["small", "org/model-7b"]
        assert (await client.models.retrieve("org/model-7b")).owned_by == "fake"


async def test_sdk_extra_fields_reach_the_provider() -> None:
    """extra_body is how the SDK's users say what only their provider knows."""
    async with FakeProvider() as fake, gateway_for(fake) as g, sdk(g) as client:
        await client.chat.completions.create(model="m", messages=QUESTION, extra_body={"top_k": 40, "x": {"y": [1]}})
        assert (fake.chats[0].json["top_k"], fake.chats[0].json["x"]) == (40, {"y": [1]})


async def test_blocking_sdk_in_a_thread_streams_answers_and_raises() -> None:
    """The synchronous client has a parser and a transport of its own."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.by_model["tools"] = chat([], tools=TOOL_CALLS)
        fake.by_model["breaks"] = [Role(), Chunk("one"), Close()]

        def work() -> None:
            with blocking_sdk(g) as client:
                answer = client.chat.completions.create(model="m", messages=QUESTION)
                assert answer.choices[0].message.content == "Hello, world!"
                with client.chat.completions.create(model="m", messages=QUESTION, stream=True) as stream:
                    texts = [chunk.choices[0].delta.content or "" for chunk in stream]
                assert "".join(texts) == "Hello, world!"
                with client.chat.completions.stream(model="tools", messages=QUESTION, tools=TOOLS) as helper:
                    calls = helper.get_final_completion().choices[0].message.tool_calls
                assert [call.id for call in calls or ()] == ["call_Ab1", "call_Cd2"]
                with (
                    pytest.raises(openai.APIError),
                    client.chat.completions.stream(model="breaks", messages=QUESTION) as helper,
                ):
                    helper.get_final_completion()
                with pytest.raises(openai.NotFoundError):
                    client.models.retrieve("none")

        await asyncio.to_thread(work)
        await g.idle()
