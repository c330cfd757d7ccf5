"""Health, readiness and metrics, while a gateway starts, serves and goes."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rillgate.app.embedded import EmbeddedModel
from rillgate.app.encodings import load_encoding
from rillgate.app.gateway import Gateway
from rillgate.app.settings.load import load_settings
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import CHAT, GatewayInTest, chat_body, gateway_for, settings_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Role, Stall
from tests.fakes.server import serving
from tests.streaming.asking import ask, read

pytestmark = pytest.mark.anyio

PROMPT = {"prompt": "Why is the sky blue?"}


async def test_healthz_and_readyz_of_a_ready_gateway_say_so() -> None:
    """GET and HEAD, for probes of all kinds."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        for path in ("/healthz", "/readyz"):
            got = await ask(g, "GET", path)
            assert got.status == 200
            assert got.headers["content-type"] == "application/json"
            assert got.json["status"] in ("ok", "ready")
            assert (await ask(g, "HEAD", path)).status == 200


async def test_readyz_waits_for_the_encoder_while_chats_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is loaded, readiness says what it waits for; a request is served all the same."""
    loading = threading.Event()

    def load_later(name: str) -> Any:
        loading.wait()
        return load_encoding(name)

    monkeypatch.setattr("rillgate.app.encodings.load_encoding", load_later)
    async with FakeProvider() as fake:
        gateway = Gateway(settings_for(fake.base_url))
        async with serving(gateway.asgi, drain=gateway.streams) as address:
            g = GatewayInTest(gateway, address)
            try:
                got = await ask(g, "GET", "/readyz")
                assert got.status == 503
                assert got.json == {"status": "not_ready", "waiting_for": ["encoder"]}
                assert (await ask(g, "GET", "/healthz")).status == 200
                assert (await ask(g, "POST", CHAT, json=chat_body())).stream.done
            finally:
                loading.set()
            await gateway.encoders.loaded()
            assert (await ask(g, "GET", "/readyz")).status == 200


async def test_readyz_of_a_gateway_that_drains_is_503_and_so_is_a_new_chat() -> None:
    """From the first signal on: no new streams, and balancers are told."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        g.gateway.streams.begin()
        got = await ask(g, "GET", "/readyz")
        assert got.status == 503
        assert len(got.json["waiting_for"]) == 1
        got = await ask(g, "POST", CHAT, json=chat_body())
        assert (got.status, got.error["code"]) == (503, "shutting_down")
        assert "retry-after" in got.headers
        assert fake.chats == []


# Says what somebody has written to a pipe, as the real child does when it has loaded, or has failed to.
CHILD = """
import sys
sys.stdin.readline()
with open(sys.argv[1]) as told:
    line = told.read()
print(line, flush=True)
if "error" not in line:
    sys.stdin.read()
"""


class ModelInTest:
    """An embedded model that is ready when the test says so, and whose server is the fake provider."""

    def __init__(self, folder: Path) -> None:
        self._told = folder / "told"
        os.mkfifo(self._told)
        self.model = EmbeddedModel(command=(sys.executable, "-c", CHILD, str(self._told)), stop_grace_s=0)

    async def say(self, line: str) -> None:
        """What the child says."""
        await asyncio.to_thread(self._told.write_text, line)


def embedded_gateway(model: EmbeddedModel, clock: FakeClock | None = None, **variables: str) -> Gateway:
    """A gateway with the embedded provider, and nothing else unless `variables` name it."""
    environ = {"RILLGATE_LEDGER__URL": "memory:", **variables}
    settings = load_settings(config=None, flags={}, environ=environ, cwd=Path("/nowhere"))
    return Gateway(settings, embedded=model, clock=clock)


