"""Budgets that come, change and block, on every store: what is noticed, announced, and told to who is refused."""

from __future__ import annotations

import pytest

from rillgate.domain.limits import UNLIMITED, Amounts, Budget, Limit, Meter, Window
from tests.contract.ledger.ledgers import ledger_desk, refusal, told
from tests.unit.ledger.ledger_support import (
    PRICE,
    Desk,
)

pytestmark = pytest.mark.anyio

desk = ledger_desk


# Budgets that come, change and block ----------------------------------------------------------------------------------


async def test_budget_that_came_with_the_request_is_enforced(desk: Desk) -> None:
    """A ticket's limits are in no store, and hold all the same: each scope has one item to count in."""
    ticket = desk.key.replace("key:", "ticket:")
    own = {ticket: Budget(limits=(Limit(Meter.TOKENS, Window.TOTAL, 1_300),), streams_max=2)}
    first = await desk.hold(desk.key, ticket, own_budgets=own)
    assert (set(first.holds), first.output_tokens) == ({desk.key, ticket}, 1_000)
    await desk.hold(desk.key, ticket, own_budgets=own, input_tokens=10, output_tokens=64)
    assert (await refusal(desk, desk.key, ticket, own_budgets=own, output_tokens=16)).kind == "concurrency"
    await desk.settle(first, 1_000)
    assert (await refusal(desk, desk.key, ticket, own_budgets=own)).code == "insufficient_quota"


async def test_ticket_without_limits_is_passed_over(desk: Desk) -> None:
    """It costs no write of its own."""
    ticket = desk.key.replace("key:", "ticket:")
    assert set((await desk.hold(desk.key, ticket, own_budgets={ticket: UNLIMITED})).holds) == {desk.key}


async def test_budget_that_came_with_the_request_outlives_a_change_in_the_store(desk: Desk) -> None:
    """A ticket that was blocked and let go has a version in the store, and still its own limits."""
    ticket = desk.key.replace("key:", "ticket:")
    own = {ticket: Budget(limits=(Limit(Meter.TOKENS, Window.TOTAL, 1_300),))}
    first = await desk.hold(desk.key, ticket, own_budgets=own, strict=False, output_tokens=200)
    await desk.set_budget(ticket, blocked="lost")
    await desk.set_budget(ticket)
    second = await desk.hold(desk.key, ticket, own_budgets=own)
    assert second.output_tokens == 512
    assert not await desk.ledger.extend(first, 400)
    assert await desk.ledger.extend(first, 300)
    assert (await desk.spent(ticket, Window.TOTAL)).tokens <= 1_300


@pytest.mark.parametrize("scope", ["key", "team", "ticket"])
async def test_blocked_scope_is_refused_at_once_and_let_go_at_once(desk: Desk, scope: str) -> None:
    """403 with the reason for every request that is charged there, whatever was cached; nothing is left behind."""
    ticket = desk.key.replace("key:", "ticket:")
    name = {"key": desk.key, "team": desk.team, "ticket": ticket}[scope]
    own = {ticket: Budget(limits=(Limit(Meter.TOKENS, Window.TOTAL, 90_000),))}
    await desk.set_budget(desk.team, "tokens/day=90000")
    await desk.settle(await desk.hold(desk.key, desk.team, ticket, own_budgets=own), 7)
    before = {each: await desk.counters(each) for each in (desk.key, desk.team, ticket)}
    limits = ["tokens/day=90000"] if scope == "team" else []
    await desk.set_budget(name, *limits, blocked="unpaid")
    error = await refusal(desk, desk.key, desk.team, ticket, own_budgets=own)
    assert told(error) == (403, "permission_error", "permission_denied", None, False)
    assert (error.scope, "unpaid" in error.message) == (name, True)
    assert {each: await desk.counters(each) for each in (desk.key, desk.team, ticket)} == before
    await desk.set_budget(name, *limits)
    await desk.hold(desk.key, desk.team, ticket, own_budgets=own)


async def test_lowered_limit_is_noticed_at_once(desk: Desk) -> None:
    """A process that still knows the old budget is refused by its version and reads again before it admits."""
    await desk.set_budget(desk.key, "tokens/day=90000")
    await desk.settle(await desk.hold(), 7)
    await desk.set_budget(desk.key, "tokens/day=600")
    grant = await desk.hold()
    assert (grant.output_tokens, grant.lowered_by) == (393, desk.key)  # 600 - 107 - 100
    assert grant.levels[0].limit.amount == 600


async def test_limit_lowered_below_the_request_refuses_at_once(desk: Desk) -> None:
    """What could never pass the new limit is told so, and holds nothing."""
    await desk.set_budget(desk.key, "tokens/day=90000")
    await desk.void(await desk.hold())
    await desk.set_budget(desk.key, "tokens/day=90")
    assert (await refusal(desk)).code == "rate_limit_exceeded"
    assert await desk.counters(desk.key) == {}


