"""The chat page and the real gateway together: Chromium in front, a fake provider behind."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.e2e.browser import Console
from tests.e2e.real import RealGateway
from tests.e2e.watch import PATIENCE_S
from tests.fakes.exchange import Step
from tests.fakes.script import Chunk, Close, Error, ErrorFrame, Finish, Pause, Reset, Stall, chat, error

pytestmark = [pytest.mark.anyio, pytest.mark.browser]


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop for the browser's life."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
async def loaded(page: Page, gateway: RealGateway) -> Page:
    """The gateway's chat page, its models listed."""
    await page.goto(gateway.url + "/")
    await expect(page.get_by_label("Model", exact=True)).to_have_value("fake-model")
    return page


async def ask(page: Page, text: str) -> None:
    """Write a message and send it."""
    await page.get_by_label("Your message").fill(text)
    await page.keyboard.press("Enter")


async def test_page_stream_through_the_gateway_is_word_by_word(loaded: Page, gateway: RealGateway) -> None:
    """The provider writes word n + 1 only after the page showed word n; at the end stand the provider's own counts."""
    words = ["One", " two", " drei", " ü€😀"]
    gateway.fake.queue(chat(words, lockstep_after=0, input_tokens=24, output_tokens=118))
    await ask(loaded, "count")
    text = loaded.locator(".answer > .text")
    for number in range(len(words)):
        gateway.fake.allow()
        await expect(text).to_have_js_property("textContent", "".join(words[: number + 1]))
    await expect(loaded.locator(".stats")).to_contain_text(re.compile(r"first token [\d.]+ m?s"))
    await expect(loaded.locator("[data-stat=input]")).to_have_text("24 in")
    await expect(loaded.locator("[data-stat=output]")).to_have_text("118 out")
    await expect(loaded.locator("[data-end=finished]")).to_be_visible()


async def test_page_second_turn_reaches_the_provider_whole(loaded: Page, gateway: RealGateway) -> None:
    """What was said before, the system prompt and the limit arrive where they belong."""
    await loaded.get_by_role("button", name="Settings").click()
    await loaded.get_by_label("System prompt").fill("Be brief.")
    await loaded.get_by_label("Max tokens per answer").fill("64")
    gateway.say("Hello", ", Ada.")
    await ask(loaded, "I am Ada.")
    await expect(loaded.locator("[data-end=finished]")).to_have_count(1)
    await ask(loaded, "Who am I?")
    await expect(loaded.locator("[data-end=finished]")).to_have_count(2)
    body = gateway.fake.chats[1].json
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "I am Ada."},
        {"role": "assistant", "content": "Hello, Ada."},
        {"role": "user", "content": "Who am I?"},
    ]
    assert body["max_tokens"] == 64


@pytest.mark.parametrize("script", [[Stall()], [Chunk("one"), Stall()]], ids=["before the first word", "in mid-stream"])
async def test_page_stop_cancels_the_provider(loaded: Page, gateway: RealGateway, script: list[Step]) -> None:
    """Stop reaches the provider: its connection is closed, and no more words are paid for."""
    gateway.fake.queue(script)
    await ask(loaded, "go on for ever")
    async with asyncio.timeout(PATIENCE_S):
        await gateway.fake.request()
        if len(script) > 1:
            await expect(loaded.locator(".answer > .text")).to_have_text("one")
        await loaded.get_by_role("button", name="Stop").click()
        await gateway.fake.closed()
    await expect(loaded.locator("[data-end=stopped]")).to_be_visible()


async def test_page_provider_that_refuses_is_shown_with_our_request_id(
    loaded: Page, gateway: RealGateway, console: Console
) -> None:
    """An error before the first word is an HTTP error, with the provider's sentence and the id to quote."""
    gateway.fake.queue([Error(429, error("Slow down, please.", "rate_limit_error", "rate_limit_exceeded"))])
    await ask(loaded, "hi")
    await expect(loaded.locator(".failure-title")).to_have_text("Error 429 · rate_limit_exceeded")
    await expect(loaded.locator(".failure-message")).to_contain_text("Slow down, please.")
    await expect(loaded.locator(".failure-facts")).to_contain_text(re.compile(r"request id \S{8}"))
    console.expect("status of 429")


@pytest.mark.parametrize(
    ("script", "shown"),
    [
        ([Chunk("Half"), Pause(), ErrorFrame("It fell over.")], "It fell over."),
        ([Chunk("Half"), Pause(), Close()], "· upstream_truncated"),
        ([Chunk("Half"), Pause(), Reset()], "· upstream_"),
    ],
    ids=["says so", "closes", "resets"],
)
async def test_page_provider_that_fails_in_mid_stream_is_shown_below_what_came(
    loaded: Page, gateway: RealGateway, script: list[Step], shown: str
) -> None:
    """However a provider breaks off, the page shows an error that the gateway sent, and never a whole answer."""
    gateway.fake.queue(script)
    await ask(loaded, "hi")
    await expect(loaded.locator(".answer > .text")).to_have_text("Half")
    gateway.fake.allow()
    await expect(loaded.locator(".failure-title")).to_contain_text("The stream failed · ")
    await expect(loaded.locator(".failure")).to_contain_text(shown)
    await expect(loaded.locator(".answer > .text")).to_have_text("Half")


async def test_page_answer_past_its_limit_says_that_the_gateway_cut_it(loaded: Page, gateway: RealGateway) -> None:
    """A provider that ignores its cap is cut, and the page says by whom, with counts."""
    await loaded.get_by_role("button", name="Settings").click()
    await loaded.get_by_label("Max tokens per answer").fill("8")
    gateway.fake.queue([*[Chunk(" word")] * 400, Finish()])
    await ask(loaded, "hi")
    await expect(loaded.locator("[data-stat=finish]")).to_have_text(re.compile("^length: the gateway cut it: "))
    await expect(loaded.locator("[data-stat=output]")).to_have_text(re.compile(r"^≈ \d+ out$"))


async def test_page_model_that_went_away_is_shown_and_the_list_is_fetched_anew(
    loaded: Page, gateway: RealGateway, console: Console
) -> None:
    """A model that is no longer there is an error with its name, and the page looks which ones are."""
    gateway.fake.queue([Error(404, error("No such model here.", "invalid_request_error", "model_not_found"))])
    async with loaded.expect_response(lambda response: response.url.endswith("/v1/models")):
        await ask(loaded, "hi")
    await expect(loaded.locator(".failure-title")).to_have_text("Error 404 · model_not_found")
    console.expect("status of 404")
