"""What is done in passing: capturing holds that died, announcing marks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import pytest

from rillgate.domain.limits import Amounts, Budget, Limit, Meter, Window
from rillgate.ledger import upkeep as upkeep_module
from rillgate.ledger.expressions import CAPTURED_MAX
from rillgate.ledger.items import Hold, hold_name
from rillgate.ledger.keys import scope_key
from rillgate.ledger.upkeep import WHOLE_EVERY, WHOLE_LIVE_MAX, Upkeep
from rillgate.ledger.writes import Item, Put, StoreUnavailable, Write
from tests.fakes.dynamodb import FakeDynamoDb, Fault, no_fault
from tests.unit.ledger.ledger_support import GRACE_S, Desk, fake_store

pytestmark = pytest.mark.anyio

BUDGET = Budget(1, (Limit(Meter.TOKENS, Window.DAY, 1_000),), warn_percents=(50, 80, 95))


class UpkeepDesk(Desk):
    """A desk with one process's upkeep, whose work in the background is done when the test says so."""

    def __init__(self) -> None:
        self.table = FakeDynamoDb()
        super().__init__(fake_store(self.table))
        self.later: list[Coroutine[Any, Any, None]] = []
        self.upkeep = Upkeep(self.store, self.clock, GRACE_S, self._tell, self.later.append)

    @property
    def now_s(self) -> int:
        """Seconds since 1970."""
        return int(self.clock.wall())

    def dead(self, number: int = 1, *, age_s: float = GRACE_S + 1) -> dict[str, Hold]:
        """Holds that expired so long ago."""
        expires_s = int(self.clock.wall() - age_s)
        return {f"{at:016}": Hold(expires_s, 0, 100 + at, 2_000, expires_s - 90) for at in range(number)}

    async def put(self, scope: str, holds: dict[str, Hold], **more: int | str) -> Item:
        """Let these holds be there; gives the item."""
        values = {hold_name(hold_id): hold.value for hold_id, hold in holds.items()}
        changes = tuple(Put(name, value) for name, value in {**values, "n": len(holds), **more}.items())
        return await self.store.write(Write(scope_key(scope), changes, returns="all"))

    async def do_later(self) -> None:
        """Everything that was put off, and what comes of it."""
        while self.later:
            await self.later.pop(0)


@pytest.fixture
async def desk() -> AsyncIterator[UpkeepDesk]:
    """Work that a test did not ask for is given up at its end."""
    desk = UpkeepDesk()
    yield desk
    for work in desk.later:
        work.close()


def then(faults: Sequence[Fault]) -> Callable[[str], Fault]:
    """Faults of the next calls; afterwards everything works."""
    left = list(faults)
    return lambda operation: left.pop(0) if left else Fault.NONE


@pytest.mark.parametrize(("age_s", "is_dead"), [(GRACE_S + 1, True), (GRACE_S, False), (0, False), (-30, False)])
async def test_hold_expires_only_after_its_grace(desk: UpkeepDesk, age_s: float, is_dead: bool) -> None:
    """Clocks differ: nobody captures a hold before its expiry and the grace are over."""
    item = await desk.put(desk.key, desk.dead(age_s=age_s))
    assert bool(desk.upkeep.expired(item)) is is_dead


async def test_captured_hold_is_gone_recorded_and_told(desk: UpkeepDesk) -> None:
    """The hold goes, one fewer is live, its record says what it held and where, and one event is told."""
    dead = desk.dead()
    item = await desk.put(desk.key, dead, tT=100, v=1)
    desk.upkeep.look(desk.key, BUDGET, item, whole=True)
    await desk.do_later()
    assert await desk.item(desk.key) == {"n": 0, "tT": 100, "v": 1}
    ((hold_id, hold),) = dead.items()
    record = await desk.record_of(hold_id, hold.started_s, desk.key)
    assert record is not None
    assert (record.end, record.captured_scope, record.estimated) == ("captured", desk.key, True)
    assert record.charged == Amounts(100, 2_000, 1)
    assert record.scopes == {desk.key: Amounts(100, 2_000, 1)}
    assert desk.told("hold_captured") == [{"scope": desk.key, "hold_id": hold_id, "tokens": 100, "cost_nanos": 2_000}]


@pytest.mark.parametrize(
    ("scope", "field"),
    [("key:a1", "key_id"), ("user:a1", "user"), ("team:a1", "team"), ("ticket:a1", "ticket_id"), ("model:a1", "model")],
)
async def test_record_of_captured_hold_is_the_scopes_own(desk: UpkeepDesk, scope: str, field: str) -> None:
    """Whose it was is known as far as the scope says it; the rest stays unknown."""
    dead = desk.dead()
    desk.upkeep.look(scope, BUDGET, await desk.put(scope, dead), whole=True)
    await desk.do_later()
    ((hold_id, hold),) = dead.items()
    record = await desk.record_of(hold_id, hold.started_s, scope)
    fields = {name: getattr(record, name) for name in ("key_id", "user", "team", "ticket_id", "model")}
    assert fields == {**dict.fromkeys(fields), field: "a1"}


