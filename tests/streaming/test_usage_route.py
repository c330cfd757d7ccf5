"""`GET /v1/usage`, over real sockets: a caller sees its own limits and what is left of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.gateway import CHAT, GatewayInTest, chat_body, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import chat
from tests.streaming.asking import ask

pytestmark = pytest.mark.anyio

USAGE = "/v1/usage"


async def usage(g: GatewayInTest, credential: str | None) -> dict[str, list[dict[str, Any]]]:
    """Limits by scope."""
    headers = {} if credential is None else {"authorization": f"Bearer {credential}"}
    got = await ask(g, "GET", USAGE, headers=headers)
    assert got.status == 200
    assert got.headers["cache-control"] == "no-store"
    assert got.json["object"] == "usage"
    return {scope["scope"]: scope["limits"] for scope in got.json["scopes"]}


async def test_usage_of_a_key_shows_its_scopes_their_limits_and_what_is_left() -> None:
    """Key, user and team; tokens and requests whole, dollars with decimals; when each window ends."""
    clock = FakeClock(wall=1_795_305_600 + 3_600)  # 2026-11-22, one o'clock
    async with (
        FakeProvider() as fake,
        gateway_for(
            fake, clock=clock, auth__required=True, prices={"fake/*": {"input": 1000.0, "output": 2000.0}}
        ) as g,
    ):
        fake.script = chat([" a"] * 7)
        key = await g.new_key(user="ada", team="core", limits=["tokens/day=100000", "usd/month=0.5"])
        await g.set_budget("team:core", ["requests/total=10", "streams=3"])
        await g.set_budget("user:bob", ["requests/total=1"])
        got = await ask(g, "POST", CHAT, json=chat_body(max_tokens=20), headers={"authorization": f"Bearer {key}"})
        assert got.status == 200
        await g.settled()
        scopes = await usage(g, key)
        assert list(scopes) == [f"key:{key[5:17]}", "user:ada", "team:core"]
        tokens, dollars = scopes[f"key:{key[5:17]}"]
        spent = {"input": 9, "output": 7}
        assert tokens == {
            "meter": "tokens",
            "window": "day",
            "limit": 100_000,
            "used": 16,
            "remaining": 99_984,
            "resets_at": "2026-11-23T00:00:00Z",
        }
        cost = (spent["input"] * 1000 + spent["output"] * 2000) / 1_000_000
        assert dollars == {
            "meter": "usd",
            "window": "month",
            "limit": 0.5,
            "used": pytest.approx(cost),
            "remaining": pytest.approx(0.5 - cost),
            "resets_at": "2026-12-01T00:00:00Z",
        }
        assert scopes["user:ada"] == []
        (requests,) = scopes["team:core"]
        assert (requests["meter"], requests["used"], requests["remaining"]) == ("requests", 1, 9)
        assert requests["resets_at"] is None


async def test_usage_of_a_ticket_shows_its_user_and_itself_and_not_its_key() -> None:
    """What others spend with the same key is not a browser's business."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        key = await g.new_key(team="core", limits=["tokens/day=100000"])
        await g.set_budget("user:ada", ["requests/day=5"])
        headers = {"authorization": f"Bearer {key}"}
        fields = {"user": "ada", "limits": ["usd/total=0.05"]}
        token = (await ask(g, "POST", "/v1/tickets", json=fields, headers=headers)).json["ticket"]
        scopes = await usage(g, token)
        own, users = scopes.items()
        assert own[0].startswith("ticket:")
        assert own[1] == [
            {"meter": "usd", "window": "total", "limit": 0.05, "used": None, "remaining": None, "resets_at": None}
        ]
        assert users[0] == "user:ada"
        assert users[1][0]["remaining"] == 5


async def test_usage_where_keys_are_off_shows_what_everybody_spends() -> None:
    """The operator's own machine; a key that is sent sees its own all the same."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        assert await usage(g, None) == {"global": []}
        await g.set_budget("global", ["requests/day=5"])
        key = await g.new_key()
        assert await usage(g, key) == {f"key:{key[5:17]}": []}


async def test_usage_of_a_key_that_has_used_its_budget_up_is_still_told() -> None:
    """Just then it is asked for."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        key = await g.new_key(limits=["requests/day=1"])
        headers = {"authorization": f"Bearer {key}"}
        assert (await ask(g, "POST", CHAT, json=chat_body(), headers=headers)).status == 200
        await g.settled()
        assert (await ask(g, "POST", CHAT, json=chat_body(), headers=headers)).status == 429
        ((limit,),) = (await usage(g, key)).values()
        assert (limit["used"], limit["remaining"]) == (1, 0)
