"""What every `Ledger` keeps to, on every store: a hold's life, in one scope and in several, alone and in a crowd.

Sizes, budgets and time are in the files beside this one; what happens when a store fails is in tests/unit/ledger.
"""

from __future__ import annotations

import asyncio
import contextlib

import anyio
import pytest

from rillgate.domain.errors import BudgetError
from rillgate.domain.limits import NOTHING, Amounts, Meter, Window
from rillgate.domain.spending import Grant
from tests.contract.ledger.ledgers import ledger_desk, refusal, told
from tests.unit.ledger.ledger_support import (
    GRACE_S,
    LIFETIME_S,
    PRICE,
    Desk,
    amounts,
    without_zeros,
)

pytestmark = pytest.mark.anyio

desk = ledger_desk


# A hold's life --------------------------------------------------------------------------------------------------------


async def test_authorize_holds_the_whole_request_in_every_scope_and_window(desk: Desk) -> None:
    """Prompt, cap, their price and one request, counted in day, month and total of each scope, until it is settled."""
    await desk.set_budget(desk.team, "tokens/day=100000")
    grant = await desk.hold(desk.key, desk.team)
    assert (grant.output_tokens, grant.lowered_by, grant.accounted) == (1_000, None, True)
    assert (grant.started_s, grant.expires_s) == (1_795_000_000, 1_795_000_000 + LIFETIME_S)
    assert set(grant.holds) == {desk.key, desk.team}
    for scope in (desk.key, desk.team):
        for window in (Window.DAY, Window.MONTH, Window.TOTAL):
            assert await desk.spent(scope, window) == amounts(100, 1_000)
        assert [hold.amounts for hold in (await desk.held(scope)).values()] == [amounts(100, 1_000)]


async def test_settle_charges_exactly_what_was_taken_and_releases_the_rest(desk: Desk) -> None:
    """Every counter of every scope says what was taken; no hold is left, and nobody is live."""
    await desk.set_budget(desk.team, "tokens/day=100000", "usd/month=1", "requests/minute=9", "tokens/minute=5000")
    grant = await desk.hold(desk.key, desk.team)
    actual = await desk.settle(grant, 7)
    assert actual == Amounts(107, 100 * 100 + 7 * 400, 1)
    for scope in (desk.key, desk.team):
        for window in (Window.DAY, Window.MONTH, Window.TOTAL):
            assert await desk.spent(scope, window) == actual
        assert await desk.held(scope) == {}
    assert await desk.spent(desk.team, Window.MINUTE) == Amounts(107, 0, 1)  # where such limits are
    assert await desk.spent(desk.key, Window.MINUTE) == NOTHING


async def test_settle_keeps_the_record_under_the_hold_and_its_day(desk: Desk) -> None:
    """One record for each request, found by the day of its start and the hold's id, as it was given."""
    grant = await desk.hold()
    actual = amounts(100, 7)
    record = desk.record(grant, actual)
    await desk.ledger.settle(grant, actual, record)
    assert await desk.record_of(grant.ask.hold_id, grant.started_s) == record


async def test_settle_above_the_hold_is_charged_as_reported(desk: Desk) -> None:
    """Usage that a provider reports is the truth, above the hold and above the limit too."""
    await desk.set_budget(desk.key, "tokens/day=1500")
    grant = await desk.hold()
    await desk.settle(grant, 5_000)
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 5_000)
    assert (await refusal(desk)).code == "insufficient_quota"


async def test_void_leaves_every_counter_as_it_was(desk: Desk) -> None:
    """Nothing at all taken is the inverse of the authorize, in every scope; that it was is recorded."""
    await desk.set_budget(desk.team, "tokens/minute=9000", "usd/month=1")
    await desk.settle(await desk.hold(desk.key, desk.team), 5)
    before = {scope: without_zeros(await desk.item(scope)) for scope in (desk.key, desk.team)}
    grant = await desk.hold(desk.key, desk.team)
    await desk.void(grant)
    assert {scope: without_zeros(await desk.item(scope)) for scope in (desk.key, desk.team)} == before
    record = await desk.record_of(grant.ask.hold_id, grant.started_s)
    assert record is not None
    assert (record.end, record.charged) == ("upstream_error", NOTHING)


