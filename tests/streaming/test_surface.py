"""Every route as its clients see it: answers, defaults, limits and errors, over real sockets."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rillgate.app.embedded import EmbeddedModel
from rillgate.app.encodings import load_encoding
from rillgate.app.gateway import Gateway
from rillgate.app.settings.load import load_settings
from tests.fakes.clients import RawClient, collect
from tests.fakes.clock import FakeClock
from tests.fakes.exchange import Exchange
from tests.fakes.gateway import CHAT, GatewayInTest, chat_body, gateway_for, settings_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Done, Error, ErrorFrame, Finish, Head, Pause, Reset, Role, Send, Stall, chat
from tests.fakes.server import serving
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


# POST /chat/stream


async def test_chat_stream_fills_in_its_defaults() -> None:
    """Only a prompt is needed: the system prompt, the cap, the temperature and the model are the documented ones."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.model_ids = ["first", "second"]
        got = await ask(g, "POST", "/chat/stream", json=PROMPT)
        assert got.status == 200
        assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (got.stream.text, got.stream.finish, got.stream.done) == ("Hello, world!", "stop", True)
        assert got.stream.usage is None
        assert all(event.id is None and event.event == "message" for event in got.events)
        assert fake.chats[0].json == {
            "model": "first",
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": PROMPT["prompt"]},
            ],
            "max_tokens": 512,
            "temperature": 0.7,
            "stream": True,
            "stream_options": {"include_usage": True},
        }


async def test_chat_stream_takes_every_field() -> None:
    """What is given goes upstream; an empty system prompt means none; null means the default."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fields = {"system_prompt": "Be brief.", "max_tokens": 9, "temperature": 0, "model": "other", **PROMPT}
        assert (await ask(g, "POST", "/chat/stream", json=fields)).status == 200
        sent = fake.chats[0].json
        assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
        assert (sent["max_tokens"], sent["temperature"], sent["model"]) == (9, 0, "other")
        assert (await ask(g, "POST", "/chat/stream", json={**PROMPT, "system_prompt": ""})).status == 200
        assert [message["role"] for message in fake.chats[1].json["messages"]] == ["user"]
        nulls = {**PROMPT, "system_prompt": None, "max_tokens": None, "temperature": None, "model": None}
        assert (await ask(g, "POST", "/chat/stream", json=nulls)).status == 200
        assert fake.chats[2].json["max_tokens"] == 512
        assert fake.chats[2].json["model"] == "fake-model"


async def test_chat_stream_refuses_wrong_fields_by_name() -> None:
    """Each mistake is a 400 that names its field, and nothing reaches the provider."""
    cases: list[tuple[object, str | None]] = [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({**PROMPT, "max_tokens": 0}, "max_tokens"),
        ({**PROMPT, "max_tokens": "9"}, "max_tokens"),
        ({**PROMPT, "max_tokens": True}, "max_tokens"),
        ({**PROMPT, "temperature": 2.1}, "temperature"),
        ({**PROMPT, "temperature": "warm"}, "temperature"),
        ({**PROMPT, "system_prompt": ["x"]}, "system_prompt"),
        ({**PROMPT, "model": 7}, "model"),
        ({**PROMPT, "messages": []}, "messages"),
        ([PROMPT], None),
    ]
    async with FakeProvider() as fake, gateway_for(fake) as g:
        for fields, param in cases:
            got = await ask(g, "POST", "/chat/stream", json=fields)
            assert got.status == 400, fields
            assert got.error["type"] == "invalid_request_error"
            assert got.error["param"] == param, fields
        assert fake.chats == []


# GET /chat, for EventSource


@pytest.mark.parametrize(
    "path",
    ["/chat/org/model-7b?message=hi%20there&max_tokens=9", "/chat?model=org/model-7b&message=hi+there&max_tokens=9"],
    ids=["in the path", "in the query"],
)
async def test_event_source_numbers_every_event_and_says_done(path: str) -> None:
    """Ids start before the first chunk and go up by one; the named event `done` stands before [DONE]."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        got = await ask(g, "GET", path, headers={"accept": "text/event-stream"})
        assert got.status == 200
        assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
        request_id = got.check_id()
        assert [event.id for event in got.events] == [f"{request_id}:{number}" for number in range(len(got.events))]
        assert got.events[0].data is None
        assert [(event.event, event.data) for event in got.events[-2:]] == [("done", "{}"), ("message", "[DONE]")]
        text = collect([event.data for event in got.events if event.data and event.event == "message"]).text
        assert text == "Hello, world!"
        sent = fake.chats[0].json
        assert (sent["model"], sent["max_tokens"]) == ("org/model-7b", 9)
        assert [message["content"] for message in sent["messages"]] == ["You are a helpful assistant.", "hi there"]


