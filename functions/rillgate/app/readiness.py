"""Whether a request sent now would be served at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping


class Readiness:
    """Named conditions; ready when all hold.

    Args:
        conditions: what is waited for → whether it is there.
    """

    def __init__(self, conditions: Mapping[str, Callable[[], bool]]) -> None:
        self._conditions = conditions

    def waiting_for(self) -> list[str]:
        """The names of those that do not hold."""
        return [name for name, holds in self._conditions.items() if not holds()]
