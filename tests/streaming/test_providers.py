"""A Chat Completions client in front of providers that speak other APIs, over real sockets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.fakes import script_gemini as google
from tests.fakes import script_openai_responses as openai
from tests.fakes.exchange import Exchange, Script
from tests.fakes.gateway import CHAT, chat_body, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Close, Error, Reset, Split
from tests.fakes.script_anthropic import (
    MESSAGE_STOP,
    MessageStart,
    ToolUse,
    block_delta,
    block_start,
    error,
    error_body,
    message,
    message_delta,
    text_block,
    usage,
)
from tests.fakes.script_ollama import Line, call, done, lines
from tests.streaming.asking import ask

pytestmark = pytest.mark.anyio

ANTHROPIC, OLLAMA, GEMINI, RESPONSES = KINDS = ("anthropic", "ollama", "gemini", "openai_responses")
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
CALLED = {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Köln"}'}}
SCRIPTS: dict[str, Script] = {
    "anthropic": message(
        ["Hel", "lö"], thoughts=["hm"], tools=[ToolUse("toolu_1", "weather", ['{"city"', ':"Köln"}'])], output_tokens=7
    ),
    "ollama": lines(["Hel", "lö"], thoughts=["hm"], calls=[call("weather", {"city": "Köln"}, "toolu_1")]),
    "gemini": google.gemini(
        ["Hel", "lö"], thoughts=["hm"], calls=[google.call("weather", {"city": "Köln"}, "toolu_1")]
    ),
    "openai_responses": openai.response(
        ["Hel", "lö"], thoughts=["hm"], calls=[openai.Call("toolu_1", "weather", ['{"city"', ':"Köln"}'])]
    ),
}
PATHS = {
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
    "gemini": "/v1beta/models/fake-model:streamGenerateContent",
    "openai_responses": "/v1/responses",
}


@pytest.mark.parametrize("kind", KINDS)
async def test_stream_of_another_api_is_one_of_chat_completions(kind: str) -> None:
    """Text, thinking, a call and usage arrive as an OpenAI client expects them."""
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind=kind) as g:
        fake.script = SCRIPTS[kind]
        got = await ask(g, "POST", CHAT, json=chat_body(tools=TOOLS, stream_options={"include_usage": True}))
        assert got.status == 200
        stream = got.stream
        assert stream.text == "Hellö"
        assert stream.finish == "tool_calls"
        assert stream.done
        assert stream.usage is not None
        assert stream.usage["prompt_tokens"] == 9
        assert stream.usage["completion_tokens"] == (7 if kind == "anthropic" else 4)
        chunks = [msgspec.json.decode(event.data) for event in got.events if event.data not in (None, "[DONE]")]
        deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
        assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "hm"
        calls = [piece for delta in deltas for piece in delta.get("tool_calls") or ()]
        assert {piece["index"] for piece in calls} == {0}
        assert [piece["id"] for piece in calls if "id" in piece] == ["toolu_1"]
        assert "".join(piece["function"]["arguments"] for piece in calls) == '{"city":"Köln"}'
        assert fake.chats[0].path == PATHS[kind]
        assert fake.chats[0].json.get("stream", kind == GEMINI) is True  # Gemini's is a part of the address


@pytest.mark.parametrize("kind", KINDS)
async def test_answer_of_another_api_is_a_chat_completion(kind: str) -> None:
    """Whole, with the provider's own counts."""
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind=kind) as g:
        fake.script = SCRIPTS[kind]
        answer = (await ask(g, "POST", CHAT, json=chat_body(stream=False, tools=TOOLS))).json
        (choice,) = answer["choices"]
        assert answer["object"] == "chat.completion"
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] == "Hellö"
        assert choice["message"]["reasoning_content"] == "hm"
        assert choice["message"]["tool_calls"] == [CALLED]
        assert answer["usage"]["completion_tokens"] == (7 if kind == "anthropic" else 4)
        assert not fake.chats[0].json.get("stream")


