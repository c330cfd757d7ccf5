"""What operators do with budgets: look at them, set, block and unblock them.

Each change is one transaction: the budget with its next version, and that version on the scope's own item. A process
that still knows the old budget is refused by the version and reads again, so a change holds from the next request on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from shlex import quote

from msgspec.structs import replace

from rillgate.domain.limits import UNLIMITED, Budget
from rillgate.domain.spending import Level
from rillgate.ledger import items
from rillgate.ledger.admin_scopes import AdminError
from rillgate.ledger.budgets import ATTRIBUTES, VERSION, budget_item, read_budget
from rillgate.ledger.keys import budget_key, budget_partitions, scope_key
from rillgate.ledger.store import AdminStore
from rillgate.ledger.writes import EMPTY, Absent, Change, Condition, ConditionFailed, Equal, Item, Put, Remove, Write

TRIES = 2  # once more when somebody else was faster; twice in a row says that two operators work against each other


@dataclass(frozen=True, slots=True)
class ScopeState:
    """One scope as it is now.

    Attributes:
        levels: how full each limit is, in the budget's order.
        holds: outstanding, by hold id; those that expired are not captured yet.
    """

    scope: str
    budget: Budget
    levels: tuple[Level, ...]
    holds: dict[str, items.Hold]

    def expired(self, now_s: float) -> int:
        """How many holds nobody settled in time; the next request of the scope captures them."""
        return sum(hold.expires_s < now_s for hold in self.holds.values())


def read_state(store: AdminStore, scope: str, now_s: float) -> ScopeState:
    """The budget of a scope and how full it is."""
    budget, item = store.read([budget_key(scope), scope_key(scope)])
    return _state(scope, _budget(scope, budget), item or EMPTY, now_s)


def read_all(store: AdminStore, now_s: float) -> list[ScopeState]:
    """Every scope that has, or had, a budget of its own, by name."""
    budgets = all_budgets(store)
    found = store.read([scope_key(scope) for scope in budgets])
    return [
        _state(scope, budget, item or EMPTY, now_s)
        for (scope, budget), item in zip(budgets.items(), found, strict=True)
    ]


def all_budgets(store: AdminStore) -> dict[str, Budget]:
    """All budgets by scope, in order of their scopes."""
    found = (row for pk in budget_partitions() for row in store.query(pk))
    return {scope: _budget(scope, item) for scope, item in sorted(found, key=lambda row: row[0])}


def change_budget(store: AdminStore, scope: str, change: Callable[[Budget], Budget]) -> Budget:
    """Put a changed budget in the place of the one that is there.

    Args: change: gives the new one from the one that was read; its version does not matter.
    Raises: AdminError: somebody else changed it meanwhile, again and again.
    """
    for _ in range(TRIES):
        before = _budget(scope, store.read([budget_key(scope)])[0])
        after = replace(change(before), version=before.version + 1)
        try:
            store.write_all(budget_writes(scope, before.version, after))
        except ConditionFailed:
            continue
        return after
    raise AdminError(
        f"somebody else is changing the budget of {scope!r} at the same time, and nothing was changed; "
        f"look at it with `rillgate budget show {quote(scope)}` and repeat"
    )


def block(store: AdminStore, scope: str, reason: str) -> Budget:
    """Admit nothing more in this scope. Requests under way go on to the end of their holds."""
    return change_budget(store, scope, lambda budget: replace(budget, blocked=reason))


def unblock(store: AdminStore, scope: str) -> Budget:
    """Admit again what the limits allow."""
    return change_budget(store, scope, lambda budget: replace(budget, blocked=None))


def budget_writes(scope: str, version_before: int, budget: Budget) -> Sequence[Write]:
    """The two writes of a change, for one transaction.

    Args: version_before: of the budget that this one replaces; 0 where there was none.
    """
    unchanged: Condition = Equal(VERSION, version_before) if version_before else Absent(VERSION)
    item = budget_item(budget)
    changes: Iterable[Change] = (Put(name, item[name]) if name in item else Remove(name) for name in ATTRIBUTES)
    is_blocked = Remove(items.BLOCKED) if budget.blocked is None else Put(items.BLOCKED, budget.blocked)
    return (
        Write(budget_key(scope), tuple(changes), (unchanged,)),
        Write(scope_key(scope), (Put(items.VERSION, budget.version), is_blocked)),
    )


def _state(scope: str, budget: Budget, item: Item, now_s: float) -> ScopeState:
    levels = tuple(items.level(scope, limit, item, now_s) for limit in budget.limits)
    return ScopeState(scope, budget, levels, {hold_id: hold for hold_id, _, hold in items.holds(item)})


def _budget(scope: str, item: Item | None) -> Budget:
    try:
        return UNLIMITED if item is None else read_budget(item)
    except ValueError as error:
        raise AdminError(f"the stored budget of {scope!r} cannot be read: {error}") from error
