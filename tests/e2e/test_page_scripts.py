"""The page's modules one by one, in a real Chromium: events from bytes, numbers from chunks, text into nodes."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from playwright.async_api import Page

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop for the browser's life."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
async def loaded(page: Page, page_url: str) -> Page:
    """A page of the gateway's own origin, from which its modules can be imported."""
    await page.goto(page_url)
    return page


# Events from bytes ----------------------------------------------------------------------------------------------

READ: Final = """async ([bytes, cuts]) => {
    const { EventReader } = await import("/assets/sse.js");
    const all = new Uint8Array(bytes);
    return cuts.map((cut) => {
        const reader = new EventReader();
        const events = [];
        let start = 0;
        for (const end of [...cut, all.length]) {
            events.push(...reader.feed(all.slice(start, end)));
            start = end;
        }
        events.push(...reader.end());
        return JSON.stringify(events.map(({ event, data, id }) => [event, data, id]));
    });
}"""


async def read(page: Page, stream: bytes, cuts: list[list[int]]) -> list[list[list[str]]]:
    """The events of `stream`, cut at the given positions: [event, data, id] each, for every list of cuts."""
    answers = await page.evaluate(READ, [list(stream), cuts])
    return [json.loads(answer) for answer in answers]


STREAMS: Final[dict[str, tuple[str, list[list[str]]]]] = {
    "plain": ("data: a\n\ndata: b\n\n", [["message", "a", ""], ["message", "b", ""]]),
    "no space": ("data:a\n\ndata:  b\n\n", [["message", "a", ""], ["message", " b", ""]]),
    "crlf": ("data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", [["message", "a\nb", ""], ["message", "c", ""]]),
    "cr": ("data: a\r\rdata: b\r\r", [["message", "a", ""], ["message", "b", ""]]),
    "comments": (": ping\n: ping\ndata: a\n: ping\n\n: ping\n\n:\n", [["message", "a", ""]]),
    "utf-8": ("data: ü€😀\u2028\u0085é\n\n", [["message", "ü€😀\u2028\u0085é", ""]]),
    "byte order mark": ("\ufeffdata: a\n\n", [["message", "a", ""]]),
    "named": ("id: r:1\nevent: done\ndata: {}\n\ndata: x\n\n", [["done", "{}", "r:1"], ["message", "x", "r:1"]]),
    "event without data": ("event: ping\n\ndata: a\n\n", [["message", "a", ""]]),
    "empty data": ("data\n\ndata:\n\n", [["message", "", ""], ["message", "", ""]]),
    "unknown fields": ("retry: 5\nfoo: bar\nfoo\ndata: a\n\n", [["message", "a", ""]]),
    "no blank line at the end": ("data: a\n\ndata: [DONE]\n", [["message", "a", ""], ["message", "[DONE]", ""]]),
    "no newline at the end": ("data: a\n\ndata: [DONE]", [["message", "a", ""], ["message", "[DONE]", ""]]),
    "nothing": ("", []),
}


@pytest.mark.parametrize(("stream", "events"), STREAMS.values(), ids=STREAMS)
async def test_event_reader_cut_anywhere_gives_the_same_events(
    loaded: Page, stream: str, events: list[list[str]]
) -> None:
    """Whole, cut in two at each byte, and byte by byte: always the same events."""
    raw = stream.encode()
    cuts = [[], *([cut] for cut in range(len(raw))), list(range(len(raw)))]
    assert await read(loaded, raw, cuts) == [events] * len(cuts)


async def test_event_reader_past_its_bound_refuses(loaded: Page) -> None:
    """An event that never ends does not fill the browser's memory."""
    refused = await loaded.evaluate(
        """async () => {
            const { EventReader } = await import("/assets/sse.js");
            const reader = new EventReader();
            const piece = new TextEncoder().encode("data: " + "x".repeat(1024 * 1024) + "\\n");
            for (let fed = 0; fed < 16; fed += 1) {
                try { reader.feed(piece); } catch (error) { return [fed, error.name]; }
            }
        }"""
    )
    assert refused == [7, "RangeError"]


# Text into nodes ------------------------------------------------------------------------------------------------

WRITE: Final = """async ([text, cuts]) => {
    const { TextView } = await import("/assets/text.js");
    return cuts.map((cut) => {
        const root = document.createElement("div");
        const view = new TextView(root);
        let start = 0;
        for (const end of [...cut, text.length]) {
            view.append(text.slice(start, end));
            start = end;
        }
        view.end();
        root.normalize();
        return root.innerHTML;
    });
}"""