async def test_request_before_the_embedded_model_is_ready_waits_for_it(tmp_path: Path) -> None:
    """The gateway listens and lists the model at once; /readyz says what it waits for; early requests are served."""
    inside = ModelInTest(tmp_path)
    gateway = embedded_gateway(inside.model)
    async with FakeProvider() as fake, serving(gateway.asgi, drain=gateway.streams) as address:
        g = GatewayInTest(gateway, address)
        await gateway.encoders.loaded()
        got = await ask(g, "GET", "/readyz")
        assert (got.status, got.json["waiting_for"]) == (503, ["embedded model"])
        assert [entry["id"] for entry in (await ask(g, "GET", "/v1/models")).json["data"]] == ["smollm2-135m"]
        async with await g.client() as streaming, await g.client() as whole:
            await streaming.request("POST", "/chat/stream", json=PROMPT)
            await whole.request("POST", CHAT, json=chat_body(model=None, stream=False))
            while gateway.streams.running() < 2:
                await asyncio.sleep(0)
            assert fake.chats == []
            await inside.say(msgspec.json.encode({"base_url": fake.base_url}).decode())
            assert (await read(streaming)).stream.done
            assert (await read(whole)).json["choices"][0]["message"]["content"] == "Hello, world!"
        assert {exchange.json["model"] for exchange in fake.chats} == {"smollm2-135m"}
        assert (await ask(g, "GET", "/readyz")).status == 200


async def test_request_for_an_embedded_model_that_takes_too_long_is_504(tmp_path: Path) -> None:
    """It waits for first_token_s and no longer, streaming or not."""
    clock = FakeClock()
    inside = ModelInTest(tmp_path)
    gateway = embedded_gateway(
        inside.model, clock, RILLGATE_TIMEOUTS__FIRST_TOKEN_S="60", RILLGATE_TIMEOUTS__HEARTBEAT_S="100"
    )
    async with serving(gateway.asgi, drain=gateway.streams) as address:
        g = GatewayInTest(gateway, address)
        for stream in (True, False):
            async with await g.chat(model=None, stream=stream) as client:
                while not gateway.streams.running():
                    await asyncio.sleep(0)
                while clock.next_due is None or clock.next_due > 60:
                    await asyncio.sleep(0)
                clock.advance(59)
                assert gateway.streams.running() == 1
                clock.advance(1)
                got = await read(client)
                assert got.status == 504
                assert got.error["code"] == "upstream_timeout"
            await g.idle()


async def test_request_for_an_embedded_model_that_died_is_503_and_says_what_to_set(tmp_path: Path) -> None:
    """A request that waits for it, and every later one; /readyz stays 503 and everything else works."""
    inside = ModelInTest(tmp_path)
    gateway = embedded_gateway(inside.model)
    async with serving(gateway.asgi, drain=gateway.streams) as address:
        g = GatewayInTest(gateway, address)
        await gateway.encoders.loaded()
        async with await g.chat(model=None) as waiting:
            while not gateway.streams.running():
                await asyncio.sleep(0)
            await inside.say('{"error": "the package xllamacpp is not installed"}')
            answers = [await read(waiting)]
        answers.append(await ask(g, "POST", "/chat/stream", json=PROMPT))
        answers.append(await ask(g, "POST", CHAT, json=chat_body(model=None, stream=False)))
        answers.append(await ask(g, "GET", "/chat?message=hi"))
        for got in answers:
            assert got.status == 503
            assert got.error["code"] == "model_unavailable"
            assert "OPENAI_API_KEY" in got.error["message"]
            assert "OLLAMA_HOST" in got.error["message"]
            assert got.headers["x-should-retry"] == "false"
        assert (await ask(g, "GET", "/readyz")).json["waiting_for"] == ["embedded model"]
        assert (await ask(g, "GET", "/healthz")).status == 200


async def test_readyz_with_a_dead_embedded_model_beside_another_provider_is_ready(tmp_path: Path) -> None:
    """A model that will never answer is waited for only while it starts, where somebody else can answer."""
    inside = ModelInTest(tmp_path)
    async with FakeProvider() as fake:
        gateway = embedded_gateway(inside.model, OPENAI_BASE_URL=fake.base_url, RILLGATE_BACKEND="embedded")
        async with serving(gateway.asgi, drain=gateway.streams) as address:
            g = GatewayInTest(gateway, address)
            await gateway.encoders.loaded()
            assert (await ask(g, "GET", "/readyz")).json["waiting_for"] == ["embedded model"]
            await inside.say('{"error": "the package xllamacpp is not installed"}')
            while inside.model.state == "starting":
                await asyncio.sleep(0)
            assert (await ask(g, "GET", "/readyz")).status == 200
            assert (await ask(g, "POST", CHAT, json=chat_body(model="openai/fake-model"))).stream.done


