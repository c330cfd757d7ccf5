"""The time that a request has, where the platform ends it: never past the platform's deadline, and early enough.

Early enough means that the stream's own end goes out in-band and its hold is settled before the platform stops the
process. In the scope's extensions `layers/runtime` says when it will begin to break off what still runs, which is 2 s
before Lambda does; the buffered entry point says the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rillgate.domain.errors import CapacityError

EXTENSION = "lambda_asgi.deadline"

# For the last event on its way to the client, and for a settlement that takes its store's three tries (1.7 s).
MARGIN_S = 2.0
PLATFORM_MARGIN_S = 2.0
"""Between the extension's `deadline_s` and the platform's own timeout."""


def time_left(total_s: float, scope: Mapping[str, Any], wall_s: float) -> float:
    """The seconds that a request may take: `total_s`, or less where the platform's end comes first.

    Args:
        total_s: as configured; 0 for no end.
        wall_s: now, seconds since 1970: the deadline is wall time, since a monotonic clock stands still in a freeze.
    Raises: CapacityError: nothing is left.
    """
    deadline_s = scope.get("extensions", {}).get(EXTENSION, {}).get("deadline_s")
    if deadline_s is None:
        return total_s
    left_s = float(deadline_s) - wall_s - MARGIN_S
    if left_s <= 0:
        raise CapacityError(
            "The function's timeout is too near to begin; raise it (parameter Timeout).", retry_after_s=1
        )
    return min(total_s, left_s) if total_s else left_s
