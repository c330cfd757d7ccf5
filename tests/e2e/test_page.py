"""The chat page in a real Chromium: what a person sees and does, before a gateway that says what a test tells it.

Nothing sleeps: the gateway sends a piece when the test has seen the one before, and expectations wait for the page.
The `page` fixture fails a test whose page complained on the console, a blocked script or style included.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any, Final

import pytest
from playwright.async_api import Locator, Page, expect
from starlette.responses import JSONResponse, Response

from tests.e2e.browser import Console
from tests.e2e.stub import REQUEST_ID, Exchange, StubGateway
from tests.e2e.watch import PATIENCE_S

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

PHONE: Final = {"width": 360, "height": 640}


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop for the browser's life."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
async def chat(page: Page, page_url: str) -> Page:
    """The chat page, loaded, its models listed."""
    await page.goto(page_url)
    await expect(page.get_by_label("Model", exact=True)).to_be_enabled()
    return page


async def ask(page: Page, text: str) -> None:
    """Write a message and send it with Enter."""
    await page.get_by_label("Your message").fill(text)
    await page.keyboard.press("Enter")


async def asked(page: Page, stub: StubGateway, text: str) -> Exchange:
    """Send a message and wait for the request that it makes."""
    await ask(page, text)
    return await stub.exchange()


def answer(page: Page) -> Locator:
    """The newest answer."""
    return page.locator(".answer").last


def words(page: Page) -> Locator:
    """The text of the newest answer."""
    return answer(page).locator("> .text")


def stat(page: Page, name: str) -> Locator:
    """One number under the newest answer."""
    return answer(page).locator(f"[data-stat={name}]")


async def happened(event: asyncio.Event) -> None:
    """Wait for an event of the gateway's side."""
    async with asyncio.timeout(PATIENCE_S):
        await event.wait()


# Streaming ------------------------------------------------------------------------------------------------------


async def test_page_stream_shows_each_word_before_the_next_is_sent(chat: Page, stub: StubGateway) -> None:
    """Words appear as they come: word n + 1 is sent only after word n was seen."""
    exchange = await asked(chat, stub, "hi")
    seen = ""
    for word in ["One", " two", " three", "  four", "\nfive ü€😀"]:
        await exchange.text(word)
        seen += word
        await expect(words(chat)).to_have_js_property("textContent", seen)
    await expect(answer(chat)).to_have_attribute("aria-busy", "true")
    await exchange.text(" `")  # held back until it is known whether this begins code
    seen += " `"
    await exchange.finish()
    await expect(answer(chat)).to_have_attribute("aria-busy", "false")
    await expect(words(chat)).to_have_js_property("textContent", seen)


