"""A real Prometheus over a real gateway: every panel of the dashboard shows what happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.ledgers import LedgerInTest, sqlite_ledger
from tests.e2e.process import Served, serving
from tests.e2e.prometheus import Prometheus, need_prometheus, prometheus
from tests.fakes import script_anthropic as claude
from tests.fakes.clients import RawClient, Truncated
from tests.fakes.exchange import Step
from tests.fakes.gateway import CHAT
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Close, Done, Error, Finish, Frame, Role, Stall, chat, flood
from tests.infra.promtool import promtool
from tests.infra.test_dashboards import BOARD, plain

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

# Of nothing in this run is there any: nobody's ledger failed, and nobody died. The panel says that 0 is right.
NOTHING: Final = {"unaccounted", "not settled", "captured"}
WHY: Final = "All 0 is right."
MESSAGES: Final = [{"role": "user", "content": "hi"}]

CONFIGURATION: Final = """
[providers.lab]
kind = "openai"
base_url = "{lab}"
api_key = "none"

[providers.broken]
kind = "openai"
base_url = "{broken}"
api_key = "none"

[providers.claude]
kind = "anthropic"
base_url = "{claude}"
api_key = "none"

[[routes]]
model = "safe"
upstream = ["broken/safe", "lab/safe"]

[[routes]]
model = "hopeless"
upstream = ["broken/hopeless"]
retries = 1

[prices."lab/*"]
input = 1.0
output = 4.0

[ledger]
mode = "elastic"
"""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop of this process is not the subject."""
    return "asyncio", {"use_uvloop": True}


