"""Every way in which a stream ends, over real sockets, in the dialects that are neither Chat Completions nor Messages:
what the client gets in its own words, what the provider sees, what is charged.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from rillgate.domain.ends import End
from tests.fakes import script_anthropic, script_bedrock, script_gemini, script_ollama, script_openai_responses
from tests.fakes.clients import RawClient
from tests.fakes.clock import FakeClock
from tests.fakes.exchange import Script
from tests.fakes.gateway import GatewayInTest, gateway_for
from tests.fakes.ledger import FakeLedger
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Close, Error, ErrorFrame, Finish, Pause, Reset, Role, Stall, chat, flood, runaway
from tests.streaming.asking import Got, ask, read
from tests.streaming.test_ends import ends
from tests.unit.dialects import sdk_support, ui_support

pytestmark = pytest.mark.anyio


class Told(msgspec.Struct):
    """What a client was told, in no dialect's words.

    Attributes:
        ending: "whole", "length", "cancelled" or "error".
        why: the error's message.
        report: the field `rillgate`.
        output_tokens: as the usage says.
    """

    text: str
    ending: str
    why: str = ""
    report: dict[str, Any] | None = None
    output_tokens: int | None = None


class Front(msgspec.Struct, frozen=True):
    """A dialect: where and how one asks in it, and how its streams are read, each checked to be a proper one."""

    path: str
    body: Callable[..., dict[str, Any]]
    told: Callable[[bytes], Told]
    headers: dict[str, str]


def responses_body(*, cap: int | None = None, **fields: Any) -> dict[str, Any]:
    """A streaming request of OpenAI's Responses."""
    return {
        "model": "fake-model",
        "stream": True,
        "input": "hi",
        **({"max_output_tokens": cap} if cap else {}),
        **fields,
    }


def responses_told(stream: bytes) -> Told:
    """Its events, numbered without gaps, of which one is terminal and the last."""
    events = sdk_support.response_events(stream)
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    response = events[-1]["response"]
    assert [event["type"] in sdk_support.RESPONSE_ENDS for event in events].index(True) == len(events) - 1
    if response["status"] == "failed":
        assert events[-2]["type"] == "error"
        assert events[-2]["message"] == response["error"]["message"]
        code = events[-2]["code"]
        return Told(text, "cancelled" if code == "cancelled" else "error", response["error"]["message"])
    sdk_support.response_of(stream)
    ending = "whole" if response["status"] == "completed" else "length"
    return Told(text, ending, "", response.get("rillgate"), response["usage"]["output_tokens"])


def ui_body(*, cap: int | None = None, **fields: Any) -> dict[str, Any]:
    """What `useChat` sends."""
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
    asked = {"id": "chat1", "messages": [message], "trigger": "submit-message", "model": "fake-model"}
    return {**asked, **({"maxOutputTokens": cap} if cap else {}), **fields}


def ui_told(stream: bytes) -> Told:
    """Its chunks, which end in one of three ways."""
    message = ui_support.message_of(stream)
    assert message.ends in (["finish", "[DONE]"], ["error"], ["abort"])
    if message.ends == ["error"]:
        return Told(message.text("text"), "error", message.error or "")
    if message.ends == ["abort"]:
        return Told(message.text("text"), "cancelled")
    ending = {"stop": "whole", "length": "length"}[message.finish or ""]
    usage = message.metadata["usage"]["outputTokens"]
    return Told(message.text("text"), ending, "", message.metadata.get("rillgate"), usage)


FRONTS = {
    "responses": Front("/v1/responses", responses_body, responses_told, {}),
    "ui_stream": Front("/v1/ui-stream", ui_body, ui_told, {"x-vercel-ai-ui-message-stream": "v1"}),
}


