"""A ledger with all that a test needs around it: store, hand-moved clock, budgets, requests, a look inside.

desk = Desk(store)
await desk.set_budget(desk.key, "tokens/day=1000")
grant = await desk.ledger.authorize(desk.ask(desk.key, desk.team))
await desk.settle(grant, output_tokens=5)
assert await desk.spent(desk.key, Window.DAY) == amounts(100, 5)
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import anyio

from rillgate.budget.limit_text import parse_limits
from rillgate.budget.windows import window_end_s, window_number
from rillgate.domain.limits import NOTHING, Amounts, Budget, Meter, Window
from rillgate.domain.price import Price
from rillgate.domain.spending import Ask, Grant, Record
from rillgate.ledger.admin_budgets import budget_writes
from rillgate.ledger.budgets import read_budget
from rillgate.ledger.dynamodb import DynamoDbStore
from rillgate.ledger.dynamodb_location import DynamoDbLocation
from rillgate.ledger.items import Counter, Hold, holds, number, read_counter
from rillgate.ledger.keys import budget_key, record_key, scope_key
from rillgate.ledger.ledger import StoreLedger
from rillgate.ledger.records import read_record
from rillgate.ledger.store import Store
from rillgate.ledger.writes import EMPTY, Item, Key, Write
from tests.fakes.clock import FakeClock
from tests.fakes.dynamodb import FakeDynamoDb

PRICE = Price(input=100_000_000, output=400_000_000)  # 100 nano-dollars for a token in, 400 for one out
GRACE_S = 60
LIFETIME_S = 90
EXPIRY_S = LIFETIME_S + GRACE_S + 1  # after so many seconds a hold may be captured


def amounts(input_tokens: int, output_tokens: int) -> Amounts:
    """What one request of so many tokens takes at `PRICE`."""
    return Amounts(input_tokens + output_tokens, PRICE.hold_nanos(input_tokens, output_tokens), 1)


def new_id() -> str:
    """A hold's id."""
    return base64.urlsafe_b64encode(uuid4().bytes[:12]).decode()


