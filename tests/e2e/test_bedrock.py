"""Bedrock's Converse by an emulator that checks signatures, with llama.cpp behind it: the wire, judged by others' code.

    openai's SDK → the gateway's own process → ministack, AUTH=true → this process → llama.cpp

What ministack asks of llama.cpp passes through here, so that a test sees how it has understood a request. It makes a
stream when the whole answer is there; how its bytes are cut, botocore's own reader says.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from openai import APIStatusError, AsyncOpenAI

from rillgate.app.bedrock_location import BedrockLocation
from rillgate.app.embedded import EmbeddedModel
from rillgate.dialects.chat_completions import parse
from rillgate.domain.delta import Delta, EndDelta, FinishDelta, TextDelta, UsageDelta
from rillgate.domain.request import UpstreamRequest
from rillgate.providers.bedrock import BedrockProvider
from rillgate.upstream.exchange import Exchange
from rillgate.wire.sigv4 import Credentials
from tests.e2e.ministack import REGION, Ministack, ministack
from tests.e2e.process import Served, serving
from tests.fakes.clock import FakeClock
from tests.fakes.exchange import Exchange as Asked
from tests.fakes.provider import FakeProvider

pytestmark = [
    pytest.mark.slow,
    pytest.mark.anyio,
    pytest.mark.embedded,
    pytest.mark.skipif(not EmbeddedModel.available(), reason="the embedded model's wheels are not installed"),
]

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
PROFILE = f"arn:aws:bedrock:{REGION}:000000000000:inference-profile/eu.anthropic.claude-3-haiku-20240307-v1:0"
ASK: list[Any] = [{"role": "user", "content": "Say hello to the world, then count to five."}]


@pytest.fixture
def anyio_backend() -> str:
    """Processes talk to each other; the loop is not what is tested."""
    return "asyncio"


@pytest.fixture(scope="module")
def models_port() -> int:
    """A free port, for what stands between the emulator and llama.cpp."""
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory, models_port: int) -> Iterator[Ministack]:
    """One emulator for this file."""
    with ministack(tmp_path_factory.mktemp("ministack"), models_url=f"http://127.0.0.1:{models_port}") as running:
        yield running


@pytest.fixture(scope="module")
def key(aws: Ministack) -> Credentials:
    """The key of a user who may call models."""
    return aws.new_key()


@pytest.fixture
async def llama(models_port: int) -> AsyncIterator[FakeProvider]:
    """llama.cpp without a key, as the emulator wants it; what it was asked stands in `chats`."""
    model = EmbeddedModel()
    exchange = Exchange(connections_max=8, user_agent="test")

    async def forward(asked: Asked) -> None:
        outgoing = UpstreamRequest("POST", "/chat/completions", (("content-type", "application/json"),), asked.body)
        async with exchange.open("llama", await model.endpoint(), outgoing, connect_s=10) as response:
            await asked.answer_json(await response.read(), response.status)

    async with FakeProvider(port=models_port) as fake:
        fake.script = forward
        try:
            await model.start()
            await model.endpoint()
            yield fake
        finally:
            await model.stop()
            await exchange.aclose()


@asynccontextmanager
async def gateway(aws: Ministack, credentials: Credentials, cwd: Path) -> AsyncIterator[Served]:
    """A gateway in whose environment one variable says what answers, and AWS's own say where and with which key."""
    token: dict[str, Any] = {"AWS_SESSION_TOKEN": credentials.session_token} if credentials.session_token else {}
    async with serving(
        cwd=cwd,
        RILLGATE_BACKEND="bedrock",
        RILLGATE_MODEL=MODEL,
        AWS_REGION=REGION,
        AWS_ENDPOINT_URL_BEDROCK_RUNTIME=aws.url,
        AWS_ACCESS_KEY_ID=credentials.access_key_id,
        AWS_SECRET_ACCESS_KEY=credentials.secret_access_key,
        **token,
    ) as served:
        yield served


def sdk(served: Served) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{served.url}/v1", api_key="sk-any", max_retries=0)


@pytest.mark.parametrize("model", [f"bedrock/{MODEL}", f"bedrock/{PROFILE}"])
async def test_bedrock_behind_the_gateway_streams_and_answers(
    aws: Ministack, key: Credentials, llama: FakeProvider, tmp_path: Path, model: str
) -> None:
    """Streamed and whole, by a name with a colon and by an ARN with slashes; usage is llama.cpp's own."""
    async with gateway(aws, key, tmp_path) as served, sdk(served) as client:
        chunks = [
            chunk
            async for chunk in await client.chat.completions.create(
                model=model, messages=ASK, max_tokens=24, stream=True, stream_options={"include_usage": True}
            )
        ]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
        usage = chunks[-1].usage
        assert usage is not None
        assert 1 <= usage.completion_tokens <= 24 < usage.prompt_tokens
        whole = await client.chat.completions.create(model=model, messages=ASK, max_tokens=24)
        assert whole.choices[0].message.content
        assert whole.usage is not None
        assert whole.usage.prompt_tokens == usage.prompt_tokens
        default = await client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=4)
        assert default.choices[0].message.content
    assert [exchange.json["max_tokens"] for exchange in llama.chats] == [24, 24, 4]
    assert [exchange.json["model"] for exchange in llama.chats] == [model.partition("/")[2]] * 2 + [MODEL]