async def test_capture_of_many_goes_on_until_none_is_left(desk: UpkeepDesk) -> None:
    """One write stays small, and the next one follows at once."""
    desk.upkeep.look(desk.key, BUDGET, await desk.put(desk.key, desk.dead(CAPTURED_MAX + 3)), whole=True)
    await desk.do_later()
    assert await desk.held(desk.key) == {}
    assert len(desk.told("hold_captured")) == CAPTURED_MAX + 3


async def test_hold_seen_again_while_it_is_captured_is_captured_once(desk: UpkeepDesk) -> None:
    """Many requests see the same dead hold before the first capture is through; one write is enough."""
    item = await desk.put(desk.key, desk.dead())
    for _ in range(5):
        desk.upkeep.look(desk.key, BUDGET, item, whole=True)
    assert len(desk.later) == 1
    await desk.do_later()
    desk.upkeep.look(desk.key, BUDGET, item, whole=True)  # an old image: another process's, say
    await desk.do_later()
    assert await desk.item(desk.key) == {"n": 0}
    assert len(desk.told("hold_captured")) == 1


async def test_capture_whose_reply_was_lost_is_still_recorded(desk: UpkeepDesk) -> None:
    """The repeat finds the hold gone, by this very process; its record is there all the same."""
    dead = desk.dead()
    item = await desk.put(desk.key, dead)
    desk.table.fault = then([Fault.NONE, Fault.LOST_REPLY])
    desk.upkeep.look(desk.key, BUDGET, item, whole=True)
    await desk.do_later()
    assert await desk.item(desk.key) == {"n": 0}
    ((hold_id, hold),) = dead.items()
    assert await desk.record_of(hold_id, hold.started_s, desk.key) is not None


async def test_capture_is_recorded_before_it_is_done(desk: UpkeepDesk) -> None:
    """Whoever dies in between leaves a hold beside its record, and never a charge that no record is of."""
    dead = desk.dead()
    await desk.put(desk.key, dead)
    desk.table.fault = then([Fault.NONE, *[Fault.LOST_REQUEST] * 9])
    with pytest.raises(StoreUnavailable):
        await desk.upkeep.capture(desk.key, dead)
    desk.table.fault = no_fault
    ((hold_id, hold),) = dead.items()
    assert hold_id in await desk.held(desk.key)
    assert await desk.record_of(hold_id, hold.started_s, desk.key) is not None


async def test_capture_that_comes_after_the_owner_changes_and_tells_nothing(desk: UpkeepDesk) -> None:
    """A hold that was settled late is charged as its owner said."""
    grant = await desk.hold()
    hold = (await desk.held(desk.key))[grant.ask.hold_id]
    await desk.settle(grant, 5)
    before = await desk.item(desk.key)
    await desk.upkeep.capture(desk.key, {grant.ask.hold_id: hold})
    assert await desk.item(desk.key) == before
    assert desk.told("hold_captured") == []


async def test_capture_beaten_by_an_extension_changes_nothing(desk: UpkeepDesk) -> None:
    """A hold whose value is another one by now lives on, and the dead ones beside it wait for the next look."""
    dead = desk.dead(2)
    await desk.put(desk.key, dead)
    first = next(iter(dead))
    await desk.store.write(Write(scope_key(desk.key), (Put(hold_name(first), Hold(1, 9, 1, 1, 1).value),)))
    await desk.upkeep.capture(desk.key, dead)
    assert len(await desk.held(desk.key)) == 2
    assert desk.told("hold_captured") == []


async def test_mark_is_not_reached_by_what_is_only_held(desk: UpkeepDesk) -> None:
    """Most of a hold comes back: a warning is of what is spent."""
    item: Item = {"td20775": 900, "n": 1, "hAAAA": Hold(2_000_000_000, 0, 500, 0, int(desk.clock.wall())).value}
    desk.upkeep.look(desk.key, BUDGET, item, whole=True)
    await desk.do_later()
    assert desk.told("budget_warning") == []


async def test_capture_without_a_store_is_told_and_tried_at_the_next_look(desk: UpkeepDesk) -> None:
    """The books are right without it, so nobody fails; who sees the hold next tries again."""
    item = await desk.put(desk.key, desk.dead())
    desk.table.fault = lambda operation: Fault.LOST_REQUEST
    desk.upkeep.look(desk.key, BUDGET, item, whole=True)
    await desk.do_later()
    assert desk.told("ledger_upkeep_failed") == [{"scope": desk.key}]
    desk.table.fault = no_fault
    desk.upkeep.look(desk.key, BUDGET, item, whole=True)
    await desk.do_later()
    assert await desk.item(desk.key) == {"n": 0}


@pytest.mark.parametrize(
    ("counted", "percent"),
    [(499, None), (500, 50), (799, 50), (800, 80), (949, 80), (950, 95), (1_000, 95), (1_700, 95)],
)
async def test_mark_that_is_reached_is_announced(desk: UpkeepDesk, counted: int, percent: int | None) -> None:
    """The highest mark that the counter has reached, once, with scope, limit and percent."""
    desk.upkeep.look(desk.key, BUDGET, {"td20775": counted}, whole=True)
    desk.upkeep.look(desk.key, BUDGET, {"td20775": counted}, whole=False)
    assert len(desk.later) == (percent is not None)  # seen again, it costs no write again
    await desk.do_later()
    told = [] if percent is None else [{"scope": desk.key, "limit": "tokens/day", "percent": percent}]
    assert desk.told("budget_warning") == told