async def test_event_source_that_reconnects_is_told_to_stop() -> None:
    """A request with Last-Event-ID is answered 204 without a second generation, whatever else it says."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        for path in ("/chat/fake-model?message=hi", "/chat?message=hi", "/chat", "/chat/no/such?max_tokens=x"):
            for last in ("req_0123:4", ""):
                got = await ask(g, "GET", path, headers={"last-event-id": last})
                assert (got.status, got.body) == (204, b"")
                got.check_id()
        await g.idle()
        assert fake.chats == []


async def test_event_source_refuses_what_is_wrong() -> None:
    """Mistakes in the query are named; HEAD, which would cost tokens, is no method of these routes."""
    cases = [
        ("/chat/fake-model", "message"),
        ("/chat?model=fake-model&message=", "message"),
        ("/chat?message=hi&max_tokens=many", "max_tokens"),
        ("/chat?message=hi&max_tokens=0", "max_tokens"),
        ("/chat?message=hi&temperature=nan", "temperature"),
        ("/chat?message=hi&temperature=3", "temperature"),
    ]
    async with FakeProvider() as fake, gateway_for(fake) as g:
        for path, param in cases:
            got = await ask(g, "GET", path)
            assert got.status == 400, path
            assert got.error["param"] == param, path
        for path in ("/chat/fake-model?message=hi", "/chat?message=hi"):
            got = await ask(g, "HEAD", path)
            assert got.status == 405
            assert got.headers["allow"] == "GET"
        assert fake.chats == []


async def test_event_source_says_upstream_errors_by_status_first_and_in_band_later() -> None:
    """Before the first event a true status; after it a numbered message with `error`, and no `done`."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [Error(503)]
        got = await ask(g, "GET", "/chat/m?message=hi")
        assert got.status == 503
        assert got.error["code"] == "upstream_overloaded"
        fake.script = [Role(), Chunk("one"), ErrorFrame("fell over")]
        got = await ask(g, "GET", "/chat/m?message=hi")
        assert got.status == 200
        assert [event.event for event in got.events if event.data] == ["message"] * 3
        assert got.events[-1].json["error"]["message"] == "fell over"
        assert got.events[-1].id == f"{got.check_id()}:{len(got.events) - 1}"


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


# Streams


async def test_stream_has_the_headers_that_keep_proxies_from_holding_it() -> None:
    """On every route that streams; and the id is ours, not the provider's."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        for got in (
            await ask(g, "POST", CHAT, json=chat_body()),
            await ask(g, "POST", "/chat/stream", json=PROMPT),
            await ask(g, "GET", "/chat?message=hi"),
        ):
            assert got.status == 200
            assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert got.headers["cache-control"] == "no-cache, no-transform"
            assert got.headers["x-accel-buffering"] == "no"
            assert "content-length" not in got.headers
            assert "server" not in got.headers
            got.check_id()


async def test_stream_passes_frames_byte_for_byte_without_usage_that_nobody_asked_for() -> None:
    """Unknown fields, white space and comments' absence: the client reads what the provider wrote."""
    frames = [
        b'data: {"id":"c1", "object":"chat.completion.chunk","created":1,"model":"m","x":{"y": 1},'
        b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n',
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m",'
        b'"choices":[{"index":0,"delta":{"content":"caf\xc3\xa9 \xe2\x80\xa8","z":0.10},"finish_reason":null}]}\n\n',
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m",'
        b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    ]
    usage = (
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],'
        b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}\n\n'
    )
    done = b"data: [DONE]\n\n"
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [Send(b": hello\n\n"), *(Send(frame) for frame in frames), Send(usage), Send(done)]
        got = await ask(g, "POST", CHAT, json=chat_body())
        assert got.body == b"".join(frames) + done
        got = await ask(g, "POST", CHAT, json=chat_body(stream_options={"include_usage": True}))
        assert got.body == b"".join(frames) + usage + done


