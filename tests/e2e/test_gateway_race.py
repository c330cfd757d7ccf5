"""Eight gateways and a thousand streams race for the budget of one key; one provider keeps to its cap, one does not."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import pytest

from rillgate.app.encodings import load_encoding
from rillgate.app.listen import raise_open_files
from rillgate.budget.estimate import estimate_prompt
from tests.e2e.ledgers import LEDGERS, LedgerInTest, OpenLedger
from tests.e2e.process import Served, serving, variables_for
from tests.fakes import clients
from tests.fakes.clients import Answer, RawClient, collect
from tests.fakes.exchange import Exchange
from tests.fakes.gateway import CHAT
from tests.fakes.provider import FakeProvider
from tests.fakes.script import chat, runaway

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

GATEWAYS: Final = 8
STREAMS: Final = 1000
LIMIT: Final = 60_000
CHARGED_SHARE_MIN: Final = 0.9
CAP_MIN, CAP_MAX = 64, 512
PATIENCE_S: Final = 240.0  # a guard against hanging tests, never what a test waits for

# By their names the gateway knows their encoding, so it counts as exactly as this test does.
OBEDIENT, HEEDLESS = "gpt-4.1-mini", "gpt-4.1"
ENCODING: Final = "o200k_base"
MESSAGES: Final = [{"role": "user", "content": "hi"}]
TOKENS_PER_FRAME: Final = 8


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop of this process is not the subject."""
    return "asyncio", {"use_uvloop": True}


@dataclass
class Asked:
    """A request and what came back."""

    model: str
    status: int
    answer: Answer


class Provider:
    """Two models on one fake: one makes exactly as much as it may, the other four times as much.

    Attributes:
        made: output tokens of the first.
    """

    def __init__(self, fake: FakeProvider, prompt_tokens: int) -> None:
        self.made = 0
        self._prompt_tokens = prompt_tokens
        fake.by_model = {OBEDIENT: self._obey, HEEDLESS: self._run_on}

    async def _obey(self, exchange: Exchange) -> None:
        cap = exchange.json["max_tokens"]
        self.made += cap
        whole, rest = divmod(cap, TOKENS_PER_FRAME)
        texts = [" a" * TOKENS_PER_FRAME] * whole + ([" a" * rest] if rest else [])
        await chat(texts, finish="length", input_tokens=self._prompt_tokens, output_tokens=cap)(exchange)

    async def _run_on(self, exchange: Exchange) -> None:
        await runaway(4 * exchange.json["max_tokens"], per_write=16)(exchange)


async def ask(gateway: Served, key: str, number: int) -> Asked:
    """One stream, read to its end."""
    model = (OBEDIENT, HEEDLESS)[number % 2]
    body = {"model": model, "messages": MESSAGES, "stream": True}
    body["max_tokens"] = random.Random(number).randint(CAP_MIN, CAP_MAX)
    async with await RawClient.open(gateway.port) as client:
        await client.request("POST", CHAT, json=body, headers={"authorization": f"Bearer {key}"})
        status = await client.response()
        if status != 200:
            await client.read_body()
            return Asked(model, status, Answer())
        return Asked(model, status, collect(await client.read_stream()))


async def race(gateways: list[Served], key: str) -> list[Asked]:
    """All of them at once, each at one of the gateways in turn."""
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.gather(*(ask(gateways[each % GATEWAYS], key, each) for each in range(STREAMS)))


async def stopped(gateways: Iterable[Served], ledger: LedgerInTest, scope: str) -> None:
    """End the gateways when all is settled. Each question is a round trip, so this turns no faster than the store."""
    async with asyncio.timeout(PATIENCE_S):
        while await asyncio.to_thread(ledger.live, scope):
            pass
    for gateway in gateways:
        gateway.signal(signal.SIGTERM)
    for gateway in gateways:
        assert await gateway.ended() == 0


@pytest.mark.parametrize("open_ledger", LEDGERS)
async def test_gateways_racing_for_one_budget_never_deliver_more(
    open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What clients got, and what an obedient provider made, is within the limit; the rest is told 429, nobody 5xx."""
    raise_open_files()
    monkeypatch.setattr(clients, "TIMEOUT_S", PATIENCE_S)  # the emulator decides a thousand requests in its own time
    encoding = load_encoding(ENCODING)
    prompt_tokens = estimate_prompt({"messages": MESSAGES}, encoding)
    with open_ledger() as ledger:
        key, scope = await ledger.new_key(f"tokens/total={LIMIT}")
        async with FakeProvider() as fake, AsyncExitStack() as stack:
            provider = Provider(fake, prompt_tokens)
            variables = ledger.variables | variables_for(fake)
            gateways = [await stack.enter_async_context(serving(**variables)) for _ in range(GATEWAYS)]
            for gateway in gateways:
                await gateway.ready()
            asked = await race(gateways, key)
            await stopped(gateways, ledger, scope)
        item = ledger.item(scope)
        assert {each.status for each in asked} == {200, 429}
        served = [each for each in asked if each.status == 200]
        assert all(each.answer.done and each.answer.finish == "length" for each in served)
        delivered = sum(prompt_tokens + encoding.count(each.answer.text) for each in served)
        heedless = [each.answer.text for each in served if each.model == HEEDLESS]
        obedient = provider.made + prompt_tokens * (len(served) - len(heedless))
        print(f"{len(served)} served, {delivered} tokens delivered, {delivered / LIMIT:.1%}")  # noqa: T201
        assert CHARGED_SHARE_MIN * LIMIT <= delivered <= LIMIT
        assert obedient + sum(prompt_tokens + encoding.count(text) for text in heedless) <= LIMIT
        assert (item["tT"], item["rT"]) == (delivered, len(served))
        assert (await ledger.command("audit"))["explained"]
        total = (await ledger.command("usage"))["total"]
        counts = [total[kind][f"{side}_tokens"] for kind in ("reported", "estimated") for side in ("input", "output")]
        assert (total["requests"], sum(counts)) == (len(served), delivered)
