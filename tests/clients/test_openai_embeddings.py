"""OpenAI's own SDK asks the gateway for embeddings, of every provider that makes some: over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.fakes.gateway import GatewayInTest, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Error
from tests.fakes.script_embeddings import vector, vectors

pytestmark = pytest.mark.anyio

BEDROCK = {"providers__fake__region": "eu-central-1"}
TITAN, COHERE, COHERE_4 = "amazon.titan-embed-text-v2:0", "cohere.embed-english-v3", "eu.cohere.embed-v4:0"
KINDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "openai": ("text-embedding-3-small", {}, "/v1/embeddings"),
    "azure": ("text-embedding-3-small", {}, "/openai/v1/embeddings"),
    "azure-deployment": (
        "dep-1",
        {"providers__fake__api_version": "2024-10-21"},
        "/openai/deployments/dep-1/embeddings",
    ),
    "ollama": ("nomic-embed-text", {}, "/api/embed"),
    "gemini": ("gemini-embedding-001", {}, "/v1beta/models/gemini-embedding-001:batchEmbedContents"),
    "bedrock-titan": (TITAN, BEDROCK, "/model/amazon.titan-embed-text-v2%3A0/invoke"),
    "bedrock-cohere": (COHERE, BEDROCK, "/model/cohere.embed-english-v3/invoke"),
    "bedrock-cohere4": (COHERE_4, BEDROCK, "/model/eu.cohere.embed-v4%3A0/invoke"),
}
TEXTS = ["one", "grüße", "🙂"]


def behind(fake: FakeProvider, name: str, **more: Any) -> Any:
    """A gateway in front of the fake as this kind of provider."""
    _, settings, _ = KINDS[name]
    root: dict[str, Any] = {"providers__fake__base_url": f"http://127.0.0.1:{fake.port}"} if "bedrock" in name else {}
    return gateway_for(fake, providers__fake__kind=name.partition("-")[0], **settings, **root, **more)


def sdk(g: GatewayInTest) -> AsyncOpenAI:
    """The SDK, without its retries."""
    return AsyncOpenAI(base_url=f"{g.url}/v1", api_key="any", max_retries=0)


@pytest.mark.parametrize("name", KINDS)
async def test_sdk_gets_vectors_in_order(name: str) -> None:
    """As it comes (it asks for base64) and as numbers, with what they took; the SDK's numbers are of 32 bits."""
    model, _, path = KINDS[name]
    async with FakeProvider() as fake, behind(fake, name) as g, sdk(g) as client:
        fake.script = vectors()
        wishes: list[Any] = [{}, {"encoding_format": "float"}]
        for more in wishes:
            answer = await client.embeddings.create(model=model, input=TEXTS, **more)
            assert [one.embedding for one in answer.data] == [vector(text) for text in TEXTS]
            assert [one.index for one in answer.data] == [0, 1, 2]
            assert answer.model == model
            estimated = "cohere" in name  # Bedrock says it nowhere in the answer
            assert answer.usage.prompt_tokens == answer.usage.total_tokens
            assert ((answer.model_extra or {}).get("rillgate") == {"estimated": True}) is estimated
            assert estimated or answer.usage.prompt_tokens == 6
        assert {exchange.path for exchange in fake.chats} == {path}
        await g.settled()


@pytest.mark.parametrize("name", KINDS)
async def test_blocking_sdk_gets_a_vector(name: str) -> None:
    """One text, in a thread; it asks for base64 by itself."""
    model = KINDS[name][0]
    async with FakeProvider() as fake, behind(fake, name) as g:
        fake.script = vectors()

        def work() -> list[float]:
            with OpenAI(base_url=f"{g.url}/v1", api_key="any", max_retries=0) as client:
                return client.embeddings.create(model=model, input="one").data[0].embedding

        assert await asyncio.to_thread(work) == vector("one")