async def test_stream_answered_with_json_becomes_a_stream() -> None:
    """Some servers ignore `stream`: their answer is told as chunks, with its usage and its tool calls."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = chat(["Hello", " there"], as_json=True, model="reported")
        got = await ask(g, "POST", CHAT, json=chat_body(stream_options={"include_usage": True}))
        assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
        answer = got.stream
        assert (answer.text, answer.finish, answer.done, answer.after_done) == ("Hello there", "stop", True, 0)
        assert answer.usage is not None
        assert answer.usage["prompt_tokens"] == 9
        chunks = [event.json for event in got.events if event.data != "[DONE]"]
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        got = await ask(g, "GET", "/chat?message=hi")
        assert got.events[-2].event == "done"


async def test_stream_answered_compressed_is_an_error() -> None:
    """identity was asked for: what comes compressed all the same is refused, not passed on as garbage."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [Head(headers={"content-encoding": "gzip"}), Send(b"\x1f\x8b\x08")]
        for stream in (True, False):
            got = await ask(g, "POST", CHAT, json=chat_body(stream=stream))
            assert got.status == 502
            assert "gzip" in got.error["message"]
            assert fake.chats[-1].headers["accept-encoding"] == "identity"


async def test_stream_before_its_first_event_is_kept_alive_by_heartbeats() -> None:
    """Nothing from the provider for heartbeat_s: status 200 and a comment, again and again, then the answer."""
    clock = FakeClock()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock, timeouts__heartbeat_s=12) as g:
        fake.script = [Pause(), Role(), Chunk("late"), Finish(), Done()]
        async with await g.chat() as client:
            await fake.request()
            clock.advance(11.9)
            assert g.gateway.streams.running() == 1
            for _ in range(3):
                clock.advance(12)
                if client.status == 0:
                    assert await client.response() == 200
                assert await client.read_some() == b": ping\n"
            fake.allow()
            answer = collect(await client.read_stream())
            assert (answer.text, answer.done) == ("late", True)


async def test_stream_in_mid_stream_silence_is_kept_alive_at_event_boundaries() -> None:
    """On /chat the comment is an event of its own; it stands between whole frames, and only after silence."""
    clock = FakeClock()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock, timeouts__heartbeat_s=12) as g:
        for path, ping in ((CHAT, b": ping\n"), ("/chat/stream", b": ping\n"), ("/chat?message=hi", b": ping\n\n")):
            fake.script = [Role(), Chunk("one"), Pause(), Chunk("two"), Finish(), Done()]
            async with await g.client() as client:
                if path.startswith("/chat?"):
                    await client.request("GET", path)
                else:
                    await client.request("POST", path, json=chat_body() if path == CHAT else PROMPT)
                assert await client.response() == 200
                raw = b""
                while b'"one"' not in raw:
                    event = await client.next_event()
                    assert event is not None
                    raw = event.raw
                    assert event.comments == ()
                clock.advance(12)
                assert await client.read_some() == ping
                fake.allow()
                rest = await client.read_body()
                assert b"ping" not in rest
                assert b'"two"' in rest
                assert rest.endswith(b"data: [DONE]\n\n")


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


