"""What strangers may do to a gateway, on real sockets: slow bodies, large ones, floods, and bodies without a key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import anyio
import pytest

from rillgate.app.address_limits import UNANSWERED_MIN
from rillgate.app.http_protocol import UNREAD_BODY_S, GatewayHttpProtocol
from rillgate.domain.ports import TimerHandle
from tests.fakes.clients import RawClient
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import CHAT, GatewayInTest, chat_body, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Role, Stall
from tests.streaming.asking import ask
from tests.streaming.limited import limited_gateway

pytestmark = pytest.mark.anyio

MESSAGES = "/v1/messages"
VERSION = {"anthropic-version": "2023-06-01"}
POSTS = [
    CHAT,
    MESSAGES,
    f"{MESSAGES}/count_tokens",
    "/v1/embeddings",
    "/chat/stream",
    "/v1/tickets",
    "/v1/responses",
    "/v1/responses/input_tokens",
    "/v1/ui-stream",
]


class Clocked(GatewayHttpProtocol):
    """A connection on a clock of the test's."""

    clock: ClassVar[FakeClock]

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> TimerHandle:
        return self.clock.call_later(delay_s, callback)


def clocked(its_clock: FakeClock) -> type[Clocked]:
    """A class of its own for one test."""

    class OneTest(Clocked):
        clock = its_clock

    return OneTest


async def error_of(client: RawClient, status: int) -> dict[str, Any]:
    """The error object of the next answer, whichever dialect it is in."""
    assert await client.response() == status
    error: dict[str, Any] = json.loads(await client.read_body())["error"]
    return error


def denials(g: GatewayInTest) -> dict[str, float]:
    """Refusals by reason, as /metrics counts them."""
    return {
        labels[0]: value
        for metric, labels, value in g.gateway.metrics.values()
        if metric.name == "llm_budget_denials" and isinstance(value, int | float) and value
    }


# Before a body is read


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("length", ["5", "8388608", "99999999999", "chunked"])
@pytest.mark.parametrize("credential", [{}, {"x-api-key": "rill_nobody-has-this-one"}])
async def test_body_is_not_waited_for_without_a_valid_key(
    path: str, length: str, credential: Mapping[str, str]
) -> None:
    """401 at once, whatever is announced: the client never sends a byte of it, and the clock stands still."""
    framing = {"transfer-encoding": "chunked"} if length == "chunked" else {"content-length": length}
    async with (
        FakeProvider() as fake,
        gateway_for(fake, clock=FakeClock(), auth__required=True) as g,
        await g.client() as client,
    ):
        await client.request("POST", path, headers={**framing, **credential})
        assert await client.response() == 401
        body = json.loads(await client.read_body())
        assert body.get("type") == ("error" if path.startswith(MESSAGES) else None)
        assert "key" in body["error"]["message"]


async def test_every_route_with_a_body_is_among_those_that_are_tested() -> None:
    """A new route that reads one has to ask for a key first, too."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        schema = {route.path for route in _routes(g) if "POST" in (route.methods or ())}
    assert schema - {"/v1/requests/{id}/cancel", "/v1/responses/{id:path}"} <= set(POSTS)


def _routes(g: GatewayInTest) -> list[Any]:
    app: Any = g.gateway.asgi
    while not hasattr(app, "routes"):
        app = app._app
    return list(app.routes)


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_body_whose_length_is_too_large_is_refused_unread(path: str) -> None:
    """413 in the client's dialect, before anything of it has come."""
    overrides: dict[str, Any] = {"limits__body_bytes_max": 1_000}
    async with FakeProvider() as fake, gateway_for(fake, **overrides) as g, await g.client() as client:
        await client.request("POST", path, headers={"content-length": "1001", **VERSION})
        error = await error_of(client, 413)
        assert "1000 bytes (limits.body_bytes_max)" in error["message"]
        assert error["type"] == ("request_too_large" if path == MESSAGES else "invalid_request_error")


