"""A request on its way in: rounds, terms, and what happens between a read and a write.

What any store shows is in the contract suite; here are the courses that need faults and waits at a chosen call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from rillgate.domain.errors import BudgetError, BudgetUnavailable
from rillgate.domain.limits import NOTHING, Amounts, Meter, Window
from rillgate.domain.price import FREE
from rillgate.ledger.admission import ROUNDS_MAX
from rillgate.ledger.items import VERSION, Hold, hold_name
from rillgate.ledger.keys import scope_key
from rillgate.ledger.upkeep import WHOLE_LIVE_MAX
from rillgate.ledger.writes import Add, AtMost, Put, Remove, StoreUnavailable, Write
from tests.fakes.dynamodb import FakeDynamoDb, Fault
from tests.unit.ledger.ledger_support import LIFETIME_S, Desk, GatedStore, amounts, blocked, fake_store, is_of

pytestmark = pytest.mark.anyio


class AdmissionDesk(Desk):
    """A desk over a table that fails, and a gate before it, as a test says."""

    def __init__(self) -> None:
        self.table = FakeDynamoDb()
        self.gated = GatedStore(fake_store(self.table))
        super().__init__(self.gated)

    def writes_to(self, scope: str) -> list[Write]:
        """All writes to the scope's item since the last `forget`."""
        return [write for write in self.gated.writes if write.key == scope_key(scope)]

    def forget(self) -> None:
        """Count from here."""
        self.gated.writes.clear()
        self.gated.reads.clear()


@pytest.fixture
async def desk() -> AsyncIterator[AdmissionDesk]:
    """Whatever a test left waiting goes on at its end."""
    desk = AdmissionDesk()
    yield desk
    desk.gated.gate.set()
    await desk.rest()


def at_write(number: int, act: Callable[[], None], faults: Sequence[Fault] = ()) -> Callable[[str], Fault]:
    """These faults for the next writes, and something that happens right before one of them, counted from 1."""
    left, seen = list(faults), 0

    def fault(operation: str) -> Fault:
        nonlocal seen
        if operation != "UpdateItem":
            return Fault.NONE
        seen += 1
        if seen == number:
            act()
        return left.pop(0) if left else Fault.NONE

    return fault


async def test_request_with_plenty_needs_one_write_in_each_scope(desk: AdmissionDesk) -> None:
    """All scopes are written at the same time: the second write does not wait for the first."""
    await desk.set_budget(desk.team, "tokens/day=90000")
    await desk.void(await desk.hold(desk.key, desk.team))
    desk.forget()
    desk.gated.waits = is_of(desk.key, desk.team)
    task = asyncio.ensure_future(desk.hold(desk.key, desk.team))
    await blocked()
    assert len(desk.writes_to(desk.key)) == len(desk.writes_to(desk.team)) == 1
    desk.gated.gate.set()
    assert (await task).output_tokens == 1_000
    assert len(desk.gated.writes) == 2


async def test_request_that_must_share_needs_one_write_more(desk: AdmissionDesk) -> None:
    """The refused write shows what is left and among how many, so nothing is read."""
    await desk.set_budget(desk.key, "tokens/day=4400")
    await desk.hold()
    desk.forget()
    assert (await desk.hold(output_tokens=3_000)).output_tokens == 1_600
    assert (len(desk.gated.writes), len(desk.gated.reads)) == (2, 0)


async def test_scope_that_holds_already_is_not_written_again_in_the_next_round(desk: AdmissionDesk) -> None:
    """Only who refused is asked again; the others give back what is too much, in one write each."""
    await desk.set_budget(desk.team, "tokens/day=1700")
    await desk.hold(desk.team)
    desk.forget()
    await desk.hold(desk.key, desk.team)
    assert [len(desk.writes_to(scope)) for scope in (desk.key, desk.team)] == [2, 2]


async def test_room_taken_between_two_rounds_lowers_the_cap_again(desk: AdmissionDesk) -> None:
    """Somebody else is faster: the next refusal says what is left by then."""
    await desk.set_budget(desk.key, "tokens/day=5000")
    await desk.hold(output_tokens=2_000)

    def taken() -> None:
        write = Write(scope_key(desk.key), (Add("td20775", 2_000), Add("n", 1)))
        after = write.apply(desk.table.item(write.key.pk))
        desk.table.items[write.key.pk, "-"] = {
            name: {"S": value} if isinstance(value, str) else {"N": str(value)} for name, value in after.items()
        }

    desk.table.fault = at_write(2, taken)
    grant = await desk.hold(output_tokens=2_000)
    assert grant.output_tokens == 512  # 2,900 - 2,000 - 100 among three, and no longer 1,400 among two
    assert (await desk.spent(desk.key, Window.DAY)).tokens == 2_100 + 2_000 + 612


