"""The routes for pages without an SDK: `POST /chat/stream`, and `GET /chat` for `EventSource`."""

from __future__ import annotations

import pytest

from tests.fakes.clients import collect
from tests.fakes.gateway import gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Error, ErrorFrame, Role
from tests.streaming.asking import ask

pytestmark = pytest.mark.anyio

PROMPT = {"prompt": "Why is the sky blue?"}


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
