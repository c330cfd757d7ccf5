"""A second bookkeeping: what must stand in the table, from what requests meant and from every write that arrives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rillgate.budget.windows import window_number
from rillgate.domain.limits import Amounts, Meter, Window
from rillgate.domain.spending import Ask, Grant
from rillgate.ledger.budgets import read_budget
from rillgate.ledger.items import Hold, read_counter, read_hold
from rillgate.ledger.keys import budget_key
from tests.fakes.dynamodb import FakeDynamoDb

Item = dict[str, int | str]

_LETTERS = {Meter.TOKENS: "t", Meter.COST: "c", Meter.REQUESTS: "r"}
_STICKY = {Window.DAY: "d", Window.MONTH: "M", Window.TOTAL: "T"}


@dataclass
class Request:
    """One request, as the outside world knows it.

    Attributes:
        used: what it really took; None while nobody knows.
        cap: the output tokens of each choice that it was allowed.
    """

    ask: Ask
    started_s: float
    used: Amounts | None = None
    cap: int | None = None


@dataclass
class Resolution:
    """What became of one hold."""

    hold_id: str
    held: Amounts
    charged: Amounts

    @property
    def is_captured(self) -> bool:
        """Whether all that was held counts as spent."""
        return self.held == self.charged


@dataclass
class Books:
    """Watches the table.

    Args:
        pks: the scopes' primary keys.
        may_capture: whether a hold with this expiry may be captured by now.
    """

    table: FakeDynamoDb
    pks: Mapping[str, str]
    may_capture: Callable[[int], bool]
    requests: dict[str, Request] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    resolved: dict[str, list[tuple[Hold, Resolution]]] = field(default_factory=dict)
    late: dict[str, Counter[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.items = {scope: self.table.item(pk) for scope, pk in self.pks.items()}
        self.resolved = {scope: [] for scope in self.pks}
        self.late = {scope: Counter() for scope in self.pks}
        self._scopes = {pk: scope for scope, pk in self.pks.items()}
        self.table.on_write = self._noted

    def asked(self, ask: Ask, wall_s: float) -> Request:
        """A request was made."""
        request = self.requests[ask.hold_id] = Request(ask, int(wall_s))
        return request

    def request(self, grant: Grant) -> Request:
        """The request of a grant."""
        return self.requests[grant.ask.hold_id]

    def counters(self) -> dict[str, Item]:
        """All counters of all scopes."""
        return {
            scope: {name: value for name, value in item.items() if read_counter(name)}
            for scope, item in self.items.items()
        }

    def check_covered(self, grant: Grant) -> None:
        """What a stream may take is held in every scope: a cap is never higher than its hold."""
        if self.may_capture(grant.expires_s):
            return  # a stream that outlived its deadline
        most = grant.ask.input_tokens + grant.output_tokens * grant.ask.choices
        for scope in grant.holds:
            hold = _holds(self.items[scope]).get(grant.ask.hold_id)
            assert hold is not None, f"{scope}: a grant without a hold"
            assert hold.tokens >= most, f"{scope}: {most} tokens are allowed, {hold.tokens} are held"

    def check(self) -> None:
        """What holds between any two writes: I2, I3, I7 (live holds are counted), I12; and what was seen at each."""
        assert not self.problems, self.problems[0]
        for scope, item in self.items.items():
            holds = _holds(item)
            assert item.get("n", 0) == len(holds), f"{scope}: n is {item.get('n')} with {len(holds)} holds"
            for name, value in item.items():
                if read_counter(name):
                    assert isinstance(value, int)
                    assert value >= 0, f"{scope}: {name} is {value} (I12)"
            self._check_conservation(scope, item, holds)

    def check_at_rest(self) -> None:
        """When everybody has stopped and everything has expired: I4, I5, I7."""
        for scope, item in self.items.items():
            assert not _holds(item), f"{scope}: a hold is left"
            charged: Counter[str] = Counter()
            for _, resolution in self.resolved[scope]:
                charged[resolution.hold_id] += 1
            for hold_id, request in self.requests.items():
                if scope in request.ask.scopes and request.cap is not None:
                    assert charged[hold_id], f"{scope}: {hold_id} was granted and never charged"
            self._check_against_truth(scope, item)

    def _check_against_truth(self, scope: str, item: Item) -> None:
        total = item.get("tT", 0)
        assert isinstance(total, int)
        used = sum(self._counted(scope, hold_id) for hold_id in self.requests)
        assert total >= used, f"{scope}: {total} counted, {used} used (I4)"
        dead = self.late[scope]["tT"]  # beyond a captured hold; done at least once, so perhaps twice
        for hold_id in self.requests:
            resolutions = [each for _, each in self.resolved[scope] if each.hold_id == hold_id]
            captured = sum(each.held.tokens for each in resolutions if each.is_captured)
            # A copy of an authorize that came after its own settle is the one thing that may charge a hold once more:
            # what it made is captured, or settled anew where a copy of the settle came later still.
            settled = [each.charged.tokens for each in resolutions if not each.is_captured]
            dead += captured + sum(settled[1:]) if settled else max(0, captured - self._used(hold_id))
        assert total - used <= dead, f"{scope}: {total} counted, {used} used, {dead} explained by deaths (I5)"

    def _counted(self, scope: str, hold_id: str) -> int:
        """What a request took, as far as anybody can know: what goes beyond a hold is known by settling alone."""
        if scope not in self.requests[hold_id].ask.scopes:
            return 0
        resolutions = [each for _, each in self.resolved[scope] if each.hold_id == hold_id]
        if not resolutions or any(not each.is_captured for each in resolutions):
            return self._used(hold_id)
        return min(self._used(hold_id), sum(each.held.tokens for each in resolutions))

    def _used(self, hold_id: str) -> int:
        used = self.requests[hold_id].used
        return 0 if used is None else used.tokens

    def _check_conservation(self, scope: str, item: Item, holds: Mapping[str, Hold]) -> None:
        """I2: a counter is what is held and what was charged; I3 follows with I1 at every admission."""
        expected: Counter[str] = Counter(self.late[scope])
        for hold in holds.values():
            expected.update(_by_counter(hold, hold.amounts))
        for hold, resolution in self.resolved[scope]:
            expected.update(_by_counter(hold, resolution.charged))
        for name, value in item.items():
            counter = read_counter(name)
            if counter is not None and counter.window is not Window.MINUTE:
                assert value == expected[name], f"{scope}: {name} is {value}, {expected[name]} expected (I2)"

    def _noted(self, key: tuple[str, str]) -> None:
        """Problems are kept: the write goes on within the code under test, which may survive any exception."""
        try:
            self._saw(key)
        except AssertionError as problem:
            self.problems.append(str(problem))

    def _saw(self, key: tuple[str, str]) -> None:
        """A write arrived."""
        scope = self._scopes.get(key[0])
        if scope is None:
            return
        before, after = self.items[scope], self.table.item(*key)
        self.items[scope] = after
        held_before, held_after = _holds(before), _holds(after)
        for hold_id in held_after.keys() - held_before.keys():
            self._admitted(scope, before, after, hold_id)
        for hold_id in held_after.keys() & held_before.keys():
            if _grew(held_before[hold_id], held_after[hold_id]):
                self._check_limits(scope, before, after)
        gone = {hold_id: held_before[hold_id] for hold_id in held_before.keys() - held_after.keys()}
        if gone:
            self._resolved(scope, before, after, gone)
        elif held_before == held_after:
            self._charged_late(scope, before, after)
        self._check_pruning(before, after, held_after)

    def _admitted(self, scope: str, before: Item, after: Item, hold_id: str) -> None:
        """I1 and I11."""
        assert hold_id in self.requests
        assert "b" not in before, f"{scope}: admitted while blocked (I11)"
        assert _int(after, "v") >= _int(before, "v"), f"{scope}: admitted under an older version (I11)"
        self._check_limits(scope, before, after)

    def _check_limits(self, scope: str, before: Item, after: Item) -> None:
        """I1: what an admission raised is within the limits of the version that stands in the item."""
        key = budget_key(scope)
        budget = read_budget(self.table.item(key.pk, key.sk))
        if budget.version != _int(after, "v"):
            return  # between the two writes of an operator's change
        assert budget.streams_max is None or _int(after, "n") <= max(budget.streams_max, _int(before, "n"))
        for limit in budget.limits:
            names = [
                name for name in after if name != before.get(name) and self._is_of(name, limit.meter, limit.window)
            ]
            for name in names:
                if _int(after, name) > _int(before, name):
                    assert _int(after, name) <= limit.amount, f"{scope}: {name} is {after[name]} of {limit} (I1)"

    def _is_of(self, name: str, meter: Meter, window: Window) -> bool:
        counter = read_counter(name)
        return counter is not None and counter.meter is meter and counter.window is window

    def _resolved(self, scope: str, before: Item, after: Item, gone: dict[str, Hold]) -> None:
        """I6 and I7: a hold that is gone was settled, voided or captured, and charged as that says."""
        change = _int(after, "tT") - _int(before, "tT")
        requests = _int(after, "rT") - _int(before, "rT")
        cost = _int(after, "cT") - _int(before, "cT")
        if len(gone) == 1:
            ((hold_id, hold),) = gone.items()
            charged = Amounts(hold.tokens + change, hold.cost_nanos + cost, 1 + requests)
            request = self.requests[hold_id]
            fair = [request.used] if request.used is not None else []
            if self.may_capture(hold.expires_s):
                fair.append(hold.amounts)
            if request.cap is None:
                fair.append(Amounts())  # voided, since it was not granted
            assert charged in fair, f"{scope}: {hold_id} held {hold.amounts}, was charged {charged}; fair: {fair}"
            self.resolved[scope].append((hold, Resolution(hold_id, hold.amounts, charged)))
            return
        assert (change, cost, requests) == (0, 0, 0), f"{scope}: several holds went, and counters with them"
        for hold_id, hold in gone.items():
            assert self.may_capture(hold.expires_s), f"{scope}: {hold_id} was captured too early"
            self.resolved[scope].append((hold, Resolution(hold_id, hold.amounts, hold.amounts)))

    def _charged_late(self, scope: str, before: Item, after: Item) -> None:
        """Counters rose though no hold changed: usage beyond a hold that was captured."""
        for name in after.keys() | before.keys():
            counter = read_counter(name)
            if counter is None or counter.window is Window.MINUTE or name not in after:
                continue
            change = _int(after, name) - _int(before, name)
            assert change >= 0, f"{scope}: {name} fell by {-change} though no hold changed"
            self.late[scope][name] += change

    def _check_pruning(self, before: Item, after: Item, holds: Mapping[str, Hold]) -> None:
        """I9: no counter goes that a live hold settles into."""
        for name in before.keys() - after.keys():
            if read_counter(name):
                needed = [hold_id for hold_id, hold in holds.items() if name in _by_counter(hold, hold.amounts)]
                assert not needed, f"{name} was pruned, and {needed} settle into it (I9)"


def _by_counter(hold: Hold, amounts: Amounts) -> dict[str, int]:
    """The counters that a hold stands in, minutes left out: those are rates and are not always given back."""
    numbers = {window: window_number(window, hold.started_s) for window in _STICKY}
    return {
        f"{_LETTERS[meter]}{letter}{'' if window is Window.TOTAL else numbers[window]}": amounts.of(meter)
        for window, letter in _STICKY.items()
        for meter in Meter
    }


def _holds(item: Mapping[str, Any]) -> dict[str, Hold]:
    return {name[1:]: read_hold(value) for name, value in item.items() if name.startswith("h")}


def _grew(before: Hold, after: Hold) -> bool:
    return after.tokens > before.tokens or after.cost_nanos > before.cost_nanos


def _int(item: Item, name: str) -> int:
    value = item.get(name, 0)
    assert isinstance(value, int)
    return value