async def test_bedrock_request_means_to_the_emulator_what_the_client_said(
    aws: Ministack, key: Credentials, llama: FakeProvider, tmp_path: Path
) -> None:
    """It writes Converse back into Chat Completions: prompt, calls, results, tools and settings are the same."""
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    tools: list[Any] = [
        {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    ]
    async with gateway(aws, key, tmp_path) as served, sdk(served) as client:
        await client.chat.completions.create(
            model=MODEL, messages=messages, tools=tools, tool_choice="auto", max_tokens=4, temperature=0.5, stop=["END"]
        )
    (asked,) = (exchange.json for exchange in llama.chats)
    assert asked["messages"] == messages
    assert (asked["tools"], asked["tool_choice"]) == (tools, "auto")
    assert (asked["max_tokens"], asked["temperature"], asked["stop"]) == (4, 0.5, ["END"])


async def test_bedrock_with_a_wrong_secret_is_refused(
    aws: Ministack, key: Credentials, llama: FakeProvider, tmp_path: Path
) -> None:
    """One character decides; the client learns that the gateway's key is wrong, and nothing of it."""
    wrong = replace(key, secret_access_key=key.secret_access_key[:-1] + "!")
    async with gateway(aws, wrong, tmp_path) as served, sdk(served) as client:
        for stream in (True, False):
            with pytest.raises(APIStatusError) as raised:
                await client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=4, stream=stream)
            assert raised.value.status_code == 502
            body: Any = raised.value.body
            assert (body["type"], body["code"]) == ("upstream_error", "upstream_auth")
            assert key.access_key_id not in raised.value.message
    assert not llama.chats


async def test_bedrock_with_a_session_needs_its_own_token(
    aws: Ministack, key: Credentials, llama: FakeProvider, tmp_path: Path
) -> None:
    """As a function or a container has it: the token is signed and sent."""
    session = await asyncio.to_thread(aws.session, key)
    for token, expected in ((session.session_token, 200), ("another", 502)):
        async with gateway(aws, replace(session, session_token=token), tmp_path) as served:
            fields = {"model": MODEL, "messages": ASK, "max_tokens": 4}
            status, _ = await served.post("/v1/chat/completions", fields)
            assert status == expected


async def test_bedrock_stream_is_cut_where_botocore_cuts_it(
    aws: Ministack, key: Credentials, llama: FakeProvider
) -> None:
    """The same bytes, byte by byte: botocore's own reader and its own client find the events that we do."""
    provider = BedrockProvider("aws")
    request = parse(json.dumps({"messages": ASK, "stream": True, "temperature": 0}).encode())
    outgoing = provider.build(request, MODEL, 24)
    stream = await raw(aws, key, outgoing)
    reader, decoder = provider.reader(), provider.decoder()
    frames = [frame for at in range(len(stream)) for frame in reader.feed(stream[at : at + 1])]
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    theirs = [(event.headers[":event-type"], event.payload) for event in buffer]
    assert [(frame.event, frame.data) for frame in frames] == theirs
    deltas: list[Delta] = [delta for frame in frames for delta in decoder.decode(frame) or []]
    assert isinstance(deltas[-1], EndDelta)
    said = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    (usage,) = (delta.usage for delta in deltas if isinstance(delta, UsageDelta))
    (finish,) = (delta for delta in deltas if isinstance(delta, FinishDelta))
    events = await asyncio.to_thread(by_boto3, aws, key, json.loads(outgoing.body))
    assert said == "".join(
        event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event
    )
    assert finish.reason == "stop"
    assert events[-1]["metadata"]["usage"]["inputTokens"] == usage.input_tokens
    assert events[-1]["metadata"]["usage"]["outputTokens"] == usage.output_tokens


async def raw(aws: Ministack, key: Credentials, outgoing: UpstreamRequest) -> bytes:
    """The bytes of a stream, over a signed call of ours."""
    environ = {"AWS_ACCESS_KEY_ID": key.access_key_id, "AWS_SECRET_ACCESS_KEY": key.secret_access_key}
    location = BedrockLocation(aws.url, REGION, FakeClock(wall=time.time()), environ)
    exchange = Exchange(connections_max=1, user_agent="rillgate/test")
    try:
        async with exchange.open("aws", await location.endpoint(), outgoing, connect_s=10) as response:
            assert response.status == 200
            assert response.is_event_stream
            return await response.read()
    finally:
        await exchange.aclose()
        await location.aclose()


def by_boto3(aws: Ministack, key: Credentials, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events that AWS's own client reads for the same request."""
    with closing(aws.client("bedrock-runtime", key)) as client:
        return list(client.converse_stream(modelId=MODEL, **body)["stream"])
