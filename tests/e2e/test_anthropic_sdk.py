"""Anthropic's own Python SDK, as it is installed, with nothing changed but its base_url.

What it can do at all it can do with a provider of either family behind the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message

from tests.e2e import families
from tests.e2e.families import KINDS, heartbeat, standing
from tests.e2e.sdk import Naps
from tests.fakes import script_anthropic as native
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.script import Chunk, Close, Delta, Done, Error, Finish, Pause, Role, Stall

pytestmark = pytest.mark.anyio

QUESTION: Any = [{"role": "user", "content": "Say hello."}]
ASKING: Any = {"model": "gpt-4o", "max_tokens": 100, "messages": QUESTION}
TOOLS: Any = [
    {"name": name, "description": "d", "input_schema": {"type": "object", "properties": {}}}
    for name in ("weather", "time")
]

Sdk = Callable[[Callable[[Any], Any]], Awaitable[Any]]


@pytest.fixture
def anyio_backend() -> str:
    """The loop is not the subject."""
    return "asyncio"


class Behind(families.Behind):
    """With Anthropic's clients in front."""

    def client(self, *, max_retries: int = 0, **options: Any) -> AsyncAnthropic:
        """The asynchronous client."""
        return AsyncAnthropic(base_url=self.g.url, api_key="sk-whatever", max_retries=max_retries, **options)

    def blocking_client(self) -> Anthropic:
        """The synchronous client, for a thread."""
        return Anthropic(base_url=self.g.url, api_key="sk-whatever", max_retries=0)


def behind(kind: str, **overrides: Any) -> AbstractAsyncContextManager[Behind]:
    """A gateway in front of a fake provider of this kind."""
    return standing(Behind, kind, **overrides)


@pytest.fixture(params=KINDS)
async def b(request: pytest.FixtureRequest) -> AsyncIterator[Behind]:
    """With either family behind."""
    async with behind(request.param) as found:
        yield found


def text_of(message: Message) -> str:
    """All its text."""
    return "".join(block.text for block in message.content if block.type == "text")


async def test_sdk_text_arrives_piece_by_piece(b: Behind) -> None:
    """The helper's text stream, its final message, usage and the request's id."""
    b.fake.script = b.answer("Hel", "lo", "!")
    async with b.client() as client, client.messages.stream(**ASKING) as stream:
        texts = [text async for text in stream.text_stream]
        message = await stream.get_final_message()
        assert str(stream.request_id).startswith("req_")
    assert texts == ["Hel", "lo", "!"]
    assert (text_of(message), message.stop_reason, message.model) == ("Hello!", "end_turn", "gpt-4o")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (9, 4)
    assert b.fake.chats[0].json["stream"] is True


async def test_sdk_whole_answer(b: Behind) -> None:
    """The SDK's own types, and the id of the request."""
    b.fake.script = b.answer("Hello", "!")
    async with b.client() as client:
        message = await client.messages.create(**ASKING, system="Be kind.", stop_sequences=["END"])
    assert (text_of(message), message.stop_reason, message.role) == ("Hello!", "end_turn", "assistant")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (9, 4)
    assert str(message._request_id).startswith("req_")
    sent = b.fake.chats[0].json
    if b.kind == "openai":
        assert sent["messages"] == [{"role": "system", "content": "Be kind."}, *QUESTION]
        assert (sent["stop"], sent["max_tokens"]) == (["END"], 100)
    else:
        assert (sent["system"], sent["stop_sequences"], sent["max_tokens"]) == ("Be kind.", ["END"], 100)


@pytest.mark.parametrize("streaming", [True, False])
async def test_sdk_tools_and_their_results(b: Behind, streaming: bool) -> None:
    """Two calls, one without arguments; the conversation goes on with what the SDK itself sends back."""
    b.fake.script = b.tools()
    async with b.client() as client:
        if streaming:
            async with client.messages.stream(**ASKING, tools=TOOLS) as stream:
                message: Message = await stream.get_final_message()
        else:
            message = await client.messages.create(**ASKING, tools=TOOLS)
        calls = [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"]
        assert calls == [("call_1", "weather", {"city": "Köln"}), ("call_2", "time", {})]
        assert message.stop_reason == "tool_use"
        b.fake.script = b.answer("It is sunny.")
        results: Any = [{"type": "tool_result", "tool_use_id": call, "content": "sunny"} for call, _, _ in calls]
        turns: Any = [
            *QUESTION,
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": results},
        ]
        again = await client.messages.create(**{**ASKING, "messages": turns}, tools=TOOLS)
        assert text_of(again) == "It is sunny."
    sent = b.fake.chats[1].json
    if b.kind == "openai":
        assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "tool", "tool"]
        assert [call["id"] for call in sent["messages"][1]["tool_calls"]] == ["call_1", "call_2"]
        assert [tool["function"]["name"] for tool in sent["tools"]] == ["weather", "time"]
    else:
        assert [block["type"] for block in sent["messages"][2]["content"]] == ["tool_result", "tool_result"]
        assert sent["tools"] == TOOLS