async def test_raised_limit_is_noticed_at_once(desk: Desk) -> None:
    """Neither does anybody wait for a cache where more is allowed by now."""
    await desk.set_budget(desk.key, "tokens/day=1200")
    await desk.settle(await desk.hold(), 1_050)
    await refusal(desk)
    await desk.set_budget(desk.key, "tokens/day=90000")
    assert (await desk.hold()).output_tokens == 1_000


async def test_limit_lowered_during_a_stream_refuses_its_extension(desk: Desk) -> None:
    """An extension asks the budget as it is by then."""
    await desk.set_budget(desk.key, "tokens/day=90000")
    grant = await desk.hold(strict=False)
    await desk.set_budget(desk.key, "tokens/day=1500")
    assert not await desk.ledger.extend(grant, 500)
    assert await desk.ledger.extend(grant, 400)
    assert await desk.spent(desk.key, Window.DAY) == Amounts(1_500, PRICE.hold_nanos(100, 1_400), 1)


# Marks ----------------------------------------------------------------------------------------------------------------


async def test_mark_is_announced_once_for_each_window_across_ledgers(desk: Desk) -> None:
    """Two processes see a budget cross 50 and 80 percent; one event each, and the same again on the next day."""
    ledgers = [desk.ledger, desk.another()]
    await desk.set_budget(desk.key, "tokens/day=11000", warn=(50, 80))

    async def day() -> list[int]:
        """Twelve requests, each settled at the whole hold, until the day's budget is nearly used up."""
        seen = len(desk.told("budget_warning"))
        for number in range(9):
            grant = await ledgers[number % 2].authorize(desk.ask())
            await desk.settle(grant, 1_000, ledgers[number % 2])
            await desk.rest()
        return [fields["percent"] for fields in desk.told("budget_warning")[seen:]]

    assert await day() == [50, 80]
    desk.advance_to_end_of(Window.DAY)
    assert await day() == [50, 80]
    assert desk.told("budget_warning")[0] == {"scope": desk.key, "limit": "tokens/day", "percent": 50}


# What a refused client is told ----------------------------------------------------------------------------------------


async def test_refusal_of_day_says_what_is_left_and_when_it_comes_back(desk: Desk) -> None:
    """A quota that is used up: no retry, the reset in a header, the limits' state as the refused write saw it."""
    await desk.set_budget(desk.key, "tokens/day=1200", "requests/day=50")
    await desk.settle(await desk.hold(), 1_000)
    error = await refusal(desk)
    assert told(error) == (429, "insufficient_quota", "insufficient_quota", None, False)
    assert error.headers == {
        "x-ratelimit-limit-tokens": "1200",
        "x-ratelimit-remaining-tokens": "100",
        "x-ratelimit-reset-tokens": "12h53m20s",
        "x-ratelimit-limit-requests": "50",
        "x-ratelimit-remaining-requests": "49",
        "x-ratelimit-reset-requests": "12h53m20s",
        "x-rillgate-reset": "2026-11-19T00:00:00Z",
        "x-rillgate-scope": desk.key,
    }


async def test_refusal_with_status_403_where_configured(desk: Desk) -> None:
    """For clients that take 429 for a rate and nothing else."""
    await desk.set_budget(desk.key, "tokens/day=1200")
    ledger = desk.another(quota_status=403)
    await desk.settle(await desk.hold(), 1_000)
    assert (await refusal(desk, ledger=ledger)).status == 403


@pytest.mark.parametrize(("limit", "kind"), [("tokens/minute=1200", "tokens"), ("requests/minute=1", "requests")])
async def test_refusal_of_minute_is_a_rate(desk: Desk, limit: str, kind: str) -> None:
    """Twenty seconds before the minute ends, twenty seconds are the wait; retries are as welcome as ever."""
    await desk.set_budget(desk.key, limit)
    await desk.settle(await desk.hold(), 1_000)
    assert told(await refusal(desk)) == (429, kind, "rate_limit_exceeded", 20, None)


async def test_requests_are_counted_one_by_one(desk: Desk) -> None:
    """The last request that a limit allows holds its whole cap; the next is refused. A void gives one back."""
    await desk.set_budget(desk.key, "requests/day=3")
    first, _, _ = [await desk.hold() for _ in range(3)]
    assert (await refusal(desk)).code == "insufficient_quota"
    await desk.void(first)
    assert (await desk.hold()).output_tokens == 1_000


async def test_levels_of_scopes_nobody_limited_are_none(desk: Desk) -> None:
    """What has no limit has no level; a limit that nobody used is empty."""
    assert list(await desk.ledger.levels([desk.key, desk.user])) == []
    await desk.set_budget(desk.team, "tokens/day=5")
    (level,) = await desk.ledger.levels([desk.team])
    assert (level.scope, level.committed, level.remaining) == (desk.team, 0, 5)