class Scene:
    """A dialect in front of a gateway, a provider behind it, and a ledger that remembers."""

    def __init__(
        self, front: Front, fake: FakeProvider, g: GatewayInTest, ledger: FakeLedger, clock: FakeClock
    ) -> None:
        self.front = front
        self.fake = fake
        self.g = g
        self.ledger = ledger
        self.clock = clock

    async def begun(self, *, until: bytes = b"one", rcvbuf: int | None = None, **fields: Any) -> RawClient:
        """A stream that has begun and goes no further by itself."""
        client = await self.g.client(rcvbuf=rcvbuf)
        await client.request("POST", self.front.path, json=self.front.body(**fields), headers={"connection": "close"})
        assert await client.response() == 200
        self.seen = await client.read_until(until) if until else b""
        return client

    async def told(self, client: RawClient) -> Told:
        """The rest of such a stream, and what all of it said."""
        return self.front.told(self.seen + await client.read_body())

    async def ask(self, **fields: Any) -> Got:
        """A whole stream, or an answer instead of one."""
        return await ask(self.g, "POST", self.front.path, json=self.front.body(**fields))

    async def stream(self, **fields: Any) -> Told:
        """What a whole stream said."""
        got = await self.ask(**fields)
        assert got.status == 200
        assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert {name: got.headers[name] for name in self.front.headers} == self.front.headers
        return self.front.told(got.body)

    async def settled(self, end: End) -> None:
        """Nothing runs any more, the books name this end once, and it was charged unless the provider refused."""
        await self.g.settled()
        assert ends(self.g) == {end.value: 1}
        charged = self.ledger.settled_once()
        assert self.ledger.settles[0].record.end == end.value
        assert charged.requests == (0 if end is End.UPSTREAM_ERROR and not self.fake.chats[0].chunks_sent else 1)


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest) -> Front:
    """Each dialect."""
    return FRONTS[request.param]


@asynccontextmanager
async def set_up(front: Front, **overrides: Any) -> AsyncIterator[Scene]:
    """All of it; at the end every hold is over."""
    clock, ledger = FakeClock(), FakeLedger()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock, ledger=ledger, **overrides) as g:
        yield Scene(front, fake, g, ledger, clock)
        await g.settled()
        assert ledger.open_holds() == []


async def test_end_finished(front: Front) -> None:
    """Whole, with the provider's usage."""
    async with set_up(front) as scene:
        scene.fake.script = chat(["Hel", "lö", "!"])
        told = await scene.stream()
        assert (told.text, told.ending, told.report) == ("Hellö!", "whole", None)
        assert told.output_tokens == 3
        await scene.settled(End.FINISHED)


async def test_end_finished_without_done_or_usage(front: Front) -> None:
    """The provider's silence is made good: an end, and our own count, marked as such."""
    async with set_up(front) as scene:
        scene.fake.script = [Role(), Chunk("one"), Finish(), Reset()]
        told = await scene.stream()
        assert (told.text, told.ending, told.report) == ("one", "whole", {"estimated": True})
        assert told.output_tokens == 1
        await scene.settled(End.FINISHED)


@pytest.mark.parametrize("mode", ["strict", "elastic"])
async def test_end_budget_cuts_a_provider_that_ignores_it(front: Front, mode: str) -> None:
    """At the hold, to the token; a proper end that says whose limit it was."""
    async with set_up(front, ledger__mode=mode) as scene:
        scene.ledger.lower_to(20, by="team:core")
        scene.fake.script = runaway(5000)
        told = await scene.stream(model="gpt-4o", cap=1000)
        assert (told.text, told.ending, told.output_tokens) == (" a" * 20, "length", 20)
        assert told.report == {"stop": "budget", "scope": "team:core", "estimated": True}
        await scene.fake.closed()
        await scene.settled(End.BUDGET)


async def test_end_budget_that_the_provider_keeps_to(front: Front) -> None:
    """Its own stop at a cap that a budget had lowered."""
    async with set_up(front) as scene:
        scene.ledger.lower_to(3, by="key:a1")
        scene.fake.script = chat([" a"] * 3, finish="length", output_tokens=3)
        told = await scene.stream(cap=50)
        assert (told.ending, told.report, told.output_tokens) == ("length", {"stop": "budget", "scope": "key:a1"}, 3)
        assert scene.fake.chats[0].json["max_tokens"] == 3
        await scene.settled(End.BUDGET)


@pytest.mark.parametrize("how", ["abort", "close"])
async def test_end_client_gone(front: Front, how: str) -> None:
    """A closed tab stops the meter."""
    async with set_up(front) as scene:
        scene.fake.script = [Role(), Chunk("one"), Stall()]
        client = await scene.begun()
        getattr(client, how)()
        await scene.fake.closed()
        await scene.settled(End.CLIENT_GONE)
        client.close()