# Health, readiness and metrics


async def test_healthz_and_readyz_of_a_ready_gateway_say_so() -> None:
    """GET and HEAD, for probes of all kinds."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        for path in ("/healthz", "/readyz"):
            got = await ask(g, "GET", path)
            assert got.status == 200
            assert got.headers["content-type"] == "application/json"
            assert got.json["status"] in ("ok", "ready")
            assert (await ask(g, "HEAD", path)).status == 200


async def test_readyz_waits_for_the_encoder_while_chats_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is loaded, readiness says what it waits for; a request is served all the same."""
    loading = threading.Event()

    def load_later(name: str) -> Any:
        loading.wait()
        return load_encoding(name)

    monkeypatch.setattr("rillgate.app.encodings.load_encoding", load_later)
    async with FakeProvider() as fake:
        gateway = Gateway(settings_for(fake.base_url))
        async with serving(gateway.asgi, drain=gateway.streams) as address:
            g = GatewayInTest(gateway, address)
            try:
                got = await ask(g, "GET", "/readyz")
                assert got.status == 503
                assert got.json == {"status": "not_ready", "waiting_for": ["encoder"]}
                assert (await ask(g, "GET", "/healthz")).status == 200
                assert (await ask(g, "POST", CHAT, json=chat_body())).stream.done
            finally:
                loading.set()
            await gateway.encoders.loaded()
            assert (await ask(g, "GET", "/readyz")).status == 200


async def test_readyz_of_a_gateway_that_drains_is_503_and_so_is_a_new_chat() -> None:
    """From the first signal on: no new streams, and balancers are told."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        g.gateway.streams.begin()
        got = await ask(g, "GET", "/readyz")
        assert got.status == 503
        assert len(got.json["waiting_for"]) == 1
        got = await ask(g, "POST", CHAT, json=chat_body())
        assert (got.status, got.error["code"]) == (503, "shutting_down")
        assert "retry-after" in got.headers
        assert fake.chats == []


# Says what somebody has written to a pipe, as the real child does when it has loaded, or has failed to.
CHILD = """
import sys
sys.stdin.readline()
with open(sys.argv[1]) as told:
    line = told.read()
print(line, flush=True)
if "error" not in line:
    sys.stdin.read()