async def test_body_in_chunks_that_passes_the_bound_is_refused_in_the_middle() -> None:
    """It says no length; the chunk that passes the bound is the last that is read."""
    overrides: dict[str, Any] = {"limits__body_bytes_max": 1_000}
    async with FakeProvider() as fake, gateway_for(fake, **overrides) as g, await g.client() as client:
        await client.request("POST", CHAT, headers={"transfer-encoding": "chunked"})
        for _ in range(3):
            await client.send(b"190\r\n" + b" " * 400 + b"\r\n")
        assert (await error_of(client, 413))["code"] == "request_too_large"


async def test_answers_are_kept_by_nobody_and_taken_for_nothing_else() -> None:
    """JSON of any status says so, whole answers and refusals of the connection too; streams keep their own headers."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        key = {"x-api-key": await g.new_key()}
        asked = [
            await ask(g, "GET", "/v1/models", headers=key),
            await ask(g, "GET", "/v1/usage", headers=key),
            await ask(g, "POST", "/v1/tickets", headers=key, json={"user": "ada"}),
            await ask(g, "POST", CHAT, headers=key, json=chat_body(stream=False)),
            await ask(g, "POST", MESSAGES, headers=key, json={}),
            await ask(g, "GET", "/v1/usage"),
            await ask(g, "GET", "/nothing"),
            await ask(g, "GET", "/healthz"),
        ]
        async with await g.client() as client:
            await client.send(b"nonsense\r\n\r\n")
            await client.response()
            headers = [*(got.headers for got in asked), client.headers]
        assert [got.status for got in asked] == [200, 200, 200, 200, 400, 401, 404, 200]
        for each in headers:
            assert (each["x-content-type-options"], each["cache-control"]) == ("nosniff", "no-store")
        stream = await ask(g, "POST", CHAT, headers=key, json=chat_body())
        assert stream.headers["cache-control"] == "no-cache, no-transform"
        assert "x-content-type-options" not in stream.headers


async def test_connection_is_refused_in_the_dialect_of_what_has_come_of_its_head() -> None:
    """Anthropic's clients read Anthropic's shape, whatever is wrong below HTTP."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        for path, kind in ((MESSAGES, "error"), (CHAT, None)):
            async with await g.client() as client:
                await client.send(f"POST {path} HTTP/1.1\r\n{'a: b' * 20_000}".encode())
                assert await client.response() == 431
                assert json.loads(await client.read_body()).get("type") == kind
                assert ("request-id" in client.headers) == (kind is not None)


