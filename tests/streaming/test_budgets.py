"""Budgets in a request, over real sockets: what is held, cut and refused, and what is settled at the end."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rillgate.domain.ends import End
from rillgate.domain.errors import BudgetError, ClientError, RillgateError
from rillgate.domain.limits import Amounts, Limit, Meter, Window
from rillgate.domain.spending import Level
from rillgate.providers.openai import OpenAIProvider
from rillgate.telemetry.logs import configure_logs
from tests.fakes.clients import Answer, RawClient, collect
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import CHAT, GatewayInTest, chat_body, gateway_for
from tests.fakes.ledger import FakeLedger
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Done, Error, Finish, Reset, Role, Stall, chat, flood, runaway
from tests.streaming.asking import Got, ask

pytestmark = pytest.mark.anyio

UNTIL_S = 1_795_046_400  # 2026-11-19T00:00:00Z
UNTIL = "2026-11-19T00:00:00Z"
USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}
PROMPT_TOKENS = 8  # of "hi", by our estimate
PROMPT_TOKENS_HELD = 9 + 32  # by another encoding: at most its bytes, and what a template may add


@asynccontextmanager
async def budgeted(**overrides: Any) -> AsyncIterator[tuple[FakeLedger, FakeProvider, GatewayInTest]]:
    """A gateway between a fake provider and a fake ledger; at the end every hold is over and nothing runs."""
    ledger = FakeLedger()
    async with FakeProvider() as fake, gateway_for(fake, ledger=ledger, **overrides) as g:
        yield ledger, fake, g
        await done(g)
        assert ledger.open_holds() == [] or "settle" in ledger.failing
        assert g.gateway.metrics.active_streams == 0


async def done(g: GatewayInTest) -> None:
    """Nothing runs, and what outlives requests is done."""
    await g.idle()
    assert await g.gateway.streams.settled()


async def streamed(g: GatewayInTest, **fields: Any) -> tuple[RawClient, Answer]:
    """A whole stream."""
    async with await g.chat(**fields) as client:
        assert await client.response() == 200
        return client, collect(await client.read_stream())


def metric(g: GatewayInTest, name: str, **labels: str) -> float:
    """One sample of the gateway's metrics; 0 where there is none."""
    return g.gateway.metrics.registry.get_sample_value(name, labels) or 0.0


def ends(g: GatewayInTest) -> dict[str, float]:
    """llm_streams_total by end cause, where not 0."""
    counts = {end.value: metric(g, "llm_streams_total", provider="fake", end=end.value) for end in End}
    return {end: count for end, count in counts.items() if count}


# The cap


async def test_budget_lowered_cap_cuts_a_provider_that_ignores_it() -> None:
    """The granted cap goes upstream and is told to the client; no token past it arrives, and the end is proper."""
    async with budgeted() as (ledger, fake, g):
        ledger.lower_to(20, by="team:core", until_s=UNTIL_S)
        fake.script = runaway(5000)
        client, answer = await streamed(g, model="gpt-4o", max_tokens=512, **USAGE)
        assert client.headers["x-rillgate-output-tokens-max"] == "20"
        assert fake.chats[0].json["max_tokens"] == 20
        assert (answer.text, answer.finish, answer.done) == (" a" * 20, "length", True)
        assert answer.rillgate == {"stop": "budget", "scope": "team:core", "reset": UNTIL, "estimated": True}
        assert answer.usage is not None
        assert answer.usage["completion_tokens"] == 20
        await done(g)
        assert ledger.settled_once() == Amounts(PROMPT_TOKENS + 20, 0, 1)
        assert ledger.settles[0].record.end == "budget"
        assert ledger.settles[0].record.estimated


