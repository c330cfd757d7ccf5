"""Anthropic's routes as their clients see them: shapes of errors and lists, ids, bytes, over real sockets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.fakes import script_anthropic as native
from tests.fakes.clients import RawClient
from tests.fakes.exchange import Exchange
from tests.fakes.gateway import GatewayInTest, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Role, Stall, chat
from tests.streaming.asking import ask

pytestmark = pytest.mark.anyio

MESSAGES = "/v1/messages"
VERSION = {"anthropic-version": "2023-06-01"}


def body(**fields: Any) -> dict[str, Any]:
    """A small request."""
    return {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}], **fields}


async def stream_of(g: GatewayInTest, **fields: Any) -> tuple[RawClient, bytes]:
    """A whole stream as it came."""
    client = await g.client()
    async with client:
        await client.request("POST", MESSAGES, json=body(stream=True, **fields))
        assert await client.response() == 200
        return client, await client.read_body()


async def test_stream_of_anthropic_passes_byte_for_byte() -> None:
    """Every event as the provider wrote it, unknown ones and unknown fields too."""
    sent = b"".join(
        b"event: %s\ndata: %s\n\n" % (kind.encode(), data)
        for kind, data in (
            ("message_start", b'{"type": "message_start", "message": {"id": "m1", "usage": {"input_tokens": 3}}}'),
            ("ping", b'{"type":"ping" }'),
            (
                "content_block_start",
                b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
            ),
            (
                "content_block_delta",
                b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}',
            ),
            ("a_new_event", b'{"type":"a_new_event","x":[1, 2]}'),
            ("content_block_stop", b'{"type":"content_block_stop","index":0}'),
            (
                "message_delta",
                b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens": 1},"new":true}',
            ),
            ("message_stop", b'{"type":"message_stop"}'),
        )
    )

    async def script(exchange: Exchange) -> None:
        await exchange.send(sent)
        await exchange.end_body()

    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind="anthropic") as g:
        fake.script = script
        client, came = await stream_of(g)
        assert came == sent
        assert client.headers["request-id"] == client.headers["x-request-id"]
        assert client.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_whole_answer_of_anthropic_passes_byte_for_byte() -> None:
    """White space, order and unknown fields."""
    sent = (
        b'{"id": "m1",  "type":"message", "role":"assistant","x":1, "content":[{"type":"text","text":"a"}],\n'
        b'"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":1}}\n'
    )

    async def script(exchange: Exchange) -> None:
        await exchange.answer_json(sent)

    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind="anthropic") as g:
        fake.script = script
        assert (await ask(g, "POST", MESSAGES, json=body())).body == sent


async def test_stream_of_anthropic_without_usage_gets_ours_marked() -> None:
    """A server that gives no counts: the message ends with an estimate that says so, once."""
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind="anthropic") as g:
        ending = native.Event("message_delta", {"delta": {"stop_reason": "end_turn", "stop_sequence": None}})
        start = native.Event("message_start", {"message": {"id": "m1", "content": []}})
        fake.script = [start, *native.text_block(0, ["Hello"]), ending, native.MESSAGE_STOP]
        _, came = await stream_of(g)
        (written,) = [frame for frame in came.split(b"\n\n") if frame.startswith(b"event: message_delta")]
        said = msgspec.json.decode(written.partition(b"data: ")[2])
        assert said["rillgate"] == {"estimated": True}
        assert said["usage"]["output_tokens"] > 0
        assert came.count(b"event: message_stop") == 1


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "kind"),
    [
        ("POST", MESSAGES, {}, 401, "authentication_error"),
        ("POST", f"{MESSAGES}/count_tokens", {}, 401, "authentication_error"),
        ("GET", MESSAGES, {}, 405, "invalid_request_error"),
        ("GET", f"{MESSAGES}/batches", {}, 404, "not_found_error"),
        ("GET", "/v1/models", VERSION, 401, "authentication_error"),
        ("GET", "/v1/files", VERSION, 404, "not_found_error"),
    ],
)
async def test_error_on_an_anthropic_route_is_of_its_shape(
    method: str, path: str, headers: dict[str, str], status: int, kind: str
) -> None:
    """Also where no handler was reached."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        got = await ask(g, method, path, headers=headers, json=body() if method == "POST" else None)
        assert (got.status, got.json["type"], got.json["error"]["type"]) == (status, "error", kind)
        assert got.headers["request-id"] == got.headers["x-request-id"]


