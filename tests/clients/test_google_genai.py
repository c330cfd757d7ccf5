"""Google's own SDK in front of our fake Gemini: what it reads without complaint is no fancy of ours.

Each answer is parsed by google-genai's types, and what our own decoder makes of the same bytes must say the same. The
SDK ignores fields that it does not know, so every key that the fake writes is looked up in its types as well.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from rillgate.dialects.embeddings import parse as parse_embeddings
from rillgate.domain.delta import OpaqueReasoningDelta, ReasoningDelta, TextDelta, ToolDelta, UsageDelta
from rillgate.providers.gemini import GeminiProvider
from rillgate.providers.gemini_embeddings import GeminiEmbeddings
from tests.corpus.test_corpus import HERE
from tests.fakes.clients import RawClient
from tests.fakes.exchange import Exchange
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Error
from tests.fakes.script_embeddings import vector, vectors
from tests.fakes.script_gemini import Broken, Part, blocked, call, gemini, status, usage

pytestmark = pytest.mark.anyio

MODEL = "gemini-3.8-flash"
KEY = "AIza-fake-key-of-the-tests"
WEATHER = types.FunctionDeclaration(
    name="weather",
    parameters_json_schema={"type": "object", "properties": {"city": {"type": "string"}}},
)
CONFIG = types.GenerateContentConfig(
    max_output_tokens=64,
    temperature=0.5,
    stop_sequences=["END"],
    system_instruction="Be brief.",
    tools=[types.Tool(function_declarations=[WEATHER])],
    thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_level=types.ThinkingLevel.LOW),
)
ANSWER = gemini(
    ["Hel", "lö"],
    thoughts=["hm"],
    calls=[call("weather", {"city": "Köln"}, "fc_1"), call("weather", {"city": "Bonn"}, "fc_2", signature="")],
    counts=usage(20, 12, thoughts=5, cached=16),
)


@pytest.fixture
def anyio_backend() -> str:
    """The loop is not the subject."""
    return "asyncio"


@asynccontextmanager
async def sdk() -> AsyncIterator[tuple[FakeProvider, genai.Client]]:
    """The fake, and a client that asks it once."""
    async with FakeProvider() as fake:
        options = types.HttpOptions(
            base_url=f"http://127.0.0.1:{fake.port}",
            api_version="v1beta",  # as the gateway: the SDK's own default has been v1 since its third version
            retry_options=types.HttpRetryOptions(attempts=1),
        )
        client = genai.Client(api_key=KEY, http_options=options)
        try:
            yield fake, client
        finally:
            await client.aio.aclose()
            client.close()


def parts_of(responses: list[types.GenerateContentResponse]) -> Iterator[types.Part]:
    """All parts of the first candidate."""
    for response in responses:
        assert response.candidates
        content = response.candidates[0].content
        yield from (content.parts if content is not None else None) or ()


def check_answer(responses: list[types.GenerateContentResponse]) -> None:
    """The whole of `ANSWER`, in one piece or in many."""
    parts = list(parts_of(responses))
    assert "".join(part.text or "" for part in parts if not part.thought) == "Hellö"
    assert "".join(part.text or "" for part in parts if part.thought) == "hm"
    calls = [part for part in parts if part.function_call is not None]
    assert [(part.function_call.id, part.function_call.name, part.function_call.args) for part in calls] == [  # type: ignore[union-attr]
        ("fc_1", "weather", {"city": "Köln"}),
        ("fc_2", "weather", {"city": "Bonn"}),
    ]
    assert [part.thought_signature for part in calls] == [base64.b64decode("Q0E="), None]
    last = responses[-1]
    assert last.candidates is not None
    assert last.candidates[0].finish_reason is types.FinishReason.STOP
    counts = last.usage_metadata
    assert counts is not None
    assert (counts.prompt_token_count, counts.candidates_token_count, counts.thoughts_token_count) == (20, 7, 5)
    assert (counts.cached_content_token_count, counts.total_token_count) == (16, 32)
    assert last.model_version == MODEL
    assert last.response_id == "r0"


def check_keys(value: Any, kind: type[BaseModel]) -> None:
    """Every key is one of the type's own, all the way down."""
    known = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
    assert value.keys() <= known.keys(), f"{kind.__name__} knows no {sorted(value.keys() - known.keys())}"
    for key, inner in value.items():
        model = next((each for each in _models_in(known[key])), None)
        for one in inner if isinstance(inner, list) else [inner]:
            if model is not None and isinstance(one, dict):
                check_keys(one, model)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)


