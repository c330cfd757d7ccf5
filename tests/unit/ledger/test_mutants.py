"""Tests of the tests: ledgers that are wrong in known ways, each of which the invariants must catch.

The mistakes are those that real gateways made, or that the design avoids on purpose. One of them is none: holds that
expire too early cost accuracy, never safety, since an expired hold counts as spent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from msgspec.structs import replace

from rillgate.domain.spending import Grant
from rillgate.ledger import admission, expressions, items, upkeep
from rillgate.ledger.expressions import HoldWrites, Terms
from rillgate.ledger.items import Hold, hold_name, read_counter
from rillgate.ledger.writes import Absent, Add, AtMost, Condition, Equal, Item, Returns, Write
from tests.unit.ledger.machine import LedgerMachine

SETTINGS = settings(
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
    print_blob=False,
)


def run() -> None:
    """The whole machine, always in the same way."""
    run_state_machine_as_test(LedgerMachine, settings=SETTINGS)


def without(write: Write, kind: type[Condition], name: str) -> Write:
    """The write without its conditions of one kind on one attribute."""
    kept = [each for each in write.conditions if not (isinstance(each, kind) and each.name == name)]
    assert len(kept) < len(write.conditions)
    return replace(write, conditions=tuple(kept))


def test_ledger_as_it_is_keeps_every_invariant() -> None:
    """What the mutants are compared with."""
    run()


def test_mutant_settle_without_hold_identity_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A settle that does not ask whose hold it is charges twice, or what was captured."""
    settle = HoldWrites.settle

    def mutant(self: HoldWrites, *arguments: Any) -> Write:
        return without(settle(self, *arguments), Equal, hold_name(self.hold_id))

    monkeypatch.setattr(HoldWrites, "settle", mutant)
    with pytest.raises(AssertionError):
        run()


def test_mutant_expiry_that_releases_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hold that died was probably spent: giving it back forgets that."""

    def mutant(scope: str, expired: Mapping[str, Hold]) -> Write:
        write = expressions.capture(scope, expired)
        tokens = sum(hold.tokens for hold in expired.values())
        return replace(write, changes=(*write.changes, Add("tT", -tokens)))

    monkeypatch.setattr(upkeep, "capture", mutant)
    with pytest.raises(AssertionError):
        run()


def test_mutant_authorize_without_identity_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """An authorize that is repeated must not hold twice."""
    authorize = HoldWrites.authorize

    def mutant(self: HoldWrites, hold: Hold, terms: Terms, returns: Returns) -> Write:
        return without(authorize(self, hold, terms, returns), Absent, hold_name(self.hold_id))

    monkeypatch.setattr(HoldWrites, "authorize", mutant)
    with pytest.raises(AssertionError):
        run()


def test_mutant_shrink_without_clamp_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A smaller hold without a lower cap admits what is not held."""
    grant = admission.Admission._grant

    def mutant(self: admission.Admission) -> Grant:
        given = grant(self)
        given.output_tokens = given.ask.output_tokens
        return given

    monkeypatch.setattr(admission.Admission, "_grant", mutant)
    with pytest.raises(AssertionError):
        run()


def test_mutant_unconditional_prune_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters of windows that live holds settle into must stay."""

    def mutant(item: Item, now_s: float) -> list[str]:
        return [name for name in item if (found := read_counter(name)) and found.number]

    monkeypatch.setattr(expressions, "over", mutant)
    with pytest.raises(AssertionError):
        run()


def test_mutant_authorize_without_version_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget that was changed holds for everybody at once."""
    authorize = HoldWrites.authorize

    def mutant(self: HoldWrites, hold: Hold, terms: Terms, returns: Returns) -> Write:
        return without(authorize(self, hold, terms, returns), AtMost, items.VERSION)

    monkeypatch.setattr(HoldWrites, "authorize", mutant)
    with pytest.raises(AssertionError):
        run()


def test_mutant_authorize_of_blocked_scope_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A blocked scope admits nothing."""
    authorize = HoldWrites.authorize

    def mutant(self: HoldWrites, hold: Hold, terms: Terms, returns: Returns) -> Write:
        return without(authorize(self, hold, terms, returns), Absent, items.BLOCKED)

    monkeypatch.setattr(HoldWrites, "authorize", mutant)
    with pytest.raises(AssertionError):
        run()


def test_early_expiry_breaks_no_invariant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks that are wrong by more than the grace cost accuracy: holds are captured early, nothing is forgotten."""
    monkeypatch.setattr("tests.unit.ledger.machine.GRACE_S", -60)
    run()
