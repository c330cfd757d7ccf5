"""The ledger when calls fail, and how many there are.

What any store shows is in the contract suite; what happens on the way in is in test_admission.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from msgspec.structs import replace

from rillgate.domain.errors import BudgetUnavailable
from rillgate.domain.limits import GLOBAL, Window
from rillgate.domain.spending import Grant
from rillgate.ledger.items import hold_name
from rillgate.ledger.keys import scope_key
from rillgate.ledger.ledger import SETTLE_PAUSES_S
from rillgate.ledger.writes import Remove, Write
from tests.fakes.dynamodb import FakeDynamoDb, Fault, no_fault
from tests.unit.ledger.ledger_support import EXPIRY_S, LIFETIME_S, Desk, GatedStore, amounts, blocked, fake_store

pytestmark = pytest.mark.anyio

ALL_PAUSES_S = sum(SETTLE_PAUSES_S)


class LedgerDesk(Desk):
    """A desk over a table that fails as a test says."""

    def __init__(self) -> None:
        self.table = FakeDynamoDb()
        self.gated = GatedStore(fake_store(self.table))
        super().__init__(self.gated)

    def fail(self, *faults: Fault) -> None:
        """What becomes of the next calls."""
        left = list(faults)
        self.table.fault = lambda operation: left.pop(0) if left else Fault.NONE

    def fail_all(self, fault: Fault = Fault.LOST_REQUEST, only: str = "") -> None:
        """What becomes of every call from now on, or of those whose request names `only`."""
        call = FakeDynamoDb.call

        async def failing(target: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
            self.table.fault = (lambda operation: fault) if only.encode() in body else no_fault
            return await call(self.table, target, body, timeout_s)

        self.table.call = failing  # type: ignore[method-assign]

    def heal(self) -> None:
        """Everything works again."""
        self.fail_all(Fault.NONE)

    async def pass_pauses(self, *pauses_s: float) -> None:
        """Let a settle try, wait and try again."""
        for pause_s in pauses_s:
            await blocked()
            self.clock.advance(pause_s)
        await blocked()


@pytest.fixture
async def desk() -> AsyncIterator[LedgerDesk]:
    """Whatever a test left waiting goes on at its end, with a store that works."""
    desk = LedgerDesk()
    yield desk
    desk.heal()
    desk.gated.gate.set()
    await desk.rest()


# How many calls -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scopes", [1, 2, 3])
async def test_request_needs_two_writes_for_each_scope_and_one_record(desk: LedgerDesk, scopes: int) -> None:
    """Authorize and settle in each charged scope, the record, and not one read once the budgets are known."""
    names = (desk.key, desk.user, desk.team)[:scopes]
    for name in names:
        await desk.set_budget(name, "tokens/day=90000", "usd/month=1", "requests/minute=60", streams_max=9, warn=(95,))
    await desk.settle(await desk.hold(desk.key, desk.user, desk.team), 7)
    await desk.rest()
    desk.table.calls.clear()
    await desk.settle(await desk.hold(desk.key, desk.user, desk.team), 7)
    await desk.rest()
    assert desk.table.calls == ["UpdateItem"] * (2 * scopes + 1)


async def test_first_request_reads_all_budgets_in_one_call(desk: LedgerDesk) -> None:
    """A cold process asks once, however many scopes there are."""
    await desk.hold(desk.key, desk.user, desk.team)
    assert desk.table.calls == ["BatchGetItem", "UpdateItem"]


async def test_voided_request_needs_as_many_writes(desk: LedgerDesk) -> None:
    """Taking back is a write like charging, and recorded like it."""
    await desk.void(await desk.hold())
    desk.table.calls.clear()
    await desk.void(await desk.hold())
    assert desk.table.calls == ["UpdateItem"] * 3


async def test_extension_needs_one_write_for_each_scope(desk: LedgerDesk) -> None:
    """Nothing is read and nothing is asked twice."""
    await desk.set_budget(desk.team, "tokens/day=90000")
    grant = await desk.hold(desk.key, desk.team, strict=False)
    desk.table.calls.clear()
    assert await desk.ledger.extend(grant, 100)
    assert desk.table.calls == ["UpdateItem"] * 2


# Who is charged -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scopes", [(GLOBAL, "user:u", "model:m"), ("user:u",)])
async def test_request_without_key_and_budgets_is_charged_to_global(desk: LedgerDesk, scopes: tuple[str, ...]) -> None:
    """Every request has a hold and a counter somewhere."""
    grant = await desk.hold(*scopes)
    assert set(grant.holds) == {GLOBAL}
    await desk.settle(grant, 7)
    assert await desk.spent(GLOBAL, Window.DAY) == amounts(100, 7)
    assert await desk.item("user:u") == {}


async def test_global_without_budget_is_passed_over_where_there_is_a_key(desk: LedgerDesk) -> None:
    """The one item that all would write to is written only where somebody limits it."""
    assert set((await desk.hold(GLOBAL, desk.key)).holds) == {desk.key}
    await desk.set_budget(GLOBAL, "usd/month=100")
    desk.clock.advance(10)
    assert set((await desk.hold(GLOBAL, desk.key)).holds) == {GLOBAL, desk.key}


# A store that fails ---------------------------------------------------------------------------------------------------


async def unavailable(action: Callable[[], object]) -> BudgetUnavailable:
    """The error of a ledger without a store."""
    with pytest.raises(BudgetUnavailable) as caught:
        await action()  # type: ignore[misc]
    return caught.value


@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_REPLY, Fault.SERVER_ERROR, Fault.THROTTLED])
async def test_ledger_without_a_store_is_unavailable(desk: LedgerDesk, fault: Fault) -> None:
    """Each method says so in the same way: 503, and worth another try in a second."""
    await desk.set_budget(desk.key, "tokens/day=9000")
    grant = await desk.hold(strict=False)
    desk.fail_all(fault)
    errors = [
        await unavailable(lambda: desk.hold(desk.user)),  # its budget is not known
        await unavailable(lambda: desk.hold(desk.key)),  # it is
        await unavailable(lambda: desk.ledger.extend(grant, 100)),
        await unavailable(lambda: desk.ledger.levels([desk.key])),
        await unavailable(lambda: desk.ledger.levels([desk.team])),
    ]
    settling = asyncio.ensure_future(unavailable(lambda: desk.settle(grant, 7)))
    await desk.pass_pauses(*SETTLE_PAUSES_S)
    errors.append(await settling)
    told = {(error.status, error.code, error.retry_after_s, error.should_retry) for error in errors}
    assert told == {(503, "budget_unavailable", 1, None)}


async def test_settle_outlasts_a_store_that_is_away_for_a_second(desk: LedgerDesk) -> None:
    """It tries again after 0.2, 0.8 and 2 seconds, and charges once."""
    grant = await desk.hold()
    desk.fail_all()
    settling = asyncio.ensure_future(desk.settle(grant, 7))
    await desk.pass_pauses(0.2)
    assert not settling.done()
    desk.heal()
    await desk.pass_pauses(0.79)
    assert not settling.done()
    await desk.pass_pauses(0.01)
    await settling
    assert await desk.held(desk.key) == {}
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 7)
    assert await desk.record_of(grant.ask.hold_id, grant.started_s) is not None
    assert desk.clock.pending == 0


async def test_settle_that_gave_up_leaves_a_hold_that_is_captured(desk: LedgerDesk) -> None:
    """After some three seconds it is told; what was held then counts as spent, never less."""
    grant = await desk.hold()
    desk.fail_all()
    settling = asyncio.ensure_future(desk.settle(grant, 7))
    await desk.pass_pauses(*SETTLE_PAUSES_S)
    with pytest.raises(BudgetUnavailable):
        await settling
    desk.heal()
    desk.clock.advance(EXPIRY_S)
    await desk.void(await desk.hold())
    await desk.rest()
    assert await desk.held(desk.key) == {}
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 1_000)


async def test_settle_again_finishes_what_the_first_could_not(desk: LedgerDesk) -> None:
    """One scope was settled, the other did not answer: the second time charges that one, and the first no more."""
    await desk.set_budget(desk.team, "tokens/day=90000")
    grant = await desk.hold(desk.key, desk.team)
    desk.fail_all(only=scope_key(desk.team).pk)
    settling = asyncio.ensure_future(desk.settle(grant, 7))
    await desk.pass_pauses(*SETTLE_PAUSES_S)
    with pytest.raises(BudgetUnavailable):
        await settling
    assert set(grant.holds) == {desk.team}
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 7)
    desk.heal()
    await desk.settle(grant, 7)
    for scope in (desk.key, desk.team):
        assert await desk.held(scope) == {}
        assert await desk.spent(scope, Window.DAY) == amounts(100, 7)


async def test_record_that_could_not_be_kept_is_told(desk: LedgerDesk) -> None:
    """The counters are right; that the record is missing is no secret, and settling again keeps it."""
    grant = await desk.hold()
    desk.fail_all(only="record|")
    settling = asyncio.ensure_future(desk.settle(grant, 7))
    await desk.pass_pauses(*SETTLE_PAUSES_S)
    with pytest.raises(BudgetUnavailable):
        await settling
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 7)
    desk.heal()
    record = desk.record(grant, amounts(100, 7))
    await desk.ledger.settle(grant, record.charged, record)
    assert await desk.record_of(grant.ask.hold_id, grant.started_s) == record
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 7)


async def test_record_is_kept_before_anything_is_charged(desk: LedgerDesk) -> None:
    """A process that dies in between leaves holds that are captured beside a record that explains them."""
    grant = await desk.hold()
    desk.gated.writes.clear()
    await desk.settle(grant, 7)
    pks = [write.key.pk.split("|")[0] for write in desk.gated.writes]
    assert pks == ["record", "scope"]


@pytest.mark.parametrize("fault", [Fault.LOST_REPLY, Fault.DOUBLED, Fault.SERVER_ERROR_DONE, Fault.LOST_REQUEST])
async def test_life_of_hold_with_every_first_try_failing_is_exact(desk: LedgerDesk, fault: Fault) -> None:
    """Held, extended and settled once, whatever becomes of the first try of each call."""
    await desk.set_budget(desk.key, "tokens/day=9000", streams_max=1)
    await desk.ledger.levels([desk.key])
    turns = 0

    def every_other(operation: str) -> Fault:
        nonlocal turns
        turns += 1
        return fault if turns % 2 else Fault.NONE

    desk.table.fault = every_other if fault is not Fault.DOUBLED else lambda operation: fault
    grant = await desk.hold(strict=False)
    assert await desk.ledger.extend(grant, 500)
    desk.table.fault = no_fault
    assert (await desk.held(desk.key))[grant.ask.hold_id].amounts == amounts(100, 1_500)
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 1_500)
    turns, desk.table.fault = 0, every_other if fault is not Fault.DOUBLED else lambda operation: fault
    await desk.settle(grant, 1_200)
    desk.table.fault = no_fault
    assert await desk.held(desk.key) == {}
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 1_200)


async def test_settle_that_arrives_late_changes_nothing(desk: LedgerDesk) -> None:
    """A copy that was thought lost finds its hold gone."""
    grant = await desk.hold()
    desk.fail(Fault.NONE, Fault.DELAYED)  # the record, and the first try of the settle
    await desk.settle(grant, 7)
    before = await desk.item(desk.key)
    desk.table.deliver()
    assert await desk.item(desk.key) == before


# Extensions -----------------------------------------------------------------------------------------------------------


async def test_extension_without_an_answer_is_made_once_when_repeated(desk: LedgerDesk) -> None:
    """It was done, nobody heard of it; the same extension again is that one."""
    grant = await desk.hold(strict=False)
    desk.fail_all(Fault.LOST_REPLY)
    with pytest.raises(BudgetUnavailable):
        await desk.ledger.extend(grant, 500)
    assert grant.output_tokens == 1_000  # the old hold is the bound
    desk.heal()
    assert await desk.ledger.extend(grant, 500)
    assert grant.output_tokens == 1_500
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 1_500)
    await desk.settle(grant, 1_300)
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 1_300)


async def test_settle_after_an_extension_without_an_answer_is_exact(desk: LedgerDesk) -> None:
    """The hold has another value than its owner believes; settling takes the one that is there."""
    grant = await desk.hold(strict=False)
    desk.fail_all(Fault.LOST_REPLY)
    with pytest.raises(BudgetUnavailable):
        await desk.ledger.extend(grant, 500)
    desk.heal()
    await desk.settle(grant, 7)
    assert await desk.held(desk.key) == {}
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 7)


async def test_extension_without_an_answer_from_one_scope_is_rolled_back_in_the_others(desk: LedgerDesk) -> None:
    """The cap is the same in all scopes, and so is what is held, as far as anybody knows."""
    await desk.set_budget(desk.team, "tokens/day=90000")
    grant = await desk.hold(desk.key, desk.team, strict=False)
    desk.fail_all(only=scope_key(desk.team).pk)
    with pytest.raises(BudgetUnavailable):
        await desk.ledger.extend(grant, 500)
    desk.heal()
    assert grant.output_tokens == 1_000
    for scope in (desk.key, desk.team):
        assert (await desk.held(scope))[grant.ask.hold_id].amounts == amounts(100, 1_000)
        assert await desk.spent(scope, Window.DAY) == amounts(100, 1_000)


async def test_extension_under_a_changed_budget_reads_it_and_goes_on(desk: LedgerDesk) -> None:
    """The hold has the newer budget from then on: the next extension reads nothing."""
    await desk.set_budget(desk.key, "tokens/day=9000")
    grant = await desk.hold(strict=False)
    await desk.set_budget(desk.key, "tokens/day=9500")
    desk.table.calls.clear()
    assert await desk.ledger.extend(grant, 100)
    assert desk.table.calls == ["UpdateItem", "GetItem", "UpdateItem"]
    assert await desk.ledger.extend(grant, 100)
    assert len(desk.table.calls) == 4


async def test_extension_of_hold_that_was_settled_elsewhere_is_denied(desk: LedgerDesk) -> None:
    """What is gone is not made anew."""
    grant = await desk.hold(strict=False)
    copy = _copy(grant)
    await desk.settle(grant, 7)
    assert not await desk.ledger.extend(copy, 100)
    assert await desk.spent(desk.key, Window.DAY) == amounts(100, 7)


# In the background ----------------------------------------------------------------------------------------------------


async def test_ledger_at_rest_closes_at_once_and_again(desk: LedgerDesk) -> None:
    """There is nothing to wait for."""
    await desk.ledger.aclose()
    await desk.ledger.aclose()


async def test_background_work_that_breaks_is_told(desk: LedgerDesk) -> None:
    """A mistake there costs no request, and is no secret either."""
    await desk.set_budget(desk.key, "tokens/day=2000", warn=(50,))

    def broken(call: object) -> bool:
        if isinstance(call, Write) and any(change.name.startswith("w") for change in call.changes):
            raise RuntimeError
        return False

    desk.gated.waits = broken
    await desk.settle(await desk.hold(), 1_500)
    await desk.rest()
    assert desk.told("ledger_upkeep_failed") == [{"error": "RuntimeError"}]


async def test_captures_and_marks_keep_no_request_waiting(desk: LedgerDesk) -> None:
    """The grant is given while a capture is still under way; closing waits for it."""
    dead = await desk.hold()
    desk.clock.advance(EXPIRY_S)
    removed = Remove(hold_name(dead.ask.hold_id))
    desk.gated.waits = lambda call: isinstance(call, Write) and removed in call.changes
    grant = await desk.hold()
    await blocked()
    assert set(await desk.held(desk.key)) == {dead.ask.hold_id, grant.ask.hold_id}
    closing = asyncio.ensure_future(desk.ledger.aclose())
    await blocked()
    assert not closing.done()
    desk.gated.gate.set()
    await closing
    assert set(await desk.held(desk.key)) == {grant.ask.hold_id}


async def test_ledger_at_rest_is_quiet_at_once(desk: LedgerDesk) -> None:
    """No clock is waited for, and none is left running."""
    await desk.settle(await desk.hold(), 7)
    assert await desk.ledger.quiet(5.0)
    assert desk.clock.pending == 0


async def test_ledger_is_quiet_when_its_background_work_is_done(desk: LedgerDesk) -> None:
    """Work that other work begins is waited for too."""
    dead = await _capture_under_way(desk)
    waiting = asyncio.ensure_future(desk.ledger.quiet(5.0))
    await blocked()
    desk.clock.advance(4.9)
    await blocked()
    assert not waiting.done()
    desk.gated.gate.set()
    assert await waiting
    assert dead not in await desk.held(desk.key)
    assert desk.clock.pending == 0


async def test_ledger_that_is_not_quiet_in_time_says_so_and_goes_on(desk: LedgerDesk) -> None:
    """Neither the wait's end nor its cancellation ends the work."""
    dead = await _capture_under_way(desk)
    waiting, cancelled = (asyncio.ensure_future(desk.ledger.quiet(5.0)) for _ in range(2))
    await blocked()
    cancelled.cancel()
    desk.clock.advance(5.0)
    assert not await waiting
    desk.gated.gate.set()
    await desk.rest()
    assert dead not in await desk.held(desk.key)
    assert desk.clock.pending == 0


