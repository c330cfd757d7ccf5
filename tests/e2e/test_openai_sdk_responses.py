"""OpenAI's own Python SDK on its Responses API, as it is installed, with nothing changed but its base_url.

What it can do at all it can do with a provider of either family behind the gateway.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import Response, ResponseFunctionToolCall, ResponseReasoningItem
from pydantic import BaseModel

from tests.e2e import families
from tests.e2e.families import KINDS, heartbeat, standing
from tests.fakes import script_anthropic as native
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.script import Chunk, Close, Delta, Done, Finish, Pause, Role, Stall

pytestmark = pytest.mark.anyio

ASKING: Any = {"model": "gpt-4o", "max_output_tokens": 100, "input": "Say hello."}
TOOLS: Any = [
    {"type": "function", "name": name, "description": "d", "parameters": {"type": "object", "properties": {}}}
    for name in ("weather", "time")
]
CALLED = [("call_1", "weather", {"city": "Köln"}), ("call_2", "time", {})]


class City(BaseModel):
    """What a parsed answer is."""

    name: str


@pytest.fixture
def anyio_backend() -> str:
    """The loop is not the subject."""
    return "asyncio"


class Behind(families.Behind):
    """With OpenAI's clients in front."""

    def client(self, *, max_retries: int = 0, **options: Any) -> AsyncOpenAI:
        """The asynchronous client."""
        return AsyncOpenAI(base_url=f"{self.g.url}/v1", api_key="sk-whatever", max_retries=max_retries, **options)

    def blocking_client(self) -> OpenAI:
        """The synchronous client, for a thread."""
        return OpenAI(base_url=f"{self.g.url}/v1", api_key="sk-whatever", max_retries=0)


def behind(kind: str, **overrides: Any) -> AbstractAsyncContextManager[Behind]:
    """A gateway in front of a fake provider of this kind."""
    return standing(Behind, kind, **overrides)


@pytest.fixture(params=KINDS)
async def b(request: pytest.FixtureRequest) -> AsyncIterator[Behind]:
    """With either family behind."""
    async with behind(request.param) as found:
        yield found


def calls_of(response: Any) -> list[tuple[str, str, Any]]:
    """The calls of a response."""
    calls = [item for item in response.output if isinstance(item, ResponseFunctionToolCall)]
    assert {call.status for call in calls} <= {"completed"}
    return [(call.call_id, call.name, json.loads(call.arguments)) for call in calls]


async def test_sdk_text_arrives_piece_by_piece(b: Behind) -> None:
    """Raw events, numbered without gaps, and the helper's final response with its usage."""
    b.fake.script = b.answer("Hel", "lo", "!")
    async with b.client() as client:
        events = [event async for event in await client.responses.create(**ASKING, stream=True)]
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert [event.delta for event in events if event.type == "response.output_text.delta"] == ["Hel", "lo", "!"]
        kinds = [event.type for event in events if not event.type.endswith(".delta")]
        assert kinds == [
            *("response.created", "response.in_progress"),
            *("response.output_item.added", "response.content_part.added"),
            *("response.output_text.done", "response.content_part.done", "response.output_item.done"),
            "response.completed",
        ]
        async with client.responses.stream(**ASKING) as stream:
            final = await stream.get_final_response()
    assert (final.output_text, final.status, final.model) == ("Hello!", "completed", "gpt-4o")
    assert final.usage is not None
    assert (final.usage.input_tokens, final.usage.output_tokens, final.usage.total_tokens) == (9, 4, 13)
    assert b.fake.chats[0].json["stream"] is True


async def test_sdk_whole_answer_says_again_what_was_asked(b: Behind) -> None:
    """The SDK's own types, the request's id, and that nothing was stored."""
    b.fake.script = b.answer("Hello", "!")
    async with b.client() as client:
        raw = await client.responses.with_raw_response.create(
            **ASKING, instructions="Be kind.", metadata={"a": "b"}, temperature=0.5, store=True, truncation="auto"
        )
    response = raw.parse()
    assert (response.output_text, response.status, response.object) == ("Hello!", "completed", "response")
    assert (response.instructions, response.metadata, response.temperature) == ("Be kind.", {"a": "b"}, 0.5)
    assert (response.max_output_tokens, response.truncation) == (100, "disabled")
    assert response.model_extra == {"store": False} or getattr(response, "store", None) is False
    assert response.id == "resp_" + raw.headers["x-request-id"].removeprefix("req_")
    assert response._request_id == raw.headers["x-request-id"]