async def test_page_request_names_model_and_asks_for_a_stream_with_usage(chat: Page, stub: StubGateway) -> None:
    """The request is what any OpenAI client would send, and holds nothing that was not chosen."""
    exchange = await asked(chat, stub, "  two\n  spaces ")
    assert exchange.request == {
        "model": "brook-1",
        "messages": [{"role": "user", "content": "  two\n  spaces "}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    await exchange.finish()


async def test_page_before_the_first_word_waits_calmly(chat: Page, stub: StubGateway) -> None:
    """Until a word comes the page says that it waits, heartbeats and an empty role chunk or not."""
    waiting = answer(chat).locator(".waiting")
    await chat.clock.install()
    exchange = await asked(chat, stub, "hi")
    await expect(waiting).to_contain_text("waiting for the model…")
    await chat.clock.fast_forward(12_000)
    await expect(waiting).to_contain_text("12 s")  # a model that loads may take longer than one believes
    await exchange.raw(b": ping\n")
    await exchange.delta(role="assistant", content="")
    await expect(stat(chat, "ttft")).to_be_hidden()
    await exchange.text("now")
    await expect(waiting).to_be_hidden()
    await expect(stat(chat, "ttft")).to_have_text(re.compile(r"^first token 1\d\.\d s$"))
    await exchange.finish()


async def test_page_stats_while_running_are_estimates_and_then_the_usage(chat: Page, stub: StubGateway) -> None:
    """Rates show live and marked as guesses; usage replaces them, and is not marked."""
    exchange = await asked(chat, stub, "hi")
    await exchange.text("a ", "b ", "c ")
    await expect(stat(chat, "ttft")).to_have_text(re.compile(r"^first token [\d.]+ m?s$"))
    await expect(stat(chat, "rate")).to_have_text(re.compile(r"^≈ [\d.]+ tokens/s$"))
    await expect(stat(chat, "output")).to_have_text("≈ 3 out")
    await exchange.text("d ")
    await expect(stat(chat, "output")).to_have_text("≈ 4 out")
    await exchange.finish(usage=(24, 1118))
    await expect(stat(chat, "output")).to_have_text("1118 out")
    await expect(stat(chat, "input")).to_have_text("24 in")
    await expect(stat(chat, "rate")).to_have_text(re.compile(r"^[\d.]+ tokens/s$"))
    await expect(stat(chat, "model")).to_have_text("brook-1")
    await expect(stat(chat, "finish")).to_be_hidden()


@pytest.mark.parametrize(
    ("reason", "extra", "shown"),
    [
        ("length", {}, "length: it reached its token limit"),
        ("length", {"rillgate": {"stop": "budget", "estimated": True}}, "length: the gateway cut it: budget"),
        (
            "length",
            {"rillgate": {"stop": "budget", "scope": "team:core", "reset": "2026-11-22T00:00:00Z", "estimated": True}},
            "length: cut by the budget of team:core, which is renewed Nov 22, 2026, 12:00 AM",
        ),
        (
            "length",
            {"rillgate": {"stop": "budget", "scope": "key:a1", "estimated": True}},
            "length: cut by the budget of key:a1",
        ),
        (
            "length",
            {"rillgate": {"stop": "budget", "scope": "request", "estimated": True}},
            "length: the gateway cut it: the limit of this request",
        ),
        ("content_filter", {}, "content_filter: the provider’s content filter stopped it"),
        ("eos", {}, "eos"),
    ],
)
async def test_page_finish_reason_that_is_not_stop_is_shown(
    chat: Page, stub: StubGateway, reason: str, extra: dict[str, object], shown: str
) -> None:
    """An answer that was cut says so, and by whom; a word that the page does not know is shown as it came."""
    exchange = await asked(chat, stub, "hi")
    await exchange.text("cut o")
    await exchange.finish(reason, usage=(3, 4), **extra)
    await expect(stat(chat, "finish")).to_have_text(shown)
    await expect(stat(chat, "output")).to_have_text("≈ 4 out" if extra else "4 out")


async def test_page_reasoning_is_folded_away_and_not_sent_back(chat: Page, stub: StubGateway) -> None:
    """Reasoning counts as the first token, stands apart from the answer, and stays out of the conversation."""
    exchange = await asked(chat, stub, "hi")
    await exchange.delta(reasoning_content="hmm, ")
    await expect(answer(chat).locator(".waiting")).to_be_hidden()
    await exchange.delta(reasoning_content="yes")
    await exchange.text("Hello.")
    await exchange.finish()
    await expect(words(chat)).to_have_text("Hello.")
    await chat.get_by_text("Reasoning", exact=True).click()
    await expect(answer(chat).locator(".reasoning .text")).to_have_text("hmm, yes")
    exchange = await asked(chat, stub, "again")
    assert exchange.messages == [("user", "hi"), ("assistant", "Hello."), ("user", "again")]
    await exchange.finish()


async def test_page_answer_without_words_says_so(chat: Page, stub: StubGateway) -> None:
    """An empty answer is not mistaken for one that is still to come."""
    exchange = await asked(chat, stub, "hi")
    await exchange.finish(usage=(5, 0))
    await expect(answer(chat)).to_contain_text("The model had nothing to say.")
    await expect(stat(chat, "input")).to_have_text("5 in")


# Stopping -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["button", "escape"])
async def test_page_stop_ends_the_request_and_keeps_what_came(chat: Page, stub: StubGateway, how: str) -> None:
    """Stop closes the connection, which stops the meter; what was said stays, and stays in the conversation."""
    exchange = await asked(chat, stub, "count")
    await exchange.text("one ", "two")
    await expect(words(chat)).to_have_text("one two")
    await expect(chat.get_by_role("button", name="Send")).to_be_hidden()
    if how == "button":
        await chat.get_by_role("button", name="Stop").click()
    else:
        await chat.keyboard.press("Escape")
    await happened(exchange.gone)
    await expect(stat(chat, "finish")).to_have_text("stopped")
    await expect(stat(chat, "output")).to_have_text("≈ 2 out")
    await expect(chat.locator(".failure")).to_have_count(0)
    await expect(chat.get_by_role("button", name="Send")).to_be_visible()
    await expect(chat.get_by_label("Your message")).to_be_focused()
    exchange = await asked(chat, stub, "on")
    assert exchange.messages == [("user", "count"), ("assistant", "one two"), ("user", "on")]
    await exchange.finish()


async def test_page_stop_before_the_first_word_ends_the_request(chat: Page, stub: StubGateway) -> None:
    """A request that was not answered yet can be stopped too, and leaves no trace in the conversation."""
    exchange = await asked(chat, stub, "hi")
    await chat.keyboard.press("Escape")
    await happened(exchange.gone)
    await expect(answer(chat)).to_contain_text("Stopped before the first word came.")
    exchange = await asked(chat, stub, "other")
    assert exchange.messages == [("user", "other")]
    await exchange.finish()


async def test_page_closed_tab_ends_the_request(chat: Page, stub: StubGateway) -> None:
    """Who closes the tab stops the meter."""
    exchange = await asked(chat, stub, "hi")
    await exchange.text("one")
    await expect(words(chat)).to_have_text("one")
    await chat.close()
    await happened(exchange.gone)


# Errors ---------------------------------------------------------------------------------------------------------

_NOT_FOUND = (
    b'{"error":{"message":"No model \'brook-1\'; see GET /v1/models.","type":"invalid_request_error",'
    b'"param":"model","code":"model_not_found"}}'
)


@dataclass(frozen=True)
class HttpError:
    """An answer that is no stream, and what the page shall make of it."""

    status: int
    headers: dict[str, str]
    body: bytes
    title: str
    message: str
    facts: str = f"request id {REQUEST_ID}"


HTTP_ERRORS: Final = {
    "not found": HttpError(
        404,
        {"content-type": "application/json"},
        _NOT_FOUND,
        "Error 404 · model_not_found",
        "No model 'brook-1'; see GET /v1/models.",
        f"request id {REQUEST_ID} · field model",
    ),
    "overloaded": HttpError(
        503,
        {"content-type": "application/json", "retry-after": "7"},
        b'{"error":{"message":"Too many streams.","type":"server_error","param":null,"code":"overloaded"}}',
        "Error 503 · overloaded",
        "Too many streams.",
        f"request id {REQUEST_ID} · retry after 7 s",
    ),
    "used up": HttpError(
        429,
        {
            "content-type": "application/json",
            "x-should-retry": "false",
            "x-rillgate-scope": "key:a1",
            "x-rillgate-reset": "2026-11-22T00:00:00Z",
        },
        b'{"error":{"message":"All spent.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}',
        "Error 429 · insufficient_quota",
        "All spent.",
        f"request id {REQUEST_ID} · scope key:a1 · renewed Nov 22, 2026, 12:00 AM",
    ),
    "used up until nobody knows when": HttpError(
        429,
        {"content-type": "application/json", "x-rillgate-scope": "key:a1", "x-rillgate-reset": "one day"},
        b'{"error":{"message":"All spent.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}',
        "Error 429 · insufficient_quota",
        "All spent.",
        f"request id {REQUEST_ID} · scope key:a1 · renewed one day",
    ),
    "a proxy's 401": HttpError(401, {"content-type": "text/html"}, b"Log in first", "Error 401", "Log in first"),
    "a proxy's page": HttpError(
        502, {"content-type": "text/html"}, b"<b>Bad Gateway</b>", "Error 502", "<b>Bad Gateway</b>"
    ),
    "another shape": HttpError(400, {"content-type": "application/json"}, b'{"detail":"no"}', "Error 400", "no"),
    "nothing": HttpError(500, {}, b"", "Error 500", "The answer says no more than that."),
}


@pytest.mark.parametrize("error", HTTP_ERRORS.values(), ids=HTTP_ERRORS)
async def test_page_http_error_is_shown_as_the_gateway_sent_it(
    chat: Page, stub: StubGateway, console: Console, error: HttpError
) -> None:
    """An error's status, code, sentence and request id are all there; other bodies are shown as text."""
    exchange = await asked(chat, stub, "hi")
    await exchange.answer(error.status, error.body, error.headers)
    await expect(answer(chat).locator(".failure-title")).to_have_text(error.title)
    await expect(answer(chat).locator(".failure-message")).to_have_text(error.message)
    await expect(answer(chat).locator(".failure-facts")).to_have_text(error.facts)
    await expect(answer(chat).locator(".waiting")).to_be_hidden()
    await expect(chat.get_by_role("button", name="Send")).to_be_visible()
    console.expect(f"status of {error.status}")


@pytest.mark.parametrize("status", [429, 503])
async def test_page_refusal_that_names_a_time_is_not_repeated_by_itself(
    chat: Page, stub: StubGateway, console: Console, status: int
) -> None:
    """The page spends nothing that nobody asked for: after any time the next request is the one that a hand sends."""
    await chat.clock.install()
    exchange = await asked(chat, stub, "hi")
    await exchange.answer(status, b"{}", {"content-type": "application/json", "retry-after": "1"})
    await expect(answer(chat).locator(".failure-facts")).to_contain_text("retry after 1 s")
    console.expect(f"status of {status}")
    await chat.clock.fast_forward(3_600_000)
    exchange = await asked(chat, stub, "by hand")
    assert exchange.messages == [("user", "by hand")]
    await exchange.finish()


async def test_page_says_quietly_what_the_budgets_leave(chat: Page, stub: StubGateway) -> None:
    """Beside the other numbers, when the answer is there; in the middle of it nothing moves."""
    exchange = await asked(chat, stub, "hi")
    left = {"x-ratelimit-remaining-tokens": "6000", "x-rillgate-remaining-usd": "1.5"}
    await exchange.start(200, {"content-type": "text/event-stream", **left})
    await exchange.text("one")
    await expect(stat(chat, "output")).to_have_text("≈ 1 out")
    await expect(stat(chat, "left")).to_be_hidden()
    await exchange.finish(usage=(3, 1))
    await expect(stat(chat, "left")).to_have_text("at least 6,000 tokens and $1.50 left")
    exchange = await asked(chat, stub, "no limits")
    await exchange.finish(usage=(3, 0))
    await expect(stat(chat, "input")).to_have_text("3 in")
    await expect(stat(chat, "left")).to_be_hidden()


async def test_page_error_inside_the_stream_is_shown_below_what_came(chat: Page, stub: StubGateway) -> None:
    """An error after the first words leaves the words, and is not taken for an end even if [DONE] follows."""
    exchange = await asked(chat, stub, "hi")
    await exchange.text("Half an ")
    await exchange.frame({"error": {"message": "It went away.", "type": "server_error", "code": "upstream_error"}})
    await exchange.raw(b"data: [DONE]\n\n")
    await exchange.end()
    await expect(answer(chat).locator(".failure-title")).to_have_text("The stream failed · upstream_error")
    await expect(answer(chat).locator(".failure-message")).to_have_text("It went away.")
    await expect(answer(chat).locator(".failure-facts")).to_have_text(f"request id {REQUEST_ID}")
    await expect(words(chat)).to_have_text("Half an")
    await expect(answer(chat)).to_have_attribute("data-end", "failed")


@pytest.mark.parametrize("cut", ["end", "end in a frame", "end after the finish reason", "lost connection"])
async def test_page_stream_without_done_is_shown_as_broken(
    chat: Page, stub: StubGateway, console: Console, cut: str
) -> None:
    """A stream that stops without [DONE] is never taken for a whole answer, however it stopped."""
    exchange = await asked(chat, stub, "hi")
    await exchange.text("Half an ")
    await expect(words(chat)).to_have_text("Half an")
    if cut == "end in a frame":
        await exchange.raw(b'data: {"choices":[{"index":0,"del')
    elif cut == "end after the finish reason":
        await exchange.frame({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if cut == "lost connection":
        exchange.drop()
    else:
        await exchange.end()
    await expect(answer(chat).locator(".failure-title")).to_have_text("The connection broke")
    await expect(words(chat)).to_have_text("Half an")
    if cut == "lost connection":
        console.expect("ERR_INCOMPLETE_CHUNKED_ENCODING")


async def test_page_stream_of_something_else_is_shown_as_an_error(chat: Page, stub: StubGateway) -> None:
    """An event that is no JSON object ends the answer with a clear word."""
    exchange = await asked(chat, stub, "hi")
    await exchange.raw(b"data: hello\n\n")
    await expect(answer(chat).locator(".failure-title")).to_have_text("Not a chunk of an answer")
    await happened(exchange.gone)


async def test_page_network_failure_is_shown_and_can_be_tried_again(
    chat: Page, stub: StubGateway, console: Console
) -> None:
    """Without a network the page says so; one press asks the same again, once there is one."""
    await chat.context.set_offline(True)
    await ask(chat, "hi")
    await expect(answer(chat).locator(".failure-title")).to_have_text("The gateway cannot be reached")
    console.expect("ERR_INTERNET_DISCONNECTED")
    await chat.context.set_offline(False)
    await chat.get_by_role("button", name="Try again").click()
    exchange = await stub.exchange()
    assert exchange.messages == [("user", "hi")]
    await exchange.text("Hello.")
    await exchange.finish()
    await expect(words(chat)).to_have_text("Hello.")
    await expect(chat.locator(".failure")).to_have_count(0)
    await expect(chat.locator(".question")).to_have_count(1)


# The conversation -----------------------------------------------------------------------------------------------


async def test_page_second_turn_sends_the_first(chat: Page, stub: StubGateway, console: Console) -> None:
    """The model hears what was said before; a turn that was never answered is not part of it."""
    exchange = await asked(chat, stub, "My name is Ada.")
    await exchange.text("Hello, ", "Ada.")
    await exchange.finish()
    await expect(answer(chat)).to_have_attribute("data-end", "finished")
    exchange = await asked(chat, stub, "lost")
    await exchange.answer(500, b"")
    await expect(answer(chat)).to_have_attribute("data-end", "failed")
    console.expect("status of 500")
    exchange = await asked(chat, stub, "Who am I?")
    assert exchange.messages == [("user", "My name is Ada."), ("assistant", "Hello, Ada."), ("user", "Who am I?")]
    await expect(chat.get_by_role("button", name="Try again")).to_have_count(0)
    await exchange.finish()


async def test_page_new_chat_stops_and_forgets(chat: Page, stub: StubGateway) -> None:
    """A new conversation ends the running answer and starts from nothing."""
    exchange = await asked(chat, stub, "hi")
    await exchange.text("one")
    await expect(words(chat)).to_have_text("one")
    await chat.get_by_role("button", name="New chat").click()
    await happened(exchange.gone)
    await expect(chat.get_by_role("log")).to_be_empty()
    await expect(chat.get_by_text("Ask something")).to_be_visible()
    exchange = await asked(chat, stub, "fresh")
    assert exchange.messages == [("user", "fresh")]
    await exchange.text("two")
    await exchange.finish()
    await expect(words(chat)).to_have_text("two")


async def test_page_settings_go_out_and_are_remembered(chat: Page, stub: StubGateway) -> None:
    """System prompt, token limit and model are sent, and are still there after a reload."""
    for _ in range(2):
        await chat.get_by_role("button", name="Settings").click()
        await expect(chat.get_by_label("System prompt")).to_be_focused()
        await chat.get_by_label("System prompt").fill("Be brief.")
        await chat.get_by_label("Max tokens per answer").fill("64")
        await chat.get_by_label("Model", exact=True).select_option("river-2")
        await chat.keyboard.press("Escape")
        await expect(chat.get_by_label("System prompt")).to_be_hidden()
        await chat.reload()
        await expect(chat.get_by_label("Model", exact=True)).to_have_value("river-2")
        exchange = await asked(chat, stub, "hi")
        assert exchange.messages == [("system", "Be brief."), ("user", "hi")]
        assert exchange.request["max_tokens"] == 64
        assert exchange.request["model"] == "river-2"
        await exchange.finish()


async def test_page_example_is_asked_with_one_press(chat: Page, stub: StubGateway) -> None:
    """Who does not know what to ask is helped."""
    await chat.get_by_role("button", name="Write a haiku about a mountain stream").click()
    exchange = await stub.exchange()
    assert exchange.messages == [("user", "Write a haiku about a mountain stream")]
    await exchange.finish()


# Models ---------------------------------------------------------------------------------------------------------


async def test_page_models_not_listed_says_why_and_asks_again_by_itself(
    page: Page, page_url: str, stub: StubGateway, console: Console
) -> None:
    """A gateway that is still starting is asked again, without a hand on the page."""
    await page.clock.install()
    error = {"message": "Still starting.", "type": "server_error", "param": None, "code": "overloaded"}
    stub.models = JSONResponse({"error": error}, status_code=503)
    await page.goto(page_url)
    notice = page.get_by_role("status")
    await expect(notice).to_contain_text("The models could not be listed: Error 503 · overloaded. Still starting.")
    console.expect("status of 503")
    stub.models = ["brook-1"]
    await page.clock.fast_forward(2000)
    await expect(page.get_by_label("Model", exact=True)).to_have_value("brook-1")
    await expect(notice).to_be_hidden()
    assert stub.models_asked == 2


async def test_page_no_models_says_what_to_do_and_looks_again(page: Page, page_url: str, stub: StubGateway) -> None:
    """An empty list comes with its remedy; the gateway's default can be asked all the same."""
    stub.models = []
    await page.goto(page_url)
    notice = page.get_by_role("status")
    await expect(notice).to_contain_text("OPENAI_API_KEY")
    exchange = await asked(page, stub, "hi")
    assert "model" not in exchange.request
    await exchange.finish()
    stub.models = ["late-1"]
    await page.get_by_role("button", name="Look again").click()
    await expect(page.get_by_label("Model", exact=True)).to_have_value("late-1")
    await expect(notice).to_be_hidden()


async def test_page_models_of_something_else_says_so(page: Page, page_url: str, stub: StubGateway) -> None:
    """An answer that is no list of models is named as that."""
    stub.models = Response("<p>hello", media_type="text/html")
    await page.goto(page_url)
    await expect(page.get_by_role("status")).to_contain_text("Something else than the gateway answered.")


# Safety ---------------------------------------------------------------------------------------------------------

MARKUP: Final = '<img src=x onerror="window.harm=1"><b>bold</b><script>window.harm=1</script>'


async def test_page_markup_anywhere_stays_text(page: Page, page_url: str, stub: StubGateway, console: Console) -> None:
    """What people, models, providers and errors say is shown letter by letter, never parsed."""
    stub.models = [MARKUP]
    await page.goto(page_url)
    exchange = await asked(page, stub, MARKUP)
    assert exchange.request["model"] == MARKUP
    await exchange.delta(reasoning_content=MARKUP)
    await exchange.text(MARKUP, f"\n`{MARKUP}`\n```{MARKUP}\n{MARKUP}\n```\n")
    await exchange.frame({"error": {"message": MARKUP, "code": MARKUP}})
    await expect(answer(page).locator(".failure-message")).to_have_text(MARKUP)
    await expect(page.locator(".question .text")).to_have_text(MARKUP)
    await expect(words(page)).to_contain_text(MARKUP)
    await expect(page.locator("body :is(img, b, script)")).to_have_count(0)
    assert await page.evaluate("window.harm") is None
    assert console.complaints == []


async def test_page_policy_blocks_an_inline_style(chat: Page, console: Console) -> None:
    """The policy is in force in a real browser, and the console watch of these tests sees what it blocks. Scripts:
    `test_page_security.py`."""
    await chat.evaluate(
        """() => {
            const style = document.createElement("style");
            style.textContent = "body { color: rgb(1, 2, 3) }";
            document.head.append(style);
        }"""
    )
    assert await chat.evaluate("getComputedStyle(document.body).color") != "rgb(1, 2, 3)"
    console.expect("Content Security Policy")


# Hands and eyes -------------------------------------------------------------------------------------------------


async def test_page_keyboard_alone_is_enough(chat: Page, stub: StubGateway) -> None:
    """The message has the focus; Enter sends, Shift+Enter breaks the line, Tab reaches every control."""
    await expect(chat.get_by_label("Your message")).to_be_focused()
    await chat.keyboard.press("Enter")  # nothing to send
    await chat.keyboard.type("one")
    await chat.keyboard.press("Shift+Enter")
    await chat.keyboard.type("two")
    one_line = await chat.get_by_label("Your message").evaluate("field => field.rows * 24")
    assert await chat.get_by_label("Your message").evaluate("field => field.clientHeight") > one_line * 1.5
    await chat.keyboard.press("Enter")
    exchange = await stub.exchange()
    assert exchange.messages == [("user", "one\ntwo")]
    await expect(chat.get_by_label("Your message")).to_have_value("")
    await chat.keyboard.type("meanwhile")
    await chat.keyboard.press("Enter")  # an answer is running: nothing is sent, nothing lost
    await expect(chat.get_by_label("Your message")).to_have_value("meanwhile")
    await exchange.text("ok")
    await exchange.finish()
    await expect(answer(chat)).to_have_attribute("data-end", "finished")
    reached = set()
    for _ in range(8):
        await chat.keyboard.press("Tab")
        reached.add(await chat.evaluate("document.activeElement.id"))
    assert reached >= {"model", "settings-toggle", "clear", "scroller", "prompt", "send"}


async def test_page_enter_that_ends_a_composition_does_not_send(chat: Page, stub: StubGateway) -> None:
    """Enter that picks a word of an input method is not a message."""
    await chat.get_by_label("Your message").fill("に")
    await chat.get_by_label("Your message").evaluate(
        "field => field.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true}))"
    )
    await expect(chat.get_by_label("Your message")).to_have_value("に")
    await expect(chat.locator(".question")).to_have_count(0)


async def test_page_scroll_follows_only_who_is_at_the_end(chat: Page, stub: StubGateway) -> None:
    """New words pull the view along until the reader scrolls up, by however little, and again from the end on."""
    scroller = chat.locator("#scroller")
    to_end = chat.get_by_role("button", name="To the newest words")
    below = "view => view.scrollHeight - view.scrollTop - view.clientHeight"
    exchange = await asked(chat, stub, "hi")
    await exchange.text(*(f"line {number}\n" for number in range(100)))
    await expect(words(chat)).to_contain_text("line 99")
    assert await scroller.evaluate(below) <= 1
    await expect(to_end).to_be_hidden()

    await scroller.evaluate("view => { view.scrollTop -= 5; }")
    await expect(to_end).to_be_visible()
    held = await scroller.evaluate("view => view.scrollTop")
    await exchange.text("line 100\n", "line 101\n")
    await expect(words(chat)).to_contain_text("line 101")
    assert await scroller.evaluate("view => view.scrollTop") == held

    await to_end.click()
    await exchange.text("line 102\n", "line 103\n")
    await expect(words(chat)).to_contain_text("line 103")
    await expect(to_end).to_be_hidden()
    assert await scroller.evaluate(below) <= 1
    await exchange.finish(usage=(1, 104))
    await expect(stat(chat, "output")).to_have_text("104 out")

    await chat.get_by_role("button", name="Settings").click()  # takes room from the conversation
    await expect(stat(chat, "output")).to_be_in_viewport()


async def test_page_on_a_phone_nothing_is_wider_than_the_screen(chat: Page, stub: StubGateway) -> None:
    """Long words wrap and code scrolls in its own box; the composer stays in view."""
    await chat.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    exchange = await asked(chat, stub, "q" * 300)
    await exchange.text("w" * 300, "\n`", "c" * 300, "`\n```python\n", "x = " * 100, "\n```\n")
    await exchange.frame({"error": {"message": "m" * 300, "code": "c" * 100}})
    await expect(answer(chat).locator(".failure")).to_be_visible()
    await chat.get_by_role("button", name="Settings").click()
    for selector in ("html", "#scroller", "header", "footer"):
        overflow = "box => box.scrollWidth - box.clientWidth"
        assert await chat.locator(selector).evaluate(overflow) == 0, selector
    assert await answer(chat).locator("pre").evaluate("box => box.scrollWidth > box.clientWidth")
    await expect(chat.get_by_role("button", name="Send")).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_page_colours_can_be_read(chat: Page, stub: StubGateway, scheme: str, console: Console) -> None:
    """In both schemes every text has the contrast that WCAG 2.2 asks for (1.4.3: 4.5 to 1)."""
    await chat.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    exchange = await asked(chat, stub, "hi")
    await exchange.text("Text and `code`\n```text\nblock\n```\n")
    await exchange.frame({"error": {"message": "No.", "code": "upstream_error"}})
    await expect(answer(chat).locator(".failure")).to_be_visible()
    await chat.get_by_role("button", name="Settings").click()
    ground = (await chat.locator("body").evaluate(COLOURS))[1]
    assert (luminance(ground) < 0.05) if scheme == "dark" else (luminance(ground) > 0.85)
    for selector in [
        ".brand",
        "#model",
        "#settings-toggle",
        "#clear",
        ".settings label",
        ".settings .hint",
        ".question .text",
        ".answer > .text",
        ".answer > .text > code",
        ".answer pre code",
        ".failure-title",
        ".failure-message",
        ".failure-facts",
        ".retry",
        ".stats [data-stat=output]",
        ".keys",
        "#stop",
    ]:
        ink, behind = await chat.locator(selector).first.evaluate(COLOURS)
        assert contrast(ink, behind) >= 4.5, (selector, ink, behind)


COLOURS: Final = """element => {
    const channels = (value) => value.match(/[\\d.]+/g).map(Number);
    let box = element;
    while (box && channels(getComputedStyle(box).backgroundColor)[3] === 0) box = box.parentElement;
    return [channels(getComputedStyle(element).color), channels(getComputedStyle(box).backgroundColor)];
}"""
"""The colour of an element's text and of what lies behind it, as [red, green, blue]."""


def luminance(colour: list[float]) -> float:
    """Relative luminance of an sRGB colour, as WCAG 2.2 defines it."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in colour[:3])]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: list[float], other: list[float]) -> float:
    """Contrast ratio of two colours, from 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
