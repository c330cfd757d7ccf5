"""What a running gateway logs: one line for each request, and of what passed through it nothing."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from rillgate.providers.openai import OpenAIStreamDecoder
from rillgate.telemetry.logs import configure_logs
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import CHAT, chat_body, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import (
    Chunk,
    Delta,
    Done,
    Error,
    ErrorFrame,
    Finish,
    Head,
    Pause,
    Reset,
    Role,
    Send,
    Stall,
    ToolCall,
    UsageFrame,
    chat,
    error,
    runaway,
)
from tests.streaming.asking import ask

pytestmark = pytest.mark.anyio

PROMPT = "grandmother's maiden-name is Unwin-Featherstone"
COMPLETION = ["Certainly", ", Featherstone", " rhymes", " with", " Kettlebone"]
CLIENT_KEY = "sk-proj-kl1entkey-kl1entkey-0001"
PROVIDER_KEY = "sk-fake-key-of-the-tests"
SECRETS = ["grandmother", "maiden", "Unwin", "Featherstone", "Certainly", "Kettlebone", "kl1entkey", PROVIDER_KEY]

_LOGGERS = (None, "rillgate", "uvicorn", "uvicorn.error", "uvicorn.asgi", "uvicorn.access", "httpx2", "httpcore2")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Logging of the whole process into a buffer, at its most talkative, and afterwards as it was."""
    touched = [logging.getLogger(name) for name in _LOGGERS]
    before = [(each, each.handlers[:], each.level, each.propagate, each.disabled) for each in touched]
    buffer = io.StringIO()
    configure_logs("debug", buffer)
    yield buffer
    for each, handlers, level, propagate, disabled in before:
        each.handlers[:], each.propagate, each.disabled = handlers, propagate, disabled
        each.setLevel(level)


async def lines(log: io.StringIO, requests: int) -> list[dict[str, Any]]:
    """The lines of requests, once there are so many; the last one is written after its answer."""
    while len(found := _requests(log)) < requests:
        await asyncio.sleep(0)
    assert len(found) == requests
    return found


def _requests(log: io.StringIO) -> list[dict[str, Any]]:
    every = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in every if line["event"] == "request"]


def check_secrets(log: io.StringIO) -> None:
    """Nothing that was said, and no key, is in any line."""
    text = log.getvalue().lower()
    assert text
    for secret in SECRETS:
        assert secret.lower() not in text, secret


def secret_chat(**fields: Any) -> dict[str, Any]:
    """A request full of secrets."""
    messages = [{"role": "system", "content": f"Never say {PROMPT}"}, {"role": "user", "content": PROMPT}]
    return chat_body(messages=messages, user=PROMPT, metadata={"note": PROMPT}, **fields)


async def test_request_logged_has_the_fields_of_a_stream(log: io.StringIO) -> None:
    """Everything that the operator may want to know of one stream, in one line at its end, in the clock's time."""
    clock = FakeClock()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock, timeouts__heartbeat_s=100) as g:
        fake.script = [Pause(), Role(), Chunk("one"), Pause(), Chunk(" two"), Finish(), UsageFrame(9, 4), Done()]
        async with await g.client() as client:
            headers = {"x-client-request-id": "turn 7 of chat-1"}
            await client.request("POST", CHAT, json=chat_body(model="fake/m", max_tokens=5), headers=headers)
            await fake.request()
            clock.advance(0.25)
            fake.allow()
            assert await client.response() == 200
            await client.next_frame()
            await client.next_frame()
            clock.advance(1.5)
            assert _requests(log) == []
            fake.allow()
            body = await client.read_body()
            request_id = client.headers["x-request-id"]
        (line,) = await lines(log, 1)
    assert line.pop("timestamp").endswith("Z")
    assert line.pop("bytes") > len(body) > 0
    assert re.fullmatch("[0-9a-f]{32}", line.pop("trace_id"))
    assert re.fullmatch("[0-9a-f]{16}", line.pop("span_id"))
    assert re.fullmatch("[0-9a-f]{16}", line.pop("upstream_span_id"))
    assert line == {
        "level": "info",
        "event": "request",
        "service": "rillgate",
        "request_id": request_id,
        "method": "POST",
        "route": CHAT,
        "status": 200,
        "end": "finished",
        "client_request_id": "turn 7 of chat-1",
        "model": "fake/m",
        "routed_model": "m",
        "provider": "fake",
        "dialect": "chat_completions",
        "stream": True,
        "ttft_ms": 250.0,
        "duration_ms": 1750.0,
        "chunks": 2,
        "input_tokens": 9,
        "output_tokens": 4,
        "stall_s": 0.0,
        "pause_s": 0.0,
        "ledger_ms": 0.0,
        "scopes": ["global"],
    }


