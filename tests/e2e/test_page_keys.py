"""The chat page where keys are required: Chromium in front, the real gateway with its ledger, a fake provider behind.

A key lives in the page's memory. Every test here ends with a look at all that a browser keeps: it must not be there.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from playwright.async_api import Locator, Page, Request, Route, expect

from rillgate.identity import keys
from tests.e2e.browser import Console
from tests.e2e.keyed import KeyedGateway, keyed_gateway
from tests.e2e.test_page import COLOURS, contrast
from tests.e2e.watch import PATIENCE_S
from tests.fakes.script import Chunk, Finish, Pause, Stall, chat

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.slow]

KEPT: Final = """async () => JSON.stringify([
    Object.entries(localStorage), Object.entries(sessionStorage), document.cookie, location.href, history.state,
    window.name, (await indexedDB.databases()).map(({ name }) => name), await caches.keys(),
])"""
"""All that a page of this origin can keep, as text."""

SHOWN: Final = """() => JSON.stringify([
    document.documentElement.outerHTML,
    Array.from(document.querySelectorAll("input, textarea, select"), (field) => field.value),
])"""
"""All that the page shows, and holds in its fields, as text."""


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop for the browser's life."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
async def keyed(anyio_backend: object) -> AsyncIterator[KeyedGateway]:
    """The gateway; its provider says hello."""
    async with keyed_gateway() as gateway:
        gateway.fake.script = chat(["Hello", "."])
        yield gateway


@pytest.fixture
async def asking(page: Page, keyed: KeyedGateway, console: Console) -> AsyncIterator[Page]:
    """The page, which asks for a key. At the end the browser has kept none that was sent, right or wrong."""
    sent = requests_of(page)
    await page.goto(keyed.url + "/")
    await expect(form(page)).to_be_visible()
    console.expect("status of 401")
    yield page
    given = {request.headers["authorization"].removeprefix("Bearer ") for request in sent if is_keyed(request)}
    kept = await page.evaluate(KEPT) + json.dumps(await page.context.storage_state())
    assert [key for key in given if key in kept or any(key in request.url for request in sent)] == []


def requests_of(page: Page) -> list[Request]:
    """All that a page sends from now on."""
    sent: list[Request] = []

    def note(request: Request) -> None:
        sent.append(request)

    page.on("request", note)
    return sent


def is_keyed(request: Request) -> bool:
    """Whether a request carries a key. The browser makes those for files by itself, and they carry none."""
    assert "cookie" not in request.headers
    carries = "authorization" in request.headers
    assert carries is False or "/v1/" in request.url
    return carries


def form(page: Page) -> Locator:
    """The form that asks for a key."""
    return page.locator("#key-form")


def title(page: Page) -> Locator:
    """What it says."""
    return form(page).get_by_role("alert")


def answer(page: Page) -> Locator:
    """The newest answer."""
    return page.locator(".answer").last


def stat(page: Page, name: str) -> Locator:
    """One number under the newest answer."""
    return answer(page).locator(f"[data-stat={name}]")


async def give(page: Page, key: str) -> None:
    """Type a key and send the form."""
    await page.get_by_label("Key", exact=True).fill(key)
    await page.get_by_role("button", name="Use this key").click()


async def let_in(page: Page, key: str) -> None:
    """Give the right key, and wait until the page knows that it is."""
    await give(page, key)
    await expect(page.get_by_label("Model", exact=True)).to_have_value("fake-model")
    await expect(form(page)).to_be_hidden()


async def ask(page: Page, text: str) -> None:
    """Write a message and send it."""
    await page.get_by_label("Your message").fill(text)
    await page.keyboard.press("Enter")


async def answered(page: Page, count: int = 1) -> None:
    """Wait for so many whole answers."""
    await expect(page.locator("[data-end=finished]")).to_have_count(count)


# The form -------------------------------------------------------------------------------------------------------


async def test_page_without_a_key_asks_for_one_and_streams_with_it(asking: Page, keyed: KeyedGateway) -> None:
    """The page that is open to all asks, and the key goes out as Bearer; the provider never sees it."""
    key = await keyed.inside.new_key()
    await expect(title(asking)).to_contain_text("This gateway asks for a key.")
    await expect(asking.get_by_role("status")).to_be_hidden()
    field = asking.get_by_label("Key", exact=True)
    await expect(field).to_be_focused()
    await expect(field).to_have_attribute("type", "password")
    await asking.keyboard.type(f" {key} ")
    await asking.keyboard.press("Enter")
    await expect(form(asking)).to_be_hidden()
    await expect(asking.get_by_label("Your message")).to_be_focused()

    keyed.fake.queue([Chunk("Half"), Pause(), Chunk(" and half"), Finish()])
    await ask(asking, "hi")
    await expect(answer(asking).locator("> .text")).to_have_text("Half")
    keyed.fake.allow()
    await answered(asking)
    await expect(answer(asking).locator("> .text")).to_have_text("Half and half")
    visit = await keyed.watch.visit()
    assert (visit.status, visit.headers["authorization"]) == (200, f"Bearer {key}")
    assert key not in repr(keyed.fake.chats[0].headers)


async def test_page_wrong_keys_are_refused_in_words_until_one_is_right(
    asking: Page, keyed: KeyedGateway, console: Console
) -> None:
    """Unknown, mistyped, expired, revoked: each in its own words, and the field is there for the next try."""
    key = await keyed.inside.new_key()
    mistyped = key[:-1] + ("0" if key[-1] != "0" else "1")
    for wrong, *words in [
        (keys.new_key(), "That key is not right.", "not known"),
        (mistyped, "That key is not right.", "mistyped"),
        (key[:-1], "That key is not right.", "not whole"),
        (await keyed.inside.new_key(expires_s=1), "The key has expired.", "Ask for a new one."),
        (await keyed.inside.new_key(revoked_s=1), "The key was revoked.", "Ask for a new one."),
        ("rillt_x", "That ticket is not right.", "not whole"),
    ]:
        await give(asking, wrong)
        for word in words:
            await expect(title(asking)).to_contain_text(word)
        await expect(asking.get_by_label("Key", exact=True)).to_have_attribute("aria-invalid", "true")
        console.expect("status of 401")
    await let_in(asking, key)


async def test_page_key_of_somebody_else_is_not_sent_anywhere(asking: Page, keyed: KeyedGateway) -> None:
    """A provider's key that was pasted by mistake stays here."""
    sent = requests_of(asking)
    for foreign in ["sk-somebody-elses", "schlüssel", "rill_ä"]:
        await give(asking, foreign)
        await expect(title(asking)).to_contain_text("That is no key of this gateway.")
        await expect(asking.get_by_label("Key", exact=True)).to_be_visible()
    await asking.get_by_label("Key", exact=True).fill("")
    await asking.get_by_role("button", name="Use this key").click()
    await let_in(asking, await keyed.inside.new_key())
    assert len(sent) == 1


