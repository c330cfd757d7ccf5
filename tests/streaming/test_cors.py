"""Which pages may use a gateway, and what browsers are told about it."""

from __future__ import annotations

import pytest

from tests.fakes.gateway import CHAT, GatewayInTest, chat_body, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Error, Reset, Role, Stall
from tests.streaming.asking import Got, ask

pytestmark = pytest.mark.anyio

ORIGIN = "https://app.example"
FROM_APP = {"origin": ORIGIN, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}
# What OpenAI's SDK for JavaScript sends from a browser, beside two headers that nobody has heard of yet.
ASKED_HEADERS = (
    "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-os,x-stainless-package-version,"
    "x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,x-stainless-timeout,x-stainless-new,x-y"
)


def cors_headers(got: Got) -> list[str]:
    """Those that an answer carries."""
    return [name for name in got.headers if name.startswith("access-control")]


async def preflight(g: GatewayInTest, origin: str, path: str = CHAT, method: str = "POST") -> Got:
    """What a browser asks before a request that is not simple."""
    headers = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": ASKED_HEADERS,
        "sec-fetch-mode": "cors",
        "sec-fetch-site": "cross-site",
    }
    return await ask(g, "OPTIONS", path, headers=headers)


async def test_preflight_of_a_configured_origin_reflects_what_it_asks_for() -> None:
    """Every header that an SDK may send is allowed, on every route, and the answer may be kept for a day."""
    async with FakeProvider() as fake, gateway_for(fake, server__cors_origins=[ORIGIN, "http://127.0.0.1:3000"]) as g:
        for path, method in ((CHAT, "POST"), ("/chat/stream", "POST"), ("/v1/models", "GET"), ("/chat/m", "GET")):
            for origin in (ORIGIN, "http://127.0.0.1:3000"):
                got = await preflight(g, origin, path, method)
                assert got.status == 200
                assert got.headers["access-control-allow-origin"] == origin
                allowed = {name.strip() for name in got.headers["access-control-allow-headers"].lower().split(",")}
                assert set(ASKED_HEADERS.split(",")) <= allowed
                assert method in got.headers["access-control-allow-methods"]
                assert got.headers["access-control-max-age"] == "86400"
                assert "origin" in got.headers["vary"].lower()
                assert "access-control-allow-credentials" not in got.headers
                got.check_id()
        assert fake.chats == []


async def test_answer_to_a_configured_origin_can_be_read_with_its_headers() -> None:
    """Streams, whole answers and errors of every layer carry the origin and expose the id."""
    async with (
        FakeProvider() as fake,
        gateway_for(fake, server__cors_origins=[ORIGIN], limits__body_bytes_max=1000, limits__streams_max=1) as g,
    ):
        fake.by_model["broken"] = [Error(429, headers={"retry-after": "3"})]
        fake.by_model["reset"] = [Reset()]
        answers = [
            (200, await ask(g, "POST", CHAT, json=chat_body(), headers=FROM_APP)),
            (200, await ask(g, "POST", CHAT, json=chat_body(stream=False), headers=FROM_APP)),
            (200, await ask(g, "GET", "/chat?message=hi", headers=FROM_APP)),
            (200, await ask(g, "GET", "/v1/models", headers=FROM_APP)),
            (204, await ask(g, "GET", "/chat?message=hi", headers={**FROM_APP, "last-event-id": "1"})),
            (400, await ask(g, "POST", CHAT, json={}, headers=FROM_APP)),
            (404, await ask(g, "GET", "/v1/models/none", headers=FROM_APP)),
            (404, await ask(g, "GET", "/nothing", headers=FROM_APP)),
            (405, await ask(g, "GET", CHAT, headers=FROM_APP)),
            (413, await ask(g, "POST", CHAT, body=b" " * 1001, headers=FROM_APP)),
            (429, await ask(g, "POST", CHAT, json=chat_body(model="broken"), headers=FROM_APP)),
            (502, await ask(g, "POST", CHAT, json=chat_body(model="reset", stream=False), headers=FROM_APP)),
        ]
        fake.script = [Role(), Chunk("one"), Stall()]
        async with await g.chat() as taking_the_only_place:
            assert await taking_the_only_place.response() == 200
            answers.append((503, await ask(g, "POST", CHAT, json=chat_body(), headers=FROM_APP)))
        for status, got in answers:
            assert got.status == status
            assert got.headers["access-control-allow-origin"] == ORIGIN, status
            exposed = {name.strip().lower() for name in got.headers["access-control-expose-headers"].split(",")}
            assert {"x-request-id", "retry-after", "x-should-retry", "x-rillgate-output-tokens-max"} <= exposed
            got.check_id()


async def test_crash_answered_to_a_configured_origin_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a fault of our own reaches the page as an error with an id, not as a network failure."""
    async with FakeProvider() as fake, gateway_for(fake, server__cors_origins=[ORIGIN]) as g:

        async def crash(*args: object, **more: object) -> None:
            raise ValueError

        monkeypatch.setattr(g.gateway.catalog, "resolve", crash)
        got = await ask(g, "POST", CHAT, json=chat_body(), headers=FROM_APP)
        assert got.status == 500
        assert got.error["code"] == "internal_error"
        assert got.headers["access-control-allow-origin"] == ORIGIN


async def test_foreign_origin_beside_configured_ones_is_refused_without_a_cors_header() -> None:
    """Neither the preflight nor the request of another page gets anywhere."""
    async with FakeProvider() as fake, gateway_for(fake, server__cors_origins=[ORIGIN]) as g:
        for origin in ("https://evil.example", "http://app.example", "https://app.example:444", "null"):
            got = await preflight(g, origin)
            assert got.status == 403, origin
            assert cors_headers(got) == []
            got = await ask(g, "POST", CHAT, json=chat_body(), headers={"origin": origin})
            assert (got.status, got.error["code"]) == (403, "stranger_refused")
            assert cors_headers(got) == []
        got = await ask(g, "GET", "/chat?message=hi", headers={"sec-fetch-site": "cross-site"})
        assert (got.status, cors_headers(got)) == (403, [])
        assert fake.chats == []


async def test_own_page_needs_no_configuration_and_gets_no_cors_header() -> None:
    """Without origins there is no CORS at all: same-origin requests need none, and nobody else is to have any."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        own = {"origin": g.url, "sec-fetch-site": "same-origin"}
        for got in (
            await ask(g, "POST", CHAT, json=chat_body(), headers=own),
            await ask(g, "POST", "/chat/stream", json={"prompt": "hi"}, headers=own),
            await ask(g, "GET", "/chat?message=hi", headers={"sec-fetch-site": "same-origin"}),
            await ask(g, "GET", "/", headers={"sec-fetch-site": "none"}),
        ):
            assert got.status == 200
            assert cors_headers(got) == []
        got = await preflight(g, ORIGIN)
        assert (got.status, cors_headers(got)) == (403, [])
        got = await ask(g, "OPTIONS", CHAT, headers={**own, "access-control-request-method": "POST"})
        assert (got.status, cors_headers(got)) == (405, [])


async def test_own_page_beside_configured_origins_is_served() -> None:
    """The gateway's own page goes on working when others are allowed too."""
    async with FakeProvider() as fake, gateway_for(fake, server__cors_origins=[ORIGIN]) as g:
        own = {"origin": g.url, "sec-fetch-site": "same-origin"}
        assert (await ask(g, "POST", CHAT, json=chat_body(), headers=own)).status == 200
