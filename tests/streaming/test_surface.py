"""Every route as its clients see it: answers, defaults, limits and errors, over real sockets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.clients import RawClient
from tests.fakes.exchange import Exchange
from tests.fakes.gateway import CHAT, chat_body, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Error, Reset, chat
from tests.streaming.asking import Got, ask, read

pytestmark = pytest.mark.anyio

PROMPT = {"prompt": "Why is the sky blue?"}


# POST /v1/chat/completions, not streaming


async def test_answer_of_a_provider_passes_byte_for_byte() -> None:
    """White space, order and unknown fields of a whole answer survive; only the id of the answer is ours."""
    body = (
        b'{ "id":"chatcmpl-1",  "object": "chat.completion","created":1,"model":"m-2026", "x_unknown":{"a":[1, 2]},\n'
        b'"choices":[{"index":0,"message":{"role":"assistant","content":"\\u0048i"},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10} }\n'
    )

    async def script(exchange: Exchange) -> None:
        await exchange.answer_json(body)

    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = script
        got = await ask(g, "POST", CHAT, json=chat_body(stream=False))
        assert got.status == 200
        assert got.body == body
        assert got.headers["content-type"] == "application/json"
        assert got.headers["content-length"] == str(len(body))
        got.check_id()
        assert fake.chats[0].json["max_tokens"] == 16384
        assert "stream_options" not in fake.chats[0].json
        assert fake.chats[0].headers["authorization"] == "Bearer sk-fake-key-of-the-tests"


async def test_answer_without_usage_gets_ours_marked_as_an_estimate() -> None:
    """Where the provider counts nothing, the answer has our count and says so; all else stays as it was."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = chat([" a"] * 7, usage=False)
        got = await ask(g, "POST", CHAT, json=chat_body(stream=False, model="gpt-4o"))
        answer = got.json
        usage = answer.pop("usage")
        assert answer.pop("rillgate") == {"estimated": True}
        assert usage["completion_tokens"] == 7
        assert usage["total_tokens"] == usage["prompt_tokens"] + 7
        assert 1 <= usage["prompt_tokens"] <= 20
        fake.script = chat([" a"] * 7)
        theirs = (await ask(g, "POST", CHAT, json=chat_body(stream=False, model="gpt-4o"))).json
        del theirs["usage"]
        assert "rillgate" not in theirs
        assert {**theirs, "id": None} == {**answer, "id": None}


async def test_answer_broken_or_refused_by_the_provider_is_its_error() -> None:
    """Statuses keep their meaning; what is no answer is a 502."""

    async def not_json(exchange: Exchange) -> None:
        await exchange.answer_json(b"<html>")

    async def broken_off(exchange: Exchange) -> None:
        await exchange.head(200, {"content-type": "application/json"}, framing="length", length=1000)
        await exchange.raw(b'{"choices":')
        exchange.reset()

    cases = [
        ([Error(400, {"error": {"message": "no such tool", "type": "x", "param": "tools", "code": None}})], 400),
        ([Error(429, headers={"retry-after": "3"})], 429),
        ([Error(401)], 502),
        ([Error(500)], 502),
        ([Error(503)], 503),
        ([Error(504)], 504),
        (not_json, 502),
        (broken_off, 502),
        ([Reset()], 502),
    ]
    async with FakeProvider() as fake, gateway_for(fake) as g:
        for script, status in cases:
            fake.script = script  # type: ignore[assignment] # for both tries of a kept connection that was dead
            got = await ask(g, "POST", CHAT, json=chat_body(stream=False))
            assert got.status == status, script
            assert got.error["message"], script
            assert got.headers.get("retry-after") == ("3" if status == 429 else None)


# Models


async def test_models_lists_what_the_provider_lists() -> None:
    """Each entry has OpenAI's fields and can be asked for by its id, also one with slashes in it."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.model_ids = ["small", "org/model-7b"]
        got = await ask(g, "GET", "/v1/models")
        assert got.status == 200
        got.check_id()
        listed = got.json
        assert listed["object"] == "list"
        assert [entry["id"] for entry in listed["data"]] == ["small", "org/model-7b"]
        for entry in listed["data"]:
            assert set(entry) == {"id", "object", "created", "owned_by"}
            assert (entry["object"], entry["owned_by"]) == ("model", "fake")
            assert isinstance(entry["created"], int)
            one = await ask(g, "GET", f"/v1/models/{entry['id']}")
            assert (one.status, one.json) == (200, entry)
        qualified = await ask(g, "GET", "/v1/models/fake/org/model-7b")
        assert (qualified.status, qualified.json["id"]) == (200, "fake/org/model-7b")
        encoded = await ask(g, "GET", "/v1/models/org%2Fmodel-7b")
        assert (encoded.status, encoded.json["id"]) == (200, "org/model-7b")


async def test_models_unknown_one_is_404() -> None:
    """As OpenAI says it: model_not_found, about `model`."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        got = await ask(g, "GET", "/v1/models/no/such-model")
        assert got.status == 404
        assert (got.error["code"], got.error["param"]) == ("model_not_found", "model")
        assert "'no/such-model'" in got.error["message"]