@pytest.mark.parametrize("wish", [{}, USAGE])
async def test_budget_lowered_cap_that_the_provider_keeps_to_is_reported(wish: dict[str, Any]) -> None:
    """The frame with the provider's own "length" says whose limit it was; the connection serves on."""
    async with budgeted() as (ledger, fake, g):
        ledger.lower_to(3, by="key:a1")
        fake.script = chat([" a"] * 3, finish="length", input_tokens=9, output_tokens=3)
        opened = []
        for _ in range(3):
            _, answer = await streamed(g, max_tokens=512, **wish)
            assert (answer.text, answer.finish, answer.done) == (" a" * 3, "length", True)
            assert answer.rillgate == {"stop": "budget", "scope": "key:a1"}
            assert (answer.usage is not None) is bool(wish)
            await done(g)
            opened.append(fake.connections_opened)
        assert ends(g) == {"budget": 3}
        assert opened[1:] == opened[:1] * 2
        assert [settled.actual for settled in ledger.settles] == [Amounts(12, 0, 1)] * 3


async def test_budget_lowered_cap_without_usage_marks_the_report_as_estimated() -> None:
    """One report says both: why it stopped, and that the counts are ours."""
    async with budgeted() as (ledger, fake, g):
        ledger.lower_to(3, by="key:a1")
        fake.script = chat([" a"] * 3, finish="length", usage=False)
        _, answer = await streamed(g, max_tokens=512, **USAGE)
        assert answer.rillgate == {"stop": "budget", "scope": "key:a1", "estimated": True}


async def test_budget_lowered_cap_of_a_whole_answer_is_reported() -> None:
    """Not streamed: the same field in the answer."""
    async with budgeted() as (ledger, fake, g):
        ledger.lower_to(3, by="key:a1", until_s=UNTIL_S)
        fake.script = chat([" a"] * 3, finish="length")
        got = await ask(g, "POST", CHAT, json=chat_body(stream=False, max_tokens=512))
        assert got.json["rillgate"] == {"stop": "budget", "scope": "key:a1", "reset": UNTIL}
        assert got.headers["x-rillgate-output-tokens-max"] == "3"
        await done(g)
        assert ends(g) == {"budget": 1}
        assert ledger.settled_once() == Amounts(12, 0, 1)


async def test_budget_cap_of_the_clients_own_is_nobody_elses_limit() -> None:
    """A provider that stops where the client wanted it has finished: nothing is added, nothing is called a budget."""
    async with budgeted() as (ledger, fake, g):
        fake.script = chat([" a"] * 3, finish="length")
        client, answer = await streamed(g, max_tokens=3)
        assert answer.rillgate is None
        assert "x-rillgate-output-tokens-max" not in client.headers
        await done(g)
        assert ends(g) == {"finished": 1}
        assert ledger.settled_once() == Amounts(12, 0, 1)


async def test_budget_lowered_default_is_told_to_a_client_that_named_none() -> None:
    """Our default is no wish of the client's, but a budget's cap is news."""
    async with budgeted() as (ledger, _, g):
        client, _ = await streamed(g)
        assert "x-rillgate-output-tokens-max" not in client.headers
        ledger.lower_to(100, by="global")
        client, _ = await streamed(g)
        assert client.headers["x-rillgate-output-tokens-max"] == "100"


async def test_budget_ask_names_what_the_request_is_charged_to() -> None:
    """Scopes from the widest on, the most that the prompt can be, the whole cap, and a life beyond the deadline."""
    async with budgeted(timeouts__total_s=100) as (ledger, _, g):
        key = await g.new_key(user="ada", team="core")
        got = await ask(g, "POST", CHAT, json=chat_body(n=2, max_tokens=50), headers={"authorization": f"Bearer {key}"})
        (asked,) = ledger.asks
        key_scope = asked.scopes[1]
        assert asked.scopes == ("global", key_scope, "user:ada", "team:core", "model:fake-model")
        assert key_scope.startswith("key:")
        assert (asked.input_tokens, asked.output_tokens, asked.choices) == (PROMPT_TOKENS_HELD, 50, 2)
        assert asked.lifetime_s == 130
        assert asked.strict
        assert asked.hold_id == got.check_id().removeprefix("req_")
        await done(g)
        record = ledger.settles[0].record
        assert (record.key_id, record.user, record.team) == (key_scope.removeprefix("key:"), "ada", "core")
        assert (record.model, record.provider, record.routed_model) == ("fake-model", "fake", "fake-model")
        assert (record.input_tokens, record.output_tokens, record.estimated) == (9, 4, False)
        assert dict(record.scopes) == dict.fromkeys(asked.scopes, Amounts(13, 0, 1))