async def test_page_that_asks_for_a_key_keeps_the_draft(asking: Page, keyed: KeyedGateway) -> None:
    """What was written before the key was there waits, sent by Enter, by the button or by an example."""
    prompt = asking.get_by_label("Your message")
    await asking.get_by_role("button", name="Write a haiku about a mountain stream").click()
    await expect(prompt).to_have_value("Write a haiku about a mountain stream")
    await expect(asking.get_by_label("Key", exact=True)).to_be_focused()
    await ask(asking, "my draft")
    await expect(asking.get_by_label("Key", exact=True)).to_be_focused()
    await asking.get_by_role("button", name="Send").click()
    await expect(prompt).to_have_value("my draft")
    await expect(asking.locator(".question")).to_have_count(0)
    await let_in(asking, await keyed.inside.new_key())
    await expect(prompt).to_be_focused()
    await asking.keyboard.press("Enter")
    await answered(asking)
    await expect(asking.locator(".question .text")).to_have_text("my draft")
    assert len(keyed.fake.chats) == 1


async def test_page_key_that_cannot_be_checked_is_kept_until_it_can(
    asking: Page, keyed: KeyedGateway, console: Console
) -> None:
    """No network is no wrong key: the page says so, tries again, and then goes on with it."""
    key = await keyed.inside.new_key()
    await asking.context.set_offline(True)
    await give(asking, key)
    await expect(asking.get_by_role("status")).to_contain_text("The gateway cannot be reached")
    await expect(form(asking)).to_be_visible()
    await asking.context.set_offline(False)  # the page hears of it
    await expect(form(asking)).to_be_hidden()
    await expect(asking.get_by_role("status")).to_be_hidden()
    console.expect("ERR_INTERNET_DISCONNECTED")