@pytest.mark.parametrize("streamed", [True, False])
async def test_tool_name_that_anthropic_does_not_take_comes_back_as_it_was(streamed: bool) -> None:
    """The provider sees one that it takes, and calls it by that; the client sees its own."""
    tools = [{"type": "function", "function": {"name": "weather.now"}}]
    answer = message(["Hi"], tools=[ToolUse("toolu_1", "weather_now", ["{}"])])
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind=ANTHROPIC) as g:
        fake.script = answer
        got = await ask(g, "POST", CHAT, json=chat_body(stream=streamed, tools=tools))
        assert [tool["name"] for tool in fake.chats[0].json["tools"]] == ["weather_now"]
        assert b'"weather.now"' in got.body
        assert b"weather_now" not in got.body


@pytest.mark.parametrize("kind", KINDS)
async def test_stream_cut_anywhere_is_the_same(kind: str) -> None:
    """A byte in each piece, characters cut in two."""
    answer = SCRIPTS[kind]
    assert callable(answer)

    async def split(exchange: Exchange) -> None:
        await Split(1).run(exchange)
        await answer(exchange)

    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind=kind) as g:
        fake.script = split
        stream = (await ask(g, "POST", CHAT, json=chat_body(tools=TOOLS))).stream
        assert (stream.text, stream.finish, stream.done) == ("Hellö", "tool_calls", True)


async def test_thinking_and_its_signature_come_back_to_anthropic() -> None:
    """A client that keeps what it got can go on after a tool's result."""
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind=ANTHROPIC) as g:
        fake.script = SCRIPTS["anthropic"]
        fields: dict[str, Any] = {"stream": False, "tools": TOOLS, "reasoning_effort": "low"}
        answer = (await ask(g, "POST", CHAT, json=chat_body(**fields))).json["choices"][0]["message"]
        result = {"role": "tool", "tool_call_id": "toolu_1", "content": "rain"}
        fields["messages"] = [{"role": "user", "content": "hi"}, answer, result]
        await ask(g, "POST", CHAT, json=chat_body(**fields))
        _, back, given = fake.chats[1].json["messages"]
        assert back["content"] == [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "text", "text": "Hellö"},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Köln"}},
        ]
        assert given["content"][0]["tool_use_id"] == "toolu_1"
        assert fake.chats[1].json["thinking"]["type"] == "adaptive"


async def test_key_and_version_go_to_anthropic_and_the_cap_with_them() -> None:
    """The key in its own header; what the client sent of either does not pass from another dialect."""
    async with (
        FakeProvider() as fake,
        gateway_for(fake, limits__output_tokens_max=50, providers__fake__kind=ANTHROPIC) as g,
    ):
        fake.script = message()
        headers = {"anthropic-version": "2026-10-21", "authorization": "Bearer sk-of-the-client", "x-api-key": "sk-2"}
        await ask(g, "POST", CHAT, json=chat_body(max_tokens=99), headers=headers)
        sent = fake.chats[0]
        assert sent.headers["x-api-key"] == "sk-fake-key-of-the-tests"
        assert sent.headers["anthropic-version"] == "2023-06-01"
        assert "authorization" not in sent.headers
        assert sent.json["max_tokens"] == 50


@pytest.mark.parametrize(
    ("kind", "script", "status", "code"),
    [
        (
            ANTHROPIC,
            Error(400, error_body("invalid_request_error", "prompt is too long: 9 > 8")),
            400,
            "context_length_exceeded",
        ),
        (ANTHROPIC, Error(401, error_body("authentication_error", "sk-fake-key-of-the-tests")), 502, "upstream_auth"),
        (ANTHROPIC, error("rate_limit_error", "slow down"), 429, "rate_limit_exceeded"),
        (OLLAMA, Error(404, {"error": "model 'x' not found"}), 404, "model_not_found"),
        (OLLAMA, Line(error="model 'x' not found"), 404, "model_not_found"),
        (GEMINI, Error(404, google.status(404, "NOT_FOUND", "no such model")), 404, "model_not_found"),
        (GEMINI, google.blocked(), 400, "content_filter"),
        (
            GEMINI,
            Error(400, google.status(400, "INVALID_ARGUMENT", "sk-fake", {"reason": "API_KEY_INVALID"})),
            502,
            "upstream_auth",
        ),
        (RESPONSES, openai.failed("invalid_prompt", "flagged"), 400, "invalid_prompt"),
        (RESPONSES, openai.error("rate_limit_exceeded", "slow down"), 429, "rate_limit_exceeded"),
        (RESPONSES, openai.refuses_chat(), 404, "model_not_found"),
        (RESPONSES, Error(401, {"error": {"message": "Incorrect API key provided: sk-fake"}}), 502, "upstream_auth"),
    ],
)
async def test_error_before_the_first_event_keeps_its_status(kind: str, script: Any, status: int, code: str) -> None:
    """As a response or as the first thing in a stream; never with our key in it."""
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind=kind) as g:
        fake.script = script if callable(script) else [script]
        got = await ask(g, "POST", CHAT, json=chat_body())
        assert (got.status, got.error["code"]) == (status, code)
        assert b"sk-fake" not in got.body