# Headers and refusals

LEVELS = (
    Level("key:a1", Limit(Meter.TOKENS, Window.DAY, 10_000), 4_000, UNTIL_S),
    Level("team:core", Limit(Meter.COST, Window.TOTAL, 2 * 10**9), 500_000_000, None),
)


@pytest.mark.parametrize("stream", [True, False])
async def test_budget_levels_are_headers_of_an_answer(stream: bool) -> None:
    """What is left, as OpenAI's SDKs and agents read it."""
    clock = FakeClock(wall=UNTIL_S - 90)
    async with budgeted(clock=clock) as (ledger, _, g):
        ledger.levels_now = LEVELS
        got = await ask(g, "POST", CHAT, json=chat_body(stream=stream))
        assert got.status == 200
        assert got.headers["x-ratelimit-limit-tokens"] == "10000"
        assert got.headers["x-ratelimit-remaining-tokens"] == "6000"
        assert got.headers["x-ratelimit-reset-tokens"] == "1m30s"
        assert got.headers["x-rillgate-remaining-usd"] == "1.5"
        assert got.headers["x-rillgate-scope"] == "key:a1"


def quota() -> BudgetError:
    """A budget of a day that is used up."""
    headers = {"x-rillgate-scope": "key:a1", "x-ratelimit-remaining-tokens": "0"}
    return BudgetError("The budget is used up.", scope="key:a1", should_retry=False, headers=headers)


def rate() -> BudgetError:
    """A rate that the next minute renews."""
    return BudgetError("Too fast.", scope="key:a1", code="rate_limit_exceeded", kind="tokens", retry_after_s=6.5)


def block() -> BudgetError:
    """A blocked scope."""
    return BudgetError(
        "Blocked.", scope="key:a1", status=403, code="permission_denied", kind="permission_error", should_retry=False
    )


REFUSALS: list[tuple[Callable[[], RillgateError], int, str, dict[str, str]]] = [
    (
        quota,
        429,
        "insufficient_quota",
        {"x-should-retry": "false", "x-rillgate-scope": "key:a1", "x-ratelimit-remaining-tokens": "0"},
    ),
    (rate, 429, "rate_limit_exceeded", {"retry-after": "7", "retry-after-ms": "6500"}),
    (block, 403, "permission_denied", {"x-should-retry": "false"}),
]


@pytest.mark.parametrize(("error", "status", "code", "headers"), REFUSALS)
@pytest.mark.parametrize("path", [CHAT, "whole", "/chat?message=hi"])
async def test_budget_refusal_is_answered_before_the_provider_hears_of_it(
    error: Callable[[], RillgateError], status: int, code: str, headers: dict[str, str], path: str
) -> None:
    """Status, code and headers are the ledger's; nothing goes upstream and nothing is settled."""
    async with budgeted() as (ledger, fake, g):
        ledger.refuse(error())
        got = await asked(g, path)
        assert (got.status, got.error["code"]) == (status, code)
        for name, value in headers.items():
            assert got.headers[name] == value
        await done(g)
        assert fake.chats == []
        assert ledger.settles == []
        assert ends(g) == {}
        assert metric(g, "llm_budget_denials_total", reason=code) == 1


async def asked(g: GatewayInTest, path: str) -> Got:
    """One request of a kind."""
    if path.startswith("/chat"):
        return await ask(g, "GET", path)
    return await ask(g, "POST", CHAT, json=chat_body(stream=path != "whole"))


async def test_budget_store_that_fails_costs_the_request() -> None:
    """503 and when to come back; nothing goes upstream."""
    async with budgeted() as (ledger, fake, g):
        ledger.failing.add("authorize")
        got = await ask(g, "POST", CHAT, json=chat_body())
        assert (got.status, got.error["code"], got.headers["retry-after"]) == (503, "budget_unavailable", "1")
        assert fake.chats == []
        assert metric(g, "llm_budget_denials_total", reason="budget_unavailable") == 1
        assert metric(g, "llm_unaccounted_requests_total") == 0


