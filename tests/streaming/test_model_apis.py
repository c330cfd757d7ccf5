"""A model that refuses a request by Chat Completions, and is asked by Responses before the client hears of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rillgate.app.settings.types import ProviderSettings
from tests.fakes import script_openai_responses as native
from tests.fakes.exchange import Exchange, Step
from tests.fakes.gateway import CHAT, GatewayInTest, chat_body, gateway_for
from tests.fakes.ledger import FakeLedger
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Done, Error, Finish, Pause, Reset, chat
from tests.streaming.asking import Got, ask

pytestmark = pytest.mark.anyio

FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOLS = [{"type": "function", "function": FUNCTION}]
CALL = native.Call("call_1", "weather", ['{"city"', ':"Köln"}'])
OWN, OTHER = "/openai/v1/chat/completions", "/openai/v1/responses"
BEGUN: list[Step] = [native.CREATED_EVENT, *list(native.message(0, ["Hel"]))[:3]]
ANSWER = native.response(["Hel", "lo"], thoughts=["hm"], encrypted="gAAA", calls=[CALL])

# A request with tools in each dialect.
UI_MESSAGE = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
FRONTS: dict[str, dict[str, Any]] = {
    CHAT: chat_body(tools=TOOLS),
    "/v1/messages": {
        "model": "fake-model",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"name": "weather", "input_schema": FUNCTION["parameters"]}],
    },
    "/v1/responses": {"model": "fake-model", "input": "hi", "tools": [{"type": "function", **FUNCTION}]},
    "/v1/ui-stream": {
        "model": "fake-model",
        "messages": [UI_MESSAGE],
        "tools": {"weather": {"inputSchema": FUNCTION["parameters"]}},
    },
}


async def as_openai(exchange: Exchange) -> None:
    """Function tools by Responses alone, everything else by either."""
    if exchange.path == OTHER:
        await ANSWER(exchange)
    elif exchange.json.get("tools"):
        await native.refuses_tools(exchange.model).run(exchange)
    else:
        await chat(["Hel", "lo"])(exchange)


def paths(fake: FakeProvider) -> list[str]:
    """By which API it was asked, request by request."""
    return [asked.path for asked in fake.chats]


async def asked(g: GatewayInTest, **fields: Any) -> Got:
    """A request of Chat Completions."""
    got = await ask(g, "POST", CHAT, json=chat_body(**fields))
    await g.settled()
    return got


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", FRONTS)
async def test_tools_that_are_refused_are_asked_for_by_the_other_api(path: str, stream: bool) -> None:
    """Once; the next request begins there. Nothing is charged for what was refused, and it is one attempt."""
    ledger = FakeLedger()
    async with FakeProvider() as fake, gateway_for(fake, ledger=ledger, providers__fake__kind="azure") as g:
        fake.script = as_openai
        for _ in range(2):
            got = await ask(g, "POST", path, json={**FRONTS[path], "stream": stream})
            await g.settled()
            assert got.status == 200
            assert b"Hel" in got.body
            assert b"call_1" in got.body
            assert got.headers["x-rillgate-upstream"] == "fake/fake-model; attempt=1"
        assert paths(fake) == [OWN, OTHER, OTHER]
        assert [settled.actual.tokens for settled in ledger.settles] == [13, 13]
        assert fake.chats[1].json["model"] == "fake-model"
        assert fake.chats[1].json["tools"][0]["strict"] is False


@pytest.mark.parametrize("stream", [True, False])
async def test_model_that_chat_completions_does_not_serve_is_asked_by_the_other_api_for_everything(
    stream: bool,
) -> None:
    """On /chat, too."""
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind="azure") as g:
        fake.queue([native.refuses_chat()])
        fake.script = native.response(["Hel", "lo"])
        assert (await asked(g, stream=stream)).status == 200
        assert (await asked(g, stream=stream, tools=TOOLS)).status == 200
        got = await ask(g, "POST", "/chat/stream", json={"prompt": "hi", "model": "fake-model"})
        assert b"Hel" in got.body
        assert paths(fake) == [OWN, OTHER, OTHER, OTHER]


async def test_requests_without_tools_go_on_as_before_byte_for_byte() -> None:
    """And so do those that say not to think, and other models."""
    frames: list[Step] = [Chunk("Hello"), Finish(), Done()]
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind="azure") as g:
        fake.script = frames
        before = await asked(g)
        fake.script = as_openai
        await asked(g, tools=TOOLS)
        fake.script = frames
        after = await asked(g)
        assert after.body.replace(b"chatcmpl-3", b"chatcmpl-0") == before.body
        await asked(g, tools=TOOLS, reasoning_effort="none")
        await asked(g, tools=TOOLS, model="another")
        assert paths(fake) == [OWN, OWN, OTHER, OWN, OWN, OWN]
        assert fake.chats[4].json["reasoning_effort"] == "none"


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("fields", [{"n": 2}, {"stop": ["END"]}, {"logprobs": True}])
async def test_what_the_other_api_cannot_say_is_refused_by_the_provider_itself(
    fields: dict[str, Any], known: bool
) -> None:
    """As it would be without us."""
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind="azure") as g:
        fake.script = as_openai
        if known:
            assert (await asked(g, tools=TOOLS)).status == 200
        before = len(fake.chats)
        got = await asked(g, tools=TOOLS, **fields)
        assert got.status == 400
        assert "use /v1/responses" in got.error["message"]
        assert got.error["param"] == "reasoning_effort"
        assert paths(fake)[before:] == [OWN]


@pytest.mark.parametrize("stream", [True, False])
async def test_model_that_neither_api_serves_is_refused_in_the_first_ones_words(stream: bool) -> None:
    """A model for completions, say. Nothing is remembered of it."""
    refused = {
        "error": {"message": "The model cannot be used with the Responses API.", "type": "invalid_request_error"}
    }
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind="azure") as g:
        for _ in range(2):
            fake.queue([native.refuses_chat()], [Error(400, refused)])
            got = await asked(g, stream=stream)
            assert got.status == 404
            assert "only supported in v1/responses" in got.error["message"]
        assert paths(fake) == [OWN, OTHER, OWN, OTHER]


@pytest.mark.parametrize("stream", [True, False])
async def test_failure_of_the_other_api_is_an_attempts_like_any_other(stream: bool) -> None:
    """The next upstream of the route is asked; where there is none the client hears of it."""
    route: dict[str, Any] = {
        "routes__0__model": "m",
        "routes__0__upstream": ["fake/a", "fake/b"],
        "routes__0__retries": 0,
    }
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind="azure", **route) as g:
        fake.by_model["b"] = chat(["Hello"])
        fake.queue([native.refuses_tools("a")], [Error(500)])
        got = await asked(g, model="m", tools=TOOLS, stream=stream)
        assert b"Hello" in got.body
        assert got.headers["x-rillgate-upstream"] == "fake/b; attempt=2"
        assert paths(fake) == [OWN, OTHER, OWN]
        fake.queue([Error(400, {"error": {"message": "Invalid image."}})])
        got = await asked(g, model="fake/a", tools=TOOLS, stream=stream)
        assert "Invalid image." in got.error["message"]
        assert paths(fake)[3:] == [OTHER]


@pytest.mark.parametrize("stream", [True, False])
async def test_round_after_a_failure_of_the_other_api_begins_there(stream: bool) -> None:
    """It is the same upstream."""
    route: dict[str, Any] = {"routes__0__model": "m", "routes__0__upstream": ["fake/a"], "routes__0__retries": 1}
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind="azure", **route) as g:
        fake.queue([native.refuses_tools("a")], [Error(429, headers={"retry-after-ms": "1"})], ANSWER)
        got = await asked(g, model="m", tools=TOOLS, stream=stream)
        assert b"Hel" in got.body
        assert got.headers["x-rillgate-upstream"] == "fake/a; attempt=2"
        assert paths(fake) == [OWN, OTHER, OTHER]


async def test_compatible_server_that_says_the_same_is_taken_at_its_word() -> None:
    """Whether it has the other API nobody knows: the client hears what it said."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [native.refuses_tools()]
        got = await asked(g, tools=TOOLS)
        assert (got.status, paths(fake)) == (400, ["/v1/chat/completions"])