BEGUN = [openai.CREATED_EVENT, *list(openai.message(0, ["Hel"]))[:3]]
OPENED = [MessageStart(usage()), block_start(0, {"type": "text", "text": ""}), block_delta(0, "text_delta", text="Hel")]


@pytest.mark.parametrize(
    ("kind", "script", "code"),
    [
        (ANTHROPIC, [*OPENED, error()], "upstream_overloaded"),
        (ANTHROPIC, OPENED, "upstream_truncated"),
        (ANTHROPIC, [*OPENED, Reset()], "upstream_truncated"),
        (OLLAMA, [Line("Hel"), Line(error="oops")], "upstream_error"),
        (OLLAMA, [Line("Hel")], "upstream_truncated"),
        (OLLAMA, [Line("Hel"), Close()], "upstream_truncated"),
        (GEMINI, [google.Part({"text": "Hel"}), google.Broken()], "upstream_overloaded"),
        (GEMINI, [google.Part({"text": "Hel"})], "upstream_truncated"),
        (GEMINI, [google.Part({"text": "Hel"}), Reset()], "upstream_truncated"),
        (RESPONSES, [*BEGUN, openai.failed()], "upstream_error"),
        (RESPONSES, [*BEGUN, openai.error("rate_limit_exceeded")], "rate_limit_exceeded"),
        (RESPONSES, BEGUN, "upstream_truncated"),
        (RESPONSES, [*BEGUN, Reset()], "upstream_truncated"),
    ],
)
async def test_stream_that_breaks_ends_with_an_error_and_no_done(kind: str, script: Any, code: str) -> None:
    """An error event, a bare end of the body, a broken connection: none is a success."""
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind=kind) as g:
        fake.script = script
        stream = (await ask(g, "POST", CHAT, json=chat_body())).stream
        assert stream.text == "Hel"
        assert stream.error is not None
        assert stream.error["code"] == code
        assert not stream.done


@pytest.mark.parametrize(
    ("kind", "script"),
    [
        (ANTHROPIC, [MessageStart(usage()), *text_block(0, [" a"] * 40), message_delta("end_turn", 40), MESSAGE_STOP]),
        (OLLAMA, [*[Line(" a")] * 40, done(output_tokens=40)]),
        (GEMINI, [*[google.Part({"text": " a"})] * 40, google.Part({"text": ""}, "STOP", google.usage(9, 40))]),
        (RESPONSES, openai.response([" a"] * 40, counts=openai.usage(9, 40))),
    ],
)
async def test_provider_that_ignores_its_cap_is_cut(kind: str, script: Any) -> None:
    """Past twice the cap, since the tokenizer is not its own; the client sees a proper end."""
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind=kind) as g:
        fake.script = script
        stream = (await ask(g, "POST", CHAT, json=chat_body(max_tokens=10))).stream
        assert (stream.finish, stream.done) == ("length", True)
        assert 10 <= len(stream.text.split()) <= 21


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_provider_cannot_do_never_leaves(kind: str) -> None:
    """400 with the field's name, and nothing was sent."""
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind=kind) as g:
        got = await ask(g, "POST", CHAT, json=chat_body(logit_bias={"1": 1}))
        assert (got.status, got.error["param"], got.error["code"]) == (400, "logit_bias", "unsupported_parameter")
        assert fake.chats == []