async def test_settle_twice_is_the_same_as_once(desk: Desk) -> None:
    """By the same owner, and by one who still believes in the hold."""
    grant = await desk.hold()
    copy = Grant(grant.ask, grant.output_tokens, grant.started_s, grant.expires_s, holds=dict(grant.holds))
    await desk.settle(grant, 7)
    before = await desk.item(desk.key)
    await desk.settle(grant, 7)
    await desk.settle(copy, 7)
    await desk.settle(copy, 900, desk.another())
    assert await desk.item(desk.key) == before


async def test_authorize_again_with_the_same_hold_holds_once(desk: Desk) -> None:
    """A request that is repeated because its answer was lost finds its own hold."""
    ask = desk.ask()
    first, second = await desk.ledger.authorize(ask), await desk.ledger.authorize(ask)
    assert second.holds == first.holds
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 1_000)


# Several scopes -------------------------------------------------------------------------------------------------------


async def test_tightest_scope_decides_and_the_others_give_back(desk: Desk) -> None:
    """The cap is the smallest that any scope allows, and no scope holds more than that cap."""
    await desk.set_budget(desk.user, "tokens/day=100000")
    await desk.set_budget(desk.team, "tokens/day=1700")
    await desk.hold(desk.team)
    grant = await desk.hold(
        desk.key, desk.user, desk.team
    )  # 600 are left in the team: 512 are the least share, 500 fit
    assert (grant.output_tokens, grant.lowered_by) == (500, desk.team)
    for scope in (desk.key, desk.user, desk.team):
        hold = (await desk.held(scope))[grant.ask.hold_id]
        assert (hold.tokens, hold.cost_nanos) == (600, PRICE.hold_nanos(100, 500))
        assert grant.holds[scope].held == amounts(100, 500)
    await desk.settle(grant, 7)
    assert await desk.spent(desk.key, Window.TOTAL) == amounts(100, 7)
    assert await desk.spent(desk.user, Window.DAY) == amounts(100, 7)
    assert await desk.spent(desk.team, Window.DAY) == Amounts(1_207, amounts(100, 7).cost_nanos + 410_000, 2)


async def test_refusal_of_one_scope_leaves_nothing_in_the_others(desk: Desk) -> None:
    """What they held by then is voided in the background; the books are as before."""
    await desk.set_budget(desk.user, "tokens/minute=9000")
    await desk.set_budget(desk.team, "tokens/day=1100")
    await desk.settle(await desk.hold(desk.key, desk.user, desk.team), 990)
    before = {scope: without_zeros(await desk.item(scope)) for scope in (desk.key, desk.user, desk.team)}
    error = await refusal(desk, desk.key, desk.user, desk.team)
    assert error.scope == desk.team
    assert {scope: without_zeros(await desk.item(scope)) for scope in (desk.key, desk.user, desk.team)} == before


async def test_scope_without_budget_is_passed_over_and_a_key_never_is(desk: Desk) -> None:
    """A user without limits costs no write; every request is held by its key."""
    grant = await desk.hold(desk.key, desk.user, desk.team)
    assert set(grant.holds) == {desk.key}
    await desk.settle(grant, 7)
    assert await desk.item(desk.user) == {}
    assert await desk.item(desk.team) == {}
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 7)


@pytest.mark.parametrize("set_once", ["limit", "streams", "block"])
async def test_scope_that_once_had_a_budget_is_charged(desk: Desk, set_once: str) -> None:
    """Limits, a bound on streams or a block, even one that was lifted: from then on its counters go on."""
    if set_once == "limit":
        await desk.set_budget(desk.user, "tokens/day=9000")
    elif set_once == "streams":
        await desk.set_budget(desk.user, streams_max=3)
    else:
        await desk.set_budget(desk.user, blocked="unpaid")
        await desk.set_budget(desk.user)
    assert set((await desk.hold(desk.user)).holds) == {desk.user}


