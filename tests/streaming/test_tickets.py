"""Tickets, over real sockets: what a back end gets for its key, and what a browser may do with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.gateway import CHAT, GatewayInTest, chat_body, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Role, Stall
from tests.streaming.asking import Got, ask

pytestmark = pytest.mark.anyio

TICKETS = "/v1/tickets"


def bearer(credential: str) -> dict[str, str]:
    """As the OpenAI SDK sends it."""
    return {"authorization": f"Bearer {credential}"}


async def ticket(g: GatewayInTest, key: str, **fields: Any) -> str:
    """A ticket in the name of a key."""
    got = await ask(g, "POST", TICKETS, json=fields, headers=bearer(key))
    assert got.status == 200, got.body
    return str(got.json["ticket"])


async def chat(g: GatewayInTest, credential: str, **fields: Any) -> Got:
    """A chat with this credential."""
    return await ask(g, "POST", CHAT, json=chat_body(**fields), headers=bearer(credential))


async def test_ticket_of_a_key_says_until_when_it_is_good() -> None:
    """The token, its end in RFC 3339, and nothing that may be kept on the way."""
    clock = FakeClock()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock, auth__required=True) as g:
        key = await g.new_key()
        for fields, ttl_s, one_use in (({}, 600, False), ({"ttl_s": 3600}, 3600, False), ({"one_use": True}, 60, True)):
            got = await ask(g, "POST", TICKETS, json=fields, headers={"x-api-key": key})
            assert got.status == 200
            assert got.headers["cache-control"] == "no-store"
            answer = got.json
            assert answer["object"] == "ticket"
            assert answer["ticket"].startswith("rillt_")
            expires = datetime.fromtimestamp(int(clock.wall()) + ttl_s, UTC)
            assert answer["expires_at"] == expires.strftime("%Y-%m-%dT%H:%M:%SZ")
            assert answer["one_use"] is one_use
        assert (await ask(g, "POST", TICKETS, headers=bearer(key))).status == 200  # no body is an empty one


async def test_ticket_is_taken_as_bearer_on_every_route_until_it_expires() -> None:
    """Whatever a key may do but issue tickets; afterwards 401 ticket_expired."""
    clock = FakeClock()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock, auth__required=True) as g:
        token = await ticket(g, await g.new_key(), user="ada", ttl_s=30)
        for method, path, body in (
            ("POST", CHAT, chat_body()),
            ("POST", "/chat/stream", {"prompt": "hi"}),
            ("GET", "/chat?message=hi", None),
            ("GET", "/v1/models", None),
            ("GET", "/v1/usage", None),
        ):
            got = await ask(g, method, path, json=body, headers=bearer(token))
            assert got.status == 200, path
            assert (await ask(g, method, path, json=body, headers={"x-api-key": token})).status == 200, path
        clock.advance(30)
        got = await chat(g, token)
        assert (got.status, got.error["code"]) == (401, "ticket_expired")
        assert got.headers["www-authenticate"] == "Bearer"


async def test_ticket_issues_no_tickets() -> None:
    """403 key_required: a browser cannot give itself another user or more time."""
    async with FakeProvider() as fake:
        for required in (True, False):
            async with gateway_for(fake, auth__required=required) as g:
                token = await ticket(g, await g.new_key())
                got = await ask(g, "POST", TICKETS, json={}, headers=bearer(token))
                assert (got.status, got.error["code"], got.error["type"]) == (403, "key_required", "permission_error")
                assert "www-authenticate" not in got.headers


async def test_tickets_need_a_key_also_where_nothing_else_does() -> None:
    """With keys off there is nobody to charge a ticket to."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        got = await ask(g, "POST", TICKETS, json={})
        assert (got.status, got.error["code"]) == (401, "missing_api_key")
        got = await ask(g, "POST", TICKETS, json={}, headers=bearer("sk-foreign"))
        assert (got.status, got.error["code"]) == (401, "invalid_api_key")