async def test_end_stalled(front: Front) -> None:
    """A client that takes nothing is ended by us; if it wakes up it reads the reason, in order."""
    async with set_up(front, timeouts__stall_s=30) as scene:
        scene.fake.script = flood(64)
        client = await scene.begun(until=b"", rcvbuf=4096, cap=32768)
        exchange = await scene.fake.request()
        await exchange.stands_still()
        scene.clock.advance(30)
        await scene.fake.closed()
        await scene.g.idle()
        told = await scene.told(client)
        assert told.ending == "error"
        assert told.why == "The client took nothing for too long (timeouts.stall_s)."
        await scene.settled(End.STALLED)
        client.close()


async def test_end_idle(front: Front) -> None:
    """A provider that falls silent."""
    async with set_up(front, timeouts__idle_s=90) as scene:
        scene.fake.script = [Role(), Chunk("one"), Stall()]
        client = await scene.begun()
        scene.clock.advance(90)
        told = await scene.told(client)
        assert (told.text, told.ending) == ("one", "error")
        await scene.settled(End.IDLE)
        client.close()


async def test_end_deadline(front: Front) -> None:
    """total_s is over."""
    async with set_up(front, timeouts__total_s=900, timeouts__idle_s=5000) as scene:
        scene.fake.script = [Role(), Chunk("one"), Stall()]
        client = await scene.begun()
        scene.clock.advance(900)
        told = await scene.told(client)
        assert (told.text, told.ending) == ("one", "error")
        await scene.settled(End.DEADLINE)
        client.close()


async def test_end_upstream_error_before_the_first_event(front: Front) -> None:
    """A true status, OpenAI's shape, and how long to wait."""
    async with set_up(front) as scene:
        scene.fake.script = [Error(429, headers={"retry-after": "7"})]
        got = await scene.ask()
        assert (got.status, got.error["code"], got.headers["retry-after"]) == (429, "rate_limit_exceeded", "7")
        await scene.settled(End.UPSTREAM_ERROR)


async def test_end_upstream_error_in_mid_stream(front: Front) -> None:
    """In-band, after what came."""
    async with set_up(front) as scene:
        scene.fake.script = [Role(), Chunk("one"), ErrorFrame("fell over")]
        told = await scene.stream()
        assert (told.text, told.ending, told.why) == ("one", "error", "fell over")
        await scene.settled(End.UPSTREAM_ERROR)


async def test_end_upstream_error_after_a_heartbeat(front: Front) -> None:
    """Once a heartbeat has committed the status, an error can only be said in-band: a stream of nothing but that."""
    async with set_up(front, timeouts__heartbeat_s=12) as scene:
        scene.fake.script = [Pause(), Error(500)]
        async with await scene.g.client() as client:
            await client.request("POST", front.path, json=front.body(), headers={"connection": "close"})
            await scene.fake.request()
            scene.clock.advance(12)
            assert await client.response() == 200
            scene.fake.allow()
            stream = await client.read_body()
        assert stream.startswith(b": ping\n")
        told = front.told(stream)
        assert (told.text, told.ending) == ("", "error")
        await scene.settled(End.UPSTREAM_ERROR)


async def test_end_truncated(front: Front) -> None:
    """Never a silent end, and never a false one."""
    async with set_up(front) as scene:
        scene.fake.script = [Role(), Chunk("half an ans"), Close()]
        told = await scene.stream()
        assert (told.text, told.ending) == ("half an ans", "error")
        assert "before the answer was complete" in told.why
        await scene.settled(End.TRUNCATED)


async def test_end_cancelled(front: Front) -> None:
    """By its id, from another connection."""
    async with set_up(front) as scene:
        scene.fake.script = [Role(), Chunk("one"), Stall()]
        client = await scene.begun()
        cancelled = await ask(scene.g, "POST", f"/v1/requests/{client.headers['x-request-id']}/cancel")
        assert cancelled.status == 200
        told = await scene.told(client)
        assert (told.text, told.ending) == ("one", "cancelled")
        await scene.fake.closed()
        await scene.settled(End.CANCELLED)
        client.close()


async def test_end_shutdown(front: Front) -> None:
    """A stream that does not finish in time is told so before the process goes."""
    async with set_up(front, grace_s=0) as scene:
        scene.fake.script = [Role(), Chunk("one"), Stall()]
        client = await scene.begun()
        scene.g.address.server.stop()
        told = await scene.told(client)
        assert (told.text, told.ending) == ("one", "error")
        await scene.settled(End.SHUTDOWN)
        client.close()