TEXTS: Final = {
    "plain": ("a  b\n\n c & <i>", "a  b\n\n c &amp; &lt;i&gt;"),
    "inline code": ("a `b c` d", "a <code>b c</code> d"),
    "double backticks": ("``a`b``", "<code>a`b</code>"),
    "inline code left open": ("a `b\nc` d", "a `b\nc` d"),
    "inline code open at the end": ("a `b", "a `b"),
    "lone backticks": ("```", "```"),
    "fence": (
        "a\n```python\nx = `1`\n\n  y\n```\nb",
        'a\n<pre tabindex="0" data-language="python"><code>x = `1`\n\n  y\n</code></pre>b',
    ),
    "fence at once": ("```\nx\n```", '<pre tabindex="0"><code>x\n</code></pre>'),
    "fence left open": ("```js\nx\n", '<pre tabindex="0" data-language="js"><code>x\n</code></pre>'),
    "fence in a fence": ("````\n```\nx\n```\n````\n", '<pre tabindex="0"><code>```\nx\n```\n</code></pre>'),
    "fence within a line": ("a ```\nb\n", "a ```\nb\n"),
    "backticks in a line of a fence": ("```\n``` x\n```\n", '<pre tabindex="0"><code>``` x\n</code></pre>'),
}


@pytest.mark.parametrize(("text", "markup"), TEXTS.values(), ids=TEXTS)
async def test_text_view_cut_anywhere_gives_the_same_nodes(loaded: Page, text: str, markup: str) -> None:
    """Whole, cut in two at each character, and one by one: always the same nodes, and every character kept."""
    cuts = [[], *([cut] for cut in range(len(text))), list(range(len(text)))]
    assert await loaded.evaluate(WRITE, [text, cuts]) == [markup] * len(cuts)


async def test_text_view_plain_text_appears_at_once(loaded: Page) -> None:
    """Nothing but what may become a fence or a delimiter waits for more."""
    shown = await loaded.evaluate(
        """async () => {
            const { TextView } = await import("/assets/text.js");
            const root = document.createElement("div");
            const view = new TextView(root);
            return ["a", " `b", "` c", "\\n", "d", "\\n```x", "\\ny", "\\n", "``"].map((piece) => {
                view.append(piece);
                return root.textContent;
            });
        }"""
    )
    assert shown == ["a", "a b", "a b c", "a b c\n", "a b c\nd", "a b c\nd\n", "a b c\nd\ny", *["a b c\nd\ny\n"] * 2]


async def test_text_view_selection_survives_what_follows(loaded: Page) -> None:
    """Text that somebody is copying is not replaced under the pointer."""
    selected = await loaded.evaluate(
        """async () => {
            const { TextView } = await import("/assets/text.js");
            const root = document.body.appendChild(document.createElement("div"));
            const view = new TextView(root);
            view.append("copy me ");
            getSelection().selectAllChildren(root);
            view.append("and `more`\\n```\\ncode\\n```\\n");
            view.end();
            return getSelection().toString().slice(0, 8);
        }"""
    )
    assert selected == "copy me "


# Numbers from chunks --------------------------------------------------------------------------------------------

MEASURE: Final = """async ([chunks, now, end]) => {
    const { Meter } = await import("/assets/meter.js");
    const meter = new Meter(1000);
    for (const [at, chunk] of chunks) meter.take(chunk, at);
    if (end) meter.end(now);
    return {
        ttft: meter.firstTokenMs, rate: meter.tokensPerSecond(now), input: meter.inputTokens,
        output: meter.outputTokens, estimated: meter.estimated,
    };
}"""


def words(count: int, *, since_ms: int = 1500, every_ms: int = 100, field: str = "content") -> list[list[Any]]:
    """[time, chunk] of `count` words."""
    return [[since_ms + n * every_ms, {"choices": [{"delta": {field: "w"}}]}] for n in range(count)]


def usage(output: int, reasoning: int = 0) -> list[Any]:
    """[time, chunk] with usage."""
    details = {"reasoning_tokens": reasoning}
    counts = {"prompt_tokens": 7, "completion_tokens": output, "completion_tokens_details": details}
    return [9000, {"choices": [], "usage": counts}]


EMPTY: Final[dict[str, Any]] = {"ttft": None, "rate": None, "input": None, "output": 0, "estimated": True}

MEASURES: Final[dict[str, tuple[list[Any], int, bool, dict[str, Any]]]] = {
    "nothing": ([], 9000, True, EMPTY),
    "role only": ([[1200, {"choices": [{"delta": {"role": "assistant", "content": ""}}]}]], 1300, False, EMPTY),
    "first word": (words(1), 1510, False, EMPTY | {"ttft": 500, "output": 1}),
    "too soon for a rate": (words(3, every_ms=1), 1600, False, EMPTY | {"ttft": 500, "output": 3}),
    "running": (words(11), 2500, False, EMPTY | {"ttft": 500, "rate": 10, "output": 11}),
    "stalled": (words(11), 6500, False, EMPTY | {"ttft": 500, "rate": 2, "output": 11}),
    "stopped": (words(11), 6500, True, EMPTY | {"ttft": 500, "rate": 10, "output": 11}),
    "usage": (
        [*words(11), usage(21)],
        9000,
        True,
        {"ttft": 500, "rate": 20, "input": 7, "output": 21, "estimated": False},
    ),
    "hidden reasoning": (
        [*words(11), usage(1021, 1000)],
        9000,
        True,
        {"ttft": 500, "rate": 20, "input": 7, "output": 1021, "estimated": False},
    ),
    "shown reasoning": (
        [*words(6, field="reasoning"), *words(5, since_ms=2100), usage(21, 10)],
        9000,
        True,
        {"ttft": 500, "rate": 20, "input": 7, "output": 21, "estimated": False},
    ),
    "all at once": (
        [*words(3, every_ms=0), usage(3)],
        9000,
        True,
        {"ttft": 500, "rate": None, "input": 7, "output": 3, "estimated": False},
    ),
}


