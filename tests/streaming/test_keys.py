"""Who is let in, over real sockets: keys where they are required and where they are not, and what a key may do."""

from __future__ import annotations

import asyncio

import pytest

from rillgate.identity import keys
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import CHAT, GatewayInTest, chat_body, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Role, Stall
from tests.streaming.asking import Got, ask, read

pytestmark = pytest.mark.anyio

PROMPT = {"prompt": "Why is the sky blue?"}
FOREIGN = "sk-somebody-elses"

# Everything that needs a key where keys are required.
CLOSED = [
    ("POST", CHAT, chat_body()),
    ("POST", CHAT, chat_body(stream=False)),
    ("POST", CHAT, {"not": "even a request"}),
    ("POST", "/chat/stream", PROMPT),
    ("GET", "/chat?message=hi", None),
    ("GET", "/chat/fake-model?message=hi", None),
    ("GET", "/v1/models", None),
    ("GET", "/v1/models/fake-model", None),
    ("POST", "/v1/requests/req_1/cancel", None),
    ("POST", "/v1/tickets", {}),
    ("GET", "/v1/usage", None),
]
OPEN = ["/", "/assets/page.js", "/favicon.ico", "/healthz", "/readyz", "/metrics"]


def bearer(credential: str) -> dict[str, str]:
    """As the OpenAI SDK sends it."""
    return {"authorization": f"Bearer {credential}"}


def check_refused(got: Got, code: str, *words: str) -> None:
    """A 401 with this code, a challenge, and these words; not repeated by the SDKs."""
    assert got.status == 401
    assert got.error["code"] == code
    assert got.error["type"] == "invalid_request_error"
    assert got.headers["www-authenticate"] == "Bearer"
    for word in words:
        assert word in got.error["message"]


async def test_keys_required_refuse_a_request_without_one_on_every_route() -> None:
    """401 missing_api_key that says how to send one; nothing reaches the provider."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        for method, path, body in CLOSED:
            got = await ask(g, method, path, json=body)
            check_refused(got, "missing_api_key", "Authorization: Bearer rill_…")
        for headers in ({"authorization": ""}, {"authorization": "Bearer"}, {"x-api-key": " "}):
            check_refused(await ask(g, "GET", "/v1/models", headers=headers), "missing_api_key")
        await g.settled()
        assert fake.chats == []


async def test_keys_required_refuse_a_credential_of_somebody_else_on_every_route() -> None:
    """401 invalid_api_key, in both headers and under any scheme; what was sent is not repeated."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        for method, path, body in CLOSED:
            for headers in (bearer(FOREIGN), {"x-api-key": FOREIGN}):
                got = await ask(g, method, path, json=body, headers=headers)
                check_refused(got, "invalid_api_key", "Authorization: Bearer rill_…")
                assert FOREIGN not in got.body.decode()
        for value in ("Basic dXNlcjpwYXNz", FOREIGN):
            got = await ask(g, "GET", "/v1/models", headers={"authorization": value})
            check_refused(got, "invalid_api_key")
        assert fake.chats == []


async def test_keys_required_leave_page_and_probes_open() -> None:
    """A page must be there to ask for a key, and an orchestrator has none; what is not there is 404 as ever."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        for path in OPEN:
            assert (await ask(g, "GET", path)).status == 200, path
        assert (await ask(g, "GET", "/nothing")).status == 404
        assert (await ask(g, "GET", CHAT)).status == 405


async def test_keys_required_serve_a_valid_key_in_either_header() -> None:
    """As the OpenAI SDK and as Anthropic's send it; the provider never sees it."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        key = await g.new_key()
        for headers in (
            bearer(key),
            {"x-api-key": key},
            {"authorization": f"bearer  {key} "},
            {**bearer(key), "x-api-key": key},
            {**bearer(FOREIGN), "x-api-key": key},
            {**bearer(key), "x-api-key": FOREIGN},
            {"authorization": "Basic dXNlcjpwYXNz", "x-api-key": key},
        ):
            got = await ask(g, "POST", CHAT, json=chat_body(), headers=headers)
            assert got.status == 200, headers
            assert got.stream.done
            assert key not in repr(fake.chats[-1].headers)
        for path in ("/chat?message=hi", "/chat/fake-model?message=hi", "/v1/models", "/v1/models/fake-model"):
            assert (await ask(g, "GET", path, headers=bearer(key))).status == 200, path


async def test_keys_two_different_ones_are_refused() -> None:
    """Whose account is meant cannot be known; required or not."""
    async with FakeProvider() as fake:
        for required in (True, False):
            async with gateway_for(fake, auth__required=required) as g:
                headers = {**bearer(await g.new_key()), "x-api-key": await g.new_key()}
                check_refused(await ask(g, "GET", "/v1/models", headers=headers), "invalid_api_key", "Two different")