async def test_authorize_whose_reply_was_lost_holds_once(desk: AdmissionDesk) -> None:
    """The repeat is refused by the hold that the first try made, which is ours."""
    await desk.set_budget(desk.key, "tokens/day=9000")
    desk.table.fault = at_write(0, lambda: None, [Fault.LOST_REPLY])
    grant = await desk.hold()
    assert grant.output_tokens == 1_000
    assert grant.levels[0].committed == 1_100
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 1_000)
    assert set(await desk.held(desk.key)) == {grant.ask.hold_id}


async def test_copy_of_an_earlier_round_that_comes_late_is_taken_over(desk: AdmissionDesk) -> None:
    """A larger hold of our own appears between two rounds: it is ours, and lowered to the cap."""
    await desk.set_budget(desk.key, "tokens/day=5000")
    other = await desk.hold(output_tokens=3_800)

    def free_and_deliver() -> None:
        pk = scope_key(desk.key).pk
        desk.table.items[pk, "-"] = {**desk.table.items[pk, "-"], "td20775": {"N": "0"}}
        desk.table.deliver()

    desk.table.fault = at_write(3, free_and_deliver, [Fault.DELAYED])
    grant = await desk.hold()
    assert grant.output_tokens == 512  # 1,100 are left beside the other
    assert (await desk.held(desk.key))[grant.ask.hold_id].amounts == amounts(100, 512)
    await desk.settle(grant, 7)
    assert set(await desk.held(desk.key)) == {other.ask.hold_id}
    assert (await desk.spent(desk.key, Window.DAY)).tokens == 107


async def test_strangers_hold_of_the_same_id_is_left_alone(desk: AdmissionDesk) -> None:
    """Ids are random, so it never happens; if it does, nobody charges or voids the other's hold."""
    ask = desk.ask()
    stranger = Hold(1_795_009_999, 0, 5, 5, 1_794_999_999)
    await desk.store.write(Write(scope_key(desk.key), (Put(hold_name(ask.hold_id), stranger.value), Add("n", 1))))
    with pytest.raises(BudgetUnavailable):
        await desk.ledger.authorize(ask)
    await desk.rest()
    assert await desk.held(desk.key) == {ask.hold_id: stranger}


async def test_scope_that_always_refuses_ends_in_unavailable(desk: AdmissionDesk) -> None:
    """An item whose version no budget has: after some rounds nobody tries any more, and nothing is held."""
    await desk.store.write(Write(scope_key(desk.key), (Put(VERSION, 9),)))
    desk.forget()
    with pytest.raises(BudgetUnavailable):
        await desk.hold(desk.key)
    await desk.rest()
    assert len(desk.writes_to(desk.key)) == ROUNDS_MAX
    assert await desk.held(desk.key) == {}


async def test_budget_changed_between_read_and_write_is_read_again_once(desk: AdmissionDesk) -> None:
    """The version in the condition notices it: one refused write, one read, one more write under the new limit."""
    await desk.set_budget(desk.key, "tokens/day=90000")
    await desk.void(await desk.hold())
    await desk.set_budget(desk.key, "tokens/day=700")
    desk.forget()
    grant = await desk.hold()
    assert (grant.output_tokens, grant.holds[desk.key].budget.version) == (600, 2)
    assert (len(desk.gated.writes), len(desk.gated.reads)) == (2, 1)
    first, second = desk.writes_to(desk.key)
    assert AtMost(VERSION, 1) in first.conditions
    assert AtMost(VERSION, 2) in second.conditions


async def test_hold_that_cannot_be_given_back_stays_larger_until_it_is_settled(desk: AdmissionDesk) -> None:
    """Giving back is not worth a refusal: a scope that does not answer keeps more, until the hold is settled."""
    await desk.set_budget(desk.team, "tokens/day=1700")
    await desk.hold(desk.team)
    await desk.void(await desk.hold(desk.key))

    def unreachable() -> None:
        desk.table.fault = lambda operation: Fault.LOST_REQUEST

    desk.table.fault = at_write(3, unreachable)  # key and team, team again; what the key gives back is lost
    grant = await desk.hold(desk.key, desk.team)
    desk.table.fault = lambda operation: Fault.NONE
    assert grant.output_tokens == 500
    assert (await desk.held(desk.key))[grant.ask.hold_id].amounts == amounts(100, 1_000)
    await desk.settle(grant, 7)
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 7)
    assert await desk.held(desk.key) == {}


async def test_given_back_hold_whose_reply_was_lost_is_settled_as_it_is(desk: AdmissionDesk) -> None:
    """Settling finds another value than it believed in, and charges exactly what was taken all the same."""
    await desk.set_budget(desk.team, "tokens/day=1700")
    await desk.hold(desk.team)
    await desk.void(await desk.hold(desk.key))
    desk.table.fault = at_write(0, lambda: None, [Fault.NONE] * 3 + [Fault.LOST_REPLY] * 3)
    grant = await desk.hold(desk.key, desk.team)
    assert (await desk.held(desk.key))[grant.ask.hold_id].amounts == amounts(100, 500)
    await desk.settle(grant, 7)
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 7)


