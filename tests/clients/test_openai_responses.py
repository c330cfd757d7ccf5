"""OpenAI's own SDK in front of our fake Responses API: what it reads without complaint is no fancy of ours.

And the SDKs in a loop of tools in front of the gateway: what they send back holds the reasoning that OpenAI wants.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseFunctionToolCall, ResponseReasoningItem
from pydantic import BaseModel

from rillgate.domain.delta import OpaqueReasoningDelta, ReasoningDelta, TextDelta, ToolDelta, UsageDelta
from rillgate.providers.openai_responses import OpenAIResponsesProvider
from tests.fakes.clients import RawClient
from tests.fakes.exchange import Exchange
from tests.fakes.gateway import gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Error
from tests.fakes.script_openai_responses import Call, error, failed, refuses_tools, response, usage
from tests.unit.dialects.sdk_support import RESPONSE_EVENT, response_events

pytestmark = pytest.mark.anyio

MODEL = "gpt-6-luna"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
ANSWER = response(
    ["Hel", "lö"],
    thoughts=["h", "m"],
    encrypted="gAAA",
    calls=[
        Call("call_1", "weather", ['{"city"', ':"Köln"}']),
        Call("call_2", "weather", ['{"city":"Bonn"}'], encrypted="gBBB"),
    ],
    counts=usage(20, 12, reasoning=5, cached=16),
)
EVERYTHING = [
    ANSWER,
    response([], refusal="No."),
    response(["Hel"], incomplete="max_output_tokens"),
    response([], calls=[Call("call_1", "sql", ["select ", "1"], custom=True)]),
]
UNTYPED = {"obfuscation", "store"}  # that OpenAI sends, and its SDK has no fields for
KINDS = ("openai_responses", "azure")  # asked for, and found out by itself
RESULTS = {"call_1": "rain", "call_2": "sun"}


@pytest.fixture
def anyio_backend() -> str:
    """The loop is not the subject."""
    return "asyncio"


def check_response(said: Response) -> None:
    """The whole of `ANSWER`."""
    assert said.output_text == "Hellö"
    thoughts = [item for item in said.output if isinstance(item, ResponseReasoningItem)]
    assert [item.encrypted_content for item in thoughts] == ["gAAA", "gBBB"]
    assert [part.text for item in thoughts for part in item.summary] == ["hm"]
    calls = [item for item in said.output if isinstance(item, ResponseFunctionToolCall)]
    assert [(call.call_id, call.name, json.loads(call.arguments)) for call in calls] == [
        ("call_1", "weather", {"city": "Köln"}),
        ("call_2", "weather", {"city": "Bonn"}),
    ]
    assert said.usage is not None
    assert (said.usage.input_tokens, said.usage.output_tokens) == (20, 12)
    assert said.usage.input_tokens_details.cached_tokens == 16
    assert said.usage.output_tokens_details.reasoning_tokens == 5


async def asked(fake: FakeProvider, *, stream: bool) -> bytes:
    """What the fake sends."""
    async with await RawClient.open(fake.port) as client:
        await client.request("POST", "/v1/responses", json={"model": MODEL, "stream": stream, "input": "hi"})
        assert await client.response() == 200
        return await client.read_body()


def unknown(value: Any) -> Iterator[str]:
    """Every key that the SDK's types do not have, all the way down."""
    if isinstance(value, BaseModel):
        yield from value.model_extra or ()
        for name in type(value).model_fields:
            yield from unknown(getattr(value, name))
    elif isinstance(value, list):
        for each in value:
            yield from unknown(each)


@pytest.mark.parametrize("streamed", [True, False])
async def test_sdk_reads_an_answer_of_the_fake(streamed: bool) -> None:
    """Events one by one, and whole."""
    async with (
        FakeProvider() as fake,
        AsyncOpenAI(base_url=fake.base_url, api_key="any", max_retries=0) as client,
    ):
        fake.script = ANSWER
        if streamed:
            async with client.responses.stream(model=MODEL, input="hi") as stream:
                check_response(await stream.get_final_response())
        else:
            check_response(await client.responses.create(model=MODEL, input="hi"))


@pytest.mark.parametrize("script", EVERYTHING)
async def test_fake_writes_nothing_that_the_sdk_does_not_know(script: Any) -> None:
    """Every event, and the whole answer, by the SDK's own types, strictly and key by key."""
    async with FakeProvider() as fake:
        fake.script = script
        events = response_events(await asked(fake, stream=True))
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        for event in events:
            assert set(unknown(RESPONSE_EVENT.validate_python(event, strict=True))) <= UNTYPED
        whole = Response.model_validate_json(await asked(fake, stream=False), strict=True)
        assert set(unknown(whole)) <= UNTYPED


