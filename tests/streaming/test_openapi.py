"""Every answer that `GET /openapi.json` describes, from a real gateway over sockets, and nothing that it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from openapi_spec_validator import OpenAPIV31SpecValidator

from rillgate.app.auth import Door
from rillgate.domain.errors import BudgetUnavailable
from tests.fakes.clock import FakeClock
from tests.fakes.exchange import Exchange, Script
from tests.fakes.gateway import CHAT, GatewayInTest, chat_body, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Error, Role, Stall, chat, error
from tests.fakes.script_embeddings import vectors
from tests.streaming.asking import Got, ask, read
from tests.streaming.described import Undescribed, check_answer, described
from tests.streaming.limited import limited_gateway

pytestmark = pytest.mark.anyio

MESSAGES = "/v1/messages"
EMBEDDINGS = "/v1/embeddings"
PROMPT = {"prompt": "hi"}
MESSAGE = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
ANTHROPIC = {"anthropic-version": "2023-06-01"}
STRANGER = {"host": "rebound.example"}
RESPONSES = "/v1/responses"
RESPONSE = {"model": "m", "input": "hi"}
KEPT = f"{RESPONSES}/{{id}}"
UI_STREAM = "/v1/ui-stream"
UI_MESSAGE = {"model": "m", "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]}

# A request that each operation of the API accepts: (method, path, body, headers).
ACCEPTED: dict[tuple[str, str], tuple[str, Any]] = {
    (CHAT, "post"): (CHAT, chat_body(model="m")),
    (MESSAGES, "post"): (MESSAGES, {**MESSAGE, "stream": True}),
    (EMBEDDINGS, "post"): (EMBEDDINGS, {"model": "m", "input": ["hi", "there"]}),
    (f"{MESSAGES}/count_tokens", "post"): (f"{MESSAGES}/count_tokens", {**MESSAGE, "max_tokens": None}),
    (RESPONSES, "post"): (RESPONSES, {**RESPONSE, "stream": True}),
    (f"{RESPONSES}/input_tokens", "post"): (f"{RESPONSES}/input_tokens", RESPONSE),
    **{(KEPT, method): (f"{RESPONSES}/resp_1", None) for method in ("get", "post", "delete")},
    (UI_STREAM, "post"): (UI_STREAM, UI_MESSAGE),
    (f"{UI_STREAM}/{{id}}/stream", "get"): (f"{UI_STREAM}/chat1/stream", None),
    ("/v1/models", "get"): ("/v1/models", None),
    ("/v1/models/{id}", "get"): ("/v1/models/fake-model", None),
    ("/v1/requests/{id}/cancel", "post"): ("/v1/requests/req_1/cancel", None),
    ("/v1/tickets", "post"): ("/v1/tickets", {"user": "ada"}),
    ("/v1/usage", "get"): ("/v1/usage", None),
    ("/chat/stream", "post"): ("/chat/stream", PROMPT),
    ("/chat", "get"): ("/chat?message=hi&model=m", None),
    ("/chat/{model}", "get"): ("/chat/m?message=hi", None),
}
ASKING = [
    key
    for key in ACCEPTED
    if key[0].startswith(("/chat", CHAT)) or key[0] in (MESSAGES, EMBEDDINGS, RESPONSES, UI_STREAM)
]
NAMING = [(f"{MESSAGES}/count_tokens", "post"), (f"{RESPONSES}/input_tokens", "post"), ("/v1/models/{id}", "get")]
WITHOUT_BODY = ("/v1/requests/{id}/cancel", KEPT)

Seen = set[tuple[str, str, str]]


class Recorder:
    """Asks, checks every answer against the document, and remembers which of its answers were seen."""

    def __init__(self) -> None:
        self.seen: Seen = set()

    async def ask(self, g: GatewayInTest, method: str, path: str, **more: Any) -> Got:
        """One request and its answer."""
        got = await ask(g, method, path, **more)
        self.note(method, path, got)
        return got

    def note(self, method: str, path: str, got: Got) -> None:
        """One answer."""
        found = check_answer(method, path, got.status, got.headers, got.body)
        if found is not None:
            self.seen.add(found)

    async def accepted(self, g: GatewayInTest, key: tuple[str, str], **more: Any) -> Got:
        """A request that is in order, but for what `more` says."""
        path, body = ACCEPTED[key]
        return await self.ask(g, key[1].upper(), more.pop("path", path), json=more.pop("json", body), **more)


async def usual(exchange: Exchange) -> None:
    """An answer to whatever is asked."""
    script: Any = vectors() if exchange.path.endswith("/embeddings") else chat(["one", " two"])
    await script(exchange)


@asynccontextmanager
async def recording(
    *, script: Script | None = None, **overrides: Any
) -> AsyncIterator[tuple[FakeProvider, GatewayInTest, Recorder]]:
    """A gateway in front of a provider."""
    async with FakeProvider() as fake, gateway_for(fake, **overrides) as g:
        fake.model_ids = ["fake-model"]
        fake.script = script if script is not None else usual
        yield fake, g, Recorder()


def of(status: int | str, keys: list[tuple[str, str]]) -> Seen:
    """Answers of several operations with one status."""
    return {(path, method, str(status)) for path, method in keys}


# Each story gives the answers that it has seen; what it claims is checked, so that none can go missing unnoticed.


async def successes() -> Seen:
    """Everything that works, streaming and not, in both dialects' shapes."""
    async with recording() as (fake, g, recorder):
        for key in ACCEPTED:
            if key != ("/v1/tickets", "post"):
                await recorder.accepted(g, key)
        await recorder.ask(g, "POST", CHAT, json=chat_body(stream=False, stream_options={"include_usage": True}))
        await recorder.ask(g, "POST", MESSAGES, json=MESSAGE)
        await recorder.ask(g, "POST", RESPONSES, json=RESPONSE)
        await recorder.ask(g, "POST", UI_STREAM, json={**UI_MESSAGE, "stream": False})
        for path in ("/v1/models", "/v1/models/fake-model", "/v1/usage"):
            assert (await recorder.ask(g, "GET", path, headers=ANTHROPIC)).headers["request-id"]
        for path, method in described()["paths"].items():
            if "get" in method and method["get"]["tags"][0] in ("probes", "page"):
                got = await recorder.ask(g, "GET", path)
                await recorder.ask(g, "HEAD", path)
                if "etag" in got.headers:
                    tag = {"if-none-match": got.headers["etag"]}
                    await recorder.ask(g, "GET", path, headers=tag)
                    await recorder.ask(g, "HEAD", path, headers=tag)
        for path in ("/chat?message=hi", "/chat/m?message=hi"):
            await recorder.ask(g, "GET", path, headers={"last-event-id": "req_1:3"})
        fake.by_model["slow"] = [Role(), Chunk("one"), Stall()]
        async with await g.chat(model="slow") as client:
            assert await client.response() == 200
            running = client.headers["x-request-id"]
            await recorder.ask(g, "POST", f"/v1/requests/{running}/cancel")
        ours = await g.new_key(user="ada")
        await recorder.ask(g, "POST", "/v1/tickets", json={"user": "ada"}, headers=bearer(ours))
        await recorder.ask(g, "POST", "/v1/tickets", body=b"", headers=bearer(ours))
        return recorder.seen


