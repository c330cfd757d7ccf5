"""Tickets in a real Chromium, on pages of another origin: what a team's own front end does, and no key in sight.

The back end asks for a ticket with its key; the page opens an `EventSource` with one for one use, or sends one as
Bearer. Only origins that `server.cors_origins` lists may read the answers.
Source: WHATWG HTML, section 9.2 "Server-sent events"; WHATWG Fetch, section 3.2 "CORS protocol"; both read 2026-11.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from playwright.async_api import Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from tests.e2e.browser import FOREIGN_HOST, Console
from tests.e2e.keyed import KeyedGateway, keyed_gateway
from tests.e2e.test_eventsource import CLOSED, CONNECTING, LISTEN, RECONNECTED_WITHIN_S, Event, contents
from tests.fakes.script import Chunk, Frame, Stall, chat, error
from tests.fakes.server import serving
from tests.streaming.asking import ask

pytestmark = [pytest.mark.anyio, pytest.mark.browser]


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop for the browser's life."""
    return "asyncio", {"use_uvloop": False}


@dataclass(frozen=True)
class FrontEnd:
    """A team's web site at an origin that its gateway lists, and at another that it does not."""

    keyed: KeyedGateway
    listed: str
    other: str
    key: str

    async def ticket(self, **wishes: Any) -> str:
        """What the team's back end gets for its key."""
        headers = {"authorization": f"Bearer {self.key}"}
        got = await ask(self.keyed.inside, "POST", "/v1/tickets", json=wishes, headers=headers)
        assert got.status == 200, got.body
        return str(got.json["ticket"])

    async def link(self) -> str:
        """The address that the front end opens, with a ticket for one use."""
        ticket = await self.ticket(one_use=True, user="ada")
        assert ticket.startswith("rillt_")
        return f"{self.keyed.url}/chat/fake-model?message=hi&ticket={ticket}"

    async def visits(self) -> list[tuple[str, int, str | None]]:
        """All that browsers sent until now: (method, status, `Last-Event-ID`)."""
        watch = self.keyed.watch
        seen = [await watch.visit() for _ in range(watch.unseen)]
        return [(visit.method, visit.status, visit.headers.get("last-event-id")) for visit in seen]


@pytest.fixture
async def front_end(anyio_backend: object) -> AsyncIterator[FrontEnd]:
    """The site and its gateway; the provider says hello."""

    async def page(_: Request) -> HTMLResponse:
        return HTMLResponse("<!doctype html><link rel=icon href=data:,><p>an application")

    async with serving(Starlette(routes=[Route("/", page)])) as address:
        listed, other = f"http://{FOREIGN_HOST}:{address.port}", f"http://localhost:{address.port}"
        async with keyed_gateway(cors_origins=[listed]) as keyed:
            keyed.fake.script = chat(["Hel", "lo ", "ü€😀"])
            key = await keyed.inside.new_key(limits=["tokens/day=100000"])
            yield FrontEnd(keyed, listed, other, key)


async def listen(page: Page, address: str) -> list[Event]:
    """Open an `EventSource` and stay until the browser has given it up for good."""
    async with asyncio.timeout(RECONNECTED_WITHIN_S):
        return [Event(*event) for event in await page.evaluate(LISTEN, address)]


# A ticket for one use, in an address ----------------------------------------------------------------------------


async def test_event_source_with_a_ticket_streams_once_and_its_return_is_free(page: Page, front_end: FrontEnd) -> None:
    """The words and the end; then the browser's own second request is told to stop, though its ticket is used up."""
    await page.goto(front_end.listed)
    *messages, done, end, connecting, closed = await listen(page, await front_end.link())

    assert contents(messages) == "Hello ü€😀"
    assert (done.kind, end.kind, end.data) == ("done", "message", "[DONE]")
    assert (connecting, closed) == (CONNECTING, CLOSED)
    assert await front_end.visits() == [("GET", 200, None), ("GET", 204, end.id)]
    assert len(front_end.keyed.fake.chats) == 1


async def test_event_source_with_a_ticket_of_a_broken_answer_is_not_tried_again(
    page: Page, front_end: FrontEnd
) -> None:
    """An error in the stream is read by the page; the return that follows costs nothing and is the last."""
    front_end.keyed.fake.script = [Chunk("Half"), Frame(error("It went away.", "server_error", None))]
    await page.goto(front_end.listed)
    *messages, failure, connecting, closed = await listen(page, await front_end.link())

    assert contents(messages) == "Half"
    assert json.loads(failure.data)["error"]["message"]
    assert (connecting, closed) == (CONNECTING, CLOSED)
    assert await front_end.visits() == [("GET", 200, None), ("GET", 204, failure.id)]
    assert len(front_end.keyed.fake.chats) == 1


HEAR: Final = """(address) => {
    window.heard = [];
    const source = new EventSource(address);
    const note = (event) => window.heard.push([event.type, event.data ?? source.readyState, event.lastEventId ?? ""]);
    for (const type of ["message", "done", "error"]) source.addEventListener(type, note);
}"""
"""Begins to listen; `window.heard` grows."""


