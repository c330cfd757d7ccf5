"""Fixtures that drive a real headless Chromium; `conftest.py` hands them to the tests of this folder.

A test module that uses them needs an `anyio_backend` of module scope: one browser serves all tests of a module, on one
loop, and a second loop would prove nothing more about a page.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import pytest
from playwright.async_api import Browser, ConsoleMessage, Error, Page, ViewportSize, async_playwright, expect

from tests.e2e.real import RealGateway, real_gateway
from tests.e2e.stub import StubGateway, stub_gateway
from tests.e2e.watch import PATIENCE_S

FOREIGN_HOST: Final = "foreign.example"
"""A name that Chromium takes for loopback, and for another site."""

_ARGUMENTS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    f"--host-resolver-rules=MAP {FOREIGN_HOST} 127.0.0.1",
]

expect.set_options(timeout=PATIENCE_S * 1000)


def chromium_path() -> str | None:
    """Where Chromium is; None when this machine has none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


@dataclass
class Console:
    """What the browser complains about: errors and warnings of the console, exceptions of scripts.

    Attributes:
        test_is_over: servers end with the test, some before its tab: what the page cannot load then is no complaint.
    """

    complaints: list[str] = field(default_factory=list)
    test_is_over: bool = False

    def watch(self, page: Page) -> None:
        """Collect what `page` complains about from now on."""
        page.on("console", self._message)
        page.on("pageerror", self._error)

    def expect(self, pattern: str) -> None:
        """Take away the complaints that match; there must be at least one."""
        others = [complaint for complaint in self.complaints if not re.search(pattern, complaint)]
        assert len(others) < len(self.complaints), f"no complaint matches {pattern!r}: {self.complaints}"
        self.complaints = others

    def _message(self, message: ConsoleMessage) -> None:
        without_server = self.test_is_over and "net::ERR_" in message.text
        if message.type in {"error", "warning"} and not without_server:
            self.complaints.append(f"{message.type}: {message.text}")

    def _error(self, error: Error) -> None:
        self.complaints.append(f"exception: {error.message}")


@pytest.fixture(scope="module")
async def browser(anyio_backend: object) -> AsyncIterator[Browser]:
    """One Chromium for a module's tests."""
    path = chromium_path()
    if path is None:
        pytest.skip("the browser tests did not run: no chromium found; `apt-get install chromium` brings it")
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield chromium
        await chromium.close()


@pytest.fixture
def console() -> Console:
    """The complaints of this test's pages."""
    return Console()


@pytest.fixture
async def page(browser: Browser, console: Console) -> AsyncIterator[Page]:
    """An empty tab with storage of its own. At its end the console must hold nothing that the test did not expect."""
    viewport: ViewportSize = {"width": 1100, "height": 760}
    async with await browser.new_context(viewport=viewport, locale="en-US", timezone_id="UTC") as context:
        page = await context.new_page()
        page.set_default_timeout(PATIENCE_S * 1000)
        console.watch(page)
        yield page
    assert console.complaints == []


@pytest.fixture
async def stub(anyio_backend: object) -> AsyncIterator[StubGateway]:
    """A gateway that the test answers for."""
    async with stub_gateway() as gateway:
        yield gateway


@pytest.fixture
async def gateway(anyio_backend: object) -> AsyncIterator[RealGateway]:
    """The real gateway with a fake provider behind it."""
    async with real_gateway() as gateway:
        yield gateway


@pytest.fixture
def page_url(stub: StubGateway) -> str:
    """The address of the chat page; a module that overrides this fixture tests another gateway's page."""
    return stub.url + "/"