async def test_ticket_request_that_is_wrong_is_400_and_names_the_field() -> None:
    """Unknown fields, types and bounds, each by name."""
    cases: list[tuple[object, str | None, str]] = [
        ([], None, "invalid_type"),
        ({"users": "ada"}, "users", "unknown_parameter"),
        ({"user": 5}, "user", "invalid_type"),
        ({"user": ""}, "user", "invalid_value"),
        ({"user": " ada"}, "user", "invalid_value"),
        ({"user": "a\nb"}, "user", "invalid_value"),
        ({"user": "x" * 257}, "user", "invalid_value"),
        ({"ttl_s": 0}, "ttl_s", "invalid_value"),
        ({"ttl_s": 3601}, "ttl_s", "invalid_value"),
        ({"ttl_s": "60"}, "ttl_s", "invalid_type"),
        ({"ttl_s": 61, "one_use": True}, "ttl_s", "invalid_value"),
        ({"one_use": "yes"}, "one_use", "invalid_type"),
        ({"models": "m"}, "models", "invalid_type"),
        ({"models": [5]}, "models[0]", "invalid_type"),
        ({"models": [""]}, "models[0]", "invalid_value"),
        ({"models": ["m"] * 33}, "models", "invalid_value"),
        ({"limits": {"tokens/day": 5}}, "limits", "invalid_type"),
        ({"limits": ["tokens/day"]}, "limits", "invalid_value"),
        ({"limits": ["tokens/day=x"]}, "limits", "invalid_value"),
        ({"limits": ["tokens/week=5"]}, "limits", "invalid_value"),
        ({"limits": ["tokens/day=5", "tokens/day=6"]}, "limits", "invalid_value"),
        ({"limits": ["x" * 5000]}, "limits[0]", "invalid_value"),
    ]
    async with FakeProvider() as fake, gateway_for(fake) as g:
        key = await g.new_key()
        for fields, param, code in cases:
            got = await ask(g, "POST", TICKETS, json=fields, headers=bearer(key))
            assert got.status == 400, fields
            assert (got.error["param"], got.error["code"]) == (param, code), fields
            assert got.error["type"] == "invalid_request_error"
            assert len(got.body) < 600
        got = await ask(g, "POST", TICKETS, body=b'{"user": ', headers=bearer(key))
        assert (got.status, got.error["code"]) == (400, "invalid_json")


async def test_ticket_may_use_what_both_it_and_its_key_may() -> None:
    """A ticket narrows its key and never widens it."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        fake.model_ids = ["small-1", "small-2", "large"]
        key = await g.new_key(models=["small-*"])
        token = await ticket(g, key, models=["small-1", "large"])
        assert (await chat(g, token, model="small-1")).status == 200
        for model in ("small-2", "large"):
            got = await chat(g, token, model=model)
            assert (got.status, got.error["code"]) == (403, "model_not_allowed")
            assert "ticket" in got.error["message"]
        listed = await ask(g, "GET", "/v1/models", headers=bearer(token))
        assert [entry["id"] for entry in listed.json["data"]] == ["small-1"]


async def test_ticket_is_held_to_its_own_limits_its_users_and_its_keys() -> None:
    """Each of the three stops it; two tickets have limits of their own."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        key = await g.new_key(limits=["requests/day=4"])
        await g.set_budget("user:ada", ["requests/day=2"])
        one, other = [await ticket(g, key, user="bob", limits=["requests/total=1"]) for _ in range(2)]
        ada = await ticket(g, key, user="ada")
        asked = []
        for token in (one, one, other, ada, ada, other):
            asked.append((await chat(g, token)).status)
            await g.settled()
        assert asked == [200, 429, 200, 200, 200, 429]
        got = await chat(g, await ticket(g, key, user="carl"))
        assert (got.status, got.headers["x-rillgate-scope"]) == (429, f"key:{key[5:17]}")


async def test_ticket_of_a_key_with_a_user_is_for_that_user() -> None:
    """What a user's own key gives away is charged to that user."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        key = await g.new_key(user="ada")
        await g.set_budget("user:ada", ["requests/day=1"])
        for fields in ({}, {"user": "ada"}):
            await ticket(g, key, **fields)
        got = await ask(g, "POST", TICKETS, json={"user": "bob"}, headers=bearer(key))
        assert (got.status, got.error["code"], got.error["param"]) == (403, "user_not_allowed", "user")
        token = await ticket(g, key)
        assert (await chat(g, token)).status == 200
        await g.settled()
        assert (await chat(g, token)).status == 429


async def test_ticket_cancels_for_its_user_only() -> None:
    """Another user of the same key does not even see the request."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        fake.script = [Role(), Chunk("one"), Stall()]
        key = await g.new_key()
        ada, bob, again = [await ticket(g, key, user=user) for user in ("ada", "bob", "ada")]
        async with await g.client() as client:
            await client.request("POST", CHAT, json=chat_body(), headers=bearer(ada))
            assert await client.response() == 200
            await client.next_frame()
            path = f"/v1/requests/{client.headers['x-request-id']}/cancel"
            assert (await ask(g, "POST", path, headers=bearer(bob))).status == 404
            assert (await ask(g, "POST", path, headers=bearer(again))).status == 200
        await g.settled()