"""


class ModelInTest:
    """An embedded model that is ready when the test says so, and whose server is the fake provider."""

    def __init__(self, folder: Path) -> None:
        self._told = folder / "told"
        os.mkfifo(self._told)
        self.model = EmbeddedModel(command=(sys.executable, "-c", CHILD, str(self._told)), stop_grace_s=0)

    async def say(self, line: str) -> None:
        """What the child says."""
        await asyncio.to_thread(self._told.write_text, line)


def embedded_gateway(model: EmbeddedModel, clock: FakeClock | None = None, **variables: str) -> Gateway:
    """A gateway with the embedded provider, and nothing else unless `variables` name it."""
    environ = {"RILLGATE_LEDGER__URL": "memory:", **variables}
    settings = load_settings(config=None, flags={}, environ=environ, cwd=Path("/nowhere"))
    return Gateway(settings, embedded=model, clock=clock)


async def test_request_before_the_embedded_model_is_ready_waits_for_it(tmp_path: Path) -> None:
    """The gateway listens and lists the model at once; /readyz says what it waits for; early requests are served."""
    inside = ModelInTest(tmp_path)
    gateway = embedded_gateway(inside.model)
    async with FakeProvider() as fake, serving(gateway.asgi, drain=gateway.streams) as address:
        g = GatewayInTest(gateway, address)
        await gateway.encoders.loaded()
        got = await ask(g, "GET", "/readyz")
        assert (got.status, got.json["waiting_for"]) == (503, ["embedded model"])
        assert [entry["id"] for entry in (await ask(g, "GET", "/v1/models")).json["data"]] == ["smollm2-135m"]
        async with await g.client() as streaming, await g.client() as whole:
            await streaming.request("POST", "/chat/stream", json=PROMPT)
            await whole.request("POST", CHAT, json=chat_body(model=None, stream=False))
            while gateway.streams.running() < 2:
                await asyncio.sleep(0)
            assert fake.chats == []
            await inside.say(msgspec.json.encode({"base_url": fake.base_url}).decode())
            assert (await read(streaming)).stream.done
            assert (await read(whole)).json["choices"][0]["message"]["content"] == "Hello, world!"
        assert {exchange.json["model"] for exchange in fake.chats} == {"smollm2-135m"}
        assert (await ask(g, "GET", "/readyz")).status == 200


async def test_request_for_an_embedded_model_that_takes_too_long_is_504(tmp_path: Path) -> None:
    """It waits for first_token_s and no longer, streaming or not."""
    clock = FakeClock()
    inside = ModelInTest(tmp_path)
    gateway = embedded_gateway(
        inside.model, clock, RILLGATE_TIMEOUTS__FIRST_TOKEN_S="60", RILLGATE_TIMEOUTS__HEARTBEAT_S="100"
    )
    async with serving(gateway.asgi, drain=gateway.streams) as address:
        g = GatewayInTest(gateway, address)
        for stream in (True, False):
            async with await g.chat(model=None, stream=stream) as client:
                while not gateway.streams.running():
                    await asyncio.sleep(0)
                while clock.next_due is None or clock.next_due > 60:
                    await asyncio.sleep(0)
                clock.advance(59)
                assert gateway.streams.running() == 1
                clock.advance(1)
                got = await read(client)
                assert got.status == 504
                assert got.error["code"] == "upstream_timeout"
            await g.idle()


async def test_request_for_an_embedded_model_that_died_is_503_and_says_what_to_set(tmp_path: Path) -> None:
    """A request that waits for it, and every later one; /readyz stays 503 and everything else works."""
    inside = ModelInTest(tmp_path)
    gateway = embedded_gateway(inside.model)
    async with serving(gateway.asgi, drain=gateway.streams) as address:
        g = GatewayInTest(gateway, address)
        await gateway.encoders.loaded()
        async with await g.chat(model=None) as waiting:
            while not gateway.streams.running():
                await asyncio.sleep(0)
            await inside.say('{"error": "the package xllamacpp is not installed"}')
            answers = [await read(waiting)]
        answers.append(await ask(g, "POST", "/chat/stream", json=PROMPT))
        answers.append(await ask(g, "POST", CHAT, json=chat_body(model=None, stream=False)))
        answers.append(await ask(g, "GET", "/chat?message=hi"))
        for got in answers:
            assert got.status == 503
            assert got.error["code"] == "model_unavailable"
            assert "OPENAI_API_KEY" in got.error["message"]
            assert "OLLAMA_HOST" in got.error["message"]
            assert got.headers["x-should-retry"] == "false"
        assert (await ask(g, "GET", "/readyz")).json["waiting_for"] == ["embedded model"]
        assert (await ask(g, "GET", "/healthz")).status == 200


async def test_readyz_with_a_dead_embedded_model_beside_another_provider_is_ready(tmp_path: Path) -> None:
    """A model that will never answer is waited for only while it starts, where somebody else can answer."""
    inside = ModelInTest(tmp_path)
    async with FakeProvider() as fake:
        gateway = embedded_gateway(inside.model, OPENAI_BASE_URL=fake.base_url, RILLGATE_BACKEND="embedded")
        async with serving(gateway.asgi, drain=gateway.streams) as address:
            g = GatewayInTest(gateway, address)
            await gateway.encoders.loaded()
            assert (await ask(g, "GET", "/readyz")).json["waiting_for"] == ["embedded model"]
            await inside.say('{"error": "the package xllamacpp is not installed"}')
            while inside.model.state == "starting":
                await asyncio.sleep(0)
            assert (await ask(g, "GET", "/readyz")).status == 200
            assert (await ask(g, "POST", CHAT, json=chat_body(model="openai/fake-model"))).stream.done


async def test_metrics_count_what_was_served() -> None:
    """The promised names, with provider and model as labels, in Prometheus' text format."""
    async with FakeProvider() as fake, gateway_for(fake) as g, await g.chat(model="stalls") as open_one:
        fake.by_model["stalls"] = [Role(), Chunk("one"), Stall()]
        assert await open_one.response() == 200
        await open_one.next_frame()
        for _ in range(2):
            await ask(g, "POST", CHAT, json=chat_body(model="m"))
        await ask(g, "POST", CHAT, json=chat_body(model="m", stream=False))
        got = await ask(g, "GET", "/metrics")
        assert got.status == 200
        assert got.headers["content-type"].startswith("text/plain; version=0.0.4")
        text = got.body.decode()
        for line in (
            'llm_tokens_total{kind="input",model="m",provider="fake"} 27.0',
            'llm_tokens_total{kind="output",model="m",provider="fake"} 12.0',
            'llm_time_to_first_token_seconds_count{model="m",provider="fake"} 2.0',
            'llm_token_latency_seconds_count{model="m",provider="fake"} 6.0',
            "llm_active_streams 1.0",
            'llm_streams_total{end="finished",provider="fake"} 3.0',
            'llm_ledger_duration_seconds_count{operation="authorize"} 4.0',
            'llm_ledger_duration_seconds_count{operation="settle"} 3.0',
            'llm_failovers_total{provider="fake"} 0.0',
            "llm_active_streams_max 2000.0",
            "llm_queue_bytes 0.0",
        ):
            assert line in text, line
        labels = 'dialect="chat_completions",end="finished",model="m",provider="fake",route="/v1/chat/completions"'
        while f'llm_requests_total{{{labels},status="200"}} 3.0' not in text:  # counted when its books are closed
            text = (await ask(g, "GET", "/metrics")).body.decode()
        labels = 'gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="m"'
        for line in (
            f'gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type="input",provider="fake"}} 27.0',
            f'gen_ai_server_time_per_output_token_seconds_count{{{labels},provider="fake"}} 2.0',
            f'gen_ai_server_request_duration_seconds_count{{error_type="",{labels},provider="fake"}} 3.0',
        ):
            assert line in text, line


