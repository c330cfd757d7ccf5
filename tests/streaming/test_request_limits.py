"""What a request may be: its size, its fields, its model, its cap, its number; and how it is told what is wrong."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from tests.fakes.clients import collect
from tests.fakes.gateway import CHAT, chat_body, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Role, Stall, chat
from tests.streaming.asking import ask, read

pytestmark = pytest.mark.anyio

PROMPT = {"prompt": "Why is the sky blue?"}


# Limits of requests


async def test_body_too_large_by_its_length_is_413_at_once() -> None:
    """The answer does not wait for the bytes that were announced."""
    async with FakeProvider() as fake, gateway_for(fake, limits__body_bytes_max=1000) as g:
        for path in (CHAT, "/chat/stream"):
            async with await g.client() as client:
                await client.request("POST", path, headers={"content-length": "1001"})
                got = await read(client)
                assert got.status == 413
                assert got.error["code"] == "request_too_large"
                assert "limits.body_bytes_max" in got.error["message"]
        fits = msgspec.json.encode(chat_body())
        assert (await ask(g, "POST", CHAT, body=fits.ljust(1000))).status == 200
        assert len(fake.chats) == 1


async def test_body_too_large_in_chunks_is_413_before_its_end() -> None:
    """Without a length the bound holds all the same, as soon as it is passed."""
    async with FakeProvider() as fake, gateway_for(fake, limits__body_bytes_max=1000) as g:
        async with await g.client() as client:
            await client.request("POST", CHAT, headers={"transfer-encoding": "chunked"})
            await client.send(b"258\r\n" + b" " * 600 + b"\r\n")
            await client.send(b"191\r\n" + b" " * 401 + b"\r\n")
            got = await read(client)
            assert got.status == 413
            assert got.error["code"] == "request_too_large"
        body = msgspec.json.encode(chat_body())
        async with await g.client() as client:
            await client.request("POST", CHAT, headers={"transfer-encoding": "chunked"})
            for piece in (body[:7], body[7:]):
                await client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await client.send(b"0\r\n\r\n")
            assert (await read(client)).status == 200
        assert len(fake.chats) == 1


async def test_client_that_leaves_within_its_body_disturbs_nobody() -> None:
    """A body that is never completed reaches no provider, and the gateway goes on."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        client = await g.client()
        await client.request("POST", CHAT, headers={"content-length": "500"}, body=b'{"model":')
        client.abort()
        assert (await ask(g, "POST", CHAT, json=chat_body())).status == 200
        assert len(fake.chats) == 1


async def test_request_body_that_is_no_request_is_400() -> None:
    """Not JSON, or JSON of another kind: the message says what and where."""
    cases = [
        (b"", "invalid_json", "JSON"),
        (b'{"model": "m",', "invalid_json", "JSON"),
        (b'{"a": NaN}', "invalid_json", "JSON"),
        (b'{"a": "\xff"}', "invalid_json", "JSON"),
        (b"[" * 500_000, "invalid_json", "nested"),
        (b"[]", "invalid_type", "an array"),
        (b"null", "invalid_type", "null"),
        (b'"text"', "invalid_type", "a string"),
    ]
    async with FakeProvider() as fake, gateway_for(fake) as g:
        for path in (CHAT, "/chat/stream"):
            for body, code, word in cases:
                got = await ask(g, "POST", path, body=body)
                assert got.status == 400, body[:30]
                assert got.error["code"] == code, body[:30]
                assert word in got.error["message"]
        assert fake.chats == []


async def test_request_with_wrong_values_is_400_and_names_the_field() -> None:
    """Types and ranges of what the gateway reads itself."""
    user = [{"role": "user", "content": "hi"}]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"messages": None}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [*user, {"content": "hi"}]}, "messages[1].role"),
        ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"model": 5}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": 1}, "stream_options"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"stream": False, "stream_options": {"include_usage": True}}, "stream_options"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 2**40}, "max_tokens"),
        ({"max_completion_tokens": "many"}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"temperature": 2.01}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"presence_penalty": -3}, "presence_penalty"),
        ({"frequency_penalty": "low"}, "frequency_penalty"),
        ({"seed": "x"}, "seed"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"tools": {}}, "tools"),
    ]
    async with FakeProvider() as fake, gateway_for(fake) as g:
        async with await g.client() as client:
            for fields, param in cases:
                await client.request("POST", CHAT, json=chat_body(**fields))
                got = await read(client)
                assert got.status == 400, fields
                assert got.error["type"] == "invalid_request_error"
                assert got.error["param"] == param, fields
                assert param in got.error["message"]
        assert fake.chats == []


