"""examples/frontend in a real Chromium, streaming from `rillgate lambda-local`: another origin, as it will be deployed.

A closed tab is not noticed there, as on Lambda, so what these tests see end was ended by the page's own cancel.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from examples.frontend import backend
from playwright.async_api import Page, Request, expect

from tests.e2e.browser import Console
from tests.e2e.local_lambda import LocalLambdaServed, lambda_local
from tests.e2e.process import PATIENCE_S
from tests.fakes.clients import RawClient
from tests.fakes.gateway import CHAT
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Done, ErrorFrame, Finish, Role, Stall, chat

pytestmark = [
    pytest.mark.slow,  # each needs a browser and the function
    pytest.mark.anyio,
    pytest.mark.browser,
    pytest.mark.skipif(sys.platform != "linux", reason="lambda-local is looked at in /proc"),
]

ROOT: Final = Path(__file__).parents[2]
EXAMPLE: Final = ROOT / "examples" / "frontend"
SDK: Final = "openai@7.57.0"
WAYS: Final = ["fetch", "eventsource", "openai"]
ROUTES: Final = {"fetch": CHAT, "eventsource": "/chat", "openai": CHAT}


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop for the browser's life."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture(scope="module")
def modules() -> Path:
    """`node_modules` with the OpenAI SDK, fetched once into build/."""
    found = ROOT / "build" / "frontend" / "node_modules"
    if not (found / "openai" / "index.mjs").exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("the front-end tests did not run: no npm found; `apt-get install npm` brings it")
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-save"]
        subprocess.run([npm, "install", *quiet, "--prefix", str(found.parent), SDK], check=True, capture_output=True)
    return found


@dataclass(frozen=True)
class Front:
    """The example as it runs: its back end, a function behind a local Function URL, and a fake provider."""

    site: backend.Site
    served: LocalLambdaServed
    fake: FakeProvider

    async def ask(self, page: Page, way: str, prompt: str = "hi") -> None:
        """Open the page, and send a prompt."""
        await page.goto(self.site.origin)
        await page.check(f"[value={way}]")
        await page.fill("#prompt", prompt)
        await page.click("#send")

    async def end(self, route: str) -> str:
        """How the first stream of a route ended, once the function has logged it."""
        return (await self.served.logs(rf'"route":"{route}".*"end":"(\w+)"'))[1]


@pytest.fixture
def site(tmp_path: Path, modules: Path) -> Iterator[backend.Site]:
    """The back end on a free port, not knowing its gateway yet, over a copy of its folder, as after npm install."""
    folder = tmp_path / "frontend"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    (folder / "node_modules").symlink_to(modules)
    site = backend.Site(gateway="", key="", origin="", folder=folder)
    with backend.serve(site, 0) as server:
        site.origin = f"http://localhost:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield site
        server.shutdown()
        serving.join()


@pytest.fixture
async def front(site: backend.Site, tmp_path: Path) -> AsyncIterator[Front]:
    """All of it."""
    cwd = tmp_path / "gateway"
    cwd.mkdir()
    variables = {"RILLGATE_SERVER__CORS_ORIGINS": msgspec.json.encode([site.origin]).decode(), "RILLGATE_MODEL": "m"}
    async with FakeProvider() as fake, lambda_local(fake, cwd, **variables) as served:
        site.gateway, site.key = served.url, served.key
        yield Front(site, served, fake)


# The three ways -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
async def test_way_shows_each_piece_before_the_next_is_made(page: Page, front: Front, way: str) -> None:
    """From the provider through function, Runtime API, URL and browser to the page: a piece at a time, and the end."""
    front.fake.script = chat(["one ", "two ", "drei €"], lockstep_after=0)
    await front.ask(page, way)
    for shown in ("one", "one two", "one two drei €"):
        front.fake.allow()
        await expect(page.locator("#answer")).to_have_text(shown)
    await expect(page.locator("#status")).to_have_text("Done.")
    assert await front.end(ROUTES[way]) == "finished"
    assert len(front.fake.chats) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_way_says_an_error_inside_the_stream(page: Page, front: Front, way: str) -> None:
    """What came stays, and the provider's own sentence stands below it."""
    front.fake.script = [Role(), Chunk("Half"), ErrorFrame("The model fell over.")]
    await front.ask(page, way)
    await expect(page.locator("#status")).to_have_attribute("data-kind", "failed")
    await expect(page.locator("#status")).to_contain_text("The model fell over.")
    await expect(page.locator("#answer")).to_have_text("Half")