async def keys() -> Seen:
    """Refusals of keys, budgets and models; what is left, in headers and in a report."""
    async with recording(auth__required="true") as (_, g, recorder):
        for key in ACCEPTED:
            assert (await recorder.accepted(g, key)).status == 401
            assert (await recorder.accepted(g, key, headers=bearer("rill_not-whole"))).status == 401
        narrow = await g.new_key(models=["else"])
        for key in (*ASKING, *NAMING):
            assert (await recorder.accepted(g, key, headers=bearer(narrow))).status == 403
        rich = await g.new_key(limits=["requests/day=100", "tokens/month=1000000", "usd/total=50"], user="ada")
        await recorder.ask(g, "GET", "/v1/usage", headers=bearer(rich))
        await recorder.ask(g, "POST", "/v1/tickets", json={"user": "bob"}, headers=bearer(rich))
        poor = await g.new_key(limits=["tokens/day=1"])
        for key in ASKING:
            got = await recorder.accepted(g, key, headers=bearer(poor))
            assert (got.status, "x-rillgate-scope" in got.headers) == (429, True)
        small = await g.new_key(limits=["tokens/day=200", "requests/day=9"])
        got = await recorder.ask(g, "POST", CHAT, json=chat_body(max_tokens=500), headers=bearer(small))
        assert got.headers["x-rillgate-output-tokens-max"]
        return recorder.seen