# How long it lasts ----------------------------------------------------------------------------------------------


async def test_page_after_a_reload_asks_again_and_has_kept_nothing(
    asking: Page, keyed: KeyedGateway, console: Console
) -> None:
    """Storage, cookies, address, fields: no key anywhere, while it is in use and after."""
    key = await keyed.inside.new_key()
    await let_in(asking, key)
    await ask(asking, "hi")
    await answered(asking)
    assert key not in await asking.evaluate(KEPT) + await asking.evaluate(SHOWN)
    await asking.reload()
    await expect(title(asking)).to_contain_text("This gateway asks for a key.")
    await expect(asking.get_by_label("Key", exact=True)).to_have_value("")
    console.expect("status of 401")
    assert key not in await asking.evaluate(KEPT) + await asking.evaluate(SHOWN)


async def test_page_key_that_is_forgotten_is_asked_for_again(
    asking: Page, keyed: KeyedGateway, console: Console
) -> None:
    """In the settings; the conversation stays, and goes on under another key."""
    one, other = await keyed.inside.new_key(), await keyed.inside.new_key()
    await asking.get_by_role("button", name="Settings").click()
    await expect(asking.get_by_role("button", name="Forget the key")).to_be_hidden()
    await let_in(asking, one)
    await ask(asking, "hi")
    await answered(asking)
    await asking.get_by_role("button", name="Forget the key").click()
    await expect(title(asking)).to_contain_text("This gateway asks for a key.")
    await expect(asking.get_by_label("Key", exact=True)).to_be_focused()
    console.expect("status of 401")
    await let_in(asking, other)
    await ask(asking, "again")
    await answered(asking, 2)
    sent = [(await keyed.watch.visit()).headers["authorization"] for _ in range(2)]
    assert sent == [f"Bearer {one}", f"Bearer {other}"]
    assert [message["content"] for message in keyed.fake.chats[1].json["messages"]] == ["hi", "Hello.", "again"]


async def test_page_list_that_was_asked_for_with_a_forgotten_key_comes_too_late(
    asking: Page, keyed: KeyedGateway, console: Console
) -> None:
    """What that key may use is nobody's business any more, and does not pass for a key that is right."""
    await let_in(asking, await keyed.inside.new_key())
    held: asyncio.Queue[Route] = asyncio.Queue()
    await asking.route("**/v1/models", held.put_nowait, times=1)
    await asking.evaluate("window.dispatchEvent(new Event('online'))")  # the page asks for the models again
    async with asyncio.timeout(PATIENCE_S):
        late = await held.get()
    await asking.get_by_role("button", name="Settings").click()
    await asking.get_by_role("button", name="Forget the key").click()
    await expect(form(asking)).to_be_visible()
    console.expect("status of 401")
    async with asking.expect_request_finished(lambda request: request == late.request):
        await late.fulfill(json={"object": "list", "data": [{"id": "late"}]})
    await asking.evaluate("fetch('healthz').then((response) => response.text())")  # by now the page has read the list
    await expect(form(asking)).to_be_visible()
    await expect(asking.get_by_label("Model", exact=True)).to_have_value("fake-model")