async def test_sdk_reads_a_stream_of_the_fake() -> None:
    """Thoughts, text, calls with and without signatures, counts."""
    async with sdk() as (fake, client):
        fake.script = ANSWER
        stream = await client.aio.models.generate_content_stream(model=MODEL, contents="hi", config=CONFIG)
        check_answer([response async for response in stream])
        sent = fake.chats[0]
        assert sent.path == f"/v1beta/models/{MODEL}:streamGenerateContent"
        assert sent.query == "alt=sse"
        assert sent.headers["x-goog-api-key"] == KEY


async def test_sdk_reads_a_whole_answer_of_the_fake() -> None:
    """The same in one piece."""
    async with sdk() as (fake, client):
        fake.script = ANSWER
        check_answer([await client.aio.models.generate_content(model=MODEL, contents="hi", config=CONFIG)])
        assert fake.chats[0].path == f"/v1beta/models/{MODEL}:generateContent"


@pytest.mark.parametrize("script", [ANSWER, blocked()])
async def test_fake_writes_nothing_that_the_sdk_does_not_know(script: Any) -> None:
    """Each chunk, and the whole answer, key by key."""
    async with FakeProvider() as fake:
        fake.script = script
        for verb in ("streamGenerateContent?alt=sse", "generateContent"):
            body = await _ask(fake, f"/v1beta/models/{MODEL}:{verb}")
            frames = [frame.removeprefix("data: ") for frame in body.split("\r\n\r\n") if frame]
            for frame in frames:
                check_keys(json.loads(frame), types.GenerateContentResponse)