async def strangers() -> Seen:
    """Every route there is, asked by somebody else's page."""
    async with recording() as (_, g, recorder):
        for path, methods in described()["paths"].items():
            for method in methods:
                concrete = path.replace("{id}", "x").replace("{model}", "m")
                assert (await recorder.ask(g, method.upper(), concrete, headers=STRANGER)).status == 403
        return recorder.seen


async def wrong_requests() -> Seen:
    """Bodies and queries that cannot be read, are too large, or ask for what is not there."""
    async with recording(limits__body_bytes_max=2000) as (_, g, recorder):
        key = await g.new_key()
        for path, method in ACCEPTED:
            if method == "post" and path not in WITHOUT_BODY:
                headers = bearer(key)
                assert (await recorder.ask(g, "POST", path, body=b"{", headers=headers)).status == 400
                assert (await recorder.ask(g, "POST", path, body=b"x" * 3000, headers=headers)).status == 413
        for path in ("/chat", "/chat/m"):
            assert (await recorder.ask(g, "GET", path)).status == 400
    async with recording(
        routes__0__model="known",
        routes__0__upstream=["fake/m"],
        providers__b__kind="openai",
        providers__b__base_url="http://127.0.0.1:9/v1",
        providers__b__api_key="none",
    ) as (_, g, more):
        for key_, (path, body) in ACCEPTED.items():
            unknown = {**body, "model": "nobody/x"} if isinstance(body, dict) and "tickets" not in path else body
            asked = path.replace("model=m", "model=nobody").replace("/chat/m?", "/chat/nobody?")
            asked = asked.replace("fake-model", "nobody/x")
            if key_ in (*ASKING, *NAMING):
                assert (await more.ask(g, key_[1].upper(), asked, json=unknown)).status == 404, asked
        await more.accepted(g, ("/v1/requests/{id}/cancel", "post"))
    async with FakeProvider() as one, FakeProvider() as other:
        one.model_ids = other.model_ids = ["fake-model"]
        second: dict[str, Any] = {"providers__b__kind": "openai", "providers__b__base_url": other.base_url}
        async with gateway_for(one, **second, providers__b__api_key="none") as g:
            assert (await more.ask(g, "GET", "/v1/models/fake-model")).status == 400  # which of the two?
    return recorder.seen | more.seen


async def provider_failures() -> Seen:
    """What a provider refuses, and how it fails; before an answer began, and within it."""
    seen: Seen = set()
    for status in (402, 418, 422, 429, 500, 503):
        async with recording(script=[Error(status, error("no", "some_error", "no"))]) as (_, g, recorder):
            for key in ASKING:
                await recorder.accepted(g, key)
            seen |= recorder.seen
    async with recording(script=[Error(500, error("no", "some_error", "no"))]) as (_, g, recorder):
        for key in ASKING:
            assert (await recorder.accepted(g, key)).status == 502
        seen |= recorder.seen
    async with recording(script=[Role(), Chunk("one")]) as (_, g, recorder):  # and then nothing: an error in-band
        for key in ASKING:
            got = await recorder.accepted(g, key)
            assert b'"error"' in got.body
    return seen