class Desk:
    """One store, and a ledger on it whose scopes nobody else uses.

    Attributes:
        key, user, team: scopes.
        events: what the ledgers told, as (event, fields).
    """

    def __init__(self, store: Store, clock: FakeClock | None = None) -> None:
        suffix = uuid4().hex[:8]
        self.key, self.user, self.team = f"key:k{suffix}", f"user:u{suffix}", f"team:t{suffix}"
        self.store = store
        self.clock = clock or FakeClock()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._ledgers: list[StoreLedger] = []
        self.ledger = self.another()

    def another(self, store: Store | None = None, **options: Any) -> StoreLedger:
        """One more gateway's ledger on the same store."""
        ledger = StoreLedger(store or self.store, self.clock, grace_s=GRACE_S, tell=self._tell, **options)
        self._ledgers.append(ledger)
        return ledger

    async def rest(self) -> None:
        """Whatever goes on in the background is done."""
        for ledger in self._ledgers:
            await ledger.aclose()

    def ask(
        self,
        *scopes: str,
        input_tokens: int = 100,
        output_tokens: int = 1_000,
        choices: int = 1,
        price: Price | None = PRICE,
        lifetime_s: float = LIFETIME_S,
        strict: bool = True,
        **more: Any,
    ) -> Ask:
        """A request; of the key where no scope is named."""
        return Ask(
            new_id(),
            scopes or (self.key,),
            input_tokens,
            output_tokens,
            choices,
            price,
            lifetime_s,
            strict=strict,
            **more,
        )

    async def hold(self, *scopes: str, **more: Any) -> Grant:
        """Authorize such a request."""
        return await self.ledger.authorize(self.ask(*scopes, **more))

    async def settle(self, grant: Grant, output_tokens: int, ledger: StoreLedger | None = None) -> Amounts:
        """End it with so many output tokens in all."""
        actual = amounts(grant.ask.input_tokens, output_tokens)
        await (ledger or self.ledger).settle(grant, actual, self.record(grant, actual))
        return actual

    async def void(self, grant: Grant) -> None:
        """End it with nothing taken."""
        await self.ledger.settle(grant, NOTHING, self.record(grant, NOTHING, "upstream_error"))

    def record(self, grant: Grant, actual: Amounts, end: str = "finished") -> Record:
        """The record of a request that took so much."""
        return Record(
            hold_id=grant.ask.hold_id,
            started_s=grant.started_s,
            scopes=dict.fromkeys(grant.holds, actual),
            charged=actual,
            end=end,
        )

    async def set_budget(
        self,
        scope: str,
        *limits: str,
        streams_max: int | None = None,
        blocked: str | None = None,
        warn: tuple[int, ...] = (),
    ) -> Budget:
        """As an operator does; processes that know the old one learn of it by its version."""
        (before,) = await self.store.read([budget_key(scope)])
        version = 0 if before is None else read_budget(before).version
        budget = Budget(version + 1, parse_limits(limits)[0], streams_max, blocked, warn)
        for write in budget_writes(scope, version, budget):
            await self.store.write(write)
        return budget

    async def item(self, scope: str) -> Item:
        """What stands in the scope's item; empty for none."""
        (item,) = await self.store.read([scope_key(scope)])
        return item or EMPTY

    async def held(self, scope: str) -> dict[str, Hold]:
        """Its outstanding holds by id; `n` is checked to say how many."""
        item = await self.item(scope)
        found = {hold_id: hold for hold_id, _, hold in holds(item)}
        assert number(item, "n") == len(found)
        return found

    async def spent(self, scope: str, window: Window, at_s: float | None = None) -> Amounts:
        """What the counters of the window at `at_s` say; now where it is not given."""
        item = await self.item(scope)
        now_number = window_number(window, self.clock.wall() if at_s is None else at_s)
        tokens, cost, requests = (number(item, Counter(meter, window, now_number).name) for meter in Meter)
        return Amounts(tokens, cost, requests)

    async def counters(self, scope: str) -> dict[str, int]:
        """All counters that are not zero."""
        item = await self.item(scope)
        return {name: number(item, name) for name in item if read_counter(name) and item[name]}

    async def record_of(self, hold_id: str, started_s: int, captured_scope: str | None = None) -> Record | None:
        """The record that is kept of a hold."""
        key = record_key(started_s, hold_id, captured_scope)
        (item,) = await self.store.read([key])
        return None if item is None else read_record(key.sk, item)

    def told(self, event: str) -> list[dict[str, Any]]:
        """The fields of such events."""
        return [fields for name, fields in self.events if name == event]

    def advance_to_end_of(self, window: Window) -> None:
        """Move the clock to the first second of the next minute, day or month."""
        end_s = window_end_s(window, self.clock.wall())
        assert end_s is not None
        self.clock.advance(end_s - self.clock.wall())

    def _tell(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))


class GatedStore:
    """A store whose calls wait while a test says so, and are counted.

    Attributes:
        writes, reads: that were begun.
        waits: says of a write, or of the keys of a read, whether it waits for `gate`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.writes: list[Write] = []
        self.reads: list[list[Key]] = []
        self.waits: Callable[[Write | list[Key]], bool] = lambda call: False
        self.gate = asyncio.Event()

    async def write(self, write: Write) -> Item:
        """As `Store.write`."""
        self.writes.append(write)
        if self.waits(write):
            await self.gate.wait()
        return await self._store.write(write)

    async def read(self, keys: Sequence[Key]) -> list[Item | None]:
        """As `Store.read`."""
        self.reads.append(list(keys))
        if self.waits(list(keys)):
            await self.gate.wait()
        return await self._store.read(keys)

    async def aclose(self) -> None:
        """As `Store.aclose`."""
        await self._store.aclose()


async def blocked() -> None:
    """Let everything go on until nothing can; futures that hang on futures take a turn for each."""
    for _ in range(20):
        await asyncio.sleep(0)
    await anyio.wait_all_tasks_blocked()


async def at_once(seconds: float) -> None:
    """No wait between a store's repeats."""


def fake_store(table: FakeDynamoDb) -> DynamoDbStore:
    """The production store over a table in memory."""
    location = DynamoDbLocation("ledger", None, None)
    return DynamoDbStore(table, location, read_timeout_s=0.3, sleep=at_once, random=lambda: 0.5)


def is_of(*scopes: str) -> Callable[[Write | list[Key]], bool]:
    """For `GatedStore.waits`: writes to these scopes."""
    keys = {scope_key(scope) for scope in scopes}
    return lambda call: isinstance(call, Write) and call.key in keys


def without_zeros(item: Mapping[str, int | str]) -> dict[str, int | str]:
    """An item as it counts: a counter that nobody began is zero."""
    return {name: value for name, value in item.items() if value != 0}
