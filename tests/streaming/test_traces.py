"""W3C Trace Context through a running gateway: from a client, into every log line, and on to the provider."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from rillgate.domain.spending import Grant
from rillgate.telemetry.logs import configure_logs
from tests.fakes import script_bedrock
from tests.fakes.gateway import CHAT, chat_body, gateway_for
from tests.fakes.ledger import FakeLedger
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Error, chat, error, runaway
from tests.streaming.asking import ask
from tests.unit.telemetry.lambda_logging import logging_restored

pytestmark = pytest.mark.anyio

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
STATE = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": STATE}
SENT = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")

TWO_UPSTREAMS: dict[str, Any] = {
    "providers__other__kind": "openai",
    "providers__other__api_key": "none",
    "routes__0__model": "fake-model",
    "routes__0__upstream": ["fake/one", "other/two"],
    "routes__0__retries": "0",
}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Logging of the whole process, at its most talkative."""
    with logging_restored() as buffer:
        configure_logs("debug", buffer)
        yield buffer


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    """What we have logged so far; a busy machine makes asyncio talk, too."""
    every = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in every if line["event"] != "log"]


def sent(exchange: Any) -> tuple[str, str, str]:
    """Trace, span and flags that a provider was told, in one header that is valid."""
    match = SENT.fullmatch(exchange.headers["traceparent"])
    assert match is not None
    return match[1], match[2], match[3]


async def test_callers_trace_goes_on_to_the_provider_and_into_the_log(log: io.StringIO) -> None:
    """One trace; a span of the request, known to the log; a span of the call, known to log and provider."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        for stream in (True, False):
            await ask(g, "POST", CHAT, json=chat_body(stream=stream), headers=CALLER)
        await g.idle()
        exchanges = list(fake.chats)
    found = [line for line in lines(log) if line["event"] == "request"]
    assert len(found) == len(exchanges) == 2
    spans = set()
    for line, exchange in zip(found, exchanges, strict=True):
        trace_id, span_id, flags = sent(exchange)
        assert (trace_id, flags, exchange.headers["tracestate"]) == (TRACE, "01", STATE)
        assert (line["trace_id"], line["parent_span_id"], line["upstream_span_id"]) == (TRACE, SPAN, span_id)
        spans |= {line["span_id"], span_id, SPAN}
    assert len(spans) == 5  # nobody's span is anybody else's


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"traceparent": f"00-{TRACE}-{'0' * 16}-01", "tracestate": STATE},
        {"traceparent": f"ff-{TRACE}-{SPAN}-01", "tracestate": STATE},
        {"traceparent": "x" * 5000, "tracestate": STATE},
        {"traceparent": "", "tracestate": STATE},
        {"tracestate": STATE},
    ],
)
async def test_invalid_trace_is_no_error_and_a_new_one_begins(headers: dict[str, str]) -> None:
    """The client notices nothing, and nothing of what it sent goes on."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        got = await ask(g, "POST", CHAT, json=chat_body(), headers=headers)
        assert (got.status, got.stream.done) == (200, True)
        trace_id, _, flags = sent(fake.chats[0])
        assert (trace_id == TRACE, flags) == (False, "03")
        assert "tracestate" not in fake.chats[0].headers


async def test_trace_that_came_twice_is_ignored() -> None:
    """Two headers of one name: the connection's bytes are what counts, not how a library joins them."""
    async with FakeProvider() as fake, gateway_for(fake) as g, await g.client() as client:
        body = json.dumps(chat_body(stream=False)).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n"
        twice = f"traceparent: 00-{TRACE}-{SPAN}-01\r\n" * 2
        await client.send(f"{head}{twice}\r\n".encode() + body)
        assert await client.response() == 200
        assert sent(fake.chats[0])[0] != TRACE


