"""Limits in money, over real sockets: what is served where a price is known, and what where it is not."""

from __future__ import annotations

import pytest

from tests.fakes.gateway import CHAT, chat_body, gateway_for
from tests.fakes.provider import FakeProvider
from tests.streaming.asking import ask

pytestmark = pytest.mark.anyio

PRICED = {"fake/*": {"input": 1.0, "output": 2.0}}


async def test_money_limit_with_a_known_price_is_served_and_charged() -> None:
    """The answer says what is left of it."""
    async with FakeProvider() as fake, gateway_for(fake, prices=PRICED) as g:
        headers = {"authorization": f"Bearer {await g.new_key(limits=['usd/day=1'])}"}
        got = await ask(g, "POST", CHAT, json=chat_body(max_tokens=100), headers=headers)
        assert got.status == 200
        assert 0 < float(got.headers["x-rillgate-remaining-usd"]) < 1
        await g.settled()
        (scope,) = (await ask(g, "GET", "/v1/usage", headers=headers)).json["scopes"]
        assert 0 < scope["limits"][0]["used"] < 0.001


@pytest.mark.parametrize(
    ("prices", "fields", "word"),
    [({}, {}, "'fake/fake-model'"), (PRICED, {"service_tier": "priority"}, "service_tier")],
)
async def test_money_limit_without_a_known_price_is_400_unless_allowed(
    prices: dict[str, object], fields: dict[str, str], word: str
) -> None:
    """price_unknown says what is not known; a key without a limit in money is served; so is this one where allowed."""
    async with FakeProvider() as fake:
        async with gateway_for(fake, prices=prices) as g:
            headers = {"authorization": f"Bearer {await g.new_key(limits=['usd/day=1'])}"}
            got = await ask(g, "POST", CHAT, json=chat_body(**fields), headers=headers)
            assert (got.status, got.error["code"]) == (400, "price_unknown")
            assert word in got.error["message"]
            assert got.headers["x-should-retry"] == "false"
            assert fake.chats == []
            headers = {"authorization": f"Bearer {await g.new_key(limits=['tokens/day=1000000'])}"}
            assert (await ask(g, "POST", CHAT, json=chat_body(**fields), headers=headers)).status == 200
        async with gateway_for(fake, prices=prices, ledger__on_unknown_price="allow") as g:
            headers = {"authorization": f"Bearer {await g.new_key(limits=['usd/day=1'])}"}
            assert (await ask(g, "POST", CHAT, json=chat_body(**fields), headers=headers)).status == 200


async def test_budget_that_is_used_up_has_the_status_that_is_configured() -> None:
    """429 by default, 403 for clients that expect it."""
    async with FakeProvider() as fake:
        for status in (429, 403):
            async with gateway_for(fake, ledger__quota_status=status) as g:
                headers = {"authorization": f"Bearer {await g.new_key(limits=['requests/day=1'])}"}
                assert (await ask(g, "POST", CHAT, json=chat_body(), headers=headers)).status == 200
                await g.settled()
                got = await ask(g, "POST", CHAT, json=chat_body(), headers=headers)
                assert (got.status, got.error["code"]) == (status, "insufficient_quota")