async def test_decoder_makes_of_the_fake_what_the_sdk_makes_of_it() -> None:
    """The same bytes, read by OpenAI's types and by ours."""
    async with FakeProvider() as fake:
        fake.script = ANSWER
        body = await asked(fake, stream=True)
        reader, decoder = OpenAIResponsesProvider("lab").reader(), OpenAIResponsesProvider("lab").decoder()
        deltas = [delta for frame in reader.feed(body) for delta in decoder.decode(frame) or ()]
        check_response(Response.model_validate(response_events(body)[-1]["response"]))
        assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == "Hellö"
        assert "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta)) == "hm"
        kept = [(delta.data, delta.call_id) for delta in deltas if isinstance(delta, OpaqueReasoningDelta)]
        assert kept == [("gAAA", None), ("gBBB", "call_2")]
        pieces = [delta for delta in deltas if isinstance(delta, ToolDelta)]
        assert [delta.call_id for delta in pieces if delta.call_id] == ["call_1", "call_2"]
        assert "".join(delta.arguments for delta in pieces if delta.index == 0) == '{"city":"Köln"}'
        (counts,) = [delta.usage for delta in deltas if isinstance(delta, UsageDelta)]
        assert (counts.input_tokens, counts.output_tokens, counts.reasoning_tokens) == (20, 12, 5)


@pytest.mark.parametrize("event", [failed(), error()])
async def test_sdk_knows_the_fakes_failures(event: Any) -> None:
    """As events of their own types."""
    async with (
        FakeProvider() as fake,
        AsyncOpenAI(base_url=fake.base_url, api_key="any", max_retries=0) as client,
    ):
        fake.script = [event]
        events = await client.responses.create(model=MODEL, input="hi", stream=True)
        said: Any
        (said,) = [each async for each in events]
        assert said.type == event.type
        assert (said.response.error if said.type == "response.failed" else said).message == "The model fell over."


FIRST = response(
    ["Let me see."],
    thoughts=["Two cities."],
    encrypted="gAAA",
    calls=[Call("call_1", "weather", ['{"city":"Köln"}']), Call("call_2", "weather", ["{}"], encrypted="gBBB")],
)


async def strict(exchange: Exchange) -> None:
    """As OpenAI where it keeps nothing: what the model thought must stand before what it led to, without an id."""
    if exchange.path.endswith("/chat/completions"):
        await refuses_tools(exchange.model).run(exchange)
        return
    assert exchange.json["store"] is False
    assert exchange.json["tools"][0]["strict"] is False
    items = exchange.json["input"]
    kinds = [item.get("encrypted_content") or item.get("call_id") or item["role"] for item in items]
    if "call_1" not in kinds:
        await FIRST(exchange)
    elif kinds == ["user", "gAAA", "assistant", "call_1", "gBBB", "call_2", "call_1", "call_2"] and not any(
        "id" in item for item in items
    ):
        await response(["Rain, ", "and sun."])(exchange)
    else:
        said = {"message": f"reasoning is not in its place: {kinds}", "type": "invalid_request_error"}
        await Error(400, {"error": said}).run(exchange)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("streamed", [True, False])
