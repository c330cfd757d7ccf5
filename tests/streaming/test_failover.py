"""When one provider fails another takes over, over real sockets: what the client gets, what each provider saw, what is
charged. Two providers behind one route, "both".
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from rillgate.domain.ends import End
from rillgate.domain.limits import Amounts
from tests.fakes.clients import collect
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import CHAT, GatewayInTest, chat_body, gateway_for
from tests.fakes.ledger import FakeLedger
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Close, Done, Error, ErrorFrame, Finish, Head, Reset, Role, Stall, UsageFrame, chat
from tests.streaming.asking import Got, ask

pytestmark = pytest.mark.anyio

SECOND = chat(["from", " the", " second"])


@asynccontextmanager
async def two(
    *, retries: int = 0, upstream: str = '["fake/one", "other/two"]', **more: Any
) -> AsyncIterator[tuple[GatewayInTest, FakeProvider, FakeProvider]]:
    """A gateway in front of two providers; the second answers."""
    async with FakeProvider() as first, FakeProvider() as second:
        second.script = SECOND
        settings: dict[str, Any] = {
            "providers__other__kind": "openai",
            "providers__other__base_url": second.base_url,
            "routes__0__model": "both",
            "routes__0__upstream": upstream,
            "routes__0__retries": str(retries),
        }
        async with gateway_for(first, **settings, **more) as g:
            yield g, first, second


async def asked(g: GatewayInTest, **fields: Any) -> Got:
    """A chat with the model "both"."""
    got = await ask(g, "POST", CHAT, json=chat_body(model="both", **fields))
    await g.settled()
    return got


def upstream_of(got: Got) -> str:
    """Who answered."""
    return got.headers["x-rillgate-upstream"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 529])
async def test_failover_after_an_error_status_serves_from_the_next(status: int, stream: bool) -> None:
    """The canonical case: one is busy, the other takes over, and the client sees neither."""
    async with two() as (g, first, second):
        first.script = [Error(status)]
        got = await asked(g, stream=stream)
        assert got.status == 200
        assert (got.stream.text if stream else got.json["choices"][0]["message"]["content"]) == "from the second"
        assert upstream_of(got) == "other/two; attempt=2"
        assert [(await fake.request(0)).json["model"] for fake in (first, second)] == ["one", "two"]


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([Reset()], id="reset before anything"),
        pytest.param([Close()], id="closed before anything"),
        pytest.param([Head(), Close()], id="an empty stream"),
        pytest.param([Head(), ErrorFrame(code=503)], id="an error as the first event"),
        pytest.param([Head(), Done()], id="an end without an answer"),
        pytest.param([Error(401)], id="our credentials refused"),
    ],
)
async def test_failover_before_the_first_event_serves_from_the_next(script: Any) -> None:
    """Whatever it is, the client has seen nothing of it."""
    async with two() as (g, first, _):
        first.script = script
        got = await asked(g)
        assert (got.status, got.stream.text, upstream_of(got)) == (200, "from the second", "other/two; attempt=2")


async def test_failover_from_an_address_where_nobody_listens_serves_from_the_next() -> None:
    """A connection that is refused."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        extra: dict[str, Any] = {"providers__gone__kind": "openai", "providers__gone__base_url": url}
        async with two(upstream='["gone/x", "other/two"]', **extra) as (g, _, _):
            got = await asked(g)
            assert (got.status, got.stream.text) == (200, "from the second")


async def test_failover_after_the_first_event_never_happens() -> None:
    """What was passed on cannot be taken back: the error goes in-band, and nobody else is asked."""
    async with two(retries=3) as (g, first, second):
        first.script = [Role(), Chunk("half"), Reset()]
        got = await asked(g)
        assert got.status == 200
        assert (got.stream.text, got.stream.done) == ("half", False)
        assert got.stream.error is not None
        assert upstream_of(got) == "fake/one; attempt=1"
        assert second.chats == []


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_failover_for_what_the_client_did_wrong_never_happens(status: int) -> None:
    """It is wrong everywhere."""
    async with two(retries=3) as (g, first, second):
        first.script = [Error(status)]
        assert (await asked(g)).status == status
        assert second.chats == []


