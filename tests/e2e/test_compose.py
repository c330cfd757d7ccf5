"""compose.yaml as far as it can be run without containers: every service that is ours, and those beside it."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from rillgate.app.embedded import EmbeddedModel
from tests.e2e.compose import Here
from tests.e2e.nginx import Nginx, need_nginx, shared_folder
from tests.e2e.process import Served
from tests.fakes.clients import RawClient, collect
from tests.fakes.dynamodb_local import unavailable
from tests.fakes.provider import FakeProvider
from tests.fakes.script import EndBody, Pause
from tests.fakes.script_ollama import Line, done

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.embedded,
    pytest.mark.skipif(not EmbeddedModel.available(), reason="the embedded model's wheels are not installed"),
]
KEY = r"\b(rill_[A-Za-z0-9_-]{20,})"


@pytest.fixture
def anyio_backend() -> str:
    """Every service is a process of its own."""
    return "asyncio"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Of one run."""
    need_nginx()
    if reason := unavailable():
        pytest.skip(reason)
    with shared_folder() as path:
        yield path


async def ask(nginx: Nginx, key: str | None, model: str | None = None, prompt: str = "Say hello.") -> RawClient:
    """A streaming request through nginx; its status has been read."""
    client = await nginx.client()
    body = {"messages": [{"role": "user", "content": prompt}], "stream": True, "max_tokens": 16}
    if model is not None:
        body["model"] = model
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    await client.request("POST", "/v1/chat/completions", json=body, headers=headers)
    await client.response()
    return client


async def status(nginx: Nginx, key: str | None, model: str | None = None) -> int:
    """The status of a request whose answer is read to its end."""
    async with await ask(nginx, key, model) as client:
        await client.read_body()
        return client.status


async def ready(here: Here, nginx: Nginx) -> None:
    """Wait until the health checks of gateway and nginx pass, as `docker compose up --wait` does."""
    async with asyncio.timeout(60):
        while not await here.healthy("gateway"):
            await asyncio.sleep(0.05)
    assert await here.healthy("nginx", nginx.port)


async def test_compose_up_is_a_streaming_budgeted_gateway_behind_nginx(folder: Path) -> None:
    """The default services, in their order: a table, a first key, a stream, a 401, a budget that holds, a way down."""
    async with FakeProvider() as fake:
        here = Here(folder, ollama_port=fake.port)
        here.mount()
        async with here.nginx() as nginx:  # it waits for nobody
            assert await status(nginx, None) == 502
            assert not await here.healthy("gateway")
            async with here.dynamodb():
                for made in ("made", "it was there already"):
                    finished = await here.once("table")
                    assert (finished.code, made in finished.out) == (0, True), finished.err
                async with here.gateway() as served:
                    key = (await served.says(KEY))[1]
                    await ready(here, nginx)
                    await streams(nginx, fake, key)
                    await is_closed(nginx)
                    await keeps_budgets(here, nginx)
                    await goes_down(served, nginx, fake, key)
                async with here.gateway() as again:
                    await ready(here, nginx)
                    assert await status(nginx, key) == 200
                    assert not any(re.search(KEY, line) for line in again.out), "the key is there, and no other is made"


async def streams(nginx: Nginx, fake: FakeProvider, key: str) -> None:
    """The model of the image answers who names none; Ollama's models are there by their names, chunk by chunk."""
    async with await ask(nginx, key) as client:
        assert client.status == 200
        answer = collect(await client.read_stream())
        assert answer.done
        assert answer.text
    texts = [f"word{number} " for number in range(10)]
    fake.script = [*(step for text in texts for step in (Line(text), Pause())), done(), EndBody()]
    async with await ask(nginx, key, "ollama/fake-model") as client:
        for text in texts:
            while text not in (frame := await client.next_frame() or ""):
                assert '"role"' in frame, "one line is one chunk, after the role's"
            fake.allow()
        assert collect(await client.read_stream()).done
    assert {chat.path for chat in fake.chats} == {"/api/chat"}


async def is_closed(nginx: Nginx) -> None:
    """To who has no key, and for what is not for others."""
    assert await status(nginx, None) == 401
    assert await status(nginx, "rill_" + "x" * 40) == 401
    async with await nginx.client() as client:
        await client.request("GET", "/metrics")
        assert await client.response() == 404


async def keeps_budgets(here: Here, nginx: Nginx) -> None:
    """What an operator sets inside of the container holds: the second request is one too many."""
    made = await here.inside("gateway", "keys", "create", "--name", "small", "--json")
    assert made.code == 0, made.err
    small = json.loads(made.out)
    limited = await here.inside("gateway", "budget", "set", f"key:{small['key_id']}", "--limit", "requests/day=1")
    assert limited.code == 0, limited.err
    assert [await status(nginx, small["key"]) for _ in range(2)] == [200, 429]


async def goes_down(served: Served, nginx: Nginx, fake: FakeProvider, key: str) -> None:
    """SIGTERM while a stream runs: it goes on to its own end, and the gateway ends well."""
    fake.script = [Line("one"), Pause(), Line(" two"), done(), EndBody()]
    async with await ask(nginx, key, "ollama/fake-model") as client:
        assert client.status == 200
        assert await client.next_frame()
        served.signal(signal.SIGTERM)
        await served.says("^Shutting down: 1 running")
        fake.allow()
        answer = collect(await client.read_stream())
        assert (answer.done, client.complete) == (True, True)
    assert await served.ended() == 0


async def test_compose_up_alone_is_a_gateway_with_its_ledger_on_a_volume(folder: Path) -> None:
    """One process: the model of the image, a first key, and a file that outlives it."""
    here = Here(folder, ollama_port=1)
    here.mount()
    async with here.gateway("alone") as served:
        key = (await served.says(KEY))[1]
        await served.ready()
        assert await here.healthy("alone")
        assert served.port == here.alone_port
        async with await served.client() as client:
            headers = {"authorization": f"Bearer {key}"}
            await client.request("POST", "/chat/stream", json={"prompt": "hi", "max_tokens": 8}, headers=headers)
            assert await client.response() == 200
            assert collect(await client.read_stream()).done
        served.signal(signal.SIGTERM)
        assert await served.ended() == 0
    used = await here.inside("alone", "usage", "--by", "key", "--json")
    assert used.code == 0, used.err
    assert "first" in used.out or key.split("_")[1][:8] in used.out, used.out
