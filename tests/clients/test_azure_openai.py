"""OpenAI's own client for Azure in front of our fake Azure, and the gateway between them: the same, byte for byte."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI

from tests.fakes.clients import RawClient
from tests.fakes.gateway import CHAT, chat_body, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Error
from tests.fakes.script_azure import azure, blocked
from tests.fakes.script_embeddings import vector, vectors
from tests.streaming.asking import ask

pytestmark = pytest.mark.anyio

VERSION = "2024-10-21"
QUESTION: Any = [{"role": "user", "content": "hi"}]
USAGE: Any = {"include_usage": True}


def azure_sdk(fake: FakeProvider) -> AsyncAzureOpenAI:
    """The client, asking the fake."""
    endpoint = f"http://127.0.0.1:{fake.port}"
    return AsyncAzureOpenAI(azure_endpoint=endpoint, api_version=VERSION, api_key="k-1", max_retries=0)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_sdk_reads_the_fake_as_it_reads_azure(asynchronous: bool) -> None:
    """Chunks without choices, filters beside each choice, or behind them; the helper adds it up."""
    async with FakeProvider() as fake, azure_sdk(fake) as sdk:
        fake.script = azure(["Hel", "lo"], asynchronous=asynchronous)
        async with sdk.chat.completions.stream(model="dep-1", messages=QUESTION, stream_options=USAGE) as stream:
            final = await stream.get_final_completion()
        assert final.choices[0].message.content == "Hello"
        assert final.choices[0].finish_reason == "stop"
        assert final.usage is not None
        assert final.usage.total_tokens == 11
        sent = fake.chats[0]
        assert (sent.path, sent.query) == ("/openai/deployments/dep-1/chat/completions", f"api-version={VERSION}")
        assert sent.headers["api-key"] == "k-1"


async def test_sdk_reads_whole_answers_and_refusals_of_the_fake() -> None:
    """The prompt's filter is a 400 with a code."""
    async with FakeProvider() as fake, azure_sdk(fake) as sdk:
        fake.script = azure(["Hel", "lo"])
        answer = await sdk.chat.completions.create(model="dep-1", messages=QUESTION)
        assert answer.choices[0].message.content == "Hello"
        assert "prompt_filter_results" in (answer.model_extra or {})
        fake.script = [Error(400, blocked())]
        with pytest.raises(openai.BadRequestError) as refused:
            await sdk.chat.completions.create(model="dep-1", messages=QUESTION)
        assert refused.value.code == "content_filter"


async def test_sdk_reads_embeddings_of_the_fake() -> None:
    """At the deployment's address."""
    async with FakeProvider() as fake, azure_sdk(fake) as sdk:
        fake.script = vectors()
        answer = await sdk.embeddings.create(model="dep-1", input=["a", "bc"])
        assert [one.embedding for one in answer.data] == [vector("a"), vector("bc")]
        sent = fake.chats[0]
        assert (sent.path, sent.query) == ("/openai/deployments/dep-1/embeddings", f"api-version={VERSION}")


@pytest.mark.parametrize("version", [None, VERSION])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_gateway_passes_azures_stream_byte_for_byte(version: str | None, asynchronous: bool) -> None:
    """Filters and all, from both kinds of address, with the key in Azure's own header."""
    more: dict[str, Any] = {} if version is None else {"providers__fake__api_version": version}
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind="azure", **more) as g:
        fake.script = azure(["Hel", "lo"], asynchronous=asynchronous)
        got = await ask(g, "POST", CHAT, json=chat_body(model="dep-1", stream_options=USAGE))
        assert got.stream.text == "Hello"
        assert got.body.count(b"prompt_filter_results") == 1
        sent = fake.chats[0]
        path = "/openai/v1" if version is None else "/openai/deployments/dep-1"
        assert (sent.path, sent.query) == (f"{path}/chat/completions", f"api-version={version}" if version else "")
        assert sent.headers["api-key"] == "sk-fake-key-of-the-tests"
        assert "authorization" not in sent.headers
        assert (sent.json["model"], "max_tokens" in sent.json) == ("dep-1", False)
        direct = await _direct(fake, sent.path, sent.query, sent.body)
        assert got.body == direct.replace(b"chatcmpl-1", b"chatcmpl-0")


async def test_openai_sdk_reads_azure_through_the_gateway() -> None:
    """And is told of a blocked prompt as Azure's clients are."""
    async with (
        FakeProvider() as fake,
        gateway_for(fake, providers__fake__kind="azure") as g,
        AsyncOpenAI(base_url=f"{g.url}/v1", api_key="any", max_retries=0) as sdk,
    ):
        fake.script = azure(["Hel", "lo"], asynchronous=True)
        async with sdk.chat.completions.stream(model="dep-1", messages=QUESTION) as stream:
            assert (await stream.get_final_completion()).choices[0].message.content == "Hello"
        fake.script = [Error(400, blocked())]
        with pytest.raises(openai.BadRequestError) as refused:
            await sdk.chat.completions.create(model="dep-1", messages=QUESTION)
        assert refused.value.code == "content_filter"


async def _direct(fake: FakeProvider, path: str, query: str, body: bytes) -> bytes:
    """What the fake says to somebody who asks it without a gateway."""
    async with await RawClient.open(fake.port) as client:
        target = f"{path}?{query}" if query else path
        await client.request("POST", target, body=body, headers={"content-type": "application/json"})
        assert await client.response() == 200
        return await client.read_body()
