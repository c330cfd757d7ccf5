"""examples/react-chat in a real Chromium: `useChat` as it is published, the gateway on another origin behind it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from examples.frontend import backend
from playwright.async_api import Page, expect

from rillgate.domain.ends import End
from tests.e2e.browser import Console
from tests.e2e.process import PATIENCE_S
from tests.fakes import script_anthropic as native
from tests.fakes.gateway import GatewayInTest, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Close, Delta, Done, ErrorFrame, Finish, Role, Stall, ToolCall, chat, runaway
from tests.streaming.test_ends import ends

pytestmark = [
    pytest.mark.slow,  # each needs a browser
    pytest.mark.anyio,
    pytest.mark.browser,
]

ROOT: Final = Path(__file__).parents[2]
EXAMPLE: Final = ROOT / "examples" / "react-chat"
FOLDER: Final = ROOT / "build" / "react-chat"
CALL: Final = [ToolCall("call_1", "localTime", ["{", "}"])]


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop for the browser's life."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture(scope="module")
def built() -> Path:
    """The example, its packages fetched when their versions change, built as its own script builds it."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("the tests of the React example did not run: no npm found; `apt-get install npm` brings it")
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = (EXAMPLE / "package.json").read_text()
    stamp = FOLDER / "installed.json"
    for name in ("package.json", ".npmrc"):
        shutil.copy(EXAMPLE / name, FOLDER)
    if not stamp.exists() or stamp.read_text() != wanted:
        stamp.unlink(missing_ok=True)
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run([npm, "install", *quiet], cwd=FOLDER, check=True, capture_output=True)
        stamp.write_text(wanted)
    for part in ("src", "public"):
        shutil.rmtree(FOLDER / part, ignore_errors=True)
        shutil.copytree(EXAMPLE / part, FOLDER / part)
    subprocess.run([npm, "run", "build"], cwd=FOLDER, check=True, capture_output=True)
    return FOLDER


@pytest.fixture
def site(built: Path) -> Iterator[backend.Site]:
    """The back end on a free port, not knowing its gateway yet."""
    site = backend.Site(gateway="", key="", origin="", model="gpt-4o", folder=built)
    with backend.serve(site, 0) as server:
        site.origin = f"http://localhost:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield site
        server.shutdown()
        serving.join()


@dataclass(frozen=True)
class Front:
    """The page, the gateway and the provider behind it."""

    page: Page
    g: GatewayInTest
    fake: FakeProvider

    async def ask(self, prompt: str) -> None:
        """Write a message and send it."""
        await self.page.get_by_label("Your message").fill(prompt)
        await self.page.keyboard.press("Enter")

    @property
    def answer(self) -> Any:
        """The text of the last answer."""
        return self.page.locator("[data-role=assistant]").last.locator(".text")

    @property
    def status(self) -> Any:
        """What the page says of itself."""
        return self.page.locator("#status")

    async def ended(self, end: End) -> None:
        """The one stream so far ended so."""
        async with asyncio.timeout(PATIENCE_S):
            await self.g.settled()
        assert ends(self.g) == {end.value: 1}


@pytest.fixture(params=["openai"])
async def front(
    request: pytest.FixtureRequest, page: Page, site: backend.Site, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Front]:
    """All of it; `indirect` names another kind of provider."""
    overrides: dict[str, Any] = {"providers__fake__kind": request.param, "auth__required": True}
    async with FakeProvider() as fake, gateway_for(fake, server__cors_origins=[site.origin], **overrides) as g:
        site.gateway, site.key = g.url, await g.new_key()
        await page.goto(site.origin)
        yield Front(page, g, fake)


async def test_react_shows_each_piece_before_the_next_is_made(front: Front) -> None:
    """From the provider to the page, a piece at a time; then the end, and what it cost."""
    front.fake.script = chat(["one ", "two ", "drei €"], lockstep_after=0, input_tokens=24, output_tokens=3)
    await front.ask("count")
    for shown in ("one", "one two", "one two drei €"):
        front.fake.allow()
        await expect(front.answer).to_have_text(shown)
    await expect(front.status).to_have_text("Ready.")
    await expect(front.page.locator(".note")).to_have_text("24 in, 3 out")
    await front.ended(End.FINISHED)


async def test_react_second_turn_reaches_the_provider_whole(front: Front) -> None:
    """What was said before, in order."""
    front.fake.script = chat(["Hello, Ada."])
    await front.ask("I am Ada.")
    await expect(front.status).to_have_text("Ready.")
    await expect(front.answer).to_have_text("Hello, Ada.")
    await front.ask("Who am I?")
    await expect(front.page.locator("[data-role=assistant]")).to_have_count(2)
    await expect(front.status).to_have_text("Ready.")
    assert front.fake.chats[1].json["messages"] == [
        {"role": "user", "content": "I am Ada."},
        {"role": "assistant", "content": "Hello, Ada."},
        {"role": "user", "content": "Who am I?"},
    ]
    assert front.fake.chats[1].json["model"] == "gpt-4o"