async def test_budget_store_that_fails_costs_the_accounting_where_that_is_wanted() -> None:
    """Served with its whole cap, counted, and marked in its line; nothing is settled."""
    log = io.StringIO()
    configure_logs(stream=log)
    async with budgeted(ledger__on_error="allow") as (ledger, fake, g):
        ledger.failing.add("authorize")
        _, answer = await streamed(g, max_tokens=50)
        assert answer.done
        assert fake.chats[0].json["max_tokens"] == 50
        await done(g)
        assert ledger.settles == []
        assert metric(g, "llm_unaccounted_requests_total") == 1
        ledger.failing.clear()
        await streamed(g)
    first, second = requests_in(log)
    assert first["unaccounted"] is True
    assert "scopes" not in first
    assert "unaccounted" not in second
    assert second["scopes"] == ["global", "model:fake-model"]


def requests_in(log: io.StringIO) -> list[dict[str, Any]]:
    """The lines of requests."""
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in lines if line["event"] == "request"]


async def test_budget_refusal_leaves_a_line_that_names_the_scope() -> None:
    """What an operator looks for when a user complains."""
    log = io.StringIO()
    configure_logs(stream=log)
    async with budgeted() as (ledger, _, g):
        key = await g.new_key(user="ada")
        ledger.refuse(quota())
        await ask(g, "POST", CHAT, json=chat_body(), headers={"authorization": f"Bearer {key}"})
    (line,) = requests_in(log)
    assert (line["status"], line["error"], line["scopes"], line["user"]) == (
        429,
        "insufficient_quota",
        ["key:a1"],
        "ada",
    )
    assert f"key:{line['key_id']}" in ledger.asks[0].scopes
    assert "end" not in line


async def test_budget_full_process_refuses_before_the_ledger_is_asked() -> None:
    """What would not be served needs no hold."""
    async with budgeted(limits__streams_max=1) as (ledger, fake, g):
        fake.script = [Role(), Chunk("one"), Stall()]
        async with await g.chat() as client:
            assert await client.response() == 200
            got = await ask(g, "POST", CHAT, json=chat_body())
            assert (got.status, got.error["code"]) == (503, "overloaded")
            assert len(ledger.asks) == 1