@pytest.mark.parametrize("kind", KINDS)
async def test_models_of_every_provider_are_listed(kind: str) -> None:
    """As its own API lists them; the first answers where no model is named."""
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind=kind) as g:
        fake.model_ids = ["model-1", "model-2"]
        fake.script = SCRIPTS[kind]
        listed = (await ask(g, "GET", "/v1/models")).json["data"]
        assert {entry["id"] for entry in listed} == {"model-1", "model-2"}
        body = chat_body()
        del body["model"]
        await ask(g, "POST", CHAT, json=body)
        assert fake.chats[0].model == "model-1"


KEPT = {"type": "reasoning.encrypted", "data": "Q0E=", "format": "google-gemini-v1", "id": "fc_1", "index": 0}
SIGNED_CALL = {
    "functionCall": {"id": "fc_1", "name": "weather", "args": {"city": "Köln"}},
    "thoughtSignature": "Q0E=",
}


async def test_signature_comes_back_to_gemini_from_an_openai_client() -> None:
    """A client that keeps the message as it got it can go on; Gemini refuses a call without its signature."""
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind=GEMINI) as g:
        fake.script = google.gemini([], calls=[google.call("weather", {"city": "Köln"}, "fc_1")])
        fields: dict[str, Any] = {"stream": False, "tools": TOOLS}
        answer = (await ask(g, "POST", CHAT, json=chat_body(**fields))).json["choices"][0]["message"]
        assert answer["reasoning_details"] == [KEPT]
        result = {"role": "tool", "tool_call_id": "fc_1", "content": "rain"}
        fields["messages"] = [{"role": "user", "content": "hi"}, answer, result]
        await ask(g, "POST", CHAT, json=chat_body(**fields))
        _, back, given = fake.chats[1].json["contents"]
        assert back == {"role": "model", "parts": [SIGNED_CALL]}
        assert given["parts"][0]["functionResponse"] == {
            "id": "fc_1",
            "name": "weather",
            "response": {"output": "rain"},
        }


async def test_signature_comes_back_to_gemini_from_an_anthropic_client() -> None:
    """It travels in a block that clients send back unread; a stream and a whole answer have the same ones."""
    tools = [{"name": "weather", "input_schema": {"type": "object", "properties": {}}}]
    asked: dict[str, Any] = {"model": "m", "max_tokens": 50, "tools": tools}
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__kind=GEMINI) as g:
        fake.script = google.gemini([], thoughts=["hm"], calls=[google.call("weather", {"city": "Köln"}, "fc_1")])
        messages: list[Any] = [{"role": "user", "content": "hi"}]
        answer = (await ask(g, "POST", "/v1/messages", json={**asked, "messages": messages})).json
        streamed = await ask(g, "POST", "/v1/messages", json={**asked, "messages": messages, "stream": True})
        starts = [msgspec.json.decode(event.data or "").get("content_block") for event in streamed.events]
        kinds = [block["type"] for block in starts if block]
        assert kinds == [block["type"] for block in answer["content"]] == ["thinking", "redacted_thinking", "tool_use"]
        assert answer["content"][1] in starts
        result = {"type": "tool_result", "tool_use_id": "fc_1", "content": "rain"}
        messages += [{"role": "assistant", "content": answer["content"]}, {"role": "user", "content": [result]}]
        await ask(g, "POST", "/v1/messages", json={**asked, "messages": messages})
        assert fake.chats[2].json["contents"][1] == {"role": "model", "parts": [SIGNED_CALL]}


async def test_key_and_cap_go_to_gemini_in_its_own_words() -> None:
    """The key in its own header, once."""
    async with (
        FakeProvider() as fake,
        gateway_for(fake, limits__output_tokens_max=50, providers__fake__kind=GEMINI) as g,
    ):
        fake.script = google.gemini()
        headers = {"authorization": "Bearer sk-of-the-client", "x-goog-api-key": "AIza-of-the-client"}
        await ask(g, "POST", CHAT, json=chat_body(max_tokens=99), headers=headers)
        sent = fake.chats[0]
        assert [value for name, value in sent.headers.pairs if name.lower() == "x-goog-api-key"] == [
            "sk-fake-key-of-the-tests"
        ]
        assert "authorization" not in sent.headers
        assert sent.json["generationConfig"]["maxOutputTokens"] == 50