@pytest.mark.parametrize(
    "framing",
    [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5, 6",
        "content-length: +5",
        "content-length: 0x5",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
        "transfer-encoding : chunked",
        "transfer-encoding:\n chunked",
    ],
)
async def test_request_that_a_proxy_may_read_differently_is_refused_and_its_connection_closed(framing: str) -> None:
    """Where two readers may disagree about where a request ends, what follows it would be another one's request."""
    async with FakeProvider() as fake, gateway_for(fake) as g, await g.client() as client:
        smuggled = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
        await client.send(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n0\r\n\r\n{smuggled}".encode())
        assert (await error_of(client, 400))["code"] == "malformed_http"
        assert await client.at_eof()
        assert fake.chats == []


# Slow bodies


@pytest.mark.parametrize("path", [CHAT, MESSAGES, "/chat/stream"])
async def test_slow_body_is_answered_408_in_its_dialect_and_its_connection_ends(path: str) -> None:
    """A body that stops coming: 408 after the grace, in the log, and the connection goes when nothing more comes."""
    clock, wire = FakeClock(), FakeClock()
    async with FakeProvider() as fake, limited_gateway(fake, clock=clock, protocol=clocked(wire)) as g:
        records: list[Any] = []
        g.gateway.asgi.on_request.append(records.append)
        async with await g.client() as client:
            await client.request("POST", path, headers={"content-length": "100", **VERSION}, body=b'{"model"')
            answer = asyncio.create_task(error_of(client, 408))
            while not answer.done():
                clock.advance(1)
                await asyncio.sleep(0)
            error = await answer
            assert "too slowly" in error["message"]
            if path == MESSAGES:
                assert error["type"] == "invalid_request_error"
            while wire.next_due != UNREAD_BODY_S:
                await asyncio.sleep(0)
            wire.advance(UNREAD_BODY_S)
            assert await client.at_eof()
        assert records[0].status == 408
        assert records[0].error == "request_timeout"


async def test_rest_of_a_body_that_nobody_wants_has_a_deadline() -> None:
    """Behind a 401 its client may finish the body, and use the connection again; else the connection ends."""
    wire = FakeClock()
    async with FakeProvider() as fake, limited_gateway(fake, protocol=clocked(wire), auth__required=True) as g:
        async with await g.client() as client:
            await client.request("POST", CHAT, headers={"content-length": "10"})
            await error_of(client, 401)
            assert wire.next_due == UNREAD_BODY_S
            await client.send(b"0123456789")
            await client.request("GET", "/healthz")
            assert await client.response() == 200
            await client.read_body()
        async with await g.client() as client:
            await client.request("POST", CHAT, headers={"content-length": "10"})
            await error_of(client, 401)
            await client.send(b"01234")
            wire.advance(UNREAD_BODY_S)
            assert await client.at_eof()


# Limits for each address


async def test_address_limit_of_connections_refuses_the_newest_and_keeps_the_others() -> None:
    """429 with Retry-After in the client's dialect, and the connection is closed; who was there goes on."""
    async with FakeProvider() as fake, limited_gateway(fake, connections_max=2) as g:
        fake.script = [Role(), Chunk("hi"), Stall()]
        async with await g.chat() as stream, await g.client() as idle:
            assert await stream.response() == 200
            for path, kind in ((CHAT, None), (MESSAGES, "error")):
                async with await g.client() as third:
                    await third.request("POST", path, json=chat_body(), headers=VERSION)
                    assert await third.response() == 429
                    body = json.loads(await third.read_body())
                    assert (body.get("type"), body["error"]["type"]) == (kind, "rate_limit_error")
                    assert third.headers["retry-after"] == "5"
                    assert third.headers["x-content-type-options"] == "nosniff"
                    assert await third.at_eof()
            assert await stream.read_until(b"hi")
            await idle.request("GET", "/healthz")
            assert await idle.response() == 200
        while len(g.gateway.connections or ()):
            await asyncio.sleep(0)
        async with await g.client() as again:
            await again.request("GET", "/healthz")
            assert await again.response() == 200
        assert denials(g) == {"address_connections_exceeded": 2}


async def test_address_with_far_too_many_connections_gets_no_answer_and_no_memory() -> None:
    """Connections that say nothing are bounded too: from a hundred too many on they are closed at once."""
    async with FakeProvider() as fake, limited_gateway(fake, connections_max=1) as g:
        clients = [await g.client() for _ in range(1 + UNANSWERED_MIN)]
        for _ in range(5):
            async with await g.client() as client:
                assert await client.at_eof()
        assert len(g.address.connections) == 1 + UNANSWERED_MIN
        assert denials(g) == {"address_connections_exceeded": 5}
        for client in clients:
            client.close()


async def test_address_rate_is_refused_before_any_key_or_body_is_looked_at() -> None:
    """429 for a request whose key nobody looked up and whose body never came; a new second lets one in."""
    clock = FakeClock()
    async with FakeProvider() as fake, limited_gateway(fake, clock=clock, rate_max=1, burst_max=3) as g:
        records: list[Any] = []
        g.gateway.asgi.on_request.append(records.append)
        for _ in range(3):
            assert (await ask(g, "GET", "/v1/models")).status == 200
        async with await g.client() as client:
            await client.request("POST", CHAT, headers={"content-length": "1000", "x-api-key": "rill_nobody"})
            assert (await error_of(client, 429))["code"] == "address_rate_exceeded"
            assert client.headers["retry-after"] == "1"
        assert (records[-1].status, records[-1].error) == (429, "address_rate_exceeded")
        assert denials(g) == {"address_rate_exceeded": 1}
        clock.advance(1)
        assert [(await ask(g, "GET", "/v1/models")).status for _ in range(2)] == [200, 429]


async def test_address_refusal_can_be_read_by_a_page_of_another_origin() -> None:
    """It carries what CORS asks for, and preflights are not refused: a browser would hide why."""
    front_end = "https://app.example"
    overrides: dict[str, Any] = {"server__cors_origins": [front_end], "auth__required": True}
    async with FakeProvider() as fake, limited_gateway(fake, rate_max=1, burst_max=1, **overrides) as g:
        await ask(g, "GET", "/healthz", headers={"origin": front_end})
        got = await ask(g, "GET", "/v1/models", headers={"origin": front_end})
        assert (got.status, got.headers["access-control-allow-origin"]) == (429, front_end)
        assert "retry-after" in got.headers["access-control-expose-headers"].lower()
        preflight = {"origin": front_end, "access-control-request-method": "POST"}
        assert (await ask(g, "OPTIONS", CHAT, headers=preflight)).status == 200


async def test_address_behind_a_trusted_proxy_is_the_forwarded_one() -> None:
    """Each client of the proxy has a bucket of its own; a made-up address in front of it buys none."""
    overrides: dict[str, Any] = {"server__trusted_proxies": ["127.0.0.0/8"], "auth__required": True}
    async with FakeProvider() as fake, limited_gateway(fake, rate_max=0.001, burst_max=1, **overrides) as g:

        async def status(forwarded: str | None) -> int:
            headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
            return (await ask(g, "GET", "/healthz", headers=headers)).status

        assert [await status("203.0.113.1"), await status("203.0.113.2")] == [200, 200]
        assert [await status("203.0.113.1"), await status("9.9.9.9, 203.0.113.2")] == [429, 429]
        assert [await status("2001:db8::1"), await status("2001:db8::2")] == [200, 429]
        assert [await status(None) for _ in range(3)] == [200] * 3


async def test_address_running_behind_a_trusted_proxy_is_limited_by_requests() -> None:
    """The proxy's connections are not counted, its clients' streams are."""
    overrides: dict[str, Any] = {"server__trusted_proxies": ["127.0.0.1"], "auth__required": True}
    async with FakeProvider() as fake, limited_gateway(fake, connections_max=1, **overrides) as g:
        fake.script = [Role(), Chunk("hi"), Stall()]
        key = await g.new_key()

        async def stream_of(address: str) -> RawClient:
            client = await g.client()
            headers = {"x-forwarded-for": address, "x-api-key": key}
            await client.request("POST", CHAT, json=chat_body(), headers=headers)
            return client

        async with await stream_of("203.0.113.1") as one, await stream_of("203.0.113.2") as two:
            assert [await one.response(), await two.response()] == [200, 200]
            async with await stream_of("203.0.113.1") as three:
                assert await three.response() == 429
            one.close()
            await anyio.wait_all_tasks_blocked()
            while g.gateway.streams.running() > 1:
                await asyncio.sleep(0)
            async with await stream_of("203.0.113.1") as four:
                assert await four.response() == 200


@pytest.mark.slow
async def test_address_holds_two_thousand_connections_under_the_lowest_limit() -> None:
    """The lowest limit that can be configured lets one address have 2,000 connections, and no 2,001st."""
    async with FakeProvider() as fake, gateway_for(fake, limits__address_connections_max=2000) as g:
        clients = [await g.client() for _ in range(2_001)]
        statuses = []
        for client in clients:
            await client.request("GET", "/healthz")
            statuses.append(await client.response())
        for client in clients:
            client.close()
        assert statuses == [200] * 2_000 + [429]
