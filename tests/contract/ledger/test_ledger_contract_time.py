"""A `Ledger` as time passes, on every store: holds that expire, windows that end, counters that are over."""

from __future__ import annotations

import asyncio

import pytest

from rillgate.domain.limits import NOTHING, Amounts, Window
from tests.contract.ledger.ledgers import ledger_desk, refusal, told
from tests.unit.ledger.ledger_support import (
    EXPIRY_S,
    GRACE_S,
    LIFETIME_S,
    Desk,
    amounts,
)

pytestmark = pytest.mark.anyio

desk = ledger_desk


async def test_hold_is_captured_after_expiry_and_grace_and_not_before(desk: Desk) -> None:
    """The next write to the scope takes it; what it held stays counted, and a record says where it went."""
    dead = await desk.hold()
    desk.clock.advance(LIFETIME_S + GRACE_S)
    await desk.void(await desk.hold())
    await desk.rest()
    assert set(await desk.held(desk.key)) == {dead.ask.hold_id}
    desk.clock.advance(1)
    await desk.void(await desk.hold())
    await desk.rest()
    assert await desk.held(desk.key) == {}
    assert await desk.spent(desk.key, Window.TOTAL) == amounts(100, 1_000)
    record = await desk.record_of(dead.ask.hold_id, dead.started_s, desk.key)
    assert record is not None
    assert (record.end, record.captured_scope) == ("captured", desk.key)
    assert record.scopes == {desk.key: amounts(100, 1_000)}
    assert [fields["hold_id"] for fields in desk.told("hold_captured")] == [dead.ask.hold_id]


async def test_capture_by_two_ledgers_at_once_is_done_once(desk: Desk) -> None:
    """Both see the dead holds; one of them takes them, the live ones stay, and each is recorded."""
    dead = [await desk.hold() for _ in range(3)]
    desk.clock.advance(EXPIRY_S)
    ledgers = [desk.ledger, desk.another(), desk.another()]
    grants = await asyncio.gather(*(ledger.authorize(desk.ask()) for ledger in ledgers))
    await desk.rest()
    assert set(await desk.held(desk.key)) == {grant.ask.hold_id for grant in grants}
    assert (await desk.spent(desk.key, Window.TOTAL)).tokens == 6 * 1_100
    for grant in dead:
        assert await desk.record_of(grant.ask.hold_id, grant.started_s, desk.key) is not None


async def test_settle_after_capture_adds_only_what_goes_beyond(desk: Desk) -> None:
    """A captured hold is not given back; usage above it is still charged."""
    modest, greedy = await desk.hold(), await desk.hold()
    desk.clock.advance(EXPIRY_S)
    await desk.void(await desk.hold())
    await desk.rest()
    await desk.settle(modest, 7)
    assert await desk.spent(desk.key, Window.TOTAL) == Amounts(2_200, 820_000, 2)
    await desk.settle(greedy, 1_500)
    assert await desk.spent(desk.key, Window.TOTAL) == Amounts(2_700, 820_000 + 500 * 400, 2)


@pytest.mark.parametrize("window", [Window.DAY, Window.MONTH])
async def test_stream_that_crosses_the_end_of_a_window_is_charged_to_the_one_it_began_in(
    desk: Desk, window: Window
) -> None:
    """Sticky: held, extended and settled in the window of its start; the new one begins empty, without a write."""
    await desk.set_budget(desk.key, f"tokens/{window}=9000")
    desk.advance_to_end_of(window)
    start_s = desk.clock.wall()
    grant = await desk.hold(strict=False, lifetime_s=40 * 86_400)
    desk.advance_to_end_of(window)
    assert await desk.spent(desk.key, window) == NOTHING
    assert await desk.ledger.extend(grant, 500)
    assert not await desk.ledger.extend(grant, 8_000)  # the old window's limit
    assert grant.lowered_until_s == int(desk.clock.wall())
    await desk.settle(grant, 1_400)
    assert await desk.spent(desk.key, window) == NOTHING
    assert await desk.spent(desk.key, window, start_s) == amounts(100, 1_400)
    assert await desk.spent(desk.key, Window.TOTAL) == amounts(100, 1_400)


@pytest.mark.parametrize("window", [Window.MINUTE, Window.DAY, Window.MONTH])
async def test_next_window_has_the_whole_limit_again(desk: Desk, window: Window) -> None:
    """Used up until its end, and from its first second on free."""
    await desk.set_budget(desk.key, f"tokens/{window}=1100")
    await desk.settle(await desk.hold(), 1_000)
    await refusal(desk)
    desk.advance_to_end_of(window)
    assert (await desk.hold()).output_tokens == 1_000


async def test_total_is_never_renewed(desk: Desk) -> None:
    """A year later it is as used up as before."""
    await desk.set_budget(desk.key, "tokens/total=1100")
    await desk.settle(await desk.hold(), 1_000)
    desk.clock.advance(366 * 86_400)
    error = await refusal(desk)
    assert told(error) == (429, "insufficient_quota", "insufficient_quota", None, False)
    assert "x-rillgate-reset" not in error.headers


async def test_minute_gets_back_what_was_not_taken_only_while_it_lasts(desk: Desk) -> None:
    """A minute's counter is a rate: released within the minute, left as it was after it."""
    await desk.set_budget(desk.key, "tokens/minute=9000")
    grant = await desk.hold()
    await desk.settle(grant, 7)
    minute_s = desk.clock.wall()
    assert (await desk.spent(desk.key, Window.MINUTE)).tokens == 107
    late = await desk.hold()
    desk.clock.advance(20)
    await desk.settle(late, 7)
    assert (await desk.spent(desk.key, Window.MINUTE)).tokens == 0
    assert (await desk.spent(desk.key, Window.MINUTE, minute_s)).tokens == 107 + 1_100
    assert (await desk.spent(desk.key, Window.DAY)).tokens == 2 * 107


async def test_old_counters_are_taken_away_and_those_of_live_holds_never(desk: Desk) -> None:
    """An item does not grow with time; a stream that began days ago finds its counters and settles into them."""
    await desk.set_budget(desk.key, "tokens/minute=9000", warn=(10,))
    old = await desk.hold()
    await desk.rest()
    await desk.settle(old, 7)
    for day in range(8):
        start_s = desk.clock.wall()
        live = await desk.hold(lifetime_s=2 * 86_400)
        desk.clock.advance(86_400)
        await desk.void(await desk.hold())
        assert (await desk.spent(desk.key, Window.DAY, start_s)).tokens >= 1_100, day
        await desk.settle(live, 7)
        assert (await desk.spent(desk.key, Window.DAY, start_s)).tokens >= 107, day
    item = await desk.item(desk.key)
    assert "td20775" not in item
    assert len([name for name in item if name.startswith("td")]) <= 6
    assert len([name for name in item if name[1:2] == "m"]) <= 4
    assert await desk.spent(desk.key, Window.TOTAL) == Amounts(9 * 107, 9 * amounts(100, 7).cost_nanos, 9)
