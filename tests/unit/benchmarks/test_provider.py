"""The fakes in Python that loads are made with: one script in every API, and what counts as a chunk."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from benchmarks.load import MARKS
from benchmarks.provider import WORDS, counted

from rillgate.domain.delta import Delta, EndDelta, FinishDelta, TextDelta, UsageDelta
from rillgate.domain.ports import Provider
from rillgate.providers.anthropic import AnthropicProvider
from rillgate.providers.bedrock import BedrockProvider
from rillgate.providers.ollama import OllamaProvider
from rillgate.providers.openai import OpenAIProvider
from tests.fakes.clients import RawClient
from tests.fakes.exchange import Exchange
from tests.fakes.provider import FakeProvider

CHUNKS = 9
BY_PATH: dict[str, Callable[[], Provider]] = {
    "/v1/chat/completions": lambda: OpenAIProvider("lab", own_host=False),
    "/v1/messages": lambda: AnthropicProvider("lab"),
    "/api/chat": lambda: OllamaProvider("lab"),
    "/model/gpt-4o/converse-stream": lambda: BedrockProvider("lab"),
}


async def _play(exchange: Exchange) -> None:
    await counted(exchange, CHUNKS, 0)


async def _said(path: str) -> list[Delta]:
    """What the fake says there, as the gateway's own translator reads it."""
    provider = BY_PATH[path]()
    async with FakeProvider() as fake:
        fake.script = _play
        client = await RawClient.open(fake.port)
        fields = {"model": "gpt-4o", "stream": True, "stream_options": {"include_usage": True}}
        await client.request("POST", path, json=fields)
        assert await client.response() == 200
        body = await client.read_body()
        client.close()
    reader, decoder = provider.reader(), provider.decoder()
    frames = [*reader.feed(body), *reader.feed_eof()]
    return [delta for frame in frames for delta in decoder.decode(frame) or ()]


@pytest.mark.anyio
@pytest.mark.parametrize("path", BY_PATH)
async def test_script_is_the_same_texts_in_every_api(path: str) -> None:
    """A translation is measured over the tokens that the pass-through has, and its stream has a proper end."""
    deltas = await _said(path)
    texts = [delta.text for delta in deltas if isinstance(delta, TextDelta)]
    assert texts == [WORDS[number % len(WORDS)] for number in range(CHUNKS)]
    usages = [delta.usage for delta in deltas if isinstance(delta, UsageDelta)]
    assert usages[-1].output_tokens == CHUNKS
    assert [delta.reason for delta in deltas if isinstance(delta, FinishDelta)] == ["stop"]
    assert isinstance(deltas[-1], EndDelta)


@pytest.mark.parametrize(
    ("dialect", "text", "chunks"),
    [
        ("openai", b'{"delta":{"role":"assistant","content":""}} {"delta":{"content":" a"}}', 1),
        ("openai", b'{"delta":{"role":"assistant","content":" a"}} {"delta":{"content":" b"}}', 2),
        ("anthropic", b'"content_block":{"type":"text","text":""} "delta":{"type":"text_delta","text":" a"}', 1),
        ("anthropic", b'"delta":{"type":"text_delta","text":""} "delta":{"type":"text_delta","text":" a"}', 1),
    ],
)
def test_load_counts_chunks_with_text_only(dialect: str, text: bytes, chunks: int) -> None:
    """A frame that opens a message or a block is no chunk, in whichever dialect the client speaks."""
    assert MARKS[dialect].chunks(text) == chunks