async def test_mark_seen_by_two_processes_is_announced_by_one(desk: UpkeepDesk) -> None:
    """Each asks the item whether it was announced; a higher one is announced after a lower one, not before."""
    other = Upkeep(desk.store, desk.clock, GRACE_S, desk._tell, desk.later.append)
    for each, counted in ((desk.upkeep, 510), (other, 520), (desk.upkeep, 810), (other, 530), (other, 820)):
        each.look(desk.key, BUDGET, {"td20775": counted}, whole=True)
        await desk.do_later()
    assert [fields["percent"] for fields in desk.told("budget_warning")] == [50, 80]


async def test_mark_of_next_window_is_announced_anew(desk: UpkeepDesk) -> None:
    """A new day has its own counter and its own marks; yesterday's counter says nothing any more."""
    desk.upkeep.look(desk.key, BUDGET, {"td20775": 600}, whole=True)
    desk.advance_to_end_of(Window.DAY)
    desk.upkeep.look(desk.key, BUDGET, {"td20775": 990}, whole=True)
    desk.upkeep.look(desk.key, BUDGET, {"td20776": 600}, whole=True)
    await desk.do_later()
    assert [fields["percent"] for fields in desk.told("budget_warning")] == [50, 50]


async def test_mark_that_could_not_be_claimed_is_announced_later(desk: UpkeepDesk) -> None:
    """No answer is no announcement; the next look asks again."""
    desk.table.fault = lambda operation: Fault.LOST_REQUEST
    desk.upkeep.look(desk.key, BUDGET, {"td20775": 600}, whole=True)
    await desk.do_later()
    assert desk.told("budget_warning") == []
    desk.table.fault = no_fault
    desk.upkeep.look(desk.key, BUDGET, {"td20775": 600}, whole=True)
    await desk.do_later()
    assert len(desk.told("budget_warning")) == 1


async def test_whole_item_is_asked_for_every_time_unless_many_live(desk: UpkeepDesk) -> None:
    """With few holds every authorize looks at all of them; with many, each eighth does."""
    assert {desk.upkeep.returns(desk.key) for _ in range(20)} == {"all"}
    desk.upkeep.look(desk.key, BUDGET, {"n": WHOLE_LIVE_MAX + 1}, whole=True)
    asked = [desk.upkeep.returns(desk.key) for _ in range(3 * WHOLE_EVERY)]
    assert asked.count("all") == 3
    assert desk.upkeep.returns(desk.user) == "all"


async def test_whole_item_of_each_of_several_scopes_is_asked_for(desk: UpkeepDesk) -> None:
    """Requests with two scopes ask for them in turn: each has a count of its own."""
    for scope in (desk.key, desk.user):
        desk.upkeep.look(scope, BUDGET, {"n": WHOLE_LIVE_MAX + 1}, whole=True)
    asked = [(desk.upkeep.returns(desk.key), desk.upkeep.returns(desk.user)) for _ in range(2 * WHOLE_EVERY)]
    assert [list(each).count("all") for each in zip(*asked, strict=True)] == [2, 2]


async def test_seen_counters_of_scope_are_put_together_from_parts(desk: UpkeepDesk) -> None:
    """A part adds to what was seen, a whole replaces it; holds are not remembered."""
    desk.upkeep.look(desk.key, BUDGET, {"tT": 1, "cT": 1, "hA": "zz.0.0.0.0"}, whole=True)
    desk.upkeep.look(desk.key, BUDGET, {"tT": 2}, whole=False)
    assert desk.upkeep.seen(desk.key) == {"tT": 2, "cT": 1}
    desk.upkeep.look(desk.key, BUDGET, {"rT": 1}, whole=True)
    assert desk.upkeep.seen(desk.key) == {"rT": 1}
    assert desk.upkeep.seen(desk.user) == {}


async def test_scopes_seen_are_bounded(desk: UpkeepDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was looked at longest ago is forgotten first."""
    monkeypatch.setattr(upkeep_module, "SCOPES_MAX", 2)
    for scope in ("a", "b", "a", "c"):
        desk.upkeep.look(scope, BUDGET, {"tT": 1}, whole=True)
    assert [bool(desk.upkeep.seen(scope)) for scope in ("a", "b", "c")] == [True, False, True]


async def test_marks_announced_by_process_are_bounded(desk: UpkeepDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each minute has marks of its own; a process that runs for months remembers the last ones."""
    monkeypatch.setattr(upkeep_module, "MARKS_MAX", 3)
    for number in range(10):
        desk.upkeep.look(f"key:{number}", BUDGET, {"td20775": 600}, whole=True)
    await desk.do_later()
    assert len(desk.told("budget_warning")) == 10
    assert len(desk.upkeep._announced) <= 3