async def test_sdk_of_chat_completions_goes_on_with_tools_and_reasoning(streamed: bool, kind: str) -> None:
    """A message appended as the SDK gives it, from its stream helper or whole."""
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    messages: list[Any] = [{"role": "user", "content": "Weather in Köln and Bonn?"}]
    async with (
        FakeProvider() as fake,
        gateway_for(fake, providers__fake__kind=kind) as g,
        AsyncOpenAI(base_url=f"{g.url}/v1", api_key="any", max_retries=0) as client,
    ):
        fake.script = strict

        async def turn() -> Any:
            if not streamed:
                answer = await client.chat.completions.create(model=MODEL, messages=messages, tools=tools)
                return answer.choices[0].message
            async with client.chat.completions.stream(model=MODEL, messages=messages, tools=tools) as stream:
                return (await stream.get_final_completion()).choices[0].message

        said = await turn()
        assert [one.id for one in said.tool_calls] == ["call_1", "call_2"]
        messages.append(said)
        messages.extend({"role": "tool", "tool_call_id": one.id, "content": RESULTS[one.id]} for one in said.tool_calls)
        assert (await turn()).content == "Rain, and sun."


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("streamed", [True, False])
async def test_sdk_of_responses_goes_on_with_tools_and_reasoning(streamed: bool, kind: str) -> None:
    """Output appended as the SDK gives it, under ids of ours that go no further."""
    tools: Any = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]
    items: list[Any] = [{"role": "user", "content": "Weather in Köln and Bonn?"}]
    async with (
        FakeProvider() as fake,
        gateway_for(fake, providers__fake__kind=kind) as g,
        AsyncOpenAI(base_url=f"{g.url}/v1", api_key="any", max_retries=0) as client,
    ):
        fake.script = strict

        async def turn() -> Any:
            if not streamed:
                return await client.responses.create(model=MODEL, input=items, tools=tools, store=False)
            async with client.responses.stream(model=MODEL, input=items, tools=tools, store=False) as stream:
                return await stream.get_final_response()

        said = await turn()
        calls = [item for item in said.output if item.type == "function_call"]
        items.extend(said.output)
        items.extend(
            {"type": "function_call_output", "call_id": call.call_id, "output": RESULTS[call.call_id]} for call in calls
        )
        assert (await turn()).output_text == "Rain, and sun."


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("streamed", [True, False])
async def test_anthropics_sdk_goes_on_with_tools_and_reasoning(streamed: bool, kind: str) -> None:
    """Content sent back as the SDK gives it, blocks that nobody can read among it."""
    tools: Any = [{"name": "weather", "input_schema": SCHEMA}]
    messages: list[Any] = [{"role": "user", "content": "Weather in Köln and Bonn?"}]
    async with (
        FakeProvider() as fake,
        gateway_for(fake, providers__fake__kind=kind) as g,
        AsyncAnthropic(base_url=g.url, api_key="any", max_retries=0) as client,
    ):
        fake.script = strict

        async def turn() -> Any:
            fields: dict[str, Any] = {"model": MODEL, "max_tokens": 100, "messages": messages, "tools": tools}
            if not streamed:
                return await client.messages.create(**fields)
            async with client.messages.stream(**fields) as stream:
                return await stream.get_final_message()

        said = await turn()
        calls = [block for block in said.content if block.type == "tool_use"]
        messages.append({"role": "assistant", "content": said.content})
        results = [{"type": "tool_result", "tool_use_id": each.id, "content": RESULTS[each.id]} for each in calls]
        messages.append({"role": "user", "content": results})
        assert (await turn()).content[0].text == "Rain, and sun."


@pytest.mark.parametrize("streamed", [True, False])
async def test_sdk_of_chat_completions_goes_on_with_a_custom_tool(streamed: bool) -> None:
    """Free text in, free text out."""
    tools: Any = [{"type": "custom", "custom": {"name": "sql"}}]
    messages: list[Any] = [{"role": "user", "content": "How many?"}]
    async with (
        FakeProvider() as fake,
        gateway_for(fake, providers__fake__kind="openai_responses") as g,
        AsyncOpenAI(base_url=f"{g.url}/v1", api_key="any", max_retries=0) as client,
    ):
        fake.script = response([], calls=[Call("call_1", "sql", ["select ", "1"], custom=True)])
        if streamed:
            chunks = await client.chat.completions.create(model=MODEL, messages=messages, tools=tools, stream=True)
            deltas = [each.choices[0].delta async for each in chunks if each.choices]
            pieces: Any = [call.to_dict() for delta in deltas for call in delta.tool_calls or ()]
            text = "".join(piece["custom"]["input"] for piece in pieces)
            call = {"id": pieces[0]["id"], "type": "custom", "custom": {"name": "sql", "input": text}}
            messages.append({"role": "assistant", "tool_calls": [call]})
        else:
            answer = await client.chat.completions.create(model=MODEL, messages=messages, tools=tools)
            messages.append(answer.choices[0].message)
        messages.append({"role": "tool", "tool_call_id": "call_1", "content": "1"})
        fake.script = response(["One."])
        again = await client.chat.completions.create(model=MODEL, messages=messages, tools=tools)
        assert again.choices[0].message.content == "One."
        assert fake.chats[1].json["tools"] == [{"type": "custom", "name": "sql"}]
        assert fake.chats[1].json["input"][1:] == [
            {"type": "custom_tool_call", "call_id": "call_1", "name": "sql", "input": "select 1"},
            {"type": "custom_tool_call_output", "call_id": "call_1", "output": "1"},
        ]
