"""Invariants I1 to I12 of the ledger; `machine` says how."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

from tests.unit.ledger.machine import LedgerMachine

TestInvariants = LedgerMachine.TestCase
TestInvariants.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    # Making a failure small may take many minutes; the seed that is printed repeats it.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
