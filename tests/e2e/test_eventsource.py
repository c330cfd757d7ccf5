"""A browser's own `EventSource` never pays twice, and a stranger's page never pays at all: in a real Chromium.

`EventSource` reconnects by itself when a stream ends, however it ended.
Source: WHATWG HTML, section 9.2 "Server-sent events"; Fetch Metadata Request Headers; both read 2026-11-21.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from tests.e2e.browser import FOREIGN_HOST, Console
from tests.e2e.real import RealGateway
from tests.fakes.server import serving

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

RECONNECTED_WITHIN_S: Final = 30  # Chromium waits about three seconds where the server names no other time


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop for the browser's life."""
    return "asyncio", {"use_uvloop": False}


@dataclass(frozen=True)
class Event:
    """What a script saw: an event's type, its data (an error's: `readyState`), and the last event id."""

    kind: str
    data: Any
    id: str = ""


LISTEN: Final = """(address) => new Promise((resolve) => {
    const source = new EventSource(address);
    const seen = [];
    const note = (event) => seen.push([event.type, event.data, event.lastEventId]);
    source.addEventListener("message", note);
    source.addEventListener("done", note);
    source.addEventListener("error", () => {
        seen.push(["error", source.readyState]);
        if (source.readyState === EventSource.CLOSED) resolve(seen);
    });
})"""
"""Listens until the browser gives the stream up for good."""

CONNECTING: Final = Event("error", 0)
CLOSED: Final = Event("error", 2)


async def listen(page: Page, gateway: RealGateway) -> list[Event]:
    """Open an `EventSource` on the gateway's own page and stay until the browser has closed it."""
    await page.goto(gateway.url + "/")
    async with asyncio.timeout(RECONNECTED_WITHIN_S):
        return [Event(*event) for event in await page.evaluate(LISTEN, "/chat?model=fake-model&message=hi")]


async def visits(gateway: RealGateway) -> list[tuple[int, str | None]]:
    """All that the browser sent until now: (status, `Last-Event-ID`)."""
    seen = [await gateway.watch.visit() for _ in range(gateway.watch.unseen)]
    return [(visit.status, visit.headers.get("last-event-id")) for visit in seen]


def contents(events: list[Event]) -> str:
    """The words of all chunks."""
    chunks = [json.loads(event.data) for event in events if event.kind == "message" and event.data != "[DONE]"]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk.get("choices"))


async def test_event_source_after_the_end_reconnects_once_and_is_told_to_stop(page: Page, gateway: RealGateway) -> None:
    """A finished answer is generated once: the browser's own second request gets 204, and there is no third."""
    gateway.say("Hel", "lo ", "ü€😀")
    events = await listen(page, gateway)

    *messages, done, end, connecting, closed = events
    assert contents(messages) == "Hello ü€😀"
    assert (done.kind, end.kind, end.data) == ("done", "message", "[DONE]")
    assert (connecting, closed) == (CONNECTING, CLOSED)
    request_id, _, last = end.id.rpartition(":")
    numbers = [int(last) for *_, last in (event.id.rpartition(":") for event in [*messages, done, end])]
    assert numbers == sorted(set(numbers))
    assert {event.id.rpartition(":")[0] for event in [*messages, done, end]} == {request_id}
    assert await visits(gateway) == [(200, None), (204, f"{request_id}:{last}")]
    assert gateway.generations == 1


async def test_event_source_error_in_the_stream_is_told_and_not_tried_again(page: Page, gateway: RealGateway) -> None:
    """A provider that fails in mid-stream is reported in-band, and the browser's second request costs nothing."""
    gateway.fail_after("Half ", "an ", message="It went away.")
    events = await listen(page, gateway)

    *messages, error, connecting, closed = events
    assert contents(messages) == "Half an "
    assert error.kind == "message"
    assert json.loads(error.data)["error"]["message"]
    assert (connecting, closed) == (CONNECTING, CLOSED)
    assert await visits(gateway) == [(200, None), (204, error.id)]
    assert error.id
    assert gateway.generations == 1


async def test_event_source_error_before_the_stream_is_final(
    page: Page, gateway: RealGateway, console: Console
) -> None:
    """A provider that fails before its first word is an HTTP error, after which a browser does not come back."""
    gateway.fail_after(message="It is not there.")
    events = await listen(page, gateway)

    assert events == [CLOSED]
    assert await visits(gateway) == [(400, None)]
    assert gateway.generations == 1
    console.expect("400")


