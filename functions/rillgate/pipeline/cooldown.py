"""Upstreams that keep failing are left alone for a while: one for each provider and model, in this process.

After `FAILURES_MAX` failures in a row, or at once where the provider says when to come back, an upstream is passed over
for `COOLDOWN_S` as long as another one can be tried. Then one more failure is enough; one success and all is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

FAILURES_MAX = 3
COOLDOWN_S = 30.0
COOLDOWN_S_MAX = 60.0  # of what a provider asks for: a quota of a day is tried again all the same, at little cost
UPSTREAMS_MAX = 1000  # clients choose model names; the longest untouched are forgotten


class _Failures(msgspec.Struct):
    count: int = 0
    until_s: float = 0.0


class Cooldowns:
    """What is known of failing upstreams. Times are seconds of the clock, and come as arguments."""

    def __init__(self) -> None:
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def cooling_s(self, provider: str, model: str, now_s: float) -> float:
        """How long this one is still to be left alone; 0 for none that is."""
        found = self._failures.get((provider, model))
        return 0.0 if found is None else max(0.0, found.until_s - now_s)

    def failed(self, provider: str, model: str, now_s: float, retry_after_s: float | None) -> bool:
        """It failed, by its own fault. True where it is left alone from now on and was not before.

        Args: retry_after_s: what it asked for; None where it said nothing.
        """
        found = self._failures.setdefault((provider, model), _Failures())
        self._failures.move_to_end((provider, model))
        if len(self._failures) > UPSTREAMS_MAX:
            self._failures.popitem(last=False)
        found.count += 1
        wait_s = min(retry_after_s, COOLDOWN_S_MAX) if retry_after_s is not None else None
        if wait_s is None and found.count >= FAILURES_MAX:
            wait_s = COOLDOWN_S
        if wait_s is None:
            return False
        before, found.until_s = found.until_s, max(found.until_s, now_s + wait_s)
        return before <= now_s < found.until_s

    def succeeded(self, provider: str, model: str) -> None:
        """It answered."""
        self._failures.pop((provider, model), None)