async def test_failover_from_a_provider_that_stays_silent_goes_on_by_its_own_deadline() -> None:
    """Its connection is closed then; the stream's heartbeats have begun, and the answer still comes."""
    clock = FakeClock()
    async with two(clock=clock, timeouts__first_token_s="20", timeouts__heartbeat_s="12") as (g, first, _):
        first.script = [Head(), Stall()]
        async with await g.chat(model="both") as client:
            await first.request(0)
            await anyio.wait_all_tasks_blocked()
            clock.advance(12)
            assert await client.response() == 200
            assert "x-rillgate-upstream" not in client.headers
            clock.advance(8)
            answer = collect(await client.read_stream())
            assert (answer.text, answer.done) == ("from the second", True)
        await first.closed()
        await g.settled()


@pytest.mark.parametrize("begun", [[Stall()], [Head(headers={"content-type": "application/json"}), Stall()]])
async def test_failover_of_a_whole_answer_divides_the_time_among_those_who_may_answer(begun: Any) -> None:
    """Half of it for the first of two; what it may have cost is recorded."""
    clock, ledger = FakeClock(), FakeLedger()
    async with two(clock=clock, ledger=ledger) as (g, first, second):
        first.script = begun
        asking = asyncio.create_task(asked(g, stream=False))
        await first.request()
        await anyio.wait_all_tasks_blocked()
        clock.advance(449.9)
        await anyio.wait_all_tasks_blocked()
        assert not second.chats
        clock.advance(0.1)
        got = await asking
        assert got.json["choices"][0]["message"]["content"] == "from the second"
        assert upstream_of(got) == "other/two; attempt=2"
        await first.closed()
        assert ledger.settles[0].record.failed.tokens > 0


async def test_whole_answer_of_the_last_upstream_has_all_the_time_that_is_left() -> None:
    """A long answer is not cut for nobody's sake."""
    clock = FakeClock()
    async with two(clock=clock) as (g, first, second):
        first.script = [Error(500)]
        release = asyncio.Event()

        async def late(exchange: Any) -> None:
            await release.wait()
            await SECOND(exchange)

        second.script = late
        asking = asyncio.create_task(asked(g, stream=False))
        await second.request()
        clock.advance(899)
        await anyio.wait_all_tasks_blocked()
        assert not asking.done()
        release.set()
        assert (await asking).status == 200


async def test_failover_that_ends_in_errors_after_a_heartbeat_says_so_in_band() -> None:
    """The status is lost by then."""
    clock = FakeClock()
    async with two(clock=clock, timeouts__first_token_s="20") as (g, first, second):
        first.script = [Head(), Stall()]
        second.script = [Error(500)]
        async with await g.chat(model="both") as client:
            await first.request(0)
            await anyio.wait_all_tasks_blocked()
            clock.advance(12)
            assert await client.response() == 200
            clock.advance(8)
            answer = collect(await client.read_stream())
            assert (answer.text, answer.done) == ("", False)
            assert answer.error is not None
        await g.settled()


async def test_failover_to_nobody_tells_the_last_error() -> None:
    """With a true status, while nothing was sent."""
    async with two() as (g, first, second):
        first.script = [Error(500)]
        second.script = [Error(429, headers={"retry-after": "7"})]
        got = await asked(g)
        assert (got.status, got.error["code"], got.headers["retry-after"]) == (429, "rate_limit_exceeded", "7")


async def test_silent_last_upstream_ends_as_idle() -> None:
    """As without a route: 504 while nothing was sent."""
    clock = FakeClock()
    async with two(clock=clock, timeouts__first_token_s="5") as (g, first, second):
        first.script = second.script = [Head(), Stall()]
        async with await g.chat(model="both") as client:
            for fake in (first, second):
                await fake.request(0)
                await anyio.wait_all_tasks_blocked()
                clock.advance(5)
            assert await client.response() == 504
        await g.settled()


async def test_retries_ask_again_after_a_wait_and_tell_the_client_not_to() -> None:
    """A second round over both; what is used up here is not multiplied by the client."""
    clock = FakeClock()
    async with two(retries=1, clock=clock) as (g, first, second):
        first.script = second.script = [Error(500)]
        async with await g.chat(model="both") as client:
            await second.request(0)
            await anyio.wait_all_tasks_blocked()
            assert len(first.chats) == 1
            while len(second.chats) < 2:
                clock.advance(1)
                await anyio.wait_all_tasks_blocked()
            assert await client.response() == 502
            assert client.headers["x-should-retry"] == "false"
        assert (len(first.chats), len(second.chats)) == (2, 2)