# Waiting for what this process settles --------------------------------------------------------------------------------


async def test_sequential_client_with_one_stream_is_not_refused(desk: AdmissionDesk) -> None:
    """A client that asks again when its stream has ended finds the settle under way, and waits for it."""
    await desk.set_budget(desk.key, streams_max=1)
    first = await desk.hold()
    desk.gated.waits = lambda call: isinstance(call, Write) and Remove(hold_name(first.ask.hold_id)) in call.changes
    settling = asyncio.ensure_future(desk.settle(first, 7))
    await blocked()
    second = asyncio.ensure_future(desk.hold())
    await blocked()
    assert not second.done()
    desk.gated.gate.set()
    await settling
    grant = await second
    assert set(await desk.held(desk.key)) == {grant.ask.hold_id}


async def test_sequential_client_at_the_end_of_its_budget_is_not_refused(desk: AdmissionDesk) -> None:
    """What the settle gives back is waited for before anybody is told that the budget is used up."""
    await desk.set_budget(desk.key, "tokens/day=1100")
    first = await desk.hold()
    desk.gated.waits = lambda call: isinstance(call, Write) and Remove(hold_name(first.ask.hold_id)) in call.changes
    settling = asyncio.ensure_future(desk.settle(first, 100))
    await blocked()
    second = asyncio.ensure_future(desk.hold())
    await blocked()
    desk.gated.gate.set()
    await settling
    assert (await second).output_tokens == 800


async def test_wait_for_a_settle_does_not_lower_the_cap(desk: AdmissionDesk) -> None:
    """One limit has too little, another nothing at all: what they allow is seen anew after the wait."""
    await desk.set_budget(desk.key, "tokens/day=1700", "requests/day=1")
    first = await desk.hold()
    desk.gated.waits = lambda call: isinstance(call, Write) and Remove(hold_name(first.ask.hold_id)) in call.changes
    settling = asyncio.ensure_future(desk.void(first))
    await blocked()
    second = asyncio.ensure_future(desk.hold())
    await blocked()
    desk.gated.gate.set()
    await settling
    grant = await second
    assert (grant.output_tokens, grant.lowered_by) == (1_000, None)


async def test_wait_for_settles_is_done_once(desk: AdmissionDesk) -> None:
    """Where others begin to settle all the time nobody waits for ever: the second refusal is told."""
    await desk.set_budget(desk.key, streams_max=2)
    first, other = await desk.hold(), await desk.hold()
    removed = [Remove(hold_name(grant.ask.hold_id)) for grant in (first, other)]
    desk.gated.waits = lambda call: isinstance(call, Write) and removed[0] in call.changes
    settling = [asyncio.ensure_future(desk.settle(first, 7))]
    await blocked()
    third = asyncio.ensure_future(desk.hold())
    await blocked()
    await desk.set_budget(desk.key, streams_max=3)
    fourth = await desk.another().authorize(desk.ask())
    await desk.set_budget(desk.key, streams_max=2)
    desk.gated.waits = lambda call: isinstance(call, Write) and removed[1] in call.changes and _away()
    settling.append(asyncio.ensure_future(desk.settle(other, 7)))
    await blocked()
    desk.gated.gate.set()
    await blocked()
    assert third.done()
    with pytest.raises(BudgetError):
        await third
    desk.gated.waits = lambda call: False
    desk.clock.advance(0.2)
    await asyncio.gather(*settling)
    assert set(await desk.held(desk.key)) == {fourth.ask.hold_id}


def _away() -> bool:
    """For `GatedStore.waits`: no answer at all."""
    raise StoreUnavailable


async def test_request_right_after_a_refusal_is_not_refused_by_what_is_still_voided(desk: AdmissionDesk) -> None:
    """What the refused request held in passing is on its way back, and is waited for as a settle is."""
    await desk.set_budget(desk.key, streams_max=1)
    await desk.set_budget(desk.team, blocked="unpaid")
    ask = desk.ask(desk.key, desk.team)
    desk.gated.waits = lambda call: isinstance(call, Write) and Remove(hold_name(ask.hold_id)) in call.changes
    with pytest.raises(BudgetError):
        await desk.ledger.authorize(ask)
    second = asyncio.ensure_future(desk.hold(desk.key))
    await blocked()
    assert not second.done()
    desk.gated.gate.set()
    grant = await second
    assert set(await desk.held(desk.key)) == {grant.ask.hold_id}


# What it leaves behind ------------------------------------------------------------------------------------------------