@pytest.mark.parametrize("way", WAYS)
async def test_way_refused_by_a_budget_says_so(
    page: Page, front: Front, console: Console, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """429 before the stream, in the page's own words where the browser lets it see why; no provider is asked."""
    monkeypatch.setattr(backend, "TICKET_LIMITS", ["tokens/total=20"])
    await front.ask(page, way)
    status = page.locator("#status")
    await expect(status).to_have_attribute("data-kind", "failed")
    await expect(status).to_contain_text("refused" if way == "eventsource" else "Too much at once")
    assert front.fake.chats == []
    console.expect("status of 429")


@pytest.mark.parametrize("way", WAYS)
async def test_way_cut_by_a_budget_says_whose(
    page: Page, front: Front, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A provider that would write on is cut where the ticket's limit is, and the page names the limit."""
    monkeypatch.setattr(backend, "TICKET_LIMITS", ["tokens/total=200"])
    front.fake.script = [Role(), *[Chunk(" a")] * 1000, Finish(), Done()]
    await front.ask(page, way)
    await expect(page.locator("#status")).to_contain_text("Cut: the budget of ticket:")


# The cancel -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("leave", ["to another page", "by closing the tab", "by the button"])
async def test_way_that_is_left_is_cancelled_at_the_gateway(page: Page, front: Front, way: str, leave: str) -> None:
    """The provider's connection closes and the record says cancelled: the function alone would not have noticed."""
    front.fake.script = [Role(), Chunk("one"), Stall()]
    await front.ask(page, way)
    await expect(page.locator("#answer")).to_have_text("one")
    if leave == "to another page":
        await page.goto("about:blank")
    elif leave == "by closing the tab":
        await page.close()
    else:
        await page.click("#stop")
        await expect(page.locator("#status")).to_have_text("Stopped.")
    async with asyncio.timeout(PATIENCE_S):
        await front.fake.closed()
    assert await front.end(ROUTES[way]) == "cancelled"


@pytest.mark.parametrize("way", ["fetch", "openai"])
async def test_way_that_is_left_before_the_first_word_is_cancelled_by_the_pages_own_id(
    page: Page, front: Front, way: str
) -> None:
    """No header has come, so the gateway's id is not known: the page's own one cancels."""
    front.fake.script = [Stall()]
    await front.ask(page, way)
    await front.fake.request()
    await page.goto("about:blank")
    async with asyncio.timeout(PATIENCE_S):
        await front.fake.closed()


# The key --------------------------------------------------------------------------------------------------------


async def test_key_is_in_nothing_that_the_browser_gets_or_sends(page: Page, front: Front) -> None:
    """Not in the page, its modules, an address, a header or a body; and a ticket in an address is one for one use."""
    seen: list[str] = []
    bodies: list[asyncio.Task[bytes]] = []

    def note(request: Request) -> None:
        seen.extend([request.url, str(request.headers), request.post_data or ""])

    page.on("request", note)
    page.on("response", lambda response: bodies.append(asyncio.ensure_future(response.body())))
    front.fake.script = chat(["one"])
    for way in WAYS:
        await front.ask(page, way)
        await expect(page.locator("#status")).to_have_text("Done.")
    for url in (text for text in seen if text.startswith("http")):
        ticket = url.partition("ticket=")[2]
        if ticket:
            assert not await works_as_bearer(front.served, ticket)
    got = b"".join(body for body in await asyncio.gather(*bodies, return_exceptions=True) if isinstance(body, bytes))
    assert b"rillt_" in got
    assert front.served.key.encode() not in got
    assert not any(front.served.key in text for text in [*seen, await page.content()])


async def works_as_bearer(served: LocalLambdaServed, credential: str) -> bool:
    """Whether it lets its holder in."""
    status, _ = await served.get("/v1/usage", {"authorization": f"Bearer {credential}"})
    return status == 200


# The back end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["http://foreign.example", "null", None])
async def test_back_end_gives_tickets_to_its_own_page_only(site: backend.Site, origin: str | None) -> None:
    """Another origin, or none at all, is refused before the gateway is asked, and may not read the answer."""
    async with await RawClient.open(int(site.origin.rpartition(":")[2])) as client:
        await client.request("POST", "/tickets", json={}, headers={"origin": origin} if origin else {})
        assert await client.response() == 403
        assert b"rillt_" not in await client.read_body()
        assert "access-control-allow-origin" not in client.headers


@pytest.mark.parametrize(
    "path", ["/backend.py", "/../backend.py", "/openai/../../backend.py", "/openai/%2e%2e/%2e%2e/backend.py"]
)
async def test_back_end_serves_nothing_but_the_page_and_the_sdk(site: backend.Site, path: str) -> None:
    """Its own files stay its own."""
    async with await RawClient.open(int(site.origin.rpartition(":")[2])) as client:
        await client.request("GET", path)
        assert await client.response() == 404


def test_back_end_without_a_key_says_how_to_make_one() -> None:
    """Exit code 2 and the remedy."""
    command = [sys.executable, str(EXAMPLE / "backend.py")]
    ended = subprocess.run(command, env={}, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert ended.returncode == 2
    assert "rillgate keys create" in ended.stderr