async def ended_by_us() -> Seen:
    """A deadline, and a cancel, before an answer began; a gateway that is full, and one that goes down."""
    seen: Seen = set()
    clock = FakeClock()
    async with recording(script=[Stall()], clock=clock, timeouts__first_token_s=5, timeouts__heartbeat_s=100) as (
        fake,
        g,
        recorder,
    ):
        for number, (path, method) in enumerate(ASKING):
            for end in ("timeout", "cancel"):
                concrete, body = ACCEPTED[path, method]
                async with await g.client() as client:
                    name = f"mine-{number}"
                    await client.request(method.upper(), concrete, json=body, headers={"x-client-request-id": name})
                    await fake.request(2 * number + (end == "cancel"))
                    if end == "timeout":
                        clock.advance(6 if path != EMBEDDINGS else 901)  # a whole answer has no first token
                    else:
                        cancelled = await recorder.ask(g, "POST", f"/v1/requests/{name}/cancel")
                        assert cancelled.status == 200
                    got = await read(client)
                    assert got.status == (504 if end == "timeout" else 409), got.body
                    recorder.note(method.upper(), concrete, got)
                await g.idle()
        g.gateway.streams.begin()
        for key in ASKING:
            assert (await recorder.accepted(g, key)).status == 503
        for method in ("GET", "HEAD"):
            assert (await recorder.ask(g, method, "/readyz")).status == 503
        seen |= recorder.seen
    return seen


async def cancelled_elsewhere() -> Seen:
    """Where several processes share a ledger, nobody can say at once whether it runs."""
    async with recording() as (_, g, recorder):

        class Flags:
            async def put_up(self, request_id: str, owner: str) -> None:
                """Taken."""

        handlers = _handlers_of(g)
        handlers._services = replace(handlers._services, cancel_flags=Flags())
        assert (await recorder.ask(g, "POST", "/v1/requests/req_1/cancel")).status == 202
        return recorder.seen