def thought_out() -> list[Step]:
    """An answer with reasoning, of a prompt that was cached."""
    usage = {
        "prompt_tokens": 40,
        "completion_tokens": 9,
        "total_tokens": 49,
        "prompt_tokens_details": {"cached_tokens": 30},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    return [Role(), Chunk("So"), Chunk(" be"), Chunk(" it"), Finish(), Frame(_usage_chunk(usage)), Done()]


def _usage_chunk(usage: dict[str, Any]) -> dict[str, Any]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": [], "usage": usage}


def written_to_cache() -> list[Step]:
    """An answer of Anthropic's, whose prompt was kept."""
    start = claude.MessageStart(claude.usage(3, 1, cache_creation_input_tokens=200))
    return [start, *claude.text_block(0, ["Hello"]), claude.message_delta("end_turn", 8), claude.MESSAGE_STOP]


@asynccontextmanager
async def gateway(ledger: LedgerInTest, folder: Path) -> AsyncIterator[Served]:
    """A gateway before three providers, one of which never works."""
    async with FakeProvider() as lab, FakeProvider() as broken, FakeProvider() as anthropic:
        lab.script = chat(["one", " two", " three"])
        lab.by_model = {
            "thinks": thought_out(),
            "long": chat([" a"] * 400),
            "breaks": [Role(), Chunk("o"), Close()],
            "stalls": [Role(), Chunk("o"), Stall()],
            "floods": flood(64, frame_bytes=2048),
        }
        broken.script = [Error(503)]
        anthropic.script = written_to_cache()
        (folder / "rillgate.toml").write_text(
            CONFIGURATION.format(
                lab=lab.base_url, broken=broken.base_url, claude=anthropic.base_url.removesuffix("/v1")
            )
        )
        async with serving(cwd=folder, **ledger.variables) as served:
            await served.ready()
            yield served


async def ask(served: Served, path: str, fields: dict[str, Any], key: str | None = None) -> int:
    """One request, read to its end whatever that is; its status."""
    async with await served.client() as client:
        headers = {"connection": "close"} | ({} if key is None else {"authorization": f"Bearer {key}"})
        await client.request("POST", path, json=fields, headers=headers)
        status = await client.response()
        try:
            await client.read_body()
        except (Truncated, OSError):
            pass
        return status


REQUESTS: Final = 14  # of one round of traffic


async def traffic(served: Served, key: str, poor: str) -> None:
    """One request of every kind; each ends as it should."""
    for model in ("m", "thinks", "safe", "hopeless", "breaks", "long"):
        fields = {"model": model if model in ("safe", "hopeless") else f"lab/{model}", "messages": MESSAGES}
        status = await ask(served, CHAT, {**fields, "stream": True, "max_tokens": 1000}, key)
        assert status == (503 if model == "hopeless" else 200), model
    assert await ask(served, CHAT, {"model": "lab/m", "messages": MESSAGES}) == 200
    asked: dict[str, Any] = {"model": "claude/c", "messages": MESSAGES, "max_tokens": 50, "stream": True}
    assert await ask(served, "/v1/messages", asked) == 200
    assert await ask(served, "/chat/stream", {"prompt": "hi", "model": "lab/m"}) == 200
    assert await ask(served, CHAT, {"model": "lab/m", "messages": MESSAGES}, poor) == 429
    assert await ask(served, CHAT, {"model": "lab/m", "messages": MESSAGES}, "rill_wrong") == 401
    assert await ask(served, CHAT, {"model": "nobody's", "messages": MESSAGES}) == 404
    async with await served.client() as client:  # a closed tab
        await client.request("POST", CHAT, json={"model": "lab/stalls", "messages": MESSAGES, "stream": True})
        assert await client.response() == 200
        await client.next_frame()
    async with held(served) as client:  # one that reads slowly, so that its provider has to wait
        for _ in range(100):
            await client.read_some()
            await asyncio.sleep(0.002)


@asynccontextmanager
async def held(served: Served) -> AsyncIterator[RawClient]:
    """A client that asks for much and reads nothing, until the end of the block."""
    async with await served.client(rcvbuf=4096) as client:
        await client.request("POST", CHAT, json={"model": "lab/floods", "messages": MESSAGES, "stream": True})
        assert await client.response() == 200
        yield client


async def new_key(ledger: LedgerInTest, name: str, limit: str) -> str:
    """A key that is warned of when it has used a hundredth of its limit."""
    made = await ledger.command("keys", "create", "--name", name, "--limit", limit)
    await ledger.command("budget", "set", f"key:{made['key_id']}", "--limit", limit, "--warn", "1")
    return str(made["key"])


async def test_dashboard_shows_what_happened(tmp_path: Path) -> None:
    """Traffic of every kind, scraped twice: each query of each panel gives numbers, and none that says nothing."""
    need_prometheus()
    async with AsyncExitStack() as stack:
        ledger = stack.enter_context(sqlite_ledger())
        keys = [await new_key(ledger, name, "tokens/day=20000") for name in ("first", "second")]
        poor = await new_key(ledger, "poor", "tokens/day=1")
        served = await stack.enter_async_context(gateway(ledger, tmp_path))
        watching = await stack.enter_async_context(prometheus(f"127.0.0.1:{served.port}", tmp_path))
        await watching.until("count(llm_workers)", 1)
        await stack.enter_async_context(held(served))
        for number, key in enumerate(keys, 1):  # a rate needs a series that was there before
            await traffic(served, key, poor)
            await watching.until("sum(llm_requests_total)", number * REQUESTS)
        shown = {
            (panel["title"], target["legendFormat"]): await watching.values(plain(target["expr"]))
            for panel in BOARD["panels"]
            for target in panel.get("targets", ())
        }
        health = {rule["name"]: rule["health"] for rule in await rules(watching)}
        status, page = await served.get("/metrics")
    assert [name for name, values in shown.items() if not values] == []
    assert [name for name, values in shown.items() if not any(values) and name[1] not in NOTHING] == []
    assert {name for name in shown if name[1] in NOTHING} == {
        (panel["title"], target["legendFormat"])
        for panel in BOARD["panels"]
        for target in panel.get("targets", ())
        if WHY in panel["description"]
    }
    assert set(health.values()) == {"ok"}
    assert status == 200
    checked = await asyncio.to_thread(promtool, "check", "metrics", stdin=page)
    assert (checked.returncode, checked.stderr) == (0, b"")


async def rules(watching: Prometheus) -> list[dict[str, Any]]:
    """All alerts, once each has been looked at."""
    while True:
        (group,) = (await watching.get("/api/v1/rules"))["groups"]
        found: list[dict[str, Any]] = group["rules"]
        if all(rule["health"] != "unknown" for rule in found):
            return found
        await asyncio.sleep(0.05)