async def test_ticket_dies_with_its_key() -> None:
    """Revoking the key ends what it has given away."""
    clock = FakeClock()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock, auth__required=True) as g:
        key = await g.new_key()
        token = await ticket(g, key)
        assert (await chat(g, token)).status == 200
        await g.revoke(key)
        clock.advance(10)
        got = await chat(g, token)
        assert (got.status, got.error["code"]) == (401, "key_revoked")


@pytest.mark.parametrize("required", [True, False], ids=["required", "not required"])
async def test_ticket_for_one_use_opens_one_event_source(required: bool) -> None:
    """In the address, once, on both routes that EventSource opens; a second time 401 ticket_used."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=required) as g:
        key = await g.new_key()
        for path in ("/chat/fake-model?message=hi&ticket=", "/chat?message=hi&ticket="):
            token = quote(await ticket(g, key, user="ada", one_use=True))
            got = await ask(g, "GET", path + token)
            assert got.status == 200
            assert got.events[-1].data == "[DONE]"
            again = await ask(g, "GET", path + token)
            assert (again.status, again.error["code"]) == (401, "ticket_used")
        assert len(fake.chats) == 2


async def test_ticket_for_one_use_that_reconnects_is_told_to_stop_first() -> None:
    """204 before anything is checked: EventSource would otherwise see an error where all was well."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        token = await ticket(g, await g.new_key(), one_use=True)
        path = f"/chat/fake-model?message=hi&ticket={quote(token)}"
        assert (await ask(g, "GET", path, headers={"last-event-id": "req_1:0"})).status == 204
        assert (await ask(g, "GET", path)).status == 200  # it was not used up
        assert (await ask(g, "GET", path, headers={"last-event-id": "req_1:9"})).status == 204


async def test_ticket_in_an_address_is_one_for_one_use_and_nowhere_else() -> None:
    """No key, no other ticket; on other routes it does not count; as Bearer one for one use is refused."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        key = await g.new_key()
        lasting, once = await ticket(g, key), await ticket(g, key, one_use=True)
        for credential in (key, lasting):
            got = await ask(g, "GET", f"/chat?message=hi&ticket={quote(credential)}")
            assert (got.status, got.error["code"]) == (401, "invalid_ticket")
        got = await ask(g, "GET", "/chat?message=hi&ticket=something")
        assert (got.status, got.error["code"]) == (401, "invalid_api_key")
        assert (await ask(g, "GET", "/chat?message=hi&ticket=")).error["code"] == "missing_api_key"
        for method, path in (("POST", CHAT), ("POST", "/chat/stream"), ("GET", "/v1/models"), ("GET", "/v1/usage")):
            got = await ask(g, method, f"{path}?ticket={quote(once)}", json=chat_body() if method == "POST" else None)
            assert (got.status, got.error["code"]) == (401, "missing_api_key"), path
        got = await chat(g, once)
        assert (got.status, got.error["code"]) == (401, "invalid_ticket")
        assert (await ask(g, "GET", f"/chat?message=hi&ticket={quote(once)}")).status == 200  # still good
        assert len(fake.chats) == 1


async def test_ticket_of_somebody_else_in_an_address_is_ignored_where_keys_are_off() -> None:
    """As every credential that is not ours."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        assert (await ask(g, "GET", "/chat?message=hi&ticket=theirs")).status == 200


async def test_ticket_in_an_address_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A log names routes by their templates."""
    with caplog.at_level("DEBUG"):
        async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
            token = await ticket(g, await g.new_key(), one_use=True)
            assert (await ask(g, "GET", f"/chat?message=hi&ticket={quote(token)}")).status == 200
            await ask(g, "GET", f"/nothing?ticket={quote(token)}")
    logged = " ".join(str(vars(record)) for record in caplog.records if record.name.startswith("rillgate"))
    assert "/chat" in logged
    assert token not in logged