@pytest.mark.parametrize("required", [True, False], ids=["required", "not required"])
async def test_keys_of_ours_that_are_not_good_are_refused_each_in_its_own_words(required: bool) -> None:
    """Unknown, mistyped, cut short, revoked, expired: 401 each, also where no key would have been needed."""
    clock = FakeClock()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock, auth__required=required) as g:
        key = await g.new_key()
        cases = [
            (keys.new_key(), "invalid_api_key", "not known"),
            (key[:-1] + ("0" if key[-1] != "0" else "1"), "invalid_api_key", "mistyped"),
            (key[:-1], "invalid_api_key", "not whole"),
            ("rill_", "invalid_api_key", "not whole"),
            ("rillt_x", "invalid_ticket", "ticket"),
            (await g.new_key(revoked_s=1), "key_revoked", "revoked"),
            (await g.new_key(expires_s=int(clock.wall())), "key_expired", "expired"),
        ]
        for credential, code, word in cases:
            for headers in (bearer(credential), {"x-api-key": credential}):
                got = await ask(g, "POST", CHAT, json=chat_body(), headers=headers)
                check_refused(got, code, word)
                assert credential not in got.body.decode() or credential == "rill_"
        assert fake.chats == []
        later = await g.new_key(expires_s=int(clock.wall()) + 60)
        assert (await ask(g, "GET", "/v1/models", headers=bearer(later))).status == 200
        clock.advance(60)
        check_refused(await ask(g, "GET", "/v1/models", headers=bearer(later)), "key_expired")


async def test_keys_are_checked_before_the_body_is_read() -> None:
    """Whoever has no key is told at once, however much it goes on to send."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        for path in (CHAT, "/chat/stream", "/v1/tickets"):
            async with await g.client() as client:
                await client.request("POST", path, headers={"content-length": "1000000"})
                check_refused(await read(client), "missing_api_key")


async def test_keys_required_need_no_guard_against_pages_of_strangers() -> None:
    """A page has no key unless it was given one, so hosts, proxies and origins do not matter."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        key = await g.new_key()
        for headers in (
            {"host": "llm.example"},
            {"x-forwarded-for": "203.0.113.9"},
            {"origin": "https://foreign.example", "sec-fetch-site": "cross-site"},
        ):
            got = await ask(g, "POST", CHAT, json=chat_body(), headers={**headers, **bearer(key)})
            assert got.status == 200, headers
            assert not any(name.startswith("access-control") for name in got.headers)
            check_refused(await ask(g, "POST", CHAT, json=chat_body(), headers=headers), "missing_api_key")
            assert (await ask(g, "GET", "/healthz", headers=headers)).status == 200


async def test_keys_off_guard_against_strangers_whatever_they_present() -> None:
    """A key does not make a foreign page ours."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        key = await g.new_key()
        for headers in (
            {"host": "rebound.example"},
            {"origin": "https://foreign.example"},
            {"forwarded": "for=1.2.3.4"},
        ):
            got = await ask(g, "POST", CHAT, json=chat_body(), headers={**headers, **bearer(key)})
            assert (got.status, got.error["code"]) == (403, "stranger_refused")
        assert fake.chats == []


async def test_keys_off_still_charge_one_that_is_sent() -> None:
    """One of ours is charged and held to its limits; a request without one is not."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        key = await g.new_key(limits=["requests/day=1"])
        assert (await ask(g, "POST", CHAT, json=chat_body(), headers=bearer(key))).status == 200
        await g.settled()
        got = await ask(g, "POST", CHAT, json=chat_body(), headers=bearer(key))
        assert (got.status, got.error["code"]) == (429, "insufficient_quota")
        assert (await ask(g, "POST", CHAT, json=chat_body())).status == 200
        assert (await ask(g, "POST", CHAT, json=chat_body(), headers=bearer(FOREIGN))).status == 200


async def test_keys_off_by_the_flag_serve_others_without_one() -> None:
    """--allow-unauthenticated: a key is not needed, and checked where it is sent."""
    async with FakeProvider() as fake, gateway_for(fake, allow_unauthenticated=True, auth__required=True) as g:
        others = {"host": "llm.example"}
        assert (await ask(g, "POST", CHAT, json=chat_body(), headers=others)).status == 200
        check_refused(
            await ask(g, "GET", "/v1/models", headers={**others, **bearer(keys.new_key())}), "invalid_api_key"
        )


