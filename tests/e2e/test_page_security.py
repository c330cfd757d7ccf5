"""What a real Chromium lets happen to the chat page: nothing inline, nothing from text, no frame, no opener."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.e2e.browser import FOREIGN_HOST, Console

pytestmark = [pytest.mark.anyio, pytest.mark.browser]


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop for the browser's life."""
    return "asyncio", {"use_uvloop": False}


async def loaded(page: Page, url: str) -> None:
    """The page as it works: its scripts have run."""
    await page.goto(url)
    await expect(page.get_by_label("Model", exact=True)).to_be_enabled()


async def test_page_refuses_a_script_that_was_put_into_it(page: Page, page_url: str, console: Console) -> None:
    """An element with words that are a script never runs; the browser says so."""
    await loaded(page, page_url)
    ran = await page.evaluate(
        """() => {
            const element = document.createElement("script");
            try { element.text = "window.intruded = true"; } catch (error) { return error.name; }
            document.body.append(element);
            return window.intruded === true;
        }"""
    )
    assert ran == "TypeError"
    console.expect("TrustedScript|Trusted")


async def test_page_refuses_text_as_markup(page: Page, page_url: str, console: Console) -> None:
    """A slip that would parse a model's words as markup throws instead."""
    await loaded(page, page_url)
    name = await page.evaluate(
        """() => {
            try { document.body.innerHTML = "<img src=x onerror=1>"; } catch (error) { return error.name; }
            return "none";
        }"""
    )
    assert name == "TypeError"
    console.expect("TrustedHTML|Trusted")


async def test_page_sends_nothing_to_other_origins(page: Page, page_url: str, console: Console) -> None:
    """Whatever ran in it could not carry a key away."""
    await loaded(page, page_url)
    foreign = page_url.replace("127.0.0.1", FOREIGN_HOST)
    assert await page.evaluate("(url) => fetch(url).then(() => 'sent', () => 'refused')", foreign) == "refused"
    console.expect("Content Security Policy")


async def test_page_is_shown_in_no_frame(page: Page, page_url: str, console: Console) -> None:
    """A page around it could make its user click: the browser shows its own error page in the frame instead."""
    async with page.expect_console_message(lambda message: "frame-ancestors" in message.text):
        await page.set_content(f'<iframe src="{page_url}"></iframe>')
    await page.frames[1].wait_for_url("chrome-error:**")
    console.expect("frame-ancestors")


async def test_page_opened_by_another_keeps_no_opener(page: Page, page_url: str, console: Console) -> None:
    """Whoever opened it holds no handle on it."""
    await loaded(page, page_url)
    foreign = page_url.replace("127.0.0.1", "localhost")
    async with page.context.expect_page() as opened:
        await page.evaluate("(url) => { window.popup = window.open(url); }", foreign)
    popup = await opened.value
    await popup.wait_for_load_state()
    assert await popup.evaluate("window.opener") is None
    assert await page.evaluate("window.popup.closed") is True