async def test_request_logged_of_a_whole_answer_says_what_it_has(log: io.StringIO) -> None:
    """No chunks where there were none; estimates are marked as such."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = chat(usage=False)
        got = await ask(g, "POST", CHAT, json=chat_body(stream=False))
        (line,) = await lines(log, 1)
    assert (line["end"], line["status"], line["stream"], line["estimated"]) == ("finished", 200, False, True)
    assert line["bytes"] == len(got.body)
    assert line["output_tokens"] > 0
    assert "chunks" not in line
    assert line["request_id"] == got.check_id()


async def test_request_logged_for_every_route_under_its_template(log: io.StringIO) -> None:
    """Paths and queries hold models' names and prompts; the line has the route instead. One line each."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        asked: list[tuple[str, str, str, int]] = [
            ("GET", "/chat/m?message=Unwin", "/chat/{model:path}", 200),
            ("GET", "/chat?message=Unwin", "/chat", 200),
            ("GET", "/v1/models", "/v1/models", 200),
            ("GET", "/v1/models/Unwin", "/v1/models/{id:path}", 404),
            ("POST", "/v1/requests/Unwin/cancel", "/v1/requests/{id}/cancel", 404),
            ("GET", "/Unwin?prompt=Unwin", "unmatched", 404),
            ("DELETE", "/chat", "unmatched", 405),  # no route takes it
            ("POST", CHAT, CHAT, 400),
        ]
        ids = []
        for method, path, _, status in asked:
            got = await ask(g, method, path)
            assert got.status == status, path
            ids.append(got.check_id())
        found = await lines(log, len(asked))
    by_id = {line["request_id"]: line for line in found}  # a line waits until its hold is settled, a client does not
    assert len(by_id) == len(ids)
    for (method, _, route, status), request_id in zip(asked, ids, strict=True):
        line = by_id[request_id]
        assert (line["method"], line["route"], line["status"]) == (method, route, status)
    check_secrets(log)


async def test_probes_and_page_files_leave_no_line_until_they_fail(log: io.StringIO) -> None:
    """What is asked every few seconds for ever is no news; a refusal is."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        for method, path in (("GET", "/healthz"), ("HEAD", "/readyz"), ("GET", "/metrics"), ("GET", "/")):
            assert (await ask(g, method, path)).status == 200
        g.gateway.streams.begin()
        assert (await ask(g, "GET", "/readyz")).status == 503
        assert (await ask(g, "GET", "/metrics", headers={"host": "rebound.example"})).status == 403
        (line,) = await lines(log, 1)
    assert (line["status"], line["error"]) == (403, "stranger_refused")


async def test_request_that_is_refused_by_the_connection_is_in_the_log_under_its_id(log: io.StringIO) -> None:
    """What is no HTTP gets an answer with an id as well, and an operator who is told it finds a line."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        ids = []
        for broken in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nhost: x\r\n" + b"x: y\r\n" * 2000 + b"\r\n"):
            async with await g.client() as client:
                await client.send(broken)
                assert await client.response() in (400, 431)
                ids.append(client.headers["x-request-id"])
    refused = [line for line in map(json.loads, log.getvalue().splitlines()) if line["event"] == "request_refused"]
    assert [line["request_id"] for line in refused] == ids
    assert [(line["status"], line["error"]) for line in refused] == [
        (400, "malformed_http"),
        (431, "headers_too_large"),
    ]