async def test_budget_of_a_request_that_cannot_be_written_is_void(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider's translator refuses it after the hold: 400 in the client's dialect, and nothing is charged."""

    def build(*args: object) -> Any:
        raise ClientError("The request is nested too deeply.", code="invalid_json")

    async with budgeted() as (ledger, fake, g):
        monkeypatch.setattr(OpenAIProvider, "build", build)
        got = await ask(g, "POST", CHAT, json=chat_body())
        assert (got.status, got.error["code"]) == (400, "invalid_json")
        await done(g)
        assert ledger.voided_once()
        assert fake.chats == []


# Settled exactly once, whatever the end

Scene = Callable[[GatewayInTest, FakeProvider, FakeClock], Awaitable[None]]


async def scene_finished(g: GatewayInTest, fake: FakeProvider, clock: FakeClock) -> None:
    """A whole stream."""
    await streamed(g)


async def scene_budget(g: GatewayInTest, fake: FakeProvider, clock: FakeClock) -> None:
    """Cut at the client's own cap."""
    fake.script = runaway(500)
    await streamed(g, model="gpt-4o", max_tokens=5)


async def begun(g: GatewayInTest, fake: FakeProvider) -> RawClient:
    """A stream in its middle."""
    fake.script = [Role(), Chunk("one"), Stall()]
    client = await g.chat()
    assert await client.response() == 200
    await client.next_frame()
    await client.next_frame()
    return client


async def scene_client_gone(g: GatewayInTest, fake: FakeProvider, clock: FakeClock) -> None:
    """A closed tab."""
    client = await begun(g, fake)
    client.abort()


async def scene_stalled(g: GatewayInTest, fake: FakeProvider, clock: FakeClock) -> None:
    """A client that takes nothing."""
    fake.script = flood(64)
    client = await g.chat(rcvbuf=4096, max_tokens=32768)
    assert await client.response() == 200
    await (await fake.request()).stands_still()
    clock.advance(30)
    await client.read_stream()
    client.close()


async def scene_idle(g: GatewayInTest, fake: FakeProvider, clock: FakeClock) -> None:
    """A provider that falls silent."""
    client = await begun(g, fake)
    clock.advance(90)
    await client.read_stream()
    client.close()


async def scene_deadline(g: GatewayInTest, fake: FakeProvider, clock: FakeClock) -> None:
    """The time is over."""
    client = await begun(g, fake)
    clock.advance(900)
    await client.read_stream()
    client.close()


async def scene_upstream_error(g: GatewayInTest, fake: FakeProvider, clock: FakeClock) -> None:
    """A provider that refuses."""
    fake.script = [Error(500)]
    assert (await ask(g, "POST", CHAT, json=chat_body())).status == 502


async def scene_truncated(g: GatewayInTest, fake: FakeProvider, clock: FakeClock) -> None:
    """A provider that breaks off."""
    fake.script = [Role(), Chunk("half"), Reset()]
    await streamed(g)


async def scene_cancelled(g: GatewayInTest, fake: FakeProvider, clock: FakeClock) -> None:
    """Stopped from outside."""
    client = await begun(g, fake)
    got = await ask(g, "POST", f"/v1/requests/{client.headers['x-request-id']}/cancel")
    assert got.status == 200
    await client.read_stream()
    client.close()


async def scene_shutdown(g: GatewayInTest, fake: FakeProvider, clock: FakeClock) -> None:
    """The process goes down."""
    client = await begun(g, fake)
    g.address.server.stop()
    await client.read_stream()
    client.close()


SCENES: dict[End, Scene] = {
    End.FINISHED: scene_finished,
    End.BUDGET: scene_budget,
    End.CLIENT_GONE: scene_client_gone,
    End.STALLED: scene_stalled,
    End.IDLE: scene_idle,
    End.DEADLINE: scene_deadline,
    End.UPSTREAM_ERROR: scene_upstream_error,
    End.TRUNCATED: scene_truncated,
    End.CANCELLED: scene_cancelled,
    End.SHUTDOWN: scene_shutdown,
}


@pytest.mark.parametrize("end", list(End))
async def test_budget_hold_is_settled_once_however_a_stream_ends(end: End) -> None:
    """One grant, one settlement, with the end's name; charged unless the provider refused."""
    clock = FakeClock()
    timeouts: dict[str, Any] = {"timeouts__stall_s": 30, "timeouts__idle_s": 5000 if end is End.DEADLINE else 90}
    async with budgeted(clock=clock, timeouts__total_s=900, **timeouts) as (ledger, fake, g):
        await SCENES[end](g, fake, clock)
        await done(g)
        charged = ledger.settled_once()
        assert charged.requests == (0 if end is End.UPSTREAM_ERROR else 1)
        assert charged.tokens >= 0 if end is End.UPSTREAM_ERROR else charged.tokens >= PROMPT_TOKENS
        assert ledger.settles[0].record.end == end.value
        assert ends(g) == {end.value: 1}


# What is charged


async def test_budget_usage_that_the_provider_reports_is_charged_even_above_the_hold() -> None:
    """It is the truth."""
    async with budgeted() as (ledger, fake, g):
        fake.script = chat(["a"], input_tokens=5000, output_tokens=700)
        await streamed(g, max_tokens=10)
        await done(g)
        assert ledger.settled_once() == Amounts(5700, 0, 1)


async def test_budget_own_count_is_charged_at_most_up_to_the_hold() -> None:
    """Another encoding lets twice the cap through; what was held is all that is charged for it."""
    async with budgeted() as (ledger, fake, g):
        fake.script = runaway(500)
        _, answer = await streamed(g, max_tokens=100, **USAGE)
        assert answer.text == " a" * 200
        await done(g)
        assert ledger.settled_once() == Amounts(PROMPT_TOKENS_HELD + 100, 0, 1)


async def test_budget_of_a_client_that_left_before_any_frame_is_charged_the_prompt() -> None:
    """The provider has it and may bill it."""
    async with budgeted() as (ledger, fake, g):
        fake.script = [Stall()]
        client = await g.chat()
        await fake.request()
        client.abort()
        client.close()
        await fake.closed()
        await done(g)
        assert ledger.settled_once() == Amounts(PROMPT_TOKENS, 0, 1)
        record = ledger.settles[0].record
        assert (record.input_tokens, record.output_tokens, record.estimated) == (PROMPT_TOKENS, 0, True)


@pytest.mark.parametrize("stream", [True, False])
async def test_budget_of_a_connection_that_broke_after_the_request_is_charged_the_prompt(stream: bool) -> None:
    """Sent and never answered is not refused."""
    async with budgeted() as (ledger, fake, g):
        fake.script = [Reset()]
        assert (await ask(g, "POST", CHAT, json=chat_body(stream=stream))).status == 502
        await done(g)
        assert ledger.settled_once() == Amounts(PROMPT_TOKENS, 0, 1)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", [400, 429, 500])
async def test_budget_of_a_request_that_the_provider_refused_is_void(status: int, stream: bool) -> None:
    """An error status costs nothing."""
    async with budgeted() as (ledger, fake, g):
        fake.script = [Error(status)]
        assert (await ask(g, "POST", CHAT, json=chat_body(stream=stream))).status >= 400
        await done(g)
        assert ledger.voided_once()


async def test_budget_of_a_provider_that_cannot_be_reached_is_void() -> None:
    """Nothing was sent."""
    ledger = FakeLedger()
    async with FakeProvider() as gone:
        pass
    async with gateway_for(gone, ledger=ledger) as g:
        assert (await ask(g, "POST", CHAT, json=chat_body())).status == 502
        await done(g)
        assert ledger.voided_once()
        assert ledger.settles[0].record.end == "upstream_error"


async def test_budget_of_a_provider_that_bills_after_a_cancel_is_charged_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody will say how far it came; a stream that ended by itself is charged as reported."""
    monkeypatch.setattr(OpenAIProvider, "bills_after_cancel", True)
    async with budgeted(ledger__mode="elastic") as (ledger, fake, g):
        client = await begun(g, fake)
        client.abort()
        client.close()
        await done(g)
        assert ledger.asks[0].strict
        assert ledger.settled_once() == Amounts(PROMPT_TOKENS_HELD + 16384, 0, 1)
        fake.script = chat()
        await streamed(g)
        await done(g)
        assert ledger.settles[1].actual == Amounts(13, 0, 1)


# While it is admitted


async def test_budget_client_gone_while_the_ledger_is_asked_leaves_no_hold() -> None:
    """The ledger's answer is awaited in the background, and what it held is voided."""
    async with budgeted() as (ledger, fake, g):
        ledger.waiting = asyncio.Event()
        client = await g.chat()
        await ledger.asked.wait()
        assert g.gateway.streams.running() == 1
        client.abort()
        client.close()
        await g.idle()
        assert ledger.settles == []
        ledger.waiting.set()
        await done(g)
        assert ledger.voided_once()
        assert ledger.settles[0].record.end == "client_gone"
        assert fake.chats == []
        assert ends(g) == {"client_gone": 1}


async def test_budget_client_gone_while_the_ledger_refuses_leaves_nothing() -> None:
    """Neither a hold nor an exception that nobody looks at."""
    async with budgeted() as (ledger, _, g):
        ledger.waiting = asyncio.Event()
        ledger.refuse(quota())
        client = await g.chat()
        await ledger.asked.wait()
        client.abort()
        client.close()
        await g.idle()
        ledger.waiting.set()
        await done(g)
        assert ledger.settles == []


@pytest.mark.parametrize(
    ("end", "status", "code"),
    [
        (End.CANCELLED, 409, "cancelled"),
        (End.SHUTDOWN, 503, "shutting_down"),
        (End.DEADLINE, 504, "deadline_exceeded"),
    ],
)
async def test_budget_request_ended_while_the_ledger_is_asked_is_told_why(end: End, status: int, code: str) -> None:
    """A true status, nothing upstream, nothing held."""
    clock = FakeClock()
    async with budgeted(clock=clock, timeouts__total_s=100) as (ledger, fake, g):
        ledger.waiting = asyncio.Event()
        async with await g.chat() as client:
            await ledger.asked.wait()
            if end is End.DEADLINE:
                clock.advance(100)
            elif end is End.SHUTDOWN:
                g.gateway.streams.end_all()
            else:
                hold_id = ledger.asks[0].hold_id
                assert (await ask(g, "POST", f"/v1/requests/req_{hold_id}/cancel")).status == 200
            assert await client.response() == status
            assert json.loads(await client.read_body())["error"]["code"] == code
        ledger.waiting.set()
        await done(g)
        assert ledger.voided_once()
        assert fake.chats == []
        assert ends(g) == {end.value: 1}


# Who may cancel


async def test_cancel_is_for_whoever_began_the_stream() -> None:
    """To another key, and to nobody, the stream does not exist; its own key ends it."""
    async with budgeted() as (_, fake, g):
        own, other = await g.new_key(), await g.new_key()
        fake.script = [Role(), Chunk("one"), Stall()]
        async with await g.client() as client:
            await client.request("POST", CHAT, json=chat_body(), headers={"authorization": f"Bearer {own}"})
            assert await client.response() == 200
            await client.next_frame()
            path = f"/v1/requests/{client.headers['x-request-id']}/cancel"
            for headers, status in (
                ({"authorization": f"Bearer {other}"}, 404),
                ({}, 404),
                ({"authorization": f"Bearer {own}"}, 200),
            ):
                got = await ask(g, "POST", path, headers=headers)
                assert got.status == status
                if status == 404:
                    assert got.error["code"] == "request_not_found"
                    assert g.gateway.streams.running() == 1
            await client.read_stream()


# Settling that fails, and shutting down


async def test_settle_that_fails_is_the_operators_trouble_and_not_the_clients() -> None:
    """A whole answer, one event with what could not be written, one count."""
    log = io.StringIO()
    configure_logs(stream=log)
    async with budgeted() as (ledger, _, g):
        ledger.failing.add("settle")
        _, answer = await streamed(g)
        assert answer.done
        await done(g)
        assert len(ledger.settles) == 1
        assert metric(g, "llm_settle_failures_total") == 1
    (line,) = [line for line in map(json.loads, log.getvalue().splitlines()) if line["event"] == "settle_failed"]
    assert (line["tokens"], line["cost_nanos"], line["requests"]) == (13, 0, 1)
    assert line["request_id"] == f"req_{ledger.asks[0].hold_id}"


async def test_settle_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a deadline of its own, and nothing waits for it longer."""
    monkeypatch.setattr("rillgate.pipeline.hold.SETTLE_S", 0)
    async with budgeted() as (ledger, _, g):
        ledger.settling = asyncio.Event()
        await streamed(g)
        await done(g)
        assert metric(g, "llm_settle_failures_total") == 1


async def test_shutdown_waits_for_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that goes down has settled what it served; its ledger is closed only then."""
    ledger = FakeLedger()
    ledger.settling = asyncio.Event()
    seen: list[bool] = []
    async with FakeProvider() as fake, gateway_for(fake, ledger=ledger) as g:
        streams = g.gateway.streams
        wait = streams.settled

        async def settled(wait_s: float) -> bool:
            waiting = asyncio.ensure_future(wait(wait_s))
            await asyncio.sleep(0)
            seen.append(waiting.done())  # something is still being settled
            assert ledger.settling is not None
            ledger.settling.set()
            seen.append(await waiting)
            return seen[-1]

        monkeypatch.setattr(streams, "settled", settled)
        await streamed(g)
        g.address.server.stop()
        await g.address.served
    assert seen == [False, True]
    assert ledger.settled_once() == Amounts(13, 0, 1)


# Elastic mode

ELASTIC: dict[str, Any] = {"ledger__mode": "elastic"}


async def lockstep(g: GatewayInTest, fake: FakeProvider, texts: int, **fields: Any) -> Answer:
    """A stream of tokens that the client confirms one by one, so that what is asked for on the way can be answered."""
    fake.script = runaway(texts, lockstep_after=0)
    frames: list[str] = []
    async with await g.chat(model="gpt-4o", **fields) as client:
        assert await client.response() == 200
        exchange = await fake.request()
        while (frame := await client.next_frame()) is not None:
            frames.append(frame)
            exchange.allow()
    return collect(frames)


async def test_elastic_stream_is_extended_before_its_slice_is_used_up() -> None:
    """It holds a slice, asks for as much again at 60 % of each, and is never cut; the provider has the whole cap."""
    async with budgeted(**ELASTIC) as (ledger, fake, g):
        ledger.slice_tokens = 50
        answer = await lockstep(g, fake, 150, max_tokens=500)
        assert fake.chats[0].json["max_tokens"] == 500
        assert not ledger.asks[0].strict
        assert answer.text == " a" * 150
        assert answer.rillgate is None
        assert [tokens for _, tokens in ledger.extends] == [50, 100, 200]
        await done(g)
        assert ends(g) == {"finished": 1}
        assert ledger.settled_once() == Amounts(159, 0, 1)


async def test_elastic_stream_is_extended_at_most_up_to_its_cap() -> None:
    """The last slice is what is left of it."""
    async with budgeted(**ELASTIC) as (ledger, fake, g):
        ledger.slice_tokens = 50
        answer = await lockstep(g, fake, 70, max_tokens=70)
        assert answer.text == " a" * 70
        assert [tokens for _, tokens in ledger.extends] == [20]


@pytest.mark.parametrize("failing", [True, False])
async def test_elastic_stream_that_is_not_extended_goes_on_to_the_end_of_its_slice(failing: bool) -> None:
    """Asked once; then cut properly, with the scope that refused."""
    async with budgeted(**ELASTIC) as (ledger, fake, g):
        ledger.slice_tokens = 50
        ledger.may_extend, ledger.lowered_by = False, "user:ada"
        if failing:
            ledger.failing.add("extend")
        answer = await lockstep(g, fake, 150, max_tokens=500, **USAGE)
        assert (answer.text, answer.finish, answer.done) == (" a" * 50, "length", True)
        scope = "request" if failing else "user:ada"
        assert answer.rillgate == {"stop": "budget", "scope": scope, "estimated": True}
        assert len(ledger.extends) == 1
        await done(g)
        assert ledger.settled_once() == Amounts(PROMPT_TOKENS + 50, 0, 1)


async def test_elastic_extension_that_comes_too_late_is_settled_with_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stream does not wait for it and is cut; settling does wait, since it changes the hold."""
    monkeypatch.setattr("rillgate.pipeline.settle.SETTLE_S", 600)  # on a slow machine too
    async with budgeted(**ELASTIC) as (ledger, fake, g):
        ledger.slice_tokens = 50
        ledger.extending = asyncio.Event()
        answer = await lockstep(g, fake, 150, max_tokens=500, **USAGE)
        assert answer.text == " a" * 50
        await g.idle()
        assert ledger.settles == []
        ledger.extending.set()
        await done(g)
        assert ledger.settled_once() == Amounts(PROMPT_TOKENS + 50, 0, 1)
        assert ledger.grants[0].output_tokens == 100


async def test_elastic_whole_answer_is_held_to_its_cap() -> None:
    """Nothing can cut it on the way."""
    async with budgeted(**ELASTIC) as (ledger, fake, g):
        ledger.lower_to(30, by="global")
        got = await ask(g, "POST", CHAT, json=chat_body(stream=False, max_tokens=500))
        assert got.status == 200
        assert ledger.asks[0].strict
        assert fake.chats[0].json["max_tokens"] == 30


async def test_elastic_count_of_another_encoding_is_the_limit_itself() -> None:
    """No provider's cap stands before a slice, so nothing is let through beyond it."""
    async with budgeted(**ELASTIC) as (ledger, fake, g):
        ledger.slice_tokens, ledger.may_extend = 50, False
        fake.script = [Role(), *[Chunk(" a")] * 150, Finish(), Done()]
        _, answer = await streamed(g, max_tokens=500)
        assert answer.text == " a" * 50
