"""The time of day is set while streams run, by hours and days, forwards and back: nothing ends early or is lost."""

from __future__ import annotations

import asyncio

import pytest

from rillgate.domain.limits import Meter, Window
from rillgate.ledger.items import counter
from tests.chaos.apis import INPUT_TOKENS
from tests.chaos.client import Ask, ChaosClient, Got
from tests.chaos.gateway import InChaos, in_chaos
from tests.chaos.plan import Plan
from tests.fakes.clock import FakeClock

pytestmark = pytest.mark.anyio

HOUR_S = 3_600
DAY_S = 86_400
STEPS_S = (5 * HOUR_S, -9 * HOUR_S, 6 * DAY_S, -13 * DAY_S, 40 * DAY_S, -33 * DAY_S + 4 * HOUR_S)  # their sum is 0
WORDS = 24


async def begun(chaos: InChaos, plan: Plan) -> tuple[ChaosClient, Got]:
    """A stream whose first byte has come."""
    client, got = await chaos.client(), Got(Ask(plan))
    await client.send(got.ask.request(chaos.credential))
    assert not await client.read(got, bytes_max=0)
    return client, got


async def test_streams_outlive_every_step_of_the_clock_and_are_charged_once() -> None:
    """Streams of before, between and after; at the end today's counters have every token, and no hold is left."""
    assert sum(STEPS_S) == 0
    clock = FakeClock()
    today = counter(Meter.TOKENS, Window.DAY, clock.wall())
    async with in_chaos(clock=clock) as chaos:
        for number in range(100, 104):
            await chaos.ask(Ask(Plan(number)))
        await chaos.settled()
        spent = int((await chaos.item("global"))[today])
        running = [await begun(chaos, Plan(number, WORDS, gap_ms=30)) for number in range(200, 208)]
        for at, step_s in enumerate(STEPS_S):
            clock.step(step_s)
            await chaos.ask(Ask(Plan(300 + at)))
            running.append(await begun(chaos, Plan(400 + at, WORDS, gap_ms=10)))
        await asyncio.gather(*(client.finish(got) for client, got in running))
        for client, got in running:
            client.close()
            assert (got.outcome, got.words) == ("stop", WORDS)
        chaos.got += [got for _, got in running]
        await chaos.settled()
        for scope in chaos.scopes:
            counted = await chaos.item(scope)
            assert int(counted[today]) >= spent + 8 * (INPUT_TOKENS + WORDS)
            assert counted["tT"] == sum(INPUT_TOKENS + got.words for got in chaos.got)


async def test_limit_of_a_day_holds_again_when_the_clock_is_right_again() -> None:
    """Used up is used up: a clock that was days ahead for a moment gives nobody a second day."""
    clock = FakeClock()
    async with in_chaos(clock=clock) as chaos:
        chaos.key = await chaos.inside.new_key(limits=["requests/day=2"])
        for number in (100, 101):
            assert (await chaos.ask(Ask(Plan(number)))).outcome == "stop"
        assert (await chaos.ask(Ask(Plan(102)))).outcome == "429 insufficient_quota"
        clock.step(40 * DAY_S)
        for number in (103, 104):
            assert (await chaos.ask(Ask(Plan(number)))).outcome == "stop"
        clock.step(-40 * DAY_S)
        assert (await chaos.ask(Ask(Plan(105)))).outcome == "429 insufficient_quota"
        await chaos.inside.settled()
        chaos.got.clear()