async def test_request_fields_that_nobody_knows_pass_through() -> None:
    """What the gateway does not read goes on as it came."""
    unknown = {"x_new": {"deep": [1, None]}, "logit_bias": {"50256": -100}, "reasoning_effort": "none", "top_k": 40}
    async with FakeProvider() as fake, gateway_for(fake) as g:
        assert (await ask(g, "POST", CHAT, json=chat_body(**unknown))).status == 200
        assert {key: fake.chats[0].json[key] for key in unknown} == unknown


def two_providers(fake: FakeProvider, other: FakeProvider) -> dict[str, Any]:
    """Overrides for `gateway_for` that add `other` beside `fake`."""
    return {"providers__other__kind": "openai", "providers__other__base_url": other.base_url}


async def test_model_of_two_providers_is_refused_with_both_names() -> None:
    """Ambiguous: 400 with the candidates; each of them works; what nobody lists is 404 model_not_found."""
    async with FakeProvider() as fake, FakeProvider() as other:
        fake.model_ids, other.model_ids = ["shared", "mine"], ["shared", "yours"]
        async with gateway_for(fake, **two_providers(fake, other)) as g:
            got = await ask(g, "POST", CHAT, json=chat_body(model="shared"))
            assert got.status == 400
            assert (got.error["code"], got.error["param"]) == ("model_ambiguous", "model")
            assert "'fake/shared'" in got.error["message"]
            assert "'other/shared'" in got.error["message"]
            assert (await ask(g, "GET", "/v1/models/shared")).status == 400
            for path in ("/chat/shared?message=hi", "/chat?model=shared&message=hi"):
                assert (await ask(g, "GET", path)).status == 400
            assert (await ask(g, "POST", CHAT, json=chat_body(model="other/shared"))).status == 200
            assert (await ask(g, "POST", CHAT, json=chat_body(model="yours"))).status == 200
            assert (len(fake.chats), len(other.chats)) == (0, 2)
            for body in ({"model": "nobodys"}, {"model": "nobody/shared"}):
                got = await ask(g, "POST", CHAT, json=chat_body(**body))
                assert got.status == 404
                assert (got.error["code"], got.error["param"]) == ("model_not_found", "model")
            got = await ask(g, "POST", "/chat/stream", json={**PROMPT, "model": "nobodys"})
            assert (got.status, got.error["code"]) == (404, "model_not_found")
            ids = [entry["id"] for entry in (await ask(g, "GET", "/v1/models")).json["data"]]
            assert sorted(ids) == ["fake/shared", "mine", "other/shared", "yours"]


async def test_streams_above_their_number_get_503_until_one_leaves() -> None:
    """One more than limits.streams_max is told when to come again; a place that is free again is given."""
    async with FakeProvider() as fake, gateway_for(fake, limits__streams_max=2) as g, AsyncExitStack() as stack:
        fake.by_model["stalls"] = [Role(), Chunk("one"), Stall()]
        first, second = [await stack.enter_async_context(await g.chat(model="stalls")) for _ in range(2)]
        assert (await first.response(), await second.response()) == (200, 200)
        for got in (
            await ask(g, "POST", CHAT, json=chat_body()),
            await ask(g, "POST", CHAT, json=chat_body(stream=False)),
            await ask(g, "POST", "/chat/stream", json=PROMPT),
            await ask(g, "GET", "/chat?message=hi"),
        ):
            assert got.status == 503
            assert got.headers["retry-after"] == "1"
            assert got.error["code"] == "overloaded"
            assert "limits.streams_max" in got.error["message"]
        assert len(fake.chats) == 2
        assert (await ask(g, "GET", "/v1/models")).status == 200
        first.abort()
        while g.gateway.streams.running() == 2:
            await asyncio.sleep(0)
        assert (await ask(g, "POST", CHAT, json=chat_body())).stream.done