async def test_token_ids_go_to_those_who_read_them() -> None:
    """One list, or several; other families are asked for texts."""
    async with FakeProvider() as fake, behind(fake, "openai") as g, sdk(g) as client:
        fake.script = vectors()
        assert (await client.embeddings.create(model="m", input=[5, 6])).data[0].embedding == [2.0, 5.0, 0.5]
        assert len((await client.embeddings.create(model="m", input=[[5], [6]])).data) == 2
    for name in ("ollama", "gemini", "bedrock-titan"):
        async with FakeProvider() as fake, behind(fake, name) as g, sdk(g) as client:
            with pytest.raises(openai.BadRequestError) as refused:
                await client.embeddings.create(model=KINDS[name][0], input=[5, 6])
            assert (refused.value.param, refused.value.code) == ("input", "unsupported_parameter")
            assert fake.chats == []


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("openai", {"dimensions": 3, "user": "u"}, {"dimensions": 3, "user": "u", "encoding_format": "base64"}),
        ("ollama", {"dimensions": 3}, {"dimensions": 3, "truncate": False}),
        ("bedrock-titan", {"dimensions": 256}, {"dimensions": 256, "inputText": "a"}),
        ("bedrock-cohere", {}, {"input_type": "search_document", "texts": ["a"]}),
        (
            "bedrock-cohere4",
            {"dimensions": 256, "extra_body": {"input_type": "search_query"}},
            {"output_dimension": 256, "input_type": "search_query"},
        ),
    ],
)
async def test_what_a_client_says_is_said_in_the_providers_words(name: str, more: Any, expected: Any) -> None:
    """Dimensions, and what a text is for where a provider wants to know."""
    async with FakeProvider() as fake, behind(fake, name) as g, sdk(g) as client:
        fake.script = vectors()
        await client.embeddings.create(model=KINDS[name][0], input="a", **more)
        sent = fake.chats[0].json
        assert {key: sent[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"task_type": "SEMANTIC_SIMILARITY"}, "SEMANTIC_SIMILARITY"),
        ({"input_type": "search_query"}, "RETRIEVAL_QUERY"),
        ({}, None),
    ],
)
async def test_task_goes_to_gemini_with_each_text(given: Any, expected: str | None) -> None:
    """In its own words or in Cohere's."""
    async with FakeProvider() as fake, behind(fake, "gemini") as g, sdk(g) as client:
        fake.script = vectors()
        await client.embeddings.create(model="gemini-embedding-001", input=["a", "b"], dimensions=768, extra_body=given)
        for one in fake.chats[0].json["requests"]:
            assert (one.get("taskType"), one["outputDimensionality"]) == (expected, 768)
            assert one["model"] == "models/gemini-embedding-001"


@pytest.mark.parametrize(("name", "requests"), [("gemini", 3), ("bedrock-titan", 205), ("bedrock-cohere", 3)])
async def test_many_texts_are_many_requests_and_one_answer(name: str, requests: int) -> None:
    """In order, and added up."""
    texts = [f"{'x' * (number % 7)}{number}" for number in range(205)]
    async with FakeProvider() as fake, behind(fake, name) as g, sdk(g) as client:
        fake.script = vectors()
        answer = await client.embeddings.create(model=KINDS[name][0], input=texts)
        assert [one.embedding for one in answer.data] == [vector(text) for text in texts]
        assert len(fake.chats) == requests
        assert name == "bedrock-cohere" or answer.usage.prompt_tokens == 410


async def test_one_of_many_requests_that_fails_fails_them_all() -> None:
    """With the provider's own reason; what others were answered is charged."""
    async with FakeProvider() as fake, behind(fake, "bedrock-titan") as g, sdk(g) as client:
        fake.script = vectors()
        fake.queue(
            *[vectors()] * 9, [Error(429, {"message": "slow down"}, {"x-amzn-errortype": "ThrottlingException"})]
        )
        with pytest.raises(openai.RateLimitError, match="slow down"):
            await client.embeddings.create(model=TITAN, input=[str(number) for number in range(20)])
        assert len(fake.chats) <= 16
        await g.settled()


async def test_provider_without_embeddings_is_refused_by_name() -> None:
    """Anthropic makes none; on a route another one is asked."""
    async with FakeProvider() as fake:
        routes = [{"model": "vectors", "upstream": ["claude/x", "fake/text-embedding-3-small"]}]
        more: dict[str, Any] = {
            "providers__claude__kind": "anthropic",
            "providers__claude__base_url": fake.base_url,
            "routes": routes,
        }
        async with gateway_for(fake, **more) as g, sdk(g) as client:
            fake.script = vectors()
            with pytest.raises(openai.BadRequestError, match="'claude' makes no embeddings") as refused:
                await client.embeddings.create(model="claude/x", input="a")
            assert refused.value.param == "model"
            assert (await client.embeddings.create(model="vectors", input="a")).data[0].embedding == vector("a")


async def test_our_count_is_added_where_the_server_gives_none() -> None:
    """And marked as an estimate."""
    async with FakeProvider() as fake, behind(fake, "openai") as g, sdk(g) as client:
        fake.script = vectors(counted=False)
        answer = await client.embeddings.create(model="lab-embed", input="hello world")
        assert answer.usage.prompt_tokens == 2
        assert (answer.model_extra or {})["rillgate"] == {"estimated": True}
