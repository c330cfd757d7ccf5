"""What an audit finds: one scope in one window, its counters beside what should be there."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from rillgate.budget.windows import DAY_S
from rillgate.domain.limits import NOTHING, Amounts, Meter, Window


@dataclass(frozen=True, slots=True)
class Finding:
    """One scope in one window: its counters beside what should be there.

    Attributes:
        number: the window's, as `budget.windows` counts.
        counted, recorded, held: what the counters say, what records say, and what live holds hold.
        live: how many holds that is.
    """

    scope: str
    window: Window
    number: int
    counted: Amounts
    recorded: Amounts
    held: Amounts
    live: int

    @property
    def difference(self) -> Amounts:
        """Counter less records and holds; nothing where everything is explained."""
        tokens, cost_nanos, requests = (
            self.counted.of(meter) - self.recorded.of(meter) - self.held.of(meter) for meter in Meter
        )
        return Amounts(tokens, cost_nanos, requests)

    @property
    def is_explained(self) -> bool:
        """Whether records and holds add up to the counter."""
        return self.difference == NOTHING

    @property
    def window_text(self) -> str:
        """2026-11-21, 2026-11 or total."""
        return window_text(self.window, self.number)

    def reasons(self) -> list[str]:
        """What the difference says, as far as it can be told."""
        difference = self.difference
        missing = difference.requests
        if self.is_explained:
            return []
        if not any(self.counted.of(meter) for meter in Meter):
            return ["there are records without a counter"]
        if missing > 0:
            return [f"{missing} {'record is' if missing == 1 else 'records are'} missing"]
        if missing < 0:
            return [f"{-missing} {'record is' if missing == -1 else 'records are'} not in the counter"]
        return ["as many records as requests were counted, but their amounts differ"]


@dataclass(slots=True)
class AuditReport:
    """What an audit found.

    Attributes:
        findings: every window that was compared.
        live, expired: outstanding holds by scope, and those of them that nobody captured yet, though they expired.
        miscounted: scopes whose number of live holds is not the number of holds, as (scope, counted, there).
        notes: what was not compared, and why.
    """

    findings: list[Finding] = field(default_factory=list)
    live: dict[str, int] = field(default_factory=dict)
    expired: dict[str, int] = field(default_factory=dict)
    miscounted: list[tuple[str, int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def differences(self) -> list[Finding]:
        """The findings that nothing explains."""
        return [finding for finding in self.findings if not finding.is_explained]

    @property
    def is_clean(self) -> bool:
        """Whether everything is explained."""
        return not self.differences and not self.miscounted


def window_text(window: Window, number: int) -> str:
    """2026-11-21, 2026-11 or total."""
    if window is Window.TOTAL:
        return window.value
    if window is Window.MONTH:
        return f"{1970 + number // 12}-{number % 12 + 1:02d}"
    return datetime.fromtimestamp(number * DAY_S, UTC).date().isoformat()