async def test_decoder_makes_of_the_fake_what_the_sdk_makes_of_it() -> None:
    """The same bytes, read by Google's types and by ours."""
    async with FakeProvider() as fake:
        fake.script = ANSWER
        body = await _ask(fake, f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse")
        reader, decoder = GeminiProvider("lab").reader(), GeminiProvider("lab").decoder()
        deltas = [delta for frame in reader.feed(body.encode()) for delta in decoder.decode(frame) or ()]
        responses = [
            types.GenerateContentResponse.model_validate_json(frame.removeprefix("data: "))
            for frame in body.split("\r\n\r\n")
            if frame
        ]
        check_answer(responses)
        parts = list(parts_of(responses))
        texts = [part.text or "" for part in parts if not part.thought]
        assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == "".join(texts)
        assert [delta.text for delta in deltas if isinstance(delta, ReasoningDelta)] == ["hm"]
        calls = [(part.function_call.id, part.function_call.args) for part in parts if part.function_call is not None]
        tools = [delta for delta in deltas if isinstance(delta, ToolDelta)]
        assert [(delta.call_id, json.loads(delta.arguments)) for delta in tools] == calls
        kept = [delta for delta in deltas if isinstance(delta, OpaqueReasoningDelta)]
        assert [(delta.call_id, base64.b64decode(delta.data)) for delta in kept] == [
            ("fc_1", parts[3].thought_signature)
        ]
        counts = [delta.usage for delta in deltas if isinstance(delta, UsageDelta)][-1]
        assert (counts.input_tokens, counts.output_tokens, counts.cached_input_tokens) == (20, 12, 16)


async def test_sdk_sees_a_blocked_prompt_of_the_fake() -> None:
    """Status 200, no candidates, a reason."""
    async with sdk() as (fake, client):
        fake.script = blocked()
        answer = await client.aio.models.generate_content(model=MODEL, contents="hi")
        assert answer.prompt_feedback is not None
        assert answer.prompt_feedback.block_reason is types.BlockedReason.PROHIBITED_CONTENT
        assert not answer.candidates


async def test_sdk_raises_what_the_fake_says_of_an_error() -> None:
    """Before the answer, and in its middle."""
    async with sdk() as (fake, client):
        fake.queue([Error(429, status(429, "RESOURCE_EXHAUSTED", "slow down"))])
        with pytest.raises(errors.ClientError) as refused:
            await client.aio.models.generate_content(model=MODEL, contents="hi")
        assert (refused.value.code, refused.value.status, refused.value.message) == (
            429,
            "RESOURCE_EXHAUSTED",
            "slow down",
        )
        fake.queue([Part({"text": "Hel"}), Broken()])
        stream = await client.aio.models.generate_content_stream(model=MODEL, contents="hi")
        texts: list[str | None] = []
        with pytest.raises(errors.ServerError) as broken:
            texts.extend([response.text async for response in stream])
        assert broken.value.status == "UNAVAILABLE"


async def test_sdk_reads_embeddings_of_the_fake() -> None:
    """And asks for them in the words in which we do."""
    async with sdk() as (fake, client):
        fake.script = vectors()
        config = types.EmbedContentConfig(task_type="RETRIEVAL_QUERY", output_dimensionality=3)
        answer = await client.aio.models.embed_content(
            model="gemini-embedding-001", contents=["one", "two!"], config=config
        )
        assert answer.embeddings is not None
        assert [one.values for one in answer.embeddings] == [vector("one"), vector("two!")]
        theirs = fake.chats[0]
        fields: dict[str, Any] = {"model": "gemini-embedding-001", "input": ["one", "two!"], "dimensions": 3}
        ours = GeminiEmbeddings("lab").build(
            parse_embeddings(json.dumps({**fields, "task_type": "RETRIEVAL_QUERY"}).encode()), fields["model"], 0
        )
        assert theirs.path == ours.path
        told, said = theirs.json["requests"], json.loads(ours.body)["requests"]
        assert [{**one, "content": {"parts": one["content"]["parts"]}} for one in told] == said


async def test_sdk_lists_the_models_of_the_fake() -> None:
    """In its pager."""
    async with sdk() as (fake, client):
        fake.model_ids = ["gemini-a", "gemini-b"]
        pager = await client.aio.models.list()
        models = [model async for model in pager]
        assert [model.name for model in models] == ["models/gemini-a", "models/gemini-b"]
        assert models[0].supported_actions == ["generateContent", "countTokens"]


async def test_gateway_asks_in_words_that_the_sdk_knows() -> None:
    """The other way round: what we send for a request with everything in it, read by Google's types for requests."""
    for case in ("conversation", "media_input", "thinking"):
        body = json.loads((HERE / "gemini" / case / "upstream_request.json").read_bytes())
        for content in [*body["contents"], *filter(None, [body.get("systemInstruction")])]:
            check_keys(content, types.Content)
            types.Content.model_validate(content)
        for tool in body.get("tools", ()):
            check_keys(tool, types.Tool)
            types.Tool.model_validate(tool)
        if "toolConfig" in body:
            check_keys(body["toolConfig"], types.ToolConfig)
            types.ToolConfig.model_validate(body["toolConfig"])
        check_keys(body["generationConfig"], types.GenerateContentConfig)
        types.GenerateContentConfig.model_validate(body["generationConfig"])
        if "serviceTier" in body:
            assert body["serviceTier"] in list(types.ServiceTier)


async def _ask(fake: FakeProvider, path: str) -> str:
    """The body that the fake answers a POST with, as it came."""
    client = await RawClient.open(fake.port)
    async with client:
        await client.request("POST", path, json={"contents": []})
        assert await client.response() == 200
        return (await client.read_body()).decode()


async def test_fake_counts_what_it_sends(anyio_backend: str) -> None:
    """Chunks with content, and none that the script does not say."""
    seen: list[Exchange] = []

    async def script(exchange: Exchange) -> None:
        seen.append(exchange)
        await ANSWER(exchange)

    async with FakeProvider() as fake:
        fake.script = script
        await _ask(fake, f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse")
        assert [exchange.chunks_sent for exchange in seen] == [5]
