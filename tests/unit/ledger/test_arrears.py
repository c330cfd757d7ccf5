"""What a store did not take when it should have been written is written as soon as it answers again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rillgate.domain.errors import BudgetUnavailable
from rillgate.domain.limits import Window
from rillgate.ledger import arrears
from rillgate.ledger.arrears import PAUSE_S_MAX, Arrears
from rillgate.ledger.ledger import SETTLE_PAUSES_S, sleep
from rillgate.ledger.writes import StoreUnavailable
from tests.fakes.clock import FakeClock
from tests.fakes.dynamodb import Fault
from tests.unit.ledger.ledger_support import amounts, blocked
from tests.unit.ledger.test_ledger import LedgerDesk

pytestmark = pytest.mark.anyio


@pytest.fixture
async def desk() -> AsyncIterator[LedgerDesk]:
    """Whatever a test left waiting goes on at its end, with a store that works."""
    desk = LedgerDesk()
    yield desk
    desk.heal()
    await desk.rest()


async def gave_up(desk: LedgerDesk, settling: asyncio.Future[object]) -> None:
    """Let a settle try as often as it does, without success."""
    await desk.pass_pauses(*SETTLE_PAUSES_S)
    with pytest.raises(BudgetUnavailable):
        await settling


async def test_settle_that_gave_up_is_done_when_the_store_is_back(desk: LedgerDesk) -> None:
    """Exactly what was taken is charged, in every scope, with its record, once; and nothing stays held."""
    await desk.set_budget(desk.team, "tokens/day=90000")
    grant = await desk.hold(desk.key, desk.team)
    desk.fail_all()
    await gave_up(desk, asyncio.ensure_future(desk.settle(grant, 7)))
    await desk.pass_pauses(*[PAUSE_S_MAX] * 3)
    desk.heal()
    await desk.pass_pauses(PAUSE_S_MAX)
    for scope in (desk.key, desk.team):
        assert await desk.held(scope) == {}
        assert await desk.spent(scope, Window.DAY) == amounts(100, 7)
    assert await desk.record_of(grant.ask.hold_id, grant.started_s) is not None
    assert desk.told("ledger_caught_up") == [{"holds": 1}]
    assert desk.clock.pending == 0


async def test_settle_that_ran_out_of_time_is_done_when_the_store_is_back(desk: LedgerDesk) -> None:
    """Whoever waits for it may have less patience than it has."""
    grant = await desk.hold()
    desk.fail_all()
    settling = asyncio.ensure_future(desk.settle(grant, 7))
    await blocked()
    settling.cancel()
    await asyncio.gather(settling, return_exceptions=True)
    desk.heal()
    await desk.pass_pauses(1.0)
    assert await desk.held(desk.key) == {}
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 7)


async def test_hold_of_a_refused_request_goes_when_the_store_is_back(desk: LedgerDesk) -> None:
    """It was done though no answer came, and none came to its void: no budget is blocked until it expires."""
    await desk.hold()  # its budget is known from here on
    before = await desk.held(desk.key)
    desk.fail(*[Fault.LOST_REPLY] * 3, *[Fault.LOST_REQUEST] * 3)
    with pytest.raises(BudgetUnavailable):
        await desk.hold()
    await blocked()
    assert len(await desk.held(desk.key)) == len(before) + 1
    await desk.pass_pauses(1.0)
    assert await desk.held(desk.key) == before


async def test_what_is_owed_is_tried_once_more_at_the_end(desk: LedgerDesk) -> None:
    """A gateway that goes down leaves nothing undone that the store would take."""
    grant = await desk.hold()
    desk.fail_all()
    await gave_up(desk, asyncio.ensure_future(desk.settle(grant, 7)))
    desk.heal()
    await desk.ledger.aclose()
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 7)
    assert desk.clock.pending == 0


async def test_arrears_try_one_thing_ever_more_seldom_until_it_is_done() -> None:
    """A store that is away is asked after 1, 2, 4, … and 30 seconds, however much waits for it."""
    clock, tried, up = FakeClock(), list[int](), False
    owed = Arrears(clock, sleep, lambda *_, **__: None)

    def add(number: int) -> None:
        async def do() -> None:
            tried.append(number)
            if not up:
                raise StoreUnavailable("away")

        owed.add(do, lambda: None, 1_000)

    for number in range(3):
        add(number)
    for pause_s in (1, 2, 4, 8, 16, 30, 30):
        await blocked()
        clock.advance(pause_s - 0.1)
        await blocked()
        before = len(tried)
        clock.advance(0.1)
        await blocked()
        assert tried[before:] == [0]
    up = True
    clock.advance(30)
    await blocked()
    assert tried[-3:] == [0, 1, 2]
    assert len(owed) == 0
    assert clock.pending == 0


async def test_arrears_are_bounded_in_number_and_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are left to be captured, and so is what nobody could write in its time."""
    monkeypatch.setattr(arrears, "WAITING_MAX", 2)
    clock, tried, over = FakeClock(), list[int](), list[int]()
    owed = Arrears(clock, sleep, lambda *_, **__: None)

    def add(number: int, patience_s: float) -> None:
        async def do() -> None:
            tried.append(number)

        owed.add(do, lambda: over.append(number), patience_s)

    for number, patience_s in enumerate((9, 0.5, 9)):
        add(number, patience_s)
    assert over == [0]
    await blocked()
    clock.advance(1)
    await blocked()
    assert (tried, over) == ([2], [0, 1, 2])


async def test_own_hold_is_not_captured_because_the_time_of_day_was_set(desk: LedgerDesk) -> None:
    """Hours forwards while its request runs: it stays held, and is charged exactly. A dead one is captured."""
    dead = await desk.another().authorize(desk.ask())
    grant = await desk.hold()
    desk.clock.step(5 * 3600)
    await desk.void(await desk.hold())
    await desk.rest()
    held = await desk.held(desk.key)
    assert grant.ask.hold_id in held
    assert dead.ask.hold_id not in held
    await desk.settle(grant, 7)
    assert await desk.held(desk.key) == {}
    assert (await desk.spent(desk.key, Window.TOTAL)).tokens == 107 + 1_100


async def test_own_hold_of_a_request_that_is_long_over_is_captured(desk: LedgerDesk) -> None:
    """By both clocks its time has passed, so nobody works on it, whatever became of its settle."""
    await desk.hold()
    desk.clock.advance(100_000)
    await desk.void(await desk.hold())
    await desk.rest()
    assert await desk.held(desk.key) == {}