async def test_models_of_a_provider_that_lists_none_is_an_empty_list() -> None:
    """A list is a convenience: no error, and any name is passed on."""
    async with FakeProvider() as fake:
        fake.models_script = [Error(500)]
        async with gateway_for(fake) as g:
            got = await ask(g, "GET", "/v1/models")
            assert (got.status, got.json) == (200, {"object": "list", "data": []})
            assert (await ask(g, "GET", "/v1/models/anything")).status == 200
            assert (await ask(g, "POST", CHAT, json=chat_body(model="anything"))).status == 200
            nameless = await ask(g, "POST", CHAT, json=chat_body(model=None))
            assert nameless.status == 400
            assert nameless.error["param"] == "model"


# Every answer has an id


async def test_every_answer_has_an_id_of_its_own() -> None:
    """Successes and errors of every kind, from every layer, no two alike."""
    async with FakeProvider() as fake, gateway_for(fake, limits__body_bytes_max=5000) as g:
        fake.by_model["broken"] = [Error(500)]
        asked: list[tuple[str, str, dict[str, Any]]] = [
            ("POST", CHAT, {"json": chat_body()}),
            ("POST", CHAT, {"json": chat_body(stream=False)}),
            ("POST", CHAT, {"json": chat_body(model="broken")}),
            ("POST", CHAT, {"json": {}}),
            ("POST", CHAT, {"body": b" " * 5001}),
            ("POST", CHAT, {"headers": {"origin": "https://foreign.example"}}),
            ("POST", "/chat/stream", {"json": PROMPT}),
            ("GET", "/chat?message=hi", {}),
            ("GET", "/chat?message=hi", {"headers": {"last-event-id": "1"}}),
            ("GET", "/", {}),
            ("HEAD", "/", {}),
            ("GET", "/favicon.ico", {}),
            ("GET", "/v1/models", {}),
            ("GET", "/v1/models/none", {}),
            ("POST", "/v1/requests/none/cancel", {}),
            ("POST", "/v1/tickets", {}),
            ("GET", "/v1/usage", {}),
            ("GET", "/healthz", {}),
            ("HEAD", "/healthz", {}),
            ("GET", "/readyz", {}),
            ("GET", "/metrics", {}),
            ("GET", "/nothing", {}),
            ("PATCH", CHAT, {}),
            ("OPTIONS", CHAT, {}),
            ("BREW", "/", {}),
        ]
        ids = []
        for method, path, more in asked:
            got = await ask(g, method, path, **more)
            ids.append(got.check_id())
        assert len(set(ids)) == len(asked)


# One connection, and what reads it


async def test_client_that_sends_two_requests_on_one_connection_gets_both_in_order() -> None:
    """Keep-alive after a stream, and pipelining: answers never mix."""
    async with FakeProvider() as fake, gateway_for(fake) as g, await g.client() as client:
        await pipelined(client)
        streamed = await read(client)
        assert streamed.stream.done
        listed = await read(client)
        assert listed.json["object"] == "list"
        assert fake.connections_opened >= 1
        assert streamed.check_id() != listed.check_id()


async def pipelined(client: RawClient) -> None:
    """A chat and a list, without waiting between them."""
    await client.request("POST", CHAT, json=chat_body())
    await client.request("GET", "/v1/models")


def test_got_of_an_answer_reads_events_as_they_are() -> None:
    """The helper itself: ids, names, comments and data are told apart."""
    got = Got(200, None, b"id: a:0\n\nid: a:1\nevent: done\ndata: {}\n\n: ping\n\n")  # type: ignore[arg-type]
    assert [(event.id, event.event, event.data, event.comments) for event in got.events] == [
        ("a:0", "message", None, ()),
        ("a:1", "done", "{}", ()),
        (None, "message", None, ("ping",)),
    ]