async def test_levels_of_grant_are_those_right_after_its_hold(desk: Desk) -> None:
    """Every limit of every scope, with this request's own hold and everybody else's."""
    await desk.set_budget(desk.key, "tokens/day=9000", "requests/minute=5")
    await desk.set_budget(desk.team, "usd/total=1")
    await desk.settle(await desk.hold(desk.key), 7)
    grant = await desk.hold(desk.key, desk.team)
    levels = {(level.scope, level.limit.meter): level for level in grant.levels}
    assert len(levels) == len(grant.levels) == 3
    tokens, requests = levels[desk.key, Meter.TOKENS], levels[desk.key, Meter.REQUESTS]
    assert (tokens.committed, tokens.remaining, tokens.resets_s) == (1_207, 7_793, 20_776 * 86_400)
    assert (requests.committed, requests.resets_s) == (2, 1_795_000_020)
    assert levels[desk.team, Meter.COST].committed == 410_000
    assert levels[desk.team, Meter.COST].resets_s is None
    now = await desk.ledger.levels([desk.key, desk.user, desk.team])
    assert {(level.scope, level.limit.meter): level for level in now} == levels


# Concurrency ----------------------------------------------------------------------------------------------------------


async def test_stream_above_the_bound_is_refused_and_admitted_when_one_ends(desk: Desk) -> None:
    """Two of two run, the third is told to try again in a second, and then may."""
    await desk.set_budget(desk.key, streams_max=2)
    first, _ = await desk.hold(), await desk.hold()
    error = await refusal(desk)
    assert told(error) == (429, "concurrency", "rate_limit_exceeded", 1, None)
    assert len(await desk.held(desk.key)) == 2
    await desk.settle(first, 7)
    await desk.hold()


async def test_expired_hold_does_not_count_as_a_stream(desk: Desk) -> None:
    """A stream that died blocks nobody: its hold is captured first, by whoever needs the room."""
    await desk.set_budget(desk.key, streams_max=1)
    dead = await desk.hold()
    desk.clock.advance(LIFETIME_S + GRACE_S)
    assert (await refusal(desk)).kind == "concurrency"  # not yet
    desk.clock.advance(1)
    alive = await desk.hold()
    assert set(await desk.held(desk.key)) == {alive.ask.hold_id}
    assert await desk.record_of(dead.ask.hold_id, dead.started_s, desk.key) is not None
    assert await desk.spent(desk.key, Window.TOTAL) == Amounts(2_200, 820_000, 2)


async def test_race_for_one_budget_admits_no_more_than_it_allows(desk: Desk) -> None:
    """Forty requests at once, through two ledgers: what is held never passes the limit, and most of it is used."""
    await desk.set_budget(desk.key, "tokens/day=6000")
    ledgers = (desk.ledger, desk.another())

    async def ask(number: int) -> Grant | BudgetError:
        try:
            return await ledgers[number % 2].authorize(desk.ask(output_tokens=600))
        except BudgetError as error:
            return error

    results = await asyncio.gather(*map(ask, range(40)))
    await desk.rest()
    grants = [result for result in results if isinstance(result, Grant)]
    spent = await desk.spent(desk.key, Window.DAY)
    assert spent.tokens == sum(100 + grant.output_tokens for grant in grants) <= 6_000
    assert spent.tokens >= 5_400
    assert set(await desk.held(desk.key)) == {grant.ask.hold_id for grant in grants}
    assert {error.code for error in results if isinstance(error, BudgetError)} == {"insufficient_quota"}


async def test_cancelled_authorize_leaves_nothing_held(desk: Desk) -> None:
    """A client that goes away while its budget is asked for takes its hold along, in the background."""
    await desk.set_budget(desk.key, "tokens/day=90000")
    await desk.void(await desk.hold())
    task = asyncio.ensure_future(desk.hold())
    await anyio.lowlevel.checkpoint()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await desk.void(await task)  # a store that never waits has answered by now
    await desk.rest()
    assert await desk.held(desk.key) == {}
    assert await desk.spent(desk.key, Window.TOTAL) == NOTHING
