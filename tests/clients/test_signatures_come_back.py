"""The official SDKs in a loop of tools in front of Gemini: what they send back holds the signatures that it wants."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from tests.fakes.exchange import Exchange
from tests.fakes.gateway import gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Error
from tests.fakes.script_gemini import call, gemini, status

pytestmark = pytest.mark.anyio

MODEL = "gemini-3.8-flash"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FIRST = gemini(
    ["Let me see."],
    thoughts=["Two cities."],
    calls=[
        call("weather", {"city": "Köln"}, "fc_1", "RmlyU3Q="),
        call("weather", {"city": "Bonn"}, "fc_2", signature=""),
    ],
)
RESULTS = {"fc_1": "rain", "fc_2": "sun"}


async def strict(exchange: Exchange) -> None:
    """As Gemini 3: the first call of a turn without its signature is refused."""
    calls = [part for content in exchange.json["contents"] for part in content["parts"] if "functionCall" in part]
    if not calls:
        await FIRST(exchange)
    elif [part.get("thoughtSignature") for part in calls] == ["RmlyU3Q=", None]:
        await gemini(["Rain, and sun."])(exchange)
    else:
        await Error(400, status(400, "INVALID_ARGUMENT", "a call has no thought_signature")).run(exchange)


@pytest.mark.parametrize("streamed", [True, False])
async def test_openai_sdk_brings_signatures_back(streamed: bool) -> None:
    """A message appended as the SDK gives it, from its stream helper or whole."""
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    messages: list[Any] = [{"role": "user", "content": "Weather in Köln and Bonn?"}]
    async with (
        FakeProvider() as fake,
        gateway_for(fake, providers__fake__kind="gemini") as g,
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
        assert [one.id for one in said.tool_calls] == ["fc_1", "fc_2"]
        messages.append(said)
        messages.extend({"role": "tool", "tool_call_id": one.id, "content": RESULTS[one.id]} for one in said.tool_calls)
        assert (await turn()).content == "Rain, and sun."


@pytest.mark.parametrize("streamed", [True, False])
async def test_anthropic_sdk_brings_signatures_back(streamed: bool) -> None:
    """Content sent back as the SDK gives it, blocks that nobody can read among it."""
    tools: Any = [{"name": "weather", "input_schema": SCHEMA}]
    messages: list[Any] = [{"role": "user", "content": "Weather in Köln and Bonn?"}]
    async with (
        FakeProvider() as fake,
        gateway_for(fake, providers__fake__kind="gemini") as g,
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
        assert [block.id for block in calls] == ["fc_1", "fc_2"]
        messages.append({"role": "assistant", "content": said.content})
        results = [{"type": "tool_result", "tool_use_id": each.id, "content": RESULTS[each.id]} for each in calls]
        messages.append({"role": "user", "content": results})
        assert (await turn()).content[0].text == "Rain, and sun."


async def test_client_that_drops_signatures_goes_on_all_the_same() -> None:
    """With Google's own word for one that was lost, which its validator lets pass."""
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    calls = [{"id": "fc_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]
    messages: Any = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "fc_1", "content": "rain"},
    ]
    async with (
        FakeProvider() as fake,
        gateway_for(fake, providers__fake__kind="gemini") as g,
        AsyncOpenAI(base_url=f"{g.url}/v1", api_key="any", max_retries=0) as client,
    ):
        fake.script = gemini(["Rain."])
        answer = await client.chat.completions.create(model=MODEL, messages=messages, tools=tools)
        assert answer.choices[0].message.content == "Rain."
        (sent,) = fake.chats[0].json["contents"][1]["parts"]
        assert sent["thoughtSignature"] == "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
