"""Which headers cross the gateway, either way: those of a list, and no other. And where requests go: never where a
client says.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.exchange import Script
from tests.fakes.gateway import CHAT, chat_body, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Done, Finish, Head, Role
from tests.fakes.script_anthropic import message
from tests.fakes.script_gemini import gemini
from tests.fakes.script_openai_responses import response
from tests.streaming.asking import ask

pytestmark = pytest.mark.anyio

CLIENTS = {
    "accept": "text/made-up",
    "authorization": "Bearer somebody-elses",
    "baggage": "who=ada",
    "cookie": "who=ada",
    "proxy-authorization": "Basic c2VjcmV0",
    "te": "trailers",
    "x-forwarded-host": "evil.example",
    "x-stainless-lang": "python",
    "openai-organization": "org-of-the-client",
    "origin-agent-cluster": "?1",
    "x-made-up": "1",
}
OURS = {
    "host",
    "accept",
    "accept-encoding",
    "user-agent",
    "authorization",
    "x-api-key",
    "content-type",
    "content-length",
    "traceparent",  # ours as well: a new span in every case
}
PROVIDERS = {
    "set-cookie": "who=provider",
    "x-made-up": "1",
    "openai-organization": "org-of-the-gateway",
    "x-ratelimit-remaining-tokens": "12",
    "server": "somebody",
    "alt-svc": 'h3=":443"',
}

CROSSED = {
    *("date", "content-type", "cache-control", "x-accel-buffering", "transfer-encoding", "connection"),
    *("x-request-id", "x-rillgate-upstream"),
}
MESSAGE = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}]}


async def test_headers_of_a_client_do_not_reach_a_provider() -> None:
    """Neither its credentials nor anything else: what goes out is ours."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        assert (await ask(g, "POST", CHAT, json=chat_body(), headers=CLIENTS)).status == 200
        sent = (await fake.request(0)).headers
        assert {name.lower() for name, _ in sent.pairs} <= OURS
        assert sent["accept"] != CLIENTS["accept"]
        assert sent["authorization"] == "Bearer sk-fake-key-of-the-tests"


async def test_headers_of_anthropic_s_clients_that_reach_anthropic_are_two() -> None:
    """The version and the betas that they want, whatever else they send."""
    named = {
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "a,b",
        "anthropic-dangerous-direct-browser-access": "1",
    }
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind="anthropic") as g:
        fake.script = message(["hi"])
        assert (await ask(g, "POST", "/v1/messages", json=MESSAGE, headers={**CLIENTS, **named})).status == 200
        sent = (await fake.request(0)).headers
        assert {name.lower() for name, _ in sent.pairs} <= OURS | {"anthropic-version", "anthropic-beta"}
        assert (sent["anthropic-version"], sent["anthropic-beta"]) == ("2026-10-21", "a,b")
        assert "somebody-elses" not in repr(sent.pairs)


async def test_headers_of_a_provider_do_not_reach_a_client() -> None:
    """Its cookies, its limits and its names are about the gateway, not about whoever asks it."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [Head(headers=PROVIDERS), Role(), Chunk("hi"), Finish(), Done()]
        got = await ask(g, "POST", CHAT, json=chat_body())
        assert got.status == 200
        assert {name.lower() for name, _ in got.headers.pairs} <= CROSSED


@pytest.mark.parametrize("kind", ["anthropic", "ollama", "bedrock", "gemini", "openai_responses"])
async def test_address_that_a_client_names_is_never_asked(kind: str) -> None:
    """An image by its address goes, as text, to a provider that takes addresses; elsewhere its field is refused."""
    async with FakeProvider() as named, FakeProvider() as fake:
        part = {"type": "image_url", "image_url": {"url": f"{named.base_url}/secret.png"}}
        body = chat_body(
            messages=[{"role": "user", "content": [part]}], base_url=named.base_url, api_base=named.base_url
        )
        more: dict[str, Any] = (
            {"providers__fake__api_key": "none", "providers__fake__region": "eu-central-1"} if kind == "bedrock" else {}
        )
        async with gateway_for(fake, providers__fake__kind=kind, **more) as g:
            scripts: dict[str, Script] = {"gemini": gemini(["hi"]), "openai_responses": response(["hi"])}
            fake.script = scripts.get(kind, message(["hi"]))
            got = await ask(g, "POST", CHAT, json=body)
            if kind in ("anthropic", "gemini", "openai_responses"):
                assert got.status == 200
            else:
                assert got.status == 400
                assert got.error["param"].startswith("messages")
        assert (named.chats, named.others, named.connections_opened) == ([], [], 0)