async def test_metrics_are_shown_to_this_machine_only_unless_set_otherwise() -> None:
    """loopback: not to whoever comes through a proxy or from elsewhere; any: to all; off: to nobody."""
    forwarded = {"x-forwarded-for": "203.0.113.9"}
    async with FakeProvider() as fake:
        async with gateway_for(fake, allow_unauthenticated=True) as g:
            assert (await ask(g, "GET", "/metrics")).status == 200
            for header in (forwarded, {"forwarded": "for=203.0.113.9"}, {"host": "rebound.example"}):
                got = await ask(g, "GET", "/metrics", headers=header)
                assert (got.status, got.error["code"]) == (403, "metrics_refused")
            assert await asgi_status(g.gateway, "/metrics", client=("203.0.113.9", 5)) == 403
            assert await asgi_status(g.gateway, "/metrics", client=("::1", 5)) == 200
            assert await asgi_status(g.gateway, "/metrics", client=None) == 403
        async with gateway_for(fake, allow_unauthenticated=True, server__metrics="any") as g:
            assert (await ask(g, "GET", "/metrics", headers=forwarded)).status == 200
        async with gateway_for(fake, server__metrics="off") as g:
            got = await ask(g, "GET", "/metrics")
            assert (got.status, got.error["code"]) == (404, "not_found")


async def asgi_status(gateway: Gateway, path: str, client: tuple[str, int] | None) -> int:
    """The status of a GET from an address that no test can have."""
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
        "client": client,
    }
    await gateway.asgi(scope, receive, send)
    return statuses[0]


# Strangers

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
