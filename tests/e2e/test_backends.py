"""One request, one gateway, and one variable that says what answers."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from rillgate.app.embedded import EmbeddedModel
from tests.e2e.process import Served, serving
from tests.fakes.clients import Answer, collect
from tests.fakes.exchange import Exchange, Script
from tests.fakes.provider import FakeProvider
from tests.fakes.script import chat
from tests.fakes.script_anthropic import message
from tests.fakes.script_gemini import gemini
from tests.fakes.script_ollama import lines
from tests.fakes.script_openai_responses import response

pytestmark = pytest.mark.anyio

KEY = "sk-the-key-of-the-tests"
PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
    "gemini": "/v1beta/models/fake-model:streamGenerateContent",
    "azure": "/openai/v1/chat/completions",
    "openai_responses": "/v1/responses",
}
KEY_HEADERS = {
    "openai": [("authorization", f"Bearer {KEY}")],
    "anthropic": [("x-api-key", KEY)],
    "ollama": [],
    "gemini": [("x-goog-api-key", KEY)],
    "azure": [("api-key", KEY)],
    "openai_responses": [("authorization", f"Bearer {KEY}")],
}
EMBEDDED = pytest.param(
    "embedded",
    marks=[
        pytest.mark.embedded,
        pytest.mark.skipif(not EmbeddedModel.available(), reason="the embedded model's wheels are not installed"),
    ],
)


@pytest.fixture
def anyio_backend() -> str:
    """The gateway is a process of its own, on the loop that it chooses."""
    return "asyncio"


@asynccontextmanager
async def backend(name: str, fake: FakeProvider, cwd: Path, **more: Any) -> AsyncIterator[Served]:
    """A gateway in whose environment RILLGATE_BACKEND says what answers, and its kind's own variable where."""
    addresses = {
        "anthropic": {"ANTHROPIC_BASE_URL": fake.base_url, "ANTHROPIC_API_KEY": KEY},
        "ollama": {"OLLAMA_HOST": f"127.0.0.1:{fake.port}"},
        "gemini": {"GOOGLE_GEMINI_BASE_URL": fake.base_url, "GEMINI_API_KEY": KEY},
        "azure": {"AZURE_OPENAI_ENDPOINT": fake.base_url, "AZURE_OPENAI_API_KEY": KEY, "RILLGATE_MODEL": "fake-model"},
    }
    usual: dict[str, Any] = addresses.get(name, {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": KEY})
    async with serving(cwd=cwd, RILLGATE_BACKEND=name, **usual, **more) as served:
        yield served


async def stream(served: Served, path: str, fields: Mapping[str, object]) -> Answer:
    """The whole stream that a POST is answered with."""
    async with await served.client() as client:
        await client.request("POST", path, json=fields)
        assert await client.response() == 200
        return collect(await client.read_stream())


async def answer(exchange: Exchange) -> None:
    """Whatever the provider's API is, some text in it."""
    scripts: dict[str, Script] = {"/v1/messages": message(["Hel", "lo"]), "/api/chat": lines(["Hel", "lo"])}
    scripts[PATHS["gemini"]] = gemini(["Hel", "lo"])
    scripts[PATHS["openai_responses"]] = response(["Hel", "lo"])
    script = scripts.get(exchange.path, chat(["Hel", "lo"]))
    assert callable(script)
    await script(exchange)


@pytest.mark.parametrize("name", ["openai", "anthropic", "ollama", "gemini", "azure", "openai_responses", EMBEDDED])
async def test_backend_named_by_one_variable_answers_the_same_requests(name: str, tmp_path: Path) -> None:
    """Without a model's name, on both routes, and through the SDK: each backend answers, and only it."""
    async with FakeProvider() as fake, backend(name, fake, tmp_path) as served:
        fake.script = answer
        messages = [{"role": "user", "content": "Say hello."}]
        plain = await stream(served, "/chat/stream", {"prompt": "Say hello.", "max_tokens": 8})
        assert plain.text
        assert plain.done
        fields = {"messages": messages, "max_tokens": 8, "stream": True, "stream_options": {"include_usage": True}}
        chat = await stream(served, "/v1/chat/completions", fields)
        assert chat.text
        assert chat.finish in ("stop", "length")
        assert chat.usage is not None
        assert 1 <= chat.usage["completion_tokens"] <= 8
        async with AsyncOpenAI(base_url=f"{served.url}/v1", api_key="sk-any", max_retries=0) as sdk:
            default = (await sdk.models.list()).data[0]
            assert default.owned_by == name
            chunks = await sdk.chat.completions.create(
                model=default.id, messages=[{"role": "user", "content": "Say hello."}], max_tokens=8, stream=True
            )
            assert "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])
        assert [exchange.path for exchange in fake.chats] == ([PATHS[name]] * 3 if name in PATHS else [])
        for exchange in fake.chats:
            names = ("authorization", "x-api-key", "x-goog-api-key", "api-key")
            sent = [(key, exchange.headers[key]) for key in names if key in exchange.headers]
            assert sent == KEY_HEADERS[name]
            assert exchange.model == "fake-model"
        served.signal(signal.SIGTERM)
        assert await served.ended() == 0
    logged = [json.loads(line) for line in served.err]
    served_by = [line["provider"] for line in logged if line["event"] == "request" and "provider" in line]
    assert served_by == [name] * 3
    assert not any(KEY in line for line in [*served.out, *served.err])


@pytest.mark.parametrize("name", ["openai", EMBEDDED])
async def test_backend_that_is_not_the_default_is_reached_by_its_name(name: str, tmp_path: Path) -> None:
    """The variable chooses what answers when nothing is named; provider/model goes where it says."""
    async with FakeProvider() as fake, backend(name, fake, tmp_path) as served:
        asked = {"prompt": "hi", "model": "openai/other-model"}
        assert (await stream(served, "/chat/stream", asked)).text == "Hello, world!"
        assert fake.chats[0].json["model"] == "other-model"


async def test_backend_with_a_model_named_beside_it_answers_with_that_model(tmp_path: Path) -> None:
    """RILLGATE_MODEL is the default model's name."""
    async with FakeProvider() as fake, backend("openai", fake, tmp_path, RILLGATE_MODEL="special") as served:
        assert (await stream(served, "/chat/stream", {"prompt": "hi"})).done
        assert fake.chats[0].json["model"] == "special"
        assert (await stream(served, "/chat/stream", {"prompt": "hi", "model": "fake-model"})).done
        assert fake.chats[1].json["model"] == "fake-model"