@pytest.mark.parametrize(("how", "words"), [("revoked", "The key was revoked."), ("expired", "The key has expired.")])
async def test_page_key_that_goes_in_mid_conversation_loses_nothing(
    asking: Page, keyed: KeyedGateway, console: Console, how: str, words: str
) -> None:
    """The refused question stays with the conversation, the next one in its field; another key goes on with both."""
    expires_s = int(keyed.clock.wall()) + 10
    key = await keyed.inside.new_key(expires_s=expires_s if how == "expired" else None)
    await let_in(asking, key)
    await ask(asking, "I am Ada.")
    await answered(asking)
    if how == "revoked":
        await keyed.inside.revoke(key)
    keyed.clock.advance(10)  # so long may a key be remembered
    await ask(asking, "Who am I?")
    await expect(title(asking)).to_contain_text(words)
    await expect(asking.get_by_label("Key", exact=True)).to_be_focused()
    await expect(answer(asking).locator(".failure-title")).to_have_text(f"Error 401 · key_{how}")
    await expect(asking.locator(".question")).to_have_count(2)
    console.expect("status of 401")
    await asking.get_by_label("Your message").fill("draft")
    await asking.get_by_role("button", name="Try again").click()  # not without a key
    await expect(asking.get_by_label("Key", exact=True)).to_be_focused()
    await let_in(asking, await keyed.inside.new_key())
    await asking.get_by_role("button", name="Try again").click()
    await answered(asking, 2)
    await expect(asking.get_by_label("Your message")).to_have_value("draft")
    said = [message["content"] for message in keyed.fake.chats[1].json["messages"]]
    assert said == ["I am Ada.", "Hello.", "Who am I?"]


async def test_page_key_is_not_asked_for_where_somebody_writes(
    asking: Page, keyed: KeyedGateway, console: Console
) -> None:
    """A form that comes up while words are being typed does not take them."""
    key = await keyed.inside.new_key()
    await let_in(asking, key)
    await keyed.inside.revoke(key)
    keyed.clock.advance(10)
    await asking.get_by_label("Your message").fill("in the middle of a ")
    await asking.evaluate("window.dispatchEvent(new Event('online'))")  # the page asks for the models again
    await expect(title(asking)).to_contain_text("The key was revoked.")
    await asking.keyboard.type("word")
    await expect(asking.get_by_label("Your message")).to_have_value("in the middle of a word")
    console.expect("status of 401")


async def test_page_stream_outlives_the_key_that_began_it(asking: Page, keyed: KeyedGateway, console: Console) -> None:
    """To forget a key ends no answer that it has paid for."""
    await let_in(asking, await keyed.inside.new_key())
    keyed.fake.queue([Chunk("Half"), Pause(), Chunk(" and half"), Finish()])
    await ask(asking, "hi")
    await expect(answer(asking).locator("> .text")).to_have_text("Half")
    await asking.get_by_role("button", name="Settings").click()
    await asking.get_by_role("button", name="Forget the key").click()
    await expect(form(asking)).to_be_visible()
    keyed.fake.allow()
    await answered(asking)
    await expect(answer(asking).locator("> .text")).to_have_text("Half and half")
    console.expect("status of 401")


# Budgets --------------------------------------------------------------------------------------------------------


async def test_page_answer_cut_by_a_budget_says_whose_and_until_when_and_the_next_is_refused(
    asking: Page, keyed: KeyedGateway, console: Console
) -> None:
    """Not "token limit": the scope and the end of its day. Then 429 with the same two, and nothing tries again."""
    key = await keyed.inside.new_key(limits=["tokens/day=600"])
    scope = f"key:{keys.parse(key)}"
    await let_in(asking, key)
    keyed.fake.queue(chat([" a"] * 3, finish="length", input_tokens=9, output_tokens=580))
    await ask(asking, "hi")
    renewed = "renewed Nov 19, 2026, 12:00 AM"  # by the clock of the person in front of it, here UTC
    await expect(stat(asking, "finish")).to_have_text(f"length: cut by the budget of {scope}, which is {renewed}")
    await expect(stat(asking, "left")).to_have_text(re.compile(r"^at least \d+ tokens left$"))
    async with asyncio.timeout(PATIENCE_S):
        await keyed.inside.idle()

    await asking.clock.install()
    await ask(asking, "more")
    failure = answer(asking).locator(".failure")
    await expect(failure.locator(".failure-title")).to_have_text("Error 429 · insufficient_quota")
    await expect(failure.locator(".failure-message")).to_contain_text(scope)
    await expect(failure.locator(".failure-facts")).to_have_text(re.compile(rf"· scope {scope} · {renewed}$"))
    await expect(form(asking)).to_be_hidden()
    await asking.clock.fast_forward(600_000)
    assert [(await keyed.watch.visit()).status for _ in range(2)] == [200, 429]
    assert keyed.watch.unseen == 0
    assert len(keyed.fake.chats) == 1
    console.expect("status of 429")