async def test_clients_own_id_is_logged_only_where_it_is_one(log: io.StringIO) -> None:
    """Printable and short; anything else is left out. Ours stands beside it in any case."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        for client_id in ("turn-7", "x" * 128, "x" * 129, "", "caf\u00e9"):
            await ask(g, "POST", CHAT, json=chat_body(), headers={"x-client-request-id": client_id})
        found = await lines(log, 5)
    assert [line.get("client_request_id") for line in found] == ["turn-7", "x" * 128, None, None, None]
    assert all(line["request_id"].startswith("req_") for line in found)


async def test_log_of_successes_holds_nothing_that_was_said(log: io.StringIO) -> None:
    """Streams and answers, tools, every route that takes a prompt, a cut at the cap; debug level and keys included."""
    credentials = {"authorization": f"Bearer {CLIENT_KEY}", "x-api-key": CLIENT_KEY}
    tools = [ToolCall("call_1", "look_up_Featherstone", ['{"who": "', 'Unwin"}'])]
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = chat(COMPLETION)
        fake.by_model["tools"] = chat(COMPLETION, tools=tools)
        fake.by_model["json"] = chat(COMPLETION, as_json=True)
        fake.by_model["uncounted"] = chat(COMPLETION, usage=False)
        fake.by_model["gpt-4o"] = runaway(50)
        query = "message=Featherstone%20Unwin&system_prompt=grandmother"
        for got in (
            *[
                await ask(g, "POST", CHAT, json=secret_chat(stream=stream, model=model), headers=credentials)
                for stream in (True, False)
                for model in ("m", "tools", "json", "uncounted")
            ],
            await ask(g, "POST", CHAT, json=secret_chat(model="gpt-4o", max_tokens=3)),
            await ask(g, "POST", "/chat/stream", json={"prompt": PROMPT, "system_prompt": PROMPT}),
            await ask(g, "GET", f"/chat/m?{query}", headers={"cookie": f"key={CLIENT_KEY}"}),
            await ask(g, "GET", f"/chat?{query}", headers={"referer": f"http://x/?{query}"}),
            await ask(g, "GET", f"/chat?{query}", headers={"last-event-id": PROMPT}),
        ):
            assert got.status in (200, 204)
        await lines(log, 13)
    check_secrets(log)


async def test_log_of_client_errors_holds_nothing_that_was_said(log: io.StringIO) -> None:
    """Messages to the client may quote what is wrong; the log does not, wherever the prompt or the key was put."""
    bodies: list[object] = [
        {"messages": PROMPT},
        {"messages": [PROMPT]},
        {"messages": [{"role": PROMPT, "content": "x"}]},
        {"messages": [{"role": "user", "content": 5, "name": PROMPT}]},
        {"messages": [{"role": "user", "content": PROMPT}], "temperature": PROMPT},
        {"messages": [{"role": "user", "content": PROMPT}], "stop": [PROMPT] * 99},
        {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": PROMPT},
        {"messages": [{"role": "user", "content": PROMPT}], "stream_options": {"include_usage": PROMPT}},
        PROMPT,
        [PROMPT],
    ]
    async with FakeProvider() as fake, gateway_for(fake, limits__body_bytes_max=20_000) as g:
        for body in bodies:
            assert (await ask(g, "POST", CHAT, json=body)).status == 400
        assert (await ask(g, "POST", CHAT, body=b'{"messages": "' + PROMPT.encode() + b"\xff")).status == 400
        assert (await ask(g, "POST", CHAT, body=PROMPT.encode() * 1000)).status == 413
        assert (await ask(g, "POST", "/chat/stream", json={PROMPT: 1, "prompt": PROMPT})).status == 400
        assert (await ask(g, "GET", "/chat/m?message=hi&temperature=Featherstone")).status == 400
        assert (await ask(g, "POST", CHAT, json=chat_body(), headers={"host": "Unwin.example"})).status == 403
        assert (await ask(g, "POST", CHAT, json=chat_body(), headers={"origin": "https://Unwin"})).status == 403
        got = await ask(g, "POST", CHAT, json=chat_body(model=CLIENT_KEY))
        assert got.status == 200
        found = await lines(log, 17)
        async with await g.client() as client:
            await client.send(b"GET /chat?message=Unwin HTTP/1.1\r\nbroken Featherstone\r\n\r\n")
            assert await client.response() == 400
    assert found[-1]["model"].startswith(f"[masked {len(CLIENT_KEY)} ")
    check_secrets(log)


async def test_log_of_upstream_errors_holds_nothing_that_was_said(log: io.StringIO) -> None:
    """Providers quote prompts and keys in their errors: in messages, codes and bodies, before and within streams."""
    quoting = error(f"cannot answer {PROMPT} with {PROVIDER_KEY}", PROMPT, PROMPT)
    scripts: list[Any] = [
        [Error(400, quoting)],
        [Error(401, quoting)],
        [Error(404, quoting)],
        [Error(429, quoting)],
        [Error(500, {"detail": PROMPT})],
        [Error(503, PROMPT)],
        [ErrorFrame(PROMPT, PROMPT, PROMPT)],
        [Role(), *map(Chunk, COMPLETION), ErrorFrame(PROMPT, PROMPT, PROMPT)],
        [Role(), *map(Chunk, COMPLETION), Reset()],
        [Role(), *map(Chunk, COMPLETION)],
        [Role(), *map(Chunk, COMPLETION), Send(f"data: {PROMPT}\n\n".encode())],
        [Role(), Delta({"content": COMPLETION, "tool_calls": PROMPT}), Stall()],
        [Head(headers={"content-type": "application/json"}), Send(PROMPT.encode())],
        [Head(headers={"content-encoding": PROMPT.replace(" ", "")}), Send(PROMPT.encode())],
        [Head(302, {"location": f"http://127.0.0.1/{PROVIDER_KEY}"})],
        [Reset()],
    ]
    clock = FakeClock()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock, timeouts__heartbeat_s=10_000) as g:
        for number, script in enumerate(scripts):
            fake.queue(script)
            if isinstance(script[0], Reset):
                fake.queue(script)  # a kept connection that ends without a word is tried once more, on a new one
            async with await g.chat(**secret_chat()) as client:
                exchange = await fake.request(number)
                if script and isinstance(script[-1], Stall):
                    await exchange.reached(1)
                    while g.gateway.streams.running() and not exchange.done.is_set():
                        clock.advance(100)
                        await asyncio.sleep(0)
                await client.response()
                await client.read_body()
        found = await lines(log, len(scripts))
    assert {line["end"] for line in found} <= {"upstream_error", "truncated", "idle"}
    assert all(line["error"] for line in found)
    check_secrets(log)


async def test_log_of_clients_that_leave_holds_nothing_that_was_said(log: io.StringIO) -> None:
    """In mid-stream, before the first byte and within their own body."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.by_model["talks"] = [Role(), *map(Chunk, COMPLETION), Stall()]
        fake.by_model["thinks"] = [Stall()]
        for number, (model, stream) in enumerate([("talks", True), ("thinks", True), ("thinks", False)]):
            async with await g.chat(**secret_chat(model=model, stream=stream)) as client:
                await fake.request(number)
                if model == "talks":
                    await client.response()
                    await client.next_frame()
                client.abort()
                await lines(log, number + 1)
        async with await g.client() as client:
            body = json.dumps(secret_chat()).encode()
            await client.request("POST", CHAT, headers={"content-length": "9999"}, body=body)
            client.abort()
        found = await lines(log, 4)
    assert [line["end"] for line in found] == ["client_gone"] * 4
    assert all(line["level"] == "info" for line in found)
    check_secrets(log)