def test_every_end_is_here() -> None:
    """A new one needs a test in these dialects, too."""
    assert {end for end in End if f"test_end_{end.value}" not in " ".join(globals())} == set()


# Beside the ends --------------------------------------------------------------------------------------------------

SCRIPTS: dict[str, Script] = {
    "openai": chat(["Hel", "lö"]),
    "anthropic": script_anthropic.message(["Hel", "lö"]),
    "ollama": script_ollama.lines(["Hel", "lö"]),
    "bedrock": script_bedrock.bedrock(["Hel", "lö"]),
    "gemini": script_gemini.gemini(["Hel", "lö"]),
    "openai_responses": script_openai_responses.response(["Hel", "lö"]),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", SCRIPTS)
async def test_every_provider_answers_in_the_clients_dialect(front: Front, kind: str, stream: bool) -> None:
    """Streaming and not."""
    overrides: dict[str, Any] = {"providers__fake__kind": kind}
    async with FakeProvider() as fake:
        if kind == "bedrock":
            overrides |= {"providers__fake__region": "eu-central-1"}
            overrides |= {"providers__fake__base_url": f"http://127.0.0.1:{fake.port}"}
        async with gateway_for(fake, **overrides) as g:
            fake.script = SCRIPTS[kind]
            got = await ask(g, "POST", front.path, json=front.body(stream=stream))
            assert got.status == 200
            if stream:
                assert front.told(got.body).text == "Hellö"
                return
            said = got.json
            texts = [part["text"] for item in said.get("output", ()) for part in item["content"]]
            assert [*texts, *(part["text"] for part in said.get("parts", ()) if "text" in part)] == ["Hellö"]


async def test_key_is_asked_for_and_its_limits_hold(front: Front) -> None:
    """401 without one, 429 where it is used up, in OpenAI's shape, before the body is looked at or a provider asked."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        got = await ask(g, "POST", front.path, body=b"no json")
        assert (got.status, got.error["code"]) == (401, "missing_api_key")
        key = await g.new_key(limits=["requests/total=1"])
        bearer = {"authorization": f"Bearer {key}"}
        assert (await ask(g, "POST", front.path, json=front.body(), headers=bearer)).status == 200
        await g.settled()
        got = await ask(g, "POST", front.path, json=front.body(), headers=bearer)
        assert (got.status, got.error["code"]) == (429, "insufficient_quota")
        assert got.headers["x-should-retry"] == "false"
        got = await ask(g, "POST", front.path, body=b"no json", headers=bearer)
        assert (got.status, got.error["code"]) == (400, "invalid_json")
        assert len(fake.chats) == 1


async def test_page_of_another_origin_may_ask(front: Front) -> None:
    """Preflight and answer, errors too, and it may read the headers that it needs."""
    page = "http://localhost:3000"
    async with FakeProvider() as fake, gateway_for(fake, server__cors_origins=[page]) as g:
        asked = {
            "origin": page,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type",
        }
        got = await ask(g, "OPTIONS", front.path, headers=asked)
        assert (got.status, got.headers["access-control-allow-origin"]) == (200, page)
        got = await ask(g, "POST", front.path, json=front.body(), headers={"origin": page})
        assert got.headers["access-control-allow-origin"] == page
        assert {"x-request-id", *front.headers} <= set(got.headers["access-control-expose-headers"].split(", "))
        got = await ask(g, "POST", front.path, json={}, headers={"origin": page})
        assert (got.status, got.headers["access-control-allow-origin"]) == (400, page)


async def test_wrong_method_is_said_in_openais_shape(front: Front) -> None:
    """As everywhere."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        got = await ask(g, "PUT", front.path)
        assert (got.status, got.error["type"]) == (405, "invalid_request_error")


async def test_stream_that_use_chat_would_resume_is_nowhere() -> None:
    """204 is the protocol's word for that; it needs a key like everything else."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        path = "/v1/ui-stream/chat1/stream"
        assert (await ask(g, "GET", path)).status == 401
        async with await g.client() as client:
            bearer = {"authorization": f"Bearer {await g.new_key()}"}
            await client.request("GET", path, headers=bearer)
            got = await read(client)
        assert (got.status, got.body) == (204, b"")