async def test_event_source_that_lost_its_connection_is_told_to_stop(
    page: Page, front_end: FrontEnd, console: Console
) -> None:
    """A network that breaks in mid-stream: the browser comes back by itself, and neither pays again nor loops."""
    keyed = front_end.keyed
    keyed.fake.script = [Chunk("Half"), Stall()]
    await page.goto(front_end.listed)
    await page.evaluate(HEAR, await front_end.link())
    await page.wait_for_function("window.heard.some(([, data]) => String(data).includes('Half'))")
    for connection in keyed.inside.address.connections:
        connection.transport.abort()
    await page.wait_for_function("window.heard.at(-1)[1] === EventSource.CLOSED", timeout=RECONNECTED_WITHIN_S * 1000)

    *messages, connecting, closed = [Event(*event) for event in await page.evaluate("window.heard")]
    assert contents(messages) == "Half"
    assert (connecting, closed) == (CONNECTING, CLOSED)
    assert await front_end.visits() == [("GET", 200, None), ("GET", 204, messages[-1].id)]
    assert len(keyed.fake.chats) == 1
    console.expect("ERR_")


async def test_event_source_with_a_used_ticket_is_refused_for_good(
    page: Page, front_end: FrontEnd, console: Console
) -> None:
    """A second page with the same address gets 401, after which a browser does not come back."""
    address = await front_end.link()
    await page.goto(front_end.listed)
    await listen(page, address)
    await front_end.visits()
    assert await listen(page, address) == [CLOSED]
    assert await front_end.visits() == [("GET", 401, None)]
    assert len(front_end.keyed.fake.chats) == 1
    console.expect("status of 401")


async def test_event_source_with_a_key_in_its_address_is_refused(
    page: Page, front_end: FrontEnd, console: Console
) -> None:
    """Addresses end up in logs: neither a key nor a ticket for many uses is taken from there."""
    await page.goto(front_end.listed)
    for credential in (front_end.key, await front_end.ticket()):
        address = f"{front_end.keyed.url}/chat/fake-model?message=hi&ticket={credential}"
        assert await listen(page, address) == [CLOSED]
        assert await front_end.visits() == [("GET", 401, None)]
        console.expect("status of 401")
    assert front_end.keyed.fake.chats == []


# A ticket as Bearer ---------------------------------------------------------------------------------------------

FETCH: Final = """async ([address, ticket]) => {
    const body = JSON.stringify({ model: "fake-model", stream: true, messages: [{ role: "user", content: "hi" }] });
    const headers = { "content-type": "application/json", authorization: `Bearer ${ticket}` };
    let response;
    try {
        response = await fetch(`${address}/v1/chat/completions`, { method: "POST", headers, body });
    } catch (error) {
        return { failed: error.name };
    }
    const read = ["x-request-id", "x-ratelimit-remaining-tokens", "x-rillgate-scope", "x-should-retry"];
    return {
        status: response.status,
        headers: Object.fromEntries(read.map((name) => [name, response.headers.get(name)])),
        text: await response.text(),
    };
}"""


async def test_fetch_with_a_ticket_streams_from_a_listed_origin(page: Page, front_end: FrontEnd) -> None:
    """The preflight is answered without a ticket; the page reads the words, our id, and what is left."""
    await page.goto(front_end.listed)
    got = await page.evaluate(FETCH, [front_end.keyed.url, await front_end.ticket(user="ada")])
    assert got["status"] == 200
    assert got["text"].endswith("data: [DONE]\n\n")
    assert "Hel" in got["text"]
    assert got["headers"]["x-request-id"].startswith("req_")
    assert int(got["headers"]["x-ratelimit-remaining-tokens"]) < 100_000
    assert got["headers"]["x-rillgate-scope"].startswith("key:")
    assert await front_end.visits() == [("OPTIONS", 200, None), ("POST", 200, None)]
    assert len(front_end.keyed.fake.chats) == 1


async def test_fetch_with_a_ticket_that_is_over_can_be_read_as_refused(
    page: Page, front_end: FrontEnd, console: Console
) -> None:
    """The front end sees why, and fetches another ticket from its back end."""
    ticket = await front_end.ticket(ttl_s=30)
    front_end.keyed.clock.advance(30)
    await page.goto(front_end.listed)
    got = await page.evaluate(FETCH, [front_end.keyed.url, ticket])
    assert got["status"] == 401
    assert json.loads(got["text"])["error"]["code"] == "ticket_expired"
    assert got["headers"]["x-should-retry"] == "false"
    console.expect("status of 401")
    got = await page.evaluate(FETCH, [front_end.keyed.url, await front_end.ticket()])
    assert got["status"] == 200


async def test_fetch_with_a_ticket_from_an_origin_that_is_not_listed_is_never_sent(
    page: Page, front_end: FrontEnd, console: Console
) -> None:
    """Its preflight is refused, so a ticket that leaked to another site's page is of no use in a browser there."""
    await page.goto(front_end.other)
    got = await page.evaluate(FETCH, [front_end.keyed.url, await front_end.ticket()])
    assert got == {"failed": "TypeError"}
    assert await front_end.visits() == [("OPTIONS", 400, None)]
    assert front_end.keyed.fake.chats == []
    console.expect("CORS policy")
    console.expect("net::ERR_FAILED")