async def test_metrics_count_what_was_served() -> None:
    """The promised names, with provider and model as labels, in Prometheus' text format."""
    async with FakeProvider() as fake, gateway_for(fake) as g, await g.chat(model="stalls") as open_one:
        fake.by_model["stalls"] = [Role(), Chunk("one"), Stall()]
        assert await open_one.response() == 200
        await open_one.next_frame()
        for _ in range(2):
            await ask(g, "POST", CHAT, json=chat_body(model="m"))
        await ask(g, "POST", CHAT, json=chat_body(model="m", stream=False))
        got = await ask(g, "GET", "/metrics")
        assert got.status == 200
        assert got.headers["content-type"].startswith("text/plain; version=0.0.4")
        text = got.body.decode()
        for line in (
            'llm_tokens_total{kind="input",model="m",provider="fake"} 27.0',
            'llm_tokens_total{kind="output",model="m",provider="fake"} 12.0',
            'llm_time_to_first_token_seconds_count{model="m",provider="fake"} 2.0',
            'llm_token_latency_seconds_count{model="m",provider="fake"} 6.0',
            "llm_active_streams 1.0",
            'llm_streams_total{end="finished",provider="fake"} 3.0',
            'llm_ledger_duration_seconds_count{operation="authorize"} 4.0',
            'llm_ledger_duration_seconds_count{operation="settle"} 3.0',
            'llm_failovers_total{provider="fake"} 0.0',
            "llm_active_streams_max 2000.0",
            "llm_queue_bytes 0.0",
        ):
            assert line in text, line
        labels = 'dialect="chat_completions",end="finished",model="m",provider="fake",route="/v1/chat/completions"'
        while f'llm_requests_total{{{labels},status="200"}} 3.0' not in text:  # counted when its books are closed
            text = (await ask(g, "GET", "/metrics")).body.decode()
        labels = 'gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="m"'
        for line in (
            f'gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type="input",provider="fake"}} 27.0',
            f'gen_ai_server_time_per_output_token_seconds_count{{{labels},provider="fake"}} 2.0',
            f'gen_ai_server_request_duration_seconds_count{{error_type="",{labels},provider="fake"}} 3.0',
        ):
            assert line in text, line


async def test_metrics_are_shown_to_this_machine_only_unless_set_otherwise() -> None:
    """loopback: not to whoever comes through a proxy or from elsewhere; any: to all; off: to nobody."""
    forwarded = {"x-forwarded-for": "203.0.113.9"}
    async with FakeProvider() as fake:
        async with gateway_for(fake, allow_unauthenticated=True) as g:
            assert (await ask(g, "GET", "/metrics")).status == 200
            for header in (forwarded, {"forwarded": "for=203.0.113.9"}, {"host": "rebound.example"}):
                got = await ask(g, "GET", "/metrics", headers=header)
                assert (got.status, got.error["code"]) == (403, "metrics_refused")
            assert await asgi_status(g.gateway, "/metrics", client=("203.0.113.9", 5)) == 403
            assert await asgi_status(g.gateway, "/metrics", client=("::1", 5)) == 200
            assert await asgi_status(g.gateway, "/metrics", client=None) == 403
        async with gateway_for(fake, allow_unauthenticated=True, server__metrics="any") as g:
            assert (await ask(g, "GET", "/metrics", headers=forwarded)).status == 200
        async with gateway_for(fake, server__metrics="off") as g:
            got = await ask(g, "GET", "/metrics")
            assert (got.status, got.error["code"]) == (404, "not_found")


async def asgi_status(gateway: Gateway, path: str, client: tuple[str, int] | None) -> int:
    """The status of a GET from an address that no test can have."""
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
        "client": client,
    }
    await gateway.asgi(scope, receive, send)
    return statuses[0]