async def test_upstream_that_keeps_failing_is_passed_over_for_a_while() -> None:
    """Three failures in a row, then nobody waits for it; when its time is over it is asked again."""
    clock = FakeClock()
    async with two(clock=clock) as (g, first, _):
        first.script = [Error(500)]
        for number in range(5):
            assert upstream_of(await asked(g)) == f"other/two; attempt={2 if number < 3 else 1}"
        assert len(first.chats) == 3
        clock.advance(30)
        first.script = chat(["better"])
        assert (await asked(g)).stream.text == "better"


async def test_client_that_leaves_between_attempts_ends_them() -> None:
    """Nobody waits for the next one any more."""
    clock = FakeClock()
    ledger = FakeLedger()
    async with two(retries=3, clock=clock, ledger=ledger, upstream='["fake/one"]') as (g, first, _):
        first.script = [Error(500)]
        client = await g.chat(model="both")
        await first.request(0)
        await anyio.wait_all_tasks_blocked()
        client.close()
        await g.settled()
        assert len(first.chats) == 1
        assert ledger.settles[0].actual == Amounts()
        assert ledger.settles[0].record.end == End.CLIENT_GONE.value


async def test_one_hold_covers_all_attempts_at_the_dearest_price() -> None:
    """Whoever answers is in the record and charged by its own price; the attempt that was refused cost nothing."""
    ledger = FakeLedger()
    prices: dict[str, Any] = {"fake/*": {"input": 1, "output": 2}, "other/*": {"input": 3, "output": 1}}
    async with two(ledger=ledger, prices=prices) as (g, first, second):
        first.script = [Error(500)]
        second.script = [Role(), Chunk("x"), Finish(), UsageFrame(100, 50), Done()]
        await asked(g)
        (ask_,) = ledger.asks
        assert ask_.price is not None
        assert (ask_.price.input, ask_.price.output) == (3_000_000_000, 2_000_000_000)
        (settled,) = ledger.settles
        assert settled.actual == Amounts(150, 100 * 3_000 + 50 * 1_000, 1)
        assert (settled.record.provider, settled.record.routed_model) == ("other", "two")
        assert settled.record.failed == Amounts()


async def test_attempt_that_may_have_cost_something_is_recorded() -> None:
    """It was sent and never answered: its prompt is charged as our estimate, beside what the other one reports."""
    ledger = FakeLedger()
    async with two(ledger=ledger) as (g, first, second):
        first.script = [Head(), Close()]
        second.script = [Role(), Chunk("x"), Finish(), UsageFrame(100, 50), Done()]
        await asked(g)
        (settled,) = ledger.settles
        failed = settled.record.failed
        assert failed.tokens > 0
        assert settled.actual == Amounts(150 + failed.tokens, failed.cost_nanos, 1)
        assert (settled.record.input_tokens, settled.record.output_tokens) == (100, 50)


async def test_cancel_between_attempts_answers_and_charges_nothing() -> None:
    """By its id, while it waits for its turn."""
    clock = FakeClock()
    ledger = FakeLedger()
    async with two(retries=1, clock=clock, ledger=ledger, upstream='["fake/one"]') as (g, first, _):
        first.script = [Error(500)]
        async with await g.client() as client:
            await client.request("POST", CHAT, json=chat_body(model="both"), headers={"x-client-request-id": "mine"})
            await first.request(0)
            await anyio.wait_all_tasks_blocked()
            assert (await ask(g, "POST", "/v1/requests/mine/cancel")).json["cancelled"] is True
            assert await client.response() == 409
        await g.settled()
        assert ledger.settles[0].actual == Amounts()


async def test_many_at_once_fail_over_each_for_itself() -> None:
    """A hundred streams, half of the attempts fail."""
    async with two() as (g, first, second):
        for _ in range(50):
            first.queue([Error(503)])
        answers = await asyncio.gather(*(ask(g, "POST", CHAT, json=chat_body(model="both")) for _ in range(100)))
        texts = [answer.stream.text for answer in answers]
        assert all(answer.status == 200 for answer in answers)
        assert texts.count("from the second") == len(second.chats)
        await g.settled()