async def _capture_under_way(desk: LedgerDesk) -> str:
    """The id of a dead hold, whose capture waits for the store's gate."""
    dead = await desk.hold()
    desk.clock.advance(EXPIRY_S)
    removed = Remove(hold_name(dead.ask.hold_id))
    desk.gated.waits = lambda call: isinstance(call, Write) and removed in call.changes
    await desk.hold()
    await blocked()
    assert dead.ask.hold_id in await desk.held(desk.key)
    return dead.ask.hold_id


async def test_settle_and_capture_racing_charge_once(desk: LedgerDesk) -> None:
    """A very late owner and a pruner: whoever is first, at least the usage and at most the hold is counted."""
    grant = await desk.hold()
    desk.clock.advance(EXPIRY_S)
    late = _copy(grant)
    results = await asyncio.gather(desk.another().authorize(desk.ask()), desk.settle(late, 7))
    await desk.rest()
    other = results[0]
    spent = await desk.spent(desk.key, Window.TOTAL)
    assert set(await desk.held(desk.key)) == {other.ask.hold_id}
    assert spent.tokens - 1_100 in (107, 1_100)
    assert spent.requests == 2


async def test_hold_with_part_of_a_second_lives_the_whole_second(desk: LedgerDesk) -> None:
    """A lifetime is rounded up, never down: no stream outlives its hold."""
    grant = await desk.hold(lifetime_s=LIFETIME_S + 0.2)
    assert grant.expires_s == grant.started_s + LIFETIME_S + 1


async def test_void_of_captured_hold_gives_nothing_back(desk: LedgerDesk) -> None:
    """It may have been spent; who says so later is not believed."""
    grant = await desk.hold()
    copy = _copy(grant)
    desk.clock.advance(EXPIRY_S)
    await desk.void(await desk.hold())
    await desk.rest()
    await desk.void(copy)
    assert await desk.spent(desk.key, Window.TOTAL) == amounts(100, 1_000)
    assert await desk.held(desk.key) == {}


def _copy(grant: Grant) -> Grant:
    """The same grant as somebody else believes in it."""
    return replace(grant, holds={scope: replace(hold) for scope, hold in grant.holds.items()})
