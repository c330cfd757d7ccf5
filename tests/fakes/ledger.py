"""A ledger that does what a test says, and remembers every call.

ledger = FakeLedger()
ledger.lower_to(20, by="team:core", until_s=1_795_003_600)   # the next grants have this cap
ledger.refuse(BudgetError("…", scope="key:a1"))
ledger.waiting = asyncio.Event()                             # authorize answers when it is set
…
assert ledger.settled_once() == Amounts(13, 0, 1)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from rillgate.budget.holds import hold_amounts
from rillgate.domain.errors import BudgetUnavailable, RillgateError
from rillgate.domain.limits import NOTHING, UNLIMITED, Amounts
from rillgate.domain.spending import Ask, Grant, Level, Record, ScopeHold

STARTED_S = 1_795_000_000


@dataclass(frozen=True)
class Settled:
    """One call of `settle`."""

    grant: Grant
    actual: Amounts
    record: Record


@dataclass
class FakeLedger:
    """`domain.ports.Ledger` in memory, without limits unless a test sets some.

    Attributes:
        asks, grants, extends, settles: every call, in order; an extend as (hold id, tokens), before it is answered.
        cap, lowered_by, lowered_until_s: of the next grants; None for what was asked.
        slice_tokens: what an elastic request holds at first.
        levels_now: of every grant.
        refusal: raised by `authorize`.
        failing: names of the methods whose store does not answer.
        may_extend: whether an extension is granted.
        waiting, extending, settling: where one is set, `authorize`, `extend` or `settle` answers only then.
        asked: set when `authorize` has been called.
    """

    asks: list[Ask] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    extends: list[tuple[str, int]] = field(default_factory=list)
    settles: list[Settled] = field(default_factory=list)
    cap: int | None = None
    lowered_by: str | None = None
    lowered_until_s: int | None = None
    slice_tokens: int = 512
    levels_now: tuple[Level, ...] = ()
    refusal: RillgateError | None = None
    failing: set[str] = field(default_factory=set)
    may_extend: bool = True
    waiting: asyncio.Event | None = None
    extending: asyncio.Event | None = None
    settling: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def lower_to(self, output_tokens: int, *, by: str, until_s: int | None = None) -> None:
        """The next grants have at most this cap."""
        self.cap, self.lowered_by, self.lowered_until_s = output_tokens, by, until_s

    def refuse(self, error: RillgateError) -> None:
        """The next requests are refused."""
        self.refusal = error

    async def authorize(self, ask: Ask) -> Grant:
        """A grant as the attributes say."""
        self.asks.append(ask)
        self.asked.set()
        if self.waiting is not None:
            await self.waiting.wait()
        self._may_fail("authorize")
        if self.refusal is not None:
            raise self.refusal
        grant = self._grant(ask)
        self.grants.append(grant)
        return grant

    def _grant(self, ask: Ask) -> Grant:
        most = ask.output_tokens if ask.strict else min(self.slice_tokens, ask.output_tokens)
        output_tokens = most if self.cap is None else min(self.cap, most)
        lowered = self.cap is not None and output_tokens < ask.output_tokens
        held = hold_amounts(ask, output_tokens)
        return Grant(
            ask,
            output_tokens,
            STARTED_S,
            STARTED_S + int(ask.lifetime_s),
            lowered_by=self.lowered_by if lowered else None,
            lowered_until_s=self.lowered_until_s if lowered else None,
            holds={scope: ScopeHold(scope, "", 0, held, UNLIMITED) for scope in ask.scopes},
            levels=self.levels_now,
        )

    async def extend(self, grant: Grant, output_tokens: int) -> bool:
        """More, where `may_extend` says so."""
        self.extends.append((grant.ask.hold_id, output_tokens))
        if self.extending is not None:
            await self.extending.wait()
        self._may_fail("extend")
        if not self.may_extend:
            grant.lowered_by, grant.lowered_until_s = self.lowered_by, self.lowered_until_s
            return False
        grant.output_tokens += output_tokens
        return True

    async def settle(self, grant: Grant, actual: Amounts, record: Record) -> None:
        """Remembered, also where it fails."""
        self.settles.append(Settled(grant, actual, record))
        if self.settling is not None:
            await self.settling.wait()
        self._may_fail("settle")

    async def levels(self, scopes: Sequence[str]) -> Sequence[Level]:
        """Those of `levels_now` that are asked for."""
        self._may_fail("levels")
        return [level for level in self.levels_now if level.scope in scopes]

    def settled_once(self) -> Amounts:
        """What the one grant was settled with, checked to be settled exactly once."""
        (grant,) = self.grants
        (settled,) = self.settles
        assert settled.grant is grant
        assert settled.record.charged == settled.actual
        assert settled.record.hold_id == grant.ask.hold_id
        return settled.actual

    def voided_once(self) -> bool:
        """Whether the one grant was voided, exactly once."""
        return self.settled_once() == NOTHING

    def open_holds(self) -> list[Grant]:
        """Grants that are neither settled nor voided."""
        over = {id(settled.grant) for settled in self.settles}
        return [grant for grant in self.grants if id(grant) not in over]

    def _may_fail(self, method: str) -> None:
        if method in self.failing:
            raise BudgetUnavailable("The ledger's store did not answer in time.", retry_after_s=1)