async def test_openais_own_host_is_asked_by_the_other_api_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its own addresses; the fake stands for it."""
    monkeypatch.setattr(ProviderSettings, "is_openai_itself", property(lambda settings: settings.kind == "openai"))
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.queue([native.refuses_tools()])
        fake.script = ANSWER
        assert (await asked(g, tools=TOOLS)).status == 200
        assert paths(fake) == ["/v1/chat/completions", "/v1/responses"]
        assert fake.chats[1].headers["authorization"] == fake.chats[0].headers["authorization"]


async def test_deployments_of_a_dated_version_have_the_other_api_at_v1() -> None:
    """Most versions do not know it."""
    async with (
        FakeProvider() as fake,
        gateway_for(fake, providers__fake__kind="azure", providers__fake__api_version="2024-10-21") as g,
    ):
        fake.queue([native.refuses_tools()])
        fake.script = ANSWER
        assert (await asked(g, tools=TOOLS)).status == 200
        assert [(each.path, each.query) for each in fake.chats] == [
            ("/openai/deployments/fake-model/chat/completions", "api-version=2024-10-21"),
            (OTHER, ""),
        ]


@pytest.mark.parametrize("known", [True, False])
async def test_reasoning_that_the_client_kept_goes_where_it_is_taken_back(known: bool) -> None:
    """Also without tools. A process that does not know of it leaves it out: Chat Completions refuses the field."""
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind="azure") as first:
        fake.script = as_openai
        answer = (await asked(first, tools=TOOLS, stream=False)).json["choices"][0]["message"]
        assert answer["reasoning_details"][0]["data"] == "gAAA"
        turns = [
            {"role": "user", "content": "hi"},
            answer,
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        ]
        if known:
            await asked(first, messages=turns)
            assert fake.chats[-1].path == OTHER
            assert fake.chats[-1].json["input"][1]["encrypted_content"] == "gAAA"
            return
        async with gateway_for(fake, providers__fake__kind="azure") as second:
            await asked(second, messages=turns)
            assert fake.chats[-1].path == OWN
            sent = fake.chats[-1].json["messages"][1]
            assert sent == {key: answer[key] for key in ("role", "content", "refusal", "tool_calls")}


async def test_cap_that_the_other_api_refuses_is_lowered_there() -> None:
    """One remedy after the other, in one attempt."""
    limit = "max_output_tokens is too large: 16384. This model supports at most 4096 completion tokens."
    refused = {"error": {"message": limit, "type": "invalid_request_error", "param": "max_output_tokens"}}
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind="azure") as g:
        fake.queue([native.refuses_tools()], [Error(400, refused)], ANSWER)
        assert (await asked(g, tools=TOOLS)).status == 200
        assert [each.json.get("max_output_tokens") for each in fake.chats] == [None, 16_384, 4_096]


async def test_budget_cuts_a_stream_of_the_other_api() -> None:
    """At twice the cap, as of every tokenizer that is not known."""
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind="azure") as g:
        fake.queue([native.refuses_tools()], native.response([" a"] * 40, counts=native.usage(9, 40)))
        stream = (await asked(g, tools=TOOLS, max_tokens=16)).stream
        assert (stream.finish, stream.done) == ("length", True)
        assert 16 <= len(stream.text.split()) <= 33


async def test_client_that_leaves_closes_the_call_by_the_other_api() -> None:
    """As it would the first one."""
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind="azure") as g:
        fake.queue([native.refuses_tools()], [*BEGUN, Pause()])
        client = await g.chat(tools=TOOLS)
        assert await client.response() == 200
        await client.read_until(b"Hel")
        client.close()
        await fake.chats[1].closed.wait()
        await g.settled()
        assert paths(fake) == [OWN, OTHER]


async def test_stream_of_the_other_api_that_breaks_off_is_told_in_band() -> None:
    """Nothing is asked again once something was passed on."""
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind="azure") as g:
        fake.queue([native.refuses_tools()], [*BEGUN, Reset()])
        stream = (await asked(g, tools=TOOLS)).stream
        assert stream.error is not None
        assert (stream.text, stream.error["code"], stream.done) == ("Hel", "upstream_truncated", False)
        assert paths(fake) == [OWN, OTHER]


async def test_refusal_as_the_first_event_of_a_stream_is_one_all_the_same() -> None:
    """With status 200 and the error in-band, as some gateways in between write it."""
    said = msgspec.json.encode(native.refuses_tools().body)

    async def in_band(exchange: Exchange) -> None:
        await exchange.send(b"data: " + said + b"\n\n")

    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind="azure") as g:
        fake.queue(in_band, ANSWER)
        assert (await asked(g, tools=TOOLS)).stream.text == "Hello"
        assert paths(fake) == [OWN, OTHER]
