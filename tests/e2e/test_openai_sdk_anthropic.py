"""OpenAI's own Python SDK in front of a provider that speaks Anthropic's API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.fakes import script_anthropic as native
from tests.fakes.gateway import gateway_for
from tests.fakes.provider import FakeProvider

pytestmark = pytest.mark.anyio

QUESTION: Any = [{"role": "user", "content": "Say hello."}]
MODEL = "claude-sonnet-4-5"
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("weather", "time")
]
CALLS = [native.ToolUse("toolu_1", "weather", ['{"city"', ': "Köln"}']), native.ToolUse("toolu_2", "time")]
THOUGHT = {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"}


@pytest.fixture
def anyio_backend() -> str:
    """The loop is not the subject."""
    return "asyncio"


@asynccontextmanager
async def sdk() -> AsyncIterator[tuple[FakeProvider, AsyncOpenAI]]:
    """The client, in front of such a provider."""
    async with (
        FakeProvider() as fake,
        gateway_for(fake, providers__fake__kind="anthropic") as g,
        AsyncOpenAI(base_url=f"{g.url}/v1", api_key="sk-whatever", max_retries=0) as client,
    ):
        yield fake, client


@pytest.mark.parametrize("streaming", [True, False])
async def test_sdk_tools_and_signed_reasoning_survive_the_round_trip(streaming: bool) -> None:
    """The message that the SDK builds goes back as it is, and the provider gets its own blocks again."""
    async with sdk() as (fake, client):
        fake.script = native.message(["Hel", "lo"], thoughts=["Let me", " see."], signature="c2ln", tools=CALLS)
        asking: Any = {"model": MODEL, "messages": QUESTION, "tools": TOOLS, "max_tokens": 4000}
        if streaming:
            options: Any = {"include_usage": True}
            async with client.chat.completions.stream(**asking, stream_options=options) as stream:
                answer: Any = await stream.get_final_completion()
        else:
            answer = await client.chat.completions.create(**asking)
        message = answer.choices[0].message
        assert (message.content, answer.choices[0].finish_reason, message.role) == ("Hello", "tool_calls", "assistant")
        calls = [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
        assert [(call[0], call[1]) for call in calls] == [("toolu_1", "weather"), ("toolu_2", "time")]
        assert calls[1][2] == "{}"
        assert message.model_extra["reasoning_content"] == "Let me see."
        assert answer.usage.total_tokens == 13
        results: Any = [{"role": "tool", "tool_call_id": call[0], "content": "sunny"} for call in calls]
        fake.script = native.message(["It is sunny."])
        echoed: Any = message.model_dump(exclude_none=True, exclude={"parsed"})
        asking["messages"] = [*QUESTION, echoed, *results]
        again = await client.chat.completions.create(**asking)
        assert again.choices[0].message.content == "It is sunny."
        sent = fake.chats[1].json["messages"]
        assert [block["type"] for block in sent[1]["content"]] == ["thinking", "text", "tool_use", "tool_use"]
        assert sent[1]["content"][0] == THOUGHT
        assert sent[1]["content"][2]["input"] == {"city": "Köln"}
        assert [block["tool_use_id"] for block in sent[2]["content"]] == ["toolu_1", "toolu_2"]


async def test_sdk_error_of_another_family_is_openais() -> None:
    """Before the stream and in it, with the classes that OpenAI's users catch."""
    async with sdk() as (fake, client):
        fake.script = [native.MessageStart(native.usage()), *native.text_block(0, ["one"]), native.error()]
        stream = await client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
        with pytest.raises(openai.APIError) as caught:
            [chunk async for chunk in stream]
        assert caught.value.code == "upstream_overloaded"