@pytest.mark.parametrize("streaming", [True, False])
async def test_sdk_tools_and_their_results(b: Behind, streaming: bool) -> None:
    """Two calls, one without arguments; the conversation goes on with what the SDK itself sends back."""
    b.fake.script = b.tools()
    turns: list[Any] = [{"role": "user", "content": "Weather?"}]
    async with b.client() as client:
        if streaming:
            async with client.responses.stream(**{**ASKING, "input": turns}, tools=TOOLS) as stream:
                response: Response = await stream.get_final_response()
        else:
            response = await client.responses.create(**{**ASKING, "input": turns}, tools=TOOLS)
        assert calls_of(response) == CALLED
        b.fake.script = b.answer("It is sunny.")
        turns += response.output
        turns += [{"type": "function_call_output", "call_id": call, "output": "sunny"} for call, _, _ in CALLED]
        again = await client.responses.create(**{**ASKING, "input": turns}, tools=TOOLS)
        assert again.output_text == "It is sunny."
    sent = b.fake.chats[1].json
    if b.kind == "openai":
        assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "tool", "tool"]
        assert [call["id"] for call in sent["messages"][1]["tool_calls"]] == ["call_1", "call_2"]
    else:
        assert [block["type"] for block in sent["messages"][1]["content"]] == ["tool_use", "tool_use"]
        assert [block["type"] for block in sent["messages"][2]["content"]] == ["tool_result", "tool_result"]


async def test_sdk_parses_answers_and_arguments(b: Behind) -> None:
    """`parse`, and the stream helper with a `text_format`: the schema goes to the provider, an object comes back."""
    b.fake.script = b.answer('{"name":', '"Köln"}')
    async with b.client() as client:
        parsed = await client.responses.parse(**ASKING, text_format=City)
        assert parsed.output_parsed == City(name="Köln")
        async with client.responses.stream(**ASKING, text_format=City) as stream:
            assert (await stream.get_final_response()).output_parsed == City(name="Köln")
        b.fake.script = b.tools()
        tool: Any = {**openai.pydantic_function_tool(City)["function"], "type": "function", "name": "weather"}
        response = await client.responses.create(**ASKING, tools=[tool])
        assert calls_of(response) == CALLED
    sent = b.fake.chats[0].json
    schema = sent["response_format"]["json_schema"] if b.kind == "openai" else sent["output_config"]["format"]
    assert schema["schema"]["properties"]["name"]["type"] == "string"