async def test_log_of_faults_of_our_own_holds_nothing_that_was_said(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler, a translator and a send that raise with the prompt in their hands: type and place are logged."""

    def crash(*args: object, **more: object) -> Any:
        raise ValueError(PROMPT, *args)

    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = chat(COMPLETION)
        with monkeypatch.context() as patch:
            patch.setattr(g.gateway.catalog, "resolve", crash)
            assert (await ask(g, "POST", CHAT, json=secret_chat())).status == 500
        with monkeypatch.context() as patch:
            patch.setattr(OpenAIStreamDecoder, "decode", crash)
            assert (await ask(g, "POST", CHAT, json=secret_chat())).status == 500
        with monkeypatch.context() as patch:
            patch.setattr("rillgate.pipeline.admit.estimate_prompt", crash)
            assert (await ask(g, "POST", CHAT, json=secret_chat())).status == 500
        found = await lines(log, 3)
        assert g.gateway.streams.running() == 0
        assert g.gateway.metrics.active_streams == 0
    assert [line["error"] for line in found] == ["internal_error"] * 3
    every = [json.loads(line) for line in log.getvalue().splitlines()]
    failures = [line for line in every if line["event"] == "request_failed"]
    assert {line["request_id"] for line in failures} == {line["request_id"] for line in found}
    assert all(line["exception"] == "ValueError" and line["frames"] for line in failures)
    check_secrets(log)