async def test_react_stop_cancels_the_provider(front: Front, console: Console) -> None:
    """The button closes the connection: what came stays, and nothing more is paid for."""
    front.fake.script = [Role(), Chunk("one"), Stall()]
    await front.ask("go on for ever")
    await expect(front.answer).to_have_text("one")
    await front.page.get_by_role("button", name="Stop").click()
    async with asyncio.timeout(PATIENCE_S):
        await front.fake.closed()
        await front.g.settled()
    await expect(front.status).to_have_text("Ready.")
    await expect(front.answer).to_have_text("one")
    assert ends(front.g) in ({"client_gone": 1}, {"cancelled": 1})  # the cancel goes out beside the close
    console.complaints = [said for said in console.complaints if "404" not in said]  # where the close came first


@pytest.mark.parametrize("leave", ["to another page", "by closing the tab"])
async def test_react_page_that_is_left_stops_the_provider(front: Front, leave: str) -> None:
    """The meter stops with the tab."""
    front.fake.script = [Role(), Chunk("one"), Stall()]
    await front.ask("go on for ever")
    await expect(front.answer).to_have_text("one")
    await (front.page.goto("about:blank") if leave == "to another page" else front.page.close())
    async with asyncio.timeout(PATIENCE_S):
        await front.fake.closed()
        await front.g.settled()
    assert ends(front.g) in ({"client_gone": 1}, {"cancelled": 1})


@pytest.mark.parametrize("last", [ErrorFrame("The model fell over."), Close()], ids=["error", "close"])
async def test_react_shows_an_error_in_mid_stream(front: Front, last: Any) -> None:
    """What came stays, and why it broke stands below; trying again is a new answer."""
    front.fake.queue([Role(), Chunk("Half"), last], chat(["Whole."]))
    await front.ask("hi")
    await expect(front.status).to_have_attribute("data-kind", "failed")
    await expect(front.status).to_contain_text("fell over" if isinstance(last, ErrorFrame) else "before the answer")
    await expect(front.answer).to_have_text("Half")
    await front.page.get_by_role("button", name="Try again").click()
    await expect(front.answer).to_have_text("Whole.")
    await expect(front.status).to_have_text("Ready.")
    assert [message["role"] for message in front.fake.chats[1].json["messages"]] == ["user"]


async def test_react_cut_by_a_budget_says_whose(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that would write on is cut where the ticket's limit is; what was paid for is there."""
    monkeypatch.setattr(backend, "TICKET_LIMITS", ["tokens/total=200"])
    front.fake.script = runaway(5000)
    await front.ask("go on for ever")
    await expect(front.page.locator(".note")).to_contain_text("Cut: the budget of ticket:")
    await expect(front.status).to_have_text("Ready.")
    await expect(front.answer).to_contain_text("a a a")
    await front.ended(End.BUDGET)


async def test_react_refused_by_a_budget_says_so(
    front: Front, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """429 before the stream, in the page's own words; no provider is asked."""
    monkeypatch.setattr(backend, "TICKET_LIMITS", ["tokens/total=20"])
    await front.ask("hi")
    await expect(front.status).to_have_attribute("data-kind", "failed")
    await expect(front.status).to_have_text("Too much at once. Wait a little.")
    assert front.fake.chats == []
    console.expect("status of 429")


async def test_react_runs_a_tool_in_the_page_and_goes_on(front: Front) -> None:
    """Two requests, one message: the call, its result under its id, and what the model makes of it."""
    front.fake.queue(chat([], tools=CALL), chat(["It is late."]))
    await front.ask("What time is it?")
    await expect(front.answer).to_have_text("It is late.")
    await expect(front.status).to_have_text("Ready.")
    await expect(front.page.locator(".call")).to_contain_text("localTime: ")
    await expect(front.page.locator("[data-role=assistant]")).to_have_count(1)
    first, second = front.fake.chats
    assert first.json["tools"][0]["function"]["name"] == "localTime"
    _, called, result = second.json["messages"]
    assert (called["tool_calls"][0]["id"], result["tool_call_id"], result["role"]) == ("call_1", "call_1", "tool")
    assert result["content"]


@pytest.mark.parametrize("front", ["anthropic"], indirect=True)
async def test_react_reasoning_with_its_signature_goes_back_to_anthropic(front: Front) -> None:
    """Shown as it comes; the tool's result takes it along, as Anthropic wants it."""
    uses = [native.ToolUse("toolu_1", "localTime")]
    front.fake.queue(
        native.message([], thoughts=["Let me", " see."], signature="c2ln", tools=uses), native.message(["It is late."])
    )
    await front.ask("What time is it?")
    await expect(front.answer).to_have_text("It is late.")
    await expect(front.page.locator(".reasoning")).to_have_text("Let me see.")
    content = front.fake.chats[1].json["messages"][1]["content"]
    assert content[0] == {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"}
    assert (content[1]["type"], content[1]["id"]) == ("tool_use", "toolu_1")


async def test_react_reasoning_of_other_families_is_shown(front: Front) -> None:
    """Beside the answer and not in it."""
    thoughts = [Delta({"reasoning_content": "Hm"}), Delta({"reasoning_content": "m."})]
    front.fake.script = [Role(), *thoughts, Chunk("Hello"), Finish(), Done()]
    await front.ask("hi")
    await expect(front.page.locator(".reasoning")).to_have_text("Hmm.")
    await expect(front.answer).to_have_text("Hello")