async def faults_of_ours(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """A bug, and a ledger that cannot be reached, where it is asked who it is."""
    seen: Seen = set()
    for fault, status in ((ValueError("a bug"), 500), (BudgetUnavailable("The ledger is away.", retry_after_s=1), 503)):

        async def fails(*args: Any, fault: Exception = fault, **kwargs: Any) -> Any:
            raise fault

        with monkeypatch.context() as patch:
            for name in ("principal", "principal_of_link", "issuer"):
                patch.setattr(Door, name, fails)
            async with recording() as (_, g, recorder):
                for key in ACCEPTED:
                    assert (await recorder.accepted(g, key)).status == status
                seen |= recorder.seen
    return seen


async def floods() -> Seen:
    """Every route there is, asked by an address that has asked too much."""
    recorder = Recorder()
    async with FakeProvider() as fake, limited_gateway(fake, rate_max=0.001, burst_max=1) as g:
        await ask(g, "GET", "/healthz")
        for path, methods in described()["paths"].items():
            for method in methods:
                concrete = path.replace("{id}", "x").replace("{model}", "m")
                assert (await recorder.ask(g, method.upper(), concrete)).status == 429
    return recorder.seen


async def slow_bodies() -> Seen:
    """Every body that begins and does not go on."""
    recorder, clock = Recorder(), FakeClock()
    async with recording(clock=clock, auth__required="true") as (_, g, _):
        key = await g.new_key()
        for path, method in ACCEPTED:
            if method == "post" and path not in WITHOUT_BODY:
                async with await g.client() as client:
                    await client.request("POST", path, headers={**bearer(key), "content-length": "9"}, body=b"{")
                    answering = asyncio.create_task(read(client))
                    while not answering.done():
                        clock.advance(1)
                        await asyncio.sleep(0)
                    got = await answering
                    assert got.status == 408
                    recorder.note("POST", path, got)
    return recorder.seen


async def metrics_off() -> Seen:
    """Switched off they are not there."""
    async with recording(server__metrics="off") as (_, g, recorder):
        for method in ("GET", "HEAD"):
            assert (await recorder.ask(g, method, "/metrics")).status == 404
        return recorder.seen


def bearer(key: str) -> Mapping[str, str]:
    """The header."""
    return {"authorization": f"Bearer {key}"}


def _handlers_of(g: GatewayInTest) -> Any:
    found: Any = g.gateway.asgi
    while not hasattr(found, "routes"):
        found = found._app
    endpoint: Callable[..., Any] = next(route for route in found.routes if route.path == "/v1/usage").endpoint
    return endpoint.__self__  # type: ignore[attr-defined]


async def test_every_answer_that_is_described_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each route, with success and each status: given by a gateway, and as the document says."""
    seen = await faults_of_ours(monkeypatch)
    for story in (
        *(
            successes,
            keys,
            strangers,
            wrong_requests,
            provider_failures,
            ended_by_us,
            cancelled_elsewhere,
            metrics_off,
            floods,
            slow_bodies,
        ),
    ):
        seen |= await story()
    every = {
        (path, method, status)
        for path, methods in described()["paths"].items()
        for method, operation in methods.items()
        for status in operation["responses"]
    }
    assert sorted(every - seen) == [], "described, and never given"
    assert seen <= every


async def test_document_is_served_to_everybody_on_this_machine() -> None:
    """Without a key, since it holds nothing of anybody's, and always the one that fits this gateway."""
    for required in ("true", "false"):
        async with recording(auth__required=required) as (_, g, recorder):
            got = await recorder.ask(g, "GET", "/openapi.json")
            OpenAPIV31SpecValidator(got.json).validate()
            anybody = {} in got.json["paths"][CHAT]["post"]["security"]
            assert anybody is (required == "false")


@pytest.mark.parametrize(
    ("status", "headers", "body", "why"),
    [
        (299, {}, b"{}", "not described"),
        (200, {"x-rillgate-secret": "1"}, b"{}", "a header"),
        (200, {"x-request-id": "mine"}, b"{}", "does not match"),
        (200, {"content-type": "text/html"}, b"", "text/html"),
        (200, {}, b'{"object": "usage", "scopes": [{"scope": 1}]}', "scopes"),
        (200, {}, b'{"object": "usage", "scopes": [], "more": 1}', "more"),
        (200, {}, b"no json", "no JSON"),
    ],
)
def test_check_finds_what_is_not_described(status: int, headers: Mapping[str, str], body: bytes, why: str) -> None:
    """It can fail."""
    usual = {"x-request-id": "req_AAAAAAAAAAAAAAAA", "content-type": "application/json"}
    good = b'{"object": "usage", "scopes": []}'
    assert check_answer("GET", "/v1/usage", 200, usual, good) == ("/v1/usage", "get", "200")
    with pytest.raises(Undescribed, match=why):
        check_answer("GET", "/v1/usage", status, {**usual, **headers}, body)


def test_check_finds_routes_and_events_that_are_not_described() -> None:
    """A route that nobody has entered, an event of no known shape, an id that is missing."""
    usual = {"x-request-id": "req_AAAAAAAAAAAAAAAA", "content-type": "application/json"}
    with pytest.raises(Undescribed, match=r"POST /v1/new is not described in app/openapi/operations.py"):
        check_answer("POST", "/v1/new", 200, usual, b"{}")
    with pytest.raises(Undescribed, match="has no x-request-id"):
        check_answer("GET", "/v1/usage", 200, {"content-type": "application/json"}, b"{}")
    stream = {**usual, "content-type": "text/event-stream; charset=utf-8"}
    with pytest.raises(Undescribed, match="x-event-schema"):
        check_answer("POST", CHAT, 200, stream, msgspec.json.encode({"no": "chunk"}).join([b"data: ", b"\n\n"]))