async def test_refused_request_is_answered_before_its_voids_are_done(desk: AdmissionDesk) -> None:
    """A client waits for no cleaning up; closing the ledger does."""
    await desk.set_budget(desk.team, blocked="unpaid")
    ask = desk.ask(desk.key, desk.team)
    desk.gated.waits = lambda call: isinstance(call, Write) and Remove(hold_name(ask.hold_id)) in call.changes
    with pytest.raises(BudgetError):
        await desk.ledger.authorize(ask)
    assert set(await desk.held(desk.key)) == {ask.hold_id}
    closing = asyncio.ensure_future(desk.ledger.aclose())
    await blocked()
    assert not closing.done()
    desk.gated.gate.set()
    await closing
    assert await desk.held(desk.key) == {}
    assert await desk.spent(desk.key, Window.TOTAL) == NOTHING


async def test_scope_that_does_not_answer_leaves_nothing_in_the_others(desk: AdmissionDesk) -> None:
    """What was held is voided, and so is what may have been."""
    await desk.set_budget(desk.team, "tokens/day=90000")
    await desk.void(await desk.hold(desk.key, desk.team))
    # Both scopes are written; each lost write is tried three times: the team's are done without an answer.
    ask, team = desk.ask(desk.key, desk.team), scope_key(desk.team).pk
    failing = True

    async def call(target: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        lost = failing and team.encode() in body
        desk.table.fault = lambda operation: Fault.LOST_REPLY if lost else Fault.NONE
        return await FakeDynamoDb.call(desk.table, target, body, timeout_s)

    desk.table.call = call  # type: ignore[method-assign]
    with pytest.raises(BudgetUnavailable):
        await desk.ledger.authorize(ask)
    failing = False
    assert set(await desk.held(desk.team)) == {ask.hold_id}
    await desk.rest()
    for scope in (desk.key, desk.team):
        assert await desk.held(scope) == {}
        assert await desk.spent(scope, Window.TOTAL) == NOTHING


async def test_authorize_that_arrives_after_its_void_is_captured(desk: AdmissionDesk) -> None:
    """The one copy that makes a hold anew: it errs upwards, and blocks nobody beyond its expiry."""
    await desk.set_budget(desk.key, streams_max=1)
    desk.table.fault = at_write(0, lambda: None, [Fault.DELAYED] * 3)
    with pytest.raises(BudgetUnavailable):
        await desk.hold()
    await desk.rest()
    desk.table.deliver()
    desk.table.delayed.clear()
    assert len(await desk.held(desk.key)) == 1
    desk.clock.advance(LIFETIME_S + 61)
    await desk.void(await desk.hold())
    assert await desk.held(desk.key) == {}
    assert await desk.spent(desk.key, Window.TOTAL) == amounts(100, 1_000)


async def test_cancelled_request_is_voided_in_the_background(desk: AdmissionDesk) -> None:
    """Written or not, what it asked for is taken back; whoever cancelled does not wait for that."""
    await desk.set_budget(desk.key, "tokens/day=9000")
    ask = desk.ask()
    await desk.ledger.levels([desk.key])
    desk.gated.waits = is_of(desk.key)
    task = asyncio.ensure_future(desk.ledger.authorize(ask))
    await blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    desk.gated.gate.set()
    await desk.rest()
    assert Remove(hold_name(ask.hold_id)) in desk.writes_to(desk.key)[-1].changes
    assert await desk.held(desk.key) == {}


async def test_levels_with_many_live_holds_are_of_all_limits(desk: AdmissionDesk) -> None:
    """With many holds the item is not given back whole, and what did not change is still known."""
    await desk.set_budget(desk.key, "usd/month=1", "tokens/day=900000")
    for _ in range(WHOLE_LIVE_MAX + 1):
        await desk.hold()
    for _ in range(9):
        grant = await desk.hold(price=FREE)
        levels = {level.limit.meter: level.committed for level in grant.levels}
        spent = await desk.spent(desk.key, Window.DAY)
        assert levels == {Meter.COST: (WHOLE_LIVE_MAX + 1) * 410_000, Meter.TOKENS: spent.tokens}
    assert spent == Amounts(74 * 1_100, 65 * 410_000, 74)


@pytest.mark.parametrize("limit", ["tokens/day=250", "requests/day=2"])
async def test_request_without_output_is_refused_where_its_prompt_has_no_room(desk: AdmissionDesk, limit: str) -> None:
    """A cap of none cannot be lowered; what is left decides, at the first refusal and not after many."""
    await desk.set_budget(desk.key, limit)
    for _ in range(2):
        assert (await desk.hold(input_tokens=100, output_tokens=0)).output_tokens == 0
    desk.forget()
    with pytest.raises(BudgetError):
        await desk.hold(input_tokens=100, output_tokens=0)
    assert len(desk.gated.writes) == 1
