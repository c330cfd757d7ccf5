"""llama.cpp's own embeddings behind the gateway: a server that is not ours, asked by OpenAI's SDK."""

from __future__ import annotations

import asyncio
import math
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai import AsyncOpenAI

from rillgate.app.embedded import EmbeddedModel
from rillgate.app.gateway import Gateway
from tests.e2e.process import environment
from tests.fakes.gateway import GatewayInTest, settings_for
from tests.fakes.server import serving

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.embedded,
    pytest.mark.skipif(not EmbeddedModel.available(), reason="the embedded model's wheels are not installed"),
]

SERVER = """
import sys, xllamacpp
from rillgate.app.embedded_child import model_path
params = xllamacpp.CommonParams()
params.model.path = str(model_path())
params.model_alias = {"smollm2-135m"}
params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, ["sk-fake-key-of-the-tests"]
params.n_ctx, params.n_parallel, params.n_gpu_layers, params.fit_params, params.verbosity = 512, 2, 0, False, 1
params.cpuparams.n_threads = 1
params.ui = False
params.embedding = True
params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def anyio_backend() -> str:
    """The loop is not the subject."""
    return "asyncio"


@asynccontextmanager
async def llama_behind_gateway() -> AsyncIterator[GatewayInTest]:
    """llama.cpp's server for embeddings, as a provider of kind "openai"."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment()
    )
    assert child.stdout is not None
    try:
        address = (await asyncio.wait_for(child.stdout.readline(), 60)).decode().strip()
        gateway = Gateway(settings_for(f"{address}/v1"))
        async with serving(gateway.asgi, drain=gateway.streams) as served:
            await gateway.encoders.loaded()
            yield GatewayInTest(gateway, served)
    finally:
        child.kill()
        await child.wait()


def likeness(one: list[float], other: list[float]) -> float:
    """The cosine of two vectors' angle."""
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


async def test_llama_makes_embeddings() -> None:
    """Of texts and of token ids; like texts are alike, and the counts are the server's own."""
    texts = ["The cat sleeps on the sofa.", "A cat is sleeping on a couch.", "Interest rates rose by half a point."]
    async with (
        llama_behind_gateway() as g,
        AsyncOpenAI(base_url=f"{g.url}/v1", api_key="any", max_retries=0) as client,
    ):
        fields: dict[str, Any] = {"model": "smollm2-135m"}
        answer = await client.embeddings.create(input=texts, **fields)
        cat, couch, rates = (one.embedding for one in answer.data)
        assert len(cat) == len(couch) == len(rates) > 100
        assert likeness(cat, couch) > likeness(cat, rates)
        assert 10 < answer.usage.prompt_tokens < 60
        assert (answer.model_extra or {}).get("rillgate") is None
        again = await client.embeddings.create(input=texts[0], encoding_format="float", **fields)
        assert len(again.data[0].embedding) == len(cat)
        ids = await client.embeddings.create(input=[1, 2, 3], **fields)
        assert ids.usage.prompt_tokens == 3