async def test_model_that_a_key_may_not_use_is_403_on_every_route() -> None:
    """model_not_allowed, permission_error, with the name that was asked for; by its glob others are served."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        fake.model_ids = ["small-1", "small-2", "large"]
        headers = bearer(await g.new_key(models=["small-*", "fake/large"]))
        for method, path, body in (
            ("POST", CHAT, chat_body(model="large")),
            ("POST", "/chat/stream", {**PROMPT, "model": "large"}),
            ("GET", "/chat/large?message=hi", None),
            ("GET", "/chat?model=large&message=hi", None),
            ("GET", "/v1/models/large", None),
        ):
            got = await ask(g, method, path, json=body, headers=headers)
            assert got.status == 403, path
            assert (got.error["code"], got.error["type"]) == ("model_not_allowed", "permission_error")
            assert got.error["param"] == "model"
            assert "'large'" in got.error["message"]
            assert "www-authenticate" not in got.headers
        assert fake.chats == []
        for name in ("small-2", "fake/large"):
            got = await ask(g, "POST", CHAT, json=chat_body(model=name), headers=headers)
            assert got.status == 200, name
        long = await ask(g, "POST", CHAT, json=chat_body(model="x" * 5000), headers=headers)
        assert (long.status, len(long.body) < 500) == (403, True)


async def test_models_are_listed_as_far_as_the_key_may_use_them() -> None:
    """A restricted key sees its own, any other sees all."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        fake.model_ids = ["small-1", "small-2", "large"]
        for models, listed in (
            (["small-*"], ["small-1", "small-2"]),
            ([], ["large", "small-1", "small-2"]),
            (["none"], []),
        ):
            got = await ask(g, "GET", "/v1/models", headers=bearer(await g.new_key(models=models)))
            assert sorted(entry["id"] for entry in got.json["data"]) == listed


async def test_default_model_is_checked_by_its_name() -> None:
    """A request that names no model asks for the default one."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        fake.model_ids = ["first", "second"]
        body = chat_body(model=None)
        first, second = bearer(await g.new_key(models=["first"])), bearer(await g.new_key(models=["second"]))
        assert (await ask(g, "POST", CHAT, json=body, headers=first)).status == 200
        got = await ask(g, "POST", CHAT, json=body, headers=second)
        assert (got.status, got.error["code"]) == (403, "model_not_allowed")
        assert "'first'" in got.error["message"]


async def test_default_model_is_charged_to_its_budget_by_its_name() -> None:
    """Naming none is no way around the budget of a model."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.model_ids = ["first"]
        await g.set_budget("model:first", ["requests/day=1"])
        for model, status in ((None, 200), ("first", 429), (None, 429)):
            assert (await ask(g, "POST", CHAT, json=chat_body(model=model))).status == status, model
            await g.settled()


async def test_cancel_is_for_the_key_that_began_the_stream() -> None:
    """To others the request does not exist."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        fake.script = [Role(), Chunk("one"), Stall()]
        mine, other = bearer(await g.new_key()), bearer(await g.new_key())
        async with await g.client() as client:
            await client.request("POST", CHAT, json=chat_body(), headers=mine)
            assert await client.response() == 200
            await client.next_frame()
            path = f"/v1/requests/{client.headers['x-request-id']}/cancel"
            got = await ask(g, "POST", path, headers=other)
            assert (got.status, got.error["code"]) == (404, "request_not_found")
            assert g.gateway.streams.running() == 1
            assert (await ask(g, "POST", path, headers=mine)).json["cancelled"] is True
        await g.settled()


async def test_key_revoked_in_the_store_is_refused_within_ten_seconds() -> None:
    """A key is remembered, and asked for again before long."""
    clock = FakeClock()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock, auth__required=True) as g:
        key = await g.new_key()
        assert (await ask(g, "GET", "/v1/models", headers=bearer(key))).status == 200
        await g.revoke(key)
        clock.advance(10)
        check_refused(await ask(g, "GET", "/v1/models", headers=bearer(key)), "key_revoked")


async def test_many_requests_with_one_key_are_all_let_in() -> None:
    """Questions for one key at once share one answer."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        headers = bearer(await g.new_key())
        got = await asyncio.gather(*(ask(g, "GET", "/v1/models", headers=headers) for _ in range(20)))
        assert {one.status for one in got} == {200}


async def test_cors_of_a_gateway_with_keys_shows_refusals_to_listed_origins() -> None:
    """A front end reads why it is refused; the preflight needs no key, since browsers send none with it."""
    origin = {"origin": "https://app.example"}
    async with (
        FakeProvider() as fake,
        gateway_for(fake, auth__required=True, server__cors_origins=["https://app.example"]) as g,
    ):
        got = await ask(g, "POST", CHAT, json=chat_body(), headers=origin)
        check_refused(got, "missing_api_key")
        assert got.headers["access-control-allow-origin"] == "https://app.example"
        preflight = {
            **origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        }
        got = await ask(g, "OPTIONS", CHAT, headers=preflight)
        assert got.status == 200
        assert "authorization" in got.headers["access-control-allow-headers"]
        got = await ask(g, "POST", CHAT, json=chat_body(), headers={**origin, **bearer(await g.new_key())})
        exposed = got.headers["access-control-expose-headers"]
        for name in ("x-rillgate-scope", "x-rillgate-remaining-usd", "x-rillgate-reset", "retry-after-ms"):
            assert name in exposed


async def test_gateway_in_test_makes_keys_of_its_own() -> None:
    """Keys of one gateway mean nothing to another."""
    async with FakeProvider() as fake, gateway_for(fake) as one, gateway_for(fake) as other:
        key = await one.new_key()
        statuses = [await _status(g, key) for g in (one, other)]
        assert statuses == [200, 401]


async def _status(g: GatewayInTest, key: str) -> int:
    return (await ask(g, "GET", "/v1/models", headers=bearer(key))).status