async def test_every_line_of_a_request_carries_its_ids(log: io.StringIO) -> None:
    """Failover, cooldown and the end: request, trace and span; the failed call's own span too."""
    async with (
        FakeProvider() as fake,
        gateway_for(fake, **TWO_UPSTREAMS, providers__other__base_url=fake.base_url) as g,
    ):
        fake.by_model["one"] = [Error(429, error("busy", "rate_limit", "busy"), {"retry-after": "30"})]
        fake.by_model["two"] = chat(["hi"])
        got = await ask(g, "POST", CHAT, json=chat_body(), headers=CALLER)
        await g.idle()
        first, second = (sent(exchange)[1] for exchange in fake.chats)
    found = lines(log)
    assert {line["event"] for line in found} == {"upstream_cools_down", "attempt_failed", "request"}
    (span_id,) = {line["span_id"] for line in found}
    assert {line["request_id"] for line in found} == {got.check_id()}
    assert {line["trace_id"] for line in found} == {TRACE}
    by_event = {line["event"]: line for line in found}
    assert by_event["attempt_failed"]["upstream_span_id"] == first
    assert by_event["request"]["upstream_span_id"] == second
    assert len({span_id, first, second}) == 3


async def test_provider_that_may_not_know_is_told_nothing(log: io.StringIO) -> None:
    """`trace_context = false` of one provider; the log has the trace all the same."""
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__trace_context="false") as g:
        await ask(g, "POST", CHAT, json=chat_body(), headers=CALLER)
        await g.idle()
        assert not {"traceparent", "tracestate"} & set(fake.chats[0].headers)
    (line,) = lines(log)
    assert line["trace_id"] == TRACE
    assert "upstream_span_id" not in line


async def test_operators_own_header_stands_before_the_trace() -> None:
    """What the configuration sends along is what is sent."""
    own = f"00-{'a' * 32}-{'b' * 16}-00"
    async with FakeProvider() as fake, gateway_for(fake, providers__fake__headers__traceparent=own) as g:
        await ask(g, "POST", CHAT, json=chat_body(), headers=CALLER)
        assert fake.chats[0].headers["traceparent"] == own


async def test_trace_is_no_part_of_a_bedrock_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes out, and proxies that change it on the way break nothing."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAFAKE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "fake")
    async with (
        FakeProvider() as fake,
        gateway_for(
            fake,
            providers__fake__kind="bedrock",
            providers__fake__region="eu-central-1",
            providers__fake__base_url=f"http://127.0.0.1:{fake.port}",
            providers__fake__api_key="none",
        ) as g,
    ):
        fake.script = script_bedrock.bedrock(["hi"])
        got = await ask(g, "POST", CHAT, json=chat_body(), headers=CALLER)
        assert got.stream.text == "hi"
        (exchange,) = fake.chats
        assert sent(exchange)[0] == TRACE
        signed = re.search("SignedHeaders=([^,]+)", exchange.headers["authorization"])
        assert signed is not None
        assert "host" in signed[1].split(";")
        assert not {"traceparent", "tracestate"} & set(signed[1].split(";"))


async def test_trace_is_trusted_with_nothing_else() -> None:
    """Not a way in, not the request's id, and not sent back."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required="true") as g:
        got = await ask(g, "POST", CHAT, json=chat_body(), headers=CALLER)
        assert got.status == 401
        assert TRACE not in got.check_id()
        assert not {"traceparent", "tracestate"} & set(got.headers)
        assert fake.chats == []


async def test_line_that_a_connection_causes_is_of_the_request_that_it_serves(log: io.StringIO) -> None:
    """Connections to providers outlive requests; what a later one asks for from their callbacks is that one's own."""
    ledger = FailingExtension(slice_tokens=40)
    async with FakeProvider() as fake, gateway_for(fake, ledger=ledger, ledger__mode="elastic") as g:
        fake.by_model["short"] = chat(["hi"])
        fake.by_model["gpt-4o"] = runaway(200)
        opened = []
        for model in ("short", "gpt-4o"):  # on one connection, made within the first request
            await ask(g, "POST", CHAT, json=chat_body(model=model, max_tokens=1000))
            await g.idle()
            opened.append(fake.connections_opened)
        assert opened[0] == opened[1]
    found = lines(log)
    _, second = (line["request_id"] for line in found if line["event"] == "request")
    assert [line["request_id"] for line in found if line["event"] == "ledger_failed"] == [second]


class FailingExtension(FakeLedger):
    """Cannot say whether there is more."""

    async def extend(self, grant: Grant, more: int) -> bool:
        """Fails."""
        raise ValueError("no word")