@pytest.mark.parametrize(("chunks", "now", "end", "expected"), MEASURES.values(), ids=MEASURES)
async def test_meter_counts_and_rates(
    loaded: Page, chunks: list[Any], now: int, end: bool, expected: dict[str, Any]
) -> None:
    """Rates rest on the time between the words; the wait before the first and after the last does not blur them."""
    assert await loaded.evaluate(MEASURE, [chunks, now, end]) == expected


# What budgets say -----------------------------------------------------------------------------------------------

LEFT: Final = """async (headers) => (await import("/assets/budget.js")).leftWords(new Headers(headers))"""
TOKENS: Final = "x-ratelimit-remaining-tokens"
USD: Final = "x-rillgate-remaining-usd"

LEFTOVERS: Final[dict[str, tuple[dict[str, str], str]]] = {
    "no limits": ({}, ""),
    "requests only": ({"x-ratelimit-remaining-requests": "5"}, ""),
    "tokens": ({TOKENS: "1234567"}, "at least 1,234,567 tokens left"),
    "nothing": ({TOKENS: "0", USD: "0"}, "at least 0 tokens and $0.00 left"),
    "dollars": ({USD: "25"}, "at least $25.00 left"),
    "cents are cut and not rounded": ({USD: "1.999999999"}, "at least $1.99 left"),
    "less than a cent": ({USD: "0.000000001"}, "at least $0.00 left"),
    "something else": ({TOKENS: "many", USD: "<b>"}, ""),
}


@pytest.mark.parametrize(("headers", "said"), LEFTOVERS.values(), ids=LEFTOVERS)
async def test_budget_words_of_what_is_left(loaded: Page, headers: dict[str, str], said: str) -> None:
    """Never more than there is, and nothing where the gateway says nothing."""
    assert await loaded.evaluate(LEFT, headers) == said


# Calls with and without a key -----------------------------------------------------------------------------------

CALLS: Final = """async (keys) => {
    const { listModels, streamChat, useKey } = await import("/assets/gateway.js");
    const sent = [];
    window.fetch = async (path, options) => {
        const headers = new Headers(options.headers);
        sent.push([path, headers.get("authorization"), headers.get("content-type")]);
        return path === "v1/models" ? Response.json({ data: [] }) : new Response("data: [DONE]\\n\\n");
    };
    for (const key of keys) {
        useKey(key);
        await listModels();
        for await (const _ of streamChat({ messages: [] }, undefined, () => {}));
    }
    return sent;
}"""


async def test_calls_carry_the_key_that_is_in_use_and_nothing_once_it_is_forgotten(loaded: Page) -> None:
    """Both calls, as Bearer; without a key they have no such header at all."""
    key = "rill_of-the-tests"
    sent = await loaded.evaluate(CALLS, [None, key, None])
    bearer = f"Bearer {key}"
    assert sent == [
        [path, authorization, content_type]
        for authorization in (None, bearer, None)
        for path, content_type in (("v1/models", None), ("v1/chat/completions", "application/json"))
    ]


REFUSED: Final = """async ([status, body, then]) => {
    const { listModels, useKey } = await import("/assets/gateway.js");
    window.fetch = async () => {
        if (then !== "the same") useKey(then);
        return new Response(body, { status });
    };
    useKey("rill_of-the-tests");
    try {
        await listModels();
    } catch (error) {
        return [error.code, error.asksForKey];
    }
}"""


def refusal(code: str | None) -> str:
    """An error's body in OpenAI's shape."""
    return json.dumps({"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": code}})


REFUSALS: Final[dict[str, tuple[int, str, str | None, list[Any]]]] = {
    "wrong key": (401, refusal("invalid_api_key"), "the same", ["invalid_api_key", True]),
    "expired key": (401, refusal("key_expired"), "the same", ["key_expired", True]),
    "type in place of a code": (401, refusal(None), "the same", ["invalid_request_error", True]),
    "key that was replaced meanwhile": (401, refusal("key_expired"), "rill_another", ["key_expired", False]),
    "key that was forgotten meanwhile": (401, refusal("key_expired"), None, ["key_expired", False]),
    "proxy that wants something else": (401, "<p>Log in", "the same", [None, False]),
    "right key that may not": (403, refusal("permission_denied"), "the same", ["permission_denied", False]),
    "used up": (429, refusal("insufficient_quota"), "the same", ["insufficient_quota", False]),
}


@pytest.mark.parametrize(("status", "body", "then", "expected"), REFUSALS.values(), ids=REFUSALS)
async def test_refused_call_asks_for_a_key_where_another_one_helps(
    loaded: Page, status: int, body: str, then: str | None, expected: list[Any]
) -> None:
    """401 from the gateway about the key in use, and nothing else."""
    assert await loaded.evaluate(REFUSED, [status, body, then]) == expected