async def test_path_and_method_that_are_not_there_are_said_in_the_same_shape() -> None:
    """404 and 405 are errors like any other; 405 names what is allowed."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        for path in ("/v1/audio/speech", "/v1", "/chat/completions/", "/nothing", "/%E2%98%83", "/../etc/passwd"):
            got = await ask(g, "POST" if path == "/v1/audio/speech" else "GET", path)
            if path == "/chat/completions/":  # a model's name, as far as this route can tell
                assert (got.status, got.error["param"]) == (400, "message")
                continue
            assert got.status == 404, path
            assert got.error["code"] == "not_found"
        cases = [
            ("GET", CHAT, "POST"),
            ("HEAD", CHAT, "POST"),
            ("OPTIONS", CHAT, "POST"),
            ("PUT", "/v1/models", "GET"),
            ("DELETE", "/v1/models/a/b", "GET"),
            ("POST", "/chat", "GET"),
            ("OPTIONS", "/chat/m", "GET"),
            ("HEAD", "/v1/models", "GET"),
            ("POST", "/healthz", "GET, HEAD"),
        ]
        for method, path, allowed in cases:
            got = await ask(g, method, path)
            assert got.status == 405, (method, path)
            assert sorted(got.headers["allow"].split(", ")) == allowed.split(", "), (method, path)
            if method != "HEAD":
                assert got.error["code"] == "method_not_allowed"
        assert fake.chats == []


# Caps


async def test_cap_above_the_largest_is_lowered_and_said() -> None:
    """A wish above output_tokens_max goes upstream lowered, once, and the answer's header says to what."""
    lowered = "x-rillgate-output-tokens-max"
    cases: list[tuple[dict[str, Any], int, str | None]] = [
        ({"max_tokens": 5000}, 100, "100"),
        ({"max_completion_tokens": 5000}, 100, "100"),
        ({"max_tokens": 60, "max_completion_tokens": 5000}, 60, None),
        ({"max_tokens": 100}, 100, None),
        ({}, 50, None),
        ({"max_tokens": None}, 50, None),
    ]
    async with (
        FakeProvider() as fake,
        gateway_for(fake, limits__output_tokens_max=100, limits__output_tokens_default=50) as g,
    ):
        for fields, cap, header in cases:
            for stream in (True, False):
                got = await ask(g, "POST", CHAT, json=chat_body(stream=stream, **fields))
                assert got.status == 200
                sent = fake.chats[-1].json
                assert sent["max_tokens"] == cap, fields
                assert "max_completion_tokens" not in sent
                assert got.headers.get(lowered) == header
        got = await ask(g, "POST", "/chat/stream", json=PROMPT)
        assert fake.chats[-1].json["max_tokens"] == 100
        assert lowered not in got.headers  # nobody asked for 512
        got = await ask(g, "GET", "/chat?message=hi")
        assert fake.chats[-1].json["max_tokens"] == 50
        got = await ask(g, "GET", "/chat?message=hi&max_tokens=101")
        assert (fake.chats[-1].json["max_tokens"], got.headers[lowered]) == (100, "100")


async def test_cap_reached_on_chat_routes_says_so_in_the_text() -> None:
    """limits.cut_notice stands before the cut on /chat, and nowhere else."""
    async with FakeProvider() as fake, gateway_for(fake, limits__cut_notice=" [enough]") as g:
        fake.script = chat([" a"] * 9, finish="length")
        fields = {"model": "gpt-4o", "max_tokens": 5}
        for got in (
            await ask(g, "POST", "/chat/stream", json={**PROMPT, **fields}),
            await ask(g, "GET", "/chat/gpt-4o?message=hi&max_tokens=5"),
        ):
            payloads = [event.data for event in got.events if event.data and event.event == "message"]
            answer = collect(payloads)
            assert answer.text == " a" * 5 + " [enough]"
            assert (answer.finish, answer.done) == ("length", True)
            assert answer.rillgate is not None
            assert answer.rillgate["stop"] == "budget"
        answer = (await ask(g, "POST", CHAT, json=chat_body(**fields))).stream
        assert (answer.text, answer.finish, answer.done) == (" a" * 5, "length", True)