# Strangers ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def stranger(browser: Browser) -> AsyncIterator[Page]:
    """A tab in which somebody else's page will be; what its console says is not ours."""
    async with await browser.new_context() as context:
        yield await context.new_page()


@pytest.fixture
async def stranger_port(anyio_backend: object) -> AsyncIterator[int]:
    """The port of somebody else's web site."""

    async def page(_: Request) -> HTMLResponse:
        return HTMLResponse("<!doctype html><link rel=icon href=data:,><p>a page that one happens to visit")

    async with serving(Starlette(routes=[Route("/", page)])) as address:
        yield address.port


ELEMENT: Final = """(address) => {{
    const element = document.createElement("{tag}");
    element.{attribute} = address;
    document.body.append(element);
}}"""

GETS: Final = {
    "image": ELEMENT.format(tag="img", attribute="src"),
    "script": ELEMENT.format(tag="script", attribute="src"),
    "frame": ELEMENT.format(tag="iframe", attribute="src"),
    "video": ELEMENT.format(tag="video", attribute="src"),
    "fetch": "(address) => { fetch(address).catch(() => {}); }",
    "fetch without cors": "(address) => { fetch(address, { mode: 'no-cors' }).catch(() => {}); }",
    "event source": "(address) => { new EventSource(address); }",
    "link": "(address) => { location.href = address; }",
}

POSTS: Final = {
    "beacon": '(address) => { navigator.sendBeacon(address, \'{"prompt":"hi"}\'); }',
    "fetch": """(address) => {
        const body = JSON.stringify({ messages: [{ role: "user", content: "hi" }], prompt: "hi" });
        fetch(address, { method: "POST", mode: "no-cors", body }).catch(() => {});
    }""",
    "form": """(address) => {
        const form = document.createElement("form");
        Object.assign(form, { method: "post", action: address, enctype: "text/plain" });
        const field = document.createElement("input");
        field.name = '{"messages":[{"role":"user","content":"hi"}],"x":"';
        field.value = '"}';
        form.append(field);
        document.body.append(form);
        form.submit();
    }""",
}


async def refuses(stranger: Page, gateway: RealGateway, attack: str, path: str) -> None:
    """Run `attack` on the page that is open, and check that the gateway refuses without asking its provider."""
    gateway.say("costs money")
    await stranger.evaluate(attack, gateway.url + path)
    assert (await gateway.watch.visit()).status == 403
    assert gateway.generations == 0


@pytest.mark.parametrize("attack", GETS.values(), ids=GETS)
async def test_stranger_page_that_gets_chat_is_refused(
    stranger: Page, gateway: RealGateway, stranger_port: int, attack: str
) -> None:
    """An image, a frame, a link: whatever another site's page makes the browser fetch is answered 403."""
    await stranger.goto(f"http://{FOREIGN_HOST}:{stranger_port}/")
    await refuses(stranger, gateway, attack, "/chat?model=fake-model&message=hi")


@pytest.mark.parametrize("attack", POSTS.values(), ids=POSTS)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/stream"])
async def test_stranger_page_that_posts_is_refused(
    stranger: Page, gateway: RealGateway, stranger_port: int, attack: str, path: str
) -> None:
    """A form or a request without preflight reaches the gateway, and is answered 403."""
    await stranger.goto(f"http://{FOREIGN_HOST}:{stranger_port}/")
    await refuses(stranger, gateway, attack, path)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_stranger_page_on_another_port_of_this_machine_is_refused(
    stranger: Page, gateway: RealGateway, stranger_port: int, host: str
) -> None:
    """Another program on this machine is another origin, though 127.0.0.1 is the same site for a browser."""
    await stranger.goto(f"http://{host}:{stranger_port}/")
    await refuses(stranger, gateway, GETS["image"], "/chat?model=fake-model&message=hi")


async def test_stranger_name_of_this_machine_is_refused(stranger: Page, gateway: RealGateway) -> None:
    """A name that a stranger lets point here is the page's own origin for the browser; its Host gives it away."""
    gateway.say("costs money")
    await stranger.goto(gateway.url.replace("127.0.0.1", FOREIGN_HOST) + "/chat?model=fake-model&message=hi")
    assert (await gateway.watch.visit()).status == 403
    assert gateway.generations == 0