async def test_sdk_thinking_survives_the_round_trip_to_anthropic() -> None:
    """As the summary that clients show; text and signature go back as they came, whatever else they make of it."""
    async with behind("anthropic") as b, b.client() as client:
        b.fake.script = native.message(["Hello"], thoughts=["Let me", " see."], signature="c2ln")
        asking = {**ASKING, "max_output_tokens": 4000, "reasoning": {"effort": "low", "summary": "auto"}}
        deltas = []
        async with client.responses.stream(**asking) as stream:
            async for event in stream:
                if event.type == "response.reasoning_summary_text.delta":
                    deltas.append(event.delta)  # noqa: PERF401
            response = await stream.get_final_response()
        assert deltas == ["Let me", " see."]
        first = response.output[0]
        assert isinstance(first, ResponseReasoningItem)
        assert [part.text for part in first.summary] == ["Let me see."]
        question = {"role": "user", "content": "So?"}
        asking["input"] = [question, *response.output, question]
        await client.responses.create(**asking)
        kept = {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"}
        assert b.fake.chats[1].json["messages"][1]["content"][0] == kept


async def test_sdk_reasoning_of_another_family_is_a_reasoning_item() -> None:
    """Without anything to prove; it goes back as the text that it was."""
    async with behind("openai") as b, b.client() as client:
        b.fake.script = [Role(), Delta({"reasoning_content": "hm"}), Chunk("Hello"), Finish(), Done()]
        async with client.responses.stream(**ASKING) as stream:
            response = await stream.get_final_response()
        first = response.output[0]
        assert isinstance(first, ResponseReasoningItem)
        assert ([part.text for part in first.summary], first.encrypted_content) == (["hm"], None)
        b.fake.script = b.answer("again")
        turns: Any = [{"role": "user", "content": "a"}, *response.output, {"role": "user", "content": "b"}]
        await client.responses.create(**{**ASKING, "input": turns})
        assert b.fake.chats[1].json["messages"][1]["reasoning_content"] == "hm"


async def test_sdk_image_goes_to_the_provider(b: Behind) -> None:
    """As the provider's own API takes it."""
    content = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"},
    ]
    b.fake.script = b.answer("A dot.")
    async with b.client() as client:
        asked: Any = {**ASKING, "input": [{"role": "user", "content": content}]}
        assert (await client.responses.create(**asked)).output_text == "A dot."
    image = b.fake.chats[0].json["messages"][0]["content"][1]
    if b.kind == "openai":
        assert image["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgo="
    else:
        assert image["source"] == {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}


async def test_sdk_errors_of_our_own_are_of_the_right_class() -> None:
    """What would need a store or a tool of OpenAI's, and what there is not."""
    async with behind("openai") as b, b.client() as client:
        wrong: list[dict[str, Any]] = [
            {"previous_response_id": "resp_1"},
            {"conversation": "conv_1"},
            {"background": True},
            {"tools": [{"type": "web_search"}]},
        ]
        for more in wrong:
            with pytest.raises(openai.BadRequestError) as refused:
                await client.responses.create(**ASKING, **more)
            (name,) = more
            assert refused.value.param is not None
            assert refused.value.param.startswith(name)
            assert refused.value.code == "unsupported_parameter"
        for call in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
            with pytest.raises(openai.NotFoundError, match="keeps none"):
                await call("resp_1")
        with pytest.raises(openai.NotFoundError, match="keeps none"):
            await client.responses.input_items.list("resp_1")
        assert not b.fake.chats


@pytest.mark.parametrize("how", ["error", "close"])
async def test_sdk_error_in_mid_stream_is_raised_after_what_came(b: Behind, how: str) -> None:
    """Never a silent end: the text that came is there, then APIError, from raw events and from the helper."""
    b.fake.script = b.steps("one", " two", last=[b.broken() if how == "error" else Close()])
    texts: list[str] = []

    async def raw(client: AsyncOpenAI) -> None:
        async for event in await client.responses.create(**ASKING, stream=True):
            if event.type == "response.output_text.delta":
                texts.append(event.delta)  # noqa: PERF401 (what came before the error counts)

    async def helper(client: AsyncOpenAI) -> None:
        async with client.responses.stream(**ASKING) as stream:
            await stream.get_final_response()

    async with b.client() as client:
        for read in (raw, helper):
            with pytest.raises(openai.APIError) as caught:
                await read(client)
            assert caught.value.code == ("upstream_error" if how == "error" else "upstream_truncated")
    assert texts == ["one", " two"]


async def test_sdk_stream_closed_early_closes_the_provider(b: Behind) -> None:
    """Leaving the stream is what a stop button does."""
    b.fake.script = b.steps("one", last=[Stall()])
    async with b.client() as client, client.responses.stream(**ASKING) as stream:
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
    await b.fake.closed(0)
    await b.g.idle()


@pytest.mark.parametrize("mode", ["strict", "elastic"])
@pytest.mark.parametrize("kind", KINDS)
async def test_sdk_budget_cut_is_an_incomplete_response(kind: str, mode: str) -> None:
    """A provider that ignores its cap is cut; the response is whole and says why, in one place."""
    ledger = FakeLedger()
    async with behind(kind, ledger=ledger, ledger__mode=mode) as b, b.client() as client:
        ledger.lower_to(20, by="team:core")
        b.fake.script = b.answer(*[" a"] * 500, finish="length", output_tokens=500)
        raw = await client.responses.with_raw_response.create(**ASKING, stream=True)
        if mode == "strict":
            assert raw.headers["x-rillgate-output-tokens-max"] == "20"
        events: list[Any] = [event async for event in raw.parse()]
        last = events[-1]
        assert last.type == "response.incomplete"
        response = last.response
        assert (response.output_text, response.status) == (" a" * 20, "incomplete")
        assert response.incomplete_details.reason == "max_output_tokens"
        assert response.output[0].status == "incomplete"
        assert response.rillgate == {"stop": "budget", "scope": "team:core", "estimated": True}
        assert response.usage.output_tokens == 20
        assert sum("rillgate" in event.to_json() for event in events) == 1
        await b.g.settled()
        assert ledger.settled_once().requests == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_sdk_end_at_a_lowered_cap_says_whose_it_was(kind: str) -> None:
    """The provider keeps to the cap: its own end carries the report, streaming or not; and a wish of the client's own
    is nobody's report.
    """
    ledger = FakeLedger()
    async with behind(kind, ledger=ledger) as b, b.client() as client:
        ledger.lower_to(3, by="key:a1")
        b.fake.script = b.answer(" a", " a", " a", finish="length", output_tokens=3)
        report = {"stop": "budget", "scope": "key:a1"}
        events: list[Any] = [event async for event in await client.responses.create(**ASKING, stream=True)]
        whole: Any = await client.responses.create(**ASKING)
        for response in (events[-1].response, whole):
            assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
            assert response.rillgate == report
            assert response.usage.output_tokens == 3
        ledger.lower_to(1000, by="key:a1")
        own: Any = await client.responses.create(**{**ASKING, "max_output_tokens": 3})
        assert (own.status, "rillgate" in own.model_extra) == ("incomplete", False)


async def test_sdk_does_not_retry_against_a_used_up_budget() -> None:
    """A 429 that no waiting changes is said once: the header ends the SDK's retries."""
    async with behind("openai", auth__required=True) as b:
        key = await b.g.new_key(limits=["tokens/day=1"])
        async with AsyncOpenAI(base_url=f"{b.g.url}/v1", api_key=key, max_retries=2) as client:
            with pytest.raises(openai.RateLimitError) as caught:
                await client.responses.create(**ASKING)
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"
        async with b.client() as stranger:
            for ask in (stranger.responses.create(**ASKING), stranger.responses.retrieve("resp_1")):
                with pytest.raises(openai.AuthenticationError):
                    await ask
        assert not b.fake.chats


async def test_sdk_reads_over_heartbeats_wherever_they_stand() -> None:
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
        response = await reading
        assert (response.output_text, response.status) == ("one two", "completed")
        assert beats == [1, 2, 3, 4, 5]


async def _final(client: AsyncOpenAI) -> Any:
    async with client.responses.stream(**ASKING) as stream:
        return await stream.get_final_response()


async def test_sdk_counts_tokens() -> None:
    """An estimate that says so, and asks no provider."""
    async with behind("openai") as b, b.client() as client:
        raw = await client.responses.input_tokens.with_raw_response.count(model="gpt-4o", input="Say hello.")
        counted = raw.parse()
        assert (counted.input_tokens, counted.object) == (10, "response.input_tokens")
        assert raw.headers["x-rillgate-estimated"] == "true"
        assert not b.fake.chats


async def test_sdk_blocking_in_a_thread_streams_answers_and_raises(b: Behind) -> None:
    """The synchronous client has a parser and a transport of its own."""
    b.fake.by_model["tools"] = b.tools()
    b.fake.by_model["breaks"] = b.steps("one", last=[Close()])
    b.fake.script = b.answer("Hello", "!")

    def work() -> None:
        with b.blocking_client() as client:
            assert client.responses.create(**ASKING).output_text == "Hello!"
            with client.responses.stream(**ASKING) as stream:
                texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
            assert texts == ["Hello", "!"]
            with client.responses.stream(**{**ASKING, "model": "tools"}, tools=TOOLS) as stream:
                assert calls_of(stream.get_final_response()) == CALLED
            with (
                pytest.raises(openai.APIError),
                client.responses.stream(**{**ASKING, "model": "breaks"}) as stream,
            ):
                stream.until_done()

    await asyncio.to_thread(work)