async def test_sdk_thinking_survives_the_round_trip_to_anthropic() -> None:
    """Text and signature come out as they went in, and go back as they came."""
    async with behind("anthropic") as b, b.client() as client:
        b.fake.script = native.message(["Hello"], thoughts=["Let me", " see."], signature="c2ln")
        thinking: Any = {"type": "enabled", "budget_tokens": 1024}
        asking = {**ASKING, "max_tokens": 2000, "thinking": thinking}
        async with client.messages.stream(**asking) as stream:
            message = await stream.get_final_message()
        first = message.content[0]
        assert first.type == "thinking"
        assert (first.thinking, first.signature) == ("Let me see.", "c2ln")
        asking["messages"] = [*QUESTION, {"role": "assistant", "content": message.content}, *QUESTION]
        await client.messages.create(**asking)
        kept = {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"}
        assert b.fake.chats[1].json["messages"][1]["content"][0] == kept
        assert b.fake.chats[1].json["thinking"] == thinking


async def test_sdk_reasoning_of_another_family_is_a_thinking_block() -> None:
    """Without a signature, since there is none; it goes back as the text that it was."""
    async with behind("openai") as b, b.client() as client:
        b.fake.script = [Role(), Delta({"reasoning_content": "hm"}), Chunk("Hello"), Finish(), Done()]
        async with client.messages.stream(**ASKING) as stream:
            message = await stream.get_final_message()
        first = message.content[0]
        assert first.type == "thinking"
        assert (first.thinking, first.signature, text_of(message)) == ("hm", "", "Hello")
        b.fake.script = b.answer("again")
        turns: Any = [*QUESTION, {"role": "assistant", "content": message.content}, *QUESTION]
        await client.messages.create(**{**ASKING, "messages": turns})
        sent = b.fake.chats[1].json["messages"][1]
        assert sent == {"role": "assistant", "content": "Hello", "reasoning_content": "hm"}


async def test_sdk_headers_and_unknown_fields_reach_anthropic() -> None:
    """Version, betas and what is newer than this gateway; the client's credential does not."""
    async with behind("anthropic") as b, b.client() as client:
        b.fake.script = b.answer("hi")
        await client.beta.messages.create(**ASKING, betas=["new-2026"], extra_body={"a_new_field": {"x": 1}})
        headers = b.fake.chats[0].headers
        assert headers["anthropic-beta"] == "new-2026"
        assert headers["anthropic-version"]
        assert "sk-whatever" not in str(headers)
        assert b.fake.chats[0].json["a_new_field"] == {"x": 1}


@pytest.mark.parametrize(
    ("status", "raises", "code"),
    [
        (400, anthropic.BadRequestError, "invalid_request"),
        (404, anthropic.NotFoundError, "model_not_found"),
        (413, anthropic.ContentTooLargeError, "request_too_large"),
        (429, anthropic.RateLimitError, "rate_limit_exceeded"),
        (401, anthropic.InternalServerError, "upstream_auth"),
        (500, anthropic.InternalServerError, "upstream_error"),
        (503, anthropic.ServiceUnavailableError, "upstream_overloaded"),
        (504, anthropic.GatewayTimeoutError, "upstream_timeout"),
    ],
)
async def test_sdk_error_of_the_provider_is_of_the_right_class(
    b: Behind, status: int, raises: type[anthropic.APIStatusError], code: str
) -> None:
    """Streaming or not; our code is where the SDK looks for one."""
    async with b.client() as client:
        for streaming in (False, True):
            b.fake.script = [Error(status)]
            with pytest.raises(anthropic.APIStatusError) as caught:
                await client.messages.create(**ASKING, stream=streaming)
            assert type(caught.value) is raises
            assert caught.value.error_code == code
            assert str(caught.value.request_id).startswith("req_")
            assert caught.value.api_message


async def test_sdk_errors_of_our_own_are_of_the_right_class() -> None:
    """What the gateway refuses itself, with the field that is wrong in the message."""
    async with behind("openai", limits__body_bytes_max=2000) as b, b.client() as client:
        with pytest.raises(anthropic.BadRequestError) as bad:
            await client.messages.create(**ASKING, extra_body={"temperature": 9})
        assert bad.value.type == "invalid_request_error"
        assert "'temperature'" in str(bad.value.api_message)
        with pytest.raises(anthropic.ContentTooLargeError) as large:
            await client.messages.create(**ASKING, system="x" * 2000)
        assert str(large.value.type) == "request_too_large"
        with pytest.raises(anthropic.NotFoundError) as missing:
            await client.models.retrieve("none")
        assert missing.value.type == "not_found_error"
        with pytest.raises(anthropic.NotFoundError) as unknown:
            await client.post("/v1/messages/batches", cast_to=object, body={})
        assert (unknown.value.type, unknown.value.error_code) == ("not_found_error", "not_found")
        with pytest.raises(anthropic.PermissionDeniedError) as foreign:
            await client.models.list(extra_headers={"origin": "https://foreign.example"})
        assert foreign.value.type == "permission_error"


async def test_sdk_keys_by_either_header() -> None:
    """As Bearer, which the SDK sends by default, or as `x-api-key`; a wrong one is an AuthenticationError."""
    async with behind("openai", auth__required=True) as b:
        b.fake.script = b.answer("hi")
        key = await b.g.new_key()
        async with AsyncAnthropic(base_url=b.g.url, api_key=key) as client:
            assert text_of(await client.messages.create(**ASKING)) == "hi"
        async with AsyncAnthropic(base_url=b.g.url, api_key="sk-x", default_headers={"x-api-key": key}) as client:
            assert text_of(await client.messages.create(**ASKING)) == "hi"
        async with b.client() as client:
            with pytest.raises(anthropic.AuthenticationError) as caught:
                await client.messages.create(**ASKING)
            assert (caught.value.type, caught.value.error_code) == ("authentication_error", "invalid_api_key")


@pytest.mark.parametrize("how", ["error", "close"])
async def test_sdk_error_in_mid_stream_is_raised_after_what_came(b: Behind, how: str) -> None:
    """Never a silent end: the text that came is there, then APIStatusError."""
    b.fake.script = b.steps("one", " two", last=[b.broken() if how == "error" else Close()])
    texts: list[str] = []

    async def read(client: AsyncAnthropic) -> None:
        async with client.messages.stream(**ASKING) as stream:
            async for text in stream.text_stream:
                texts.append(text)  # noqa: PERF401 (what came before the error counts)

    async with b.client() as client:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await read(client)
    assert texts == ["one", " two"]
    assert caught.value.type == "api_error"
    assert caught.value.error_code == ("upstream_error" if how == "error" else "upstream_truncated")


async def test_sdk_stream_closed_early_closes_the_provider(b: Behind) -> None:
    """Leaving the stream is what a stop button does."""
    b.fake.script = b.steps("one", last=[Stall()])
    async with b.client() as client, client.messages.stream(**ASKING) as stream:
        async for _ in stream.text_stream:
            break
    await b.fake.closed(0)
    await b.g.idle()


@pytest.mark.parametrize("kind", KINDS)
async def test_sdk_budget_cut_is_an_end_at_max_tokens(kind: str) -> None:
    """A provider that ignores its cap is cut; the message is whole and says why."""
    ledger = FakeLedger()
    async with behind(kind, ledger=ledger) as b, b.client() as client:
        ledger.lower_to(20, by="team:core")
        b.fake.script = b.answer(*[" a"] * 500, finish="length", output_tokens=500)
        endings: list[Any] = []
        async with client.messages.stream(**ASKING) as stream:
            async for event in stream:
                if event.type == "message_delta":
                    endings.append(event)  # noqa: PERF401
            message = await stream.get_final_message()
            assert stream.response.headers["x-rillgate-output-tokens-max"] == "20"
        assert (text_of(message), message.stop_reason) == (" a" * 20, "max_tokens")
        (ending,) = endings
        assert ending.rillgate == {"stop": "budget", "scope": "team:core", "estimated": True}
        assert message.usage.output_tokens == 20
        assert b.fake.chats[0].json["max_tokens"] == 20
        await b.g.settled()
        assert ledger.settled_once().requests == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_sdk_end_at_a_lowered_cap_says_whose_it_was(kind: str) -> None:
    """The provider keeps to the cap: its own end carries the report, streaming or not."""
    ledger = FakeLedger()
    async with behind(kind, ledger=ledger) as b, b.client() as client:
        ledger.lower_to(3, by="key:a1")
        b.fake.script = b.answer(" a", " a", " a", finish="length", output_tokens=3)
        report = {"stop": "budget", "scope": "key:a1"}
        stream = await client.messages.create(**ASKING, stream=True)
        events = [event async for event in stream]
        assert [event.model_extra for event in events if event.type == "message_delta"] == [{"rillgate": report}]
        assert events[-1].type == "message_stop"
        whole = await client.messages.create(**ASKING)
        assert whole.stop_reason == "max_tokens"
        assert whole.model_extra == {"rillgate": report}
        assert whole.usage.output_tokens == 3


async def test_sdk_retries_only_what_may_succeed(b: Behind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A used-up quota and a wrong key of ours are asked for once; an overload three times."""
    Naps().patch(monkeypatch)
    quota = {"error": {"message": "pay", "type": "insufficient_quota", "code": "insufficient_quota"}}
    async with b.client(max_retries=2) as client:
        for script, tries in (([Error(429, quota)], 1), ([Error(401)], 1), ([Error(529)], 3)):
            before = len(b.fake.chats)
            b.fake.script = script
            with pytest.raises(anthropic.APIStatusError):
                await client.messages.create(**ASKING)
            assert len(b.fake.chats) - before == tries


async def test_sdk_does_not_retry_against_a_used_up_budget() -> None:
    """A 429 that no waiting changes is said once: the header ends the SDK's retries."""
    async with behind("openai", auth__required=True) as b:
        key = await b.g.new_key(limits=["tokens/day=1"])
        async with AsyncAnthropic(base_url=b.g.url, api_key=key, max_retries=2) as client:
            with pytest.raises(anthropic.RateLimitError) as caught:
                await client.messages.create(**ASKING)
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"
        assert (caught.value.type, caught.value.error_code) == ("rate_limit_error", "rate_limit_exceeded")
        assert not b.fake.chats


async def test_sdk_reads_over_pings_wherever_they_stand() -> None:
    """Before the first event and between any two."""
    clock = FakeClock()
    async with behind("openai", clock=clock, timeouts__heartbeat_s=12) as b, b.client() as client:
        b.fake.script = [
            *(Pause(), Role(), Pause(), Chunk("one"), Pause(), Chunk(" two")),
            *(Pause(), Finish(), Pause(), Done()),
        ]
        reading = asyncio.ensure_future(_final(client))
        exchange = await b.fake.request()
        beats = [await heartbeat(b.g, clock, exchange) for _ in range(5)]
        message = await reading
        assert (text_of(message), message.stop_reason) == ("one two", "end_turn")
        assert beats == [1, 2, 3, 4, 5]


async def _final(client: AsyncAnthropic) -> Message:
    async with client.messages.stream(**ASKING) as stream:
        return await stream.get_final_message()


async def test_sdk_counts_tokens_and_lists_models() -> None:
    """A count is an estimate and says so; models come in Anthropic's shape, also one with a slash."""
    async with behind("openai") as b, b.client() as client:
        b.fake.model_ids = ["small", "org/model-7b"]
        raw = await client.messages.with_raw_response.count_tokens(model="small", messages=QUESTION, system="Be kind.")
        assert (await raw.parse()).input_tokens == 17
        assert raw.headers["x-rillgate-estimated"] == "true"
        assert not b.fake.chats
        assert [model.id async for model in client.models.list()] == ["small", "org/model-7b"]
        one = await client.models.retrieve("org/model-7b")
        assert (one.id, one.type, one.lifecycle, one.created_at.year) == ("org/model-7b", "model", "active", 1970)


async def test_sdk_blocking_in_a_thread_streams_answers_and_raises(b: Behind) -> None:
    """The synchronous client has a parser and a transport of its own."""
    b.fake.by_model["tools"] = b.tools()
    b.fake.by_model["breaks"] = b.steps("one", last=[Close()])
    b.fake.script = b.answer("Hello", "!")

    def work() -> None:
        with b.blocking_client() as client:
            assert text_of(client.messages.create(**ASKING)) == "Hello!"
            with client.messages.stream(**ASKING) as stream:
                assert list(stream.text_stream) == ["Hello", "!"]
            with client.messages.stream(**{**ASKING, "model": "tools"}, tools=TOOLS) as stream:
                calls = [block for block in stream.get_final_message().content if block.type == "tool_use"]
            assert [(call.id, call.input) for call in calls] == [("call_1", {"city": "Köln"}), ("call_2", {})]
            with (
                pytest.raises(anthropic.APIStatusError),
                client.messages.stream(**{**ASKING, "model": "breaks"}) as stream,
            ):
                stream.get_final_message()

    await asyncio.to_thread(work)
    await b.g.idle()