async def test_error_on_an_openai_route_keeps_its_shape() -> None:
    """Whatever headers come with it."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        for path in ("/v1/models", "/v1/nothing"):
            got = await ask(g, "GET", path)
            assert set(got.json) == {"error"}
            assert "request-id" not in got.headers
        got = await ask(g, "POST", "/v1/chat/completions", headers=VERSION, json={})
        assert set(got.json) == {"error"}


async def test_crash_and_full_house_are_of_the_clients_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of our own too."""
    async with FakeProvider() as fake, gateway_for(fake, limits__streams_max=1) as g:
        fake.script = [Role(), Stall()]
        async with await g.client() as taking_the_only_place:
            await taking_the_only_place.request("POST", MESSAGES, json=body(stream=True))
            await fake.request()
            got = await ask(g, "POST", MESSAGES, json=body())
            assert (got.status, got.json["error"]["type"]) == (503, "overloaded_error")
            assert got.headers["retry-after"] == "1"
        monkeypatch.setattr("rillgate.app.routes.messages.parse", None)
        got = await ask(g, "POST", MESSAGES, json=body())
        assert (got.status, got.json["error"]["details"]["error_code"]) == (500, "internal_error")


async def test_models_come_in_the_shape_that_is_asked_for() -> None:
    """Anthropic's for whoever names its version, OpenAI's otherwise; an empty list too."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.model_ids = ["small"]
        theirs = {
            "type": "model",
            "id": "small",
            "display_name": "small",
            "created_at": "1970-01-01T00:00:00Z",
            "lifecycle": "active",
        }
        ours = {"id": "small", "object": "model", "created": 0, "owned_by": "fake"}
        listed = (await ask(g, "GET", "/v1/models", headers=VERSION)).json
        assert listed == {"data": [theirs], "has_more": False, "first_id": "small", "last_id": "small"}
        assert (await ask(g, "GET", "/v1/models/small", headers=VERSION)).json == theirs
        assert (await ask(g, "GET", "/v1/models")).json == {"object": "list", "data": [ours]}
        assert (await ask(g, "GET", "/v1/models/small")).json == ours


async def test_count_is_an_estimate_that_costs_nothing() -> None:
    """No provider is asked; what is counted is what a hold would be made for; the model must exist."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        count = f"{MESSAGES}/count_tokens"
        got = await ask(g, "POST", f"{count}?beta=true", json=body(max_tokens=None))
        assert (got.status, got.json) == (200, {"input_tokens": 8})
        assert got.headers["x-rillgate-estimated"] == "true"
        tools = [{"name": "f", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}]
        more = await ask(g, "POST", count, json=body(tools=tools, system="Be kind."))
        assert more.json["input_tokens"] > 8
        got = await ask(g, "POST", count, json=body(messages=[]))
        assert (got.status, got.json["error"]["type"]) == (400, "invalid_request_error")
        assert not fake.chats


async def test_request_for_a_model_of_another_family_with_what_it_cannot_do_is_refused() -> None:
    """By name, before anything is sent, and nothing stays held."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = chat()
        got = await ask(g, "POST", MESSAGES, json=body(tools=[{"type": "web_search_20260318", "name": "w"}]))
        assert (got.status, got.json["error"]["type"]) == (400, "invalid_request_error")
        assert "web_search_20260318" in got.json["error"]["message"]
        assert not fake.chats
        await g.settled()
