"""With keys off only this machine is served, and no page of a stranger."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.fakes.gateway import CHAT, chat_body, gateway_for
from tests.fakes.provider import FakeProvider
from tests.streaming.asking import ask, read

pytestmark = pytest.mark.anyio

PROMPT = {"prompt": "Why is the sky blue?"}


STRANGERS: list[Mapping[str, str]] = [
    {"host": "rebound.example"},
    {"host": "rebound.example:8000"},
    {"host": "127.0.0.1.rebound.example"},
    {"host": "localhost.rebound.example"},
    {"host": "192.168.1.7:8000"},
    {"host": ""},
    {"origin": "https://foreign.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:1"},
    {"origin": "https://foreign.example", "sec-fetch-site": "none"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"x-forwarded-for": "203.0.113.9"},
    {"forwarded": "for=203.0.113.9"},
    # What a browser sends for <img src="http://127.0.0.1:8000/chat?message=…"> on somebody's page.
    {
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "no-cors",
        "sec-fetch-dest": "image",
        "referer": "https://foreign.example/",
        "accept": "image/avif,image/webp,*/*",
    },
]

ROUTES = [
    ("POST", CHAT),
    ("POST", "/chat/stream"),
    ("GET", "/chat?message=spend"),
    ("GET", "/chat/fake-model?message=spend"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/fake-model"),
    ("POST", "/v1/requests/req_1/cancel"),
    ("POST", "/v1/tickets"),
    ("GET", "/v1/usage"),
    ("GET", "/"),
    ("GET", "/assets/page.js"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/nothing"),
    ("OPTIONS", CHAT),
]


async def test_strangers_are_refused_on_every_route() -> None:
    """Whatever shows that somebody else's page or network is behind the loopback address: 403, and nothing is spent."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        async with await g.client() as client:
            for method, path in ROUTES:
                for stranger in STRANGERS:
                    body = chat_body() if path == CHAT else PROMPT
                    await client.request(method, path, headers=stranger, json=body if method == "POST" else None)
                    got = await read(client)
                    assert got.status == 403, (method, path, stranger)
                    assert got.error["code"] == "stranger_refused"
                    assert not any(name.startswith("access-control") for name in got.headers)
        await g.idle()
        assert fake.chats == []


async def test_stranger_without_a_host_is_refused() -> None:
    """HTTP/1.0 has no Host, and so nothing that shows that this machine was meant."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        async with await g.client() as client:
            await client.send(b"GET /chat?message=hi HTTP/1.0\r\n\r\n")
            assert (await read(client)).status == 403
        assert fake.chats == []


async def test_own_machine_is_served_under_all_its_names() -> None:
    """Loopback names with and without a port; the gateway's own page; a bookmark; tools that send none of it."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        hosts = ["localhost", f"localhost:{g.port}", "LOCALHOST:1", "127.0.0.1", "127.8.9.1:80", "[::1]", "[::1]:8000"]
        for headers in (
            *({"host": host} for host in hosts),
            {"origin": g.url, "sec-fetch-site": "same-origin"},
            {"origin": g.url},
            {"host": f"localhost:{g.port}", "origin": f"http://localhost:{g.port}"},
            {"sec-fetch-site": "none"},
            {},
        ):
            got = await ask(g, "POST", "/chat/stream", json=PROMPT, headers=headers)
            assert got.status == 200, headers


async def test_allow_unauthenticated_lifts_host_and_proxy_but_no_foreign_page() -> None:
    """Others are served on purpose; their browsers still send nothing on behalf of other pages."""
    async with FakeProvider() as fake, gateway_for(fake, allow_unauthenticated=True) as g:
        for headers in (
            {"host": "llm.example"},
            {"x-forwarded-for": "203.0.113.9"},
            {"forwarded": "for=203.0.113.9"},
            {"host": "llm.example", "origin": "https://llm.example", "sec-fetch-site": "same-origin"},
        ):
            assert (await ask(g, "POST", "/chat/stream", json=PROMPT, headers=headers)).status == 200, headers
        for headers in (
            {"host": "llm.example", "origin": "https://foreign.example"},
            {"host": "llm.example", "sec-fetch-site": "cross-site"},
            {"host": "", "origin": "null"},
        ):
            assert (await ask(g, "GET", "/chat?message=hi", headers=headers)).status == 403, headers


async def test_credentials_of_any_kind_are_ignored_while_keys_are_off() -> None:
    """Every SDK sends one; none of them reaches the provider."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        for headers in ({"authorization": "Bearer sk-of-the-client"}, {"x-api-key": "sk-of-the-client"}):
            assert (await ask(g, "POST", CHAT, json=chat_body(), headers=headers)).status == 200
            assert "sk-of-the-client" not in repr(fake.chats[-1].headers)
            assert fake.chats[-1].headers["authorization"] == "Bearer sk-fake-key-of-the-tests"