async def test_page_rate_that_is_reached_says_when_to_come_back(
    asking: Page, keyed: KeyedGateway, console: Console
) -> None:
    """A minute's limit: seconds to wait, and whose limit it is."""
    key = await keyed.inside.new_key(limits=["requests/minute=1"])
    await let_in(asking, key)
    await ask(asking, "hi")
    await answered(asking)
    async with asyncio.timeout(PATIENCE_S):
        await keyed.inside.idle()
    await ask(asking, "again")
    await expect(answer(asking).locator(".failure-title")).to_have_text("Error 429 · rate_limit_exceeded")
    facts = answer(asking).locator(".failure-facts")
    await expect(facts).to_have_text(re.compile(rf"retry after \d+ s · scope key:{keys.parse(key)}"))
    console.expect("status of 429")


async def test_page_blocked_key_is_told_so_and_not_asked_for(
    asking: Page, keyed: KeyedGateway, console: Console
) -> None:
    """403: the key is right, and another one is not what helps."""
    key = await keyed.inside.new_key()
    await keyed.inside.set_budget(f"key:{keys.parse(key)}", [], blocked="too much noise")
    await let_in(asking, key)
    await ask(asking, "hi")
    await expect(answer(asking).locator(".failure-title")).to_have_text("Error 403 · permission_denied")
    await expect(answer(asking).locator(".failure-message")).to_contain_text("too much noise")
    await expect(form(asking)).to_be_hidden()
    console.expect("status of 403")


async def test_page_too_many_streams_is_told_so(asking: Page, keyed: KeyedGateway, console: Console) -> None:
    """A limit of streams: the one that runs is not this page's."""
    key = await keyed.inside.new_key(limits=["streams=1"])
    await let_in(asking, key)
    keyed.fake.queue([Chunk("one"), Stall()])
    async with await keyed.inside.client() as other:
        body = {"model": "fake-model", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        await other.request("POST", "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})
        assert await other.response() == 200
        await ask(asking, "hi")
        await expect(answer(asking).locator(".failure-title")).to_have_text("Error 429 · rate_limit_exceeded")
        await expect(answer(asking).locator(".failure-facts")).to_contain_text("retry after 1 s")
    console.expect("status of 429")


# Hands and eyes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_page_key_form_can_be_read(asking: Page, keyed: KeyedGateway, scheme: str) -> None:
    """In both schemes, before and after a wrong key, every text has the contrast of WCAG 2.2 (1.4.3)."""
    await asking.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for key in (None, "sk-wrong"):
        if key is not None:
            await give(asking, key)
            await expect(title(asking)).to_contain_text("That is no key of this gateway.")
        for selector in ["#key-title", "#key-text", "#key", "#key-form button", "#key-hint"]:
            ink, behind = await asking.locator(selector).evaluate(COLOURS)
            assert contrast(ink, behind) >= 4.5, (selector, ink, behind)
    await let_in(asking, await keyed.inside.new_key())
    await asking.get_by_role("button", name="Settings").click()
    for selector in ["#key-used span", "#forget-key"]:
        ink, behind = await asking.locator(selector).evaluate(COLOURS)
        assert contrast(ink, behind) >= 4.5, (selector, ink, behind)


async def test_page_key_form_on_a_phone_is_no_wider_than_the_screen(asking: Page) -> None:
    """Field and button side by side, all of both to be seen, and the composer too."""
    await asking.set_viewport_size({"width": 320, "height": 640})
    await give(asking, "x" * 300)
    for selector in ("html", "#key-form", "header", "footer"):
        assert await asking.locator(selector).evaluate("box => box.scrollWidth - box.clientWidth") == 0, selector
    for control in (
        asking.get_by_label("Key", exact=True),
        asking.get_by_role("button", name="Use this key"),
        asking.get_by_role("button", name="Send"),
    ):
        await expect(control).to_be_in_viewport(ratio=1)
