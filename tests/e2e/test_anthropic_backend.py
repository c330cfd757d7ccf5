"""llama.cpp's Anthropic endpoint behind the gateway: a server of the Messages API that is not ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rillgate.app.embedded import EmbeddedModel
from rillgate.app.gateway import Gateway
from rillgate.app.settings.load import load_settings
from tests.fakes.gateway import CHAT, GatewayInTest, chat_body
from tests.fakes.server import serving
from tests.streaming.asking import ask

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.embedded,
    pytest.mark.skipif(not EmbeddedModel.available(), reason="the embedded model's wheels are not installed"),
]

MODEL = EmbeddedModel.ALIAS


@pytest.fixture
def anyio_backend() -> str:
    """The loop is not the subject."""
    return "asyncio"


@asynccontextmanager
async def llama_behind_gateway(tmp_path: Path) -> AsyncIterator[GatewayInTest]:
    """The model's own server, as a provider of kind "anthropic"."""
    model = EmbeddedModel()
    await model.start()
    try:
        endpoint = await model.endpoint()
        environ = {
            "RILLGATE_LEDGER__URL": "memory:",
            "ANTHROPIC_BASE_URL": endpoint.base_url,
            "ANTHROPIC_AUTH_TOKEN": dict(endpoint.headers)["Authorization"].removeprefix("Bearer "),
        }
        gateway = Gateway(load_settings(config=None, flags={}, environ=environ, cwd=tmp_path))
        async with serving(gateway.asgi, drain=gateway.streams) as address:
            await gateway.encoders.loaded()
            yield GatewayInTest(gateway, address)
    finally:
        await model.stop()


async def test_llama_answers_in_the_messages_api(tmp_path: Path) -> None:
    """A stream, a whole answer, a list of models and an error of a real server."""
    async with llama_behind_gateway(tmp_path) as g:
        fields = {"model": MODEL, "max_tokens": 12, "temperature": 0, "stream_options": {"include_usage": True}}
        stream = (await ask(g, "POST", CHAT, json=chat_body(**fields))).stream
        assert stream.text
        assert stream.done
        assert stream.finish in ("stop", "length")
        assert stream.usage is not None
        assert 1 <= stream.usage["completion_tokens"] <= 12
        assert stream.usage["prompt_tokens"] > 5
        whole = (
            await ask(g, "POST", CHAT, json=chat_body(model=MODEL, max_tokens=12, temperature=0, stream=False))
        ).json
        assert whole["choices"][0]["message"]["content"] == stream.text
        assert [entry["id"] for entry in (await ask(g, "GET", "/v1/models")).json["data"]] == [MODEL]
        long = [{"role": "user", "content": "word " * 5000}]
        got = await ask(g, "POST", CHAT, json=chat_body(model=MODEL, messages=long))
        assert (got.status, got.error["code"]) == (400, "context_length_exceeded")
