"""When time runs out, in steps: the app is told, cancelled, given up; then whatever is written is broken off.

    told                    cancelled       given up       broken off
    |--------- 1/2 ---------|----- 1/4 -----|----- 1/4 ----|  the whole is the margin; it ends at Lambda's own timeout

A clean end in-band is what the first half is for. Without the last steps the platform would kill the process, and with
it whatever the environment holds.
"""

from __future__ import annotations

from collections.abc import Callable

from lambda_asgi.clock import Clock, Handle

REST_SHARE_MAX = 0.25  # of the time that is left: a timeout of 3 s must not be all margin
_STEPS = (0.0, 0.5, 0.75, 1.0)


class Guard:
    """Calls four functions, one after the other.

    Attributes:
        reason: "" until the app was told, then "deadline" or "shutdown".
        told_s: wall-clock time at which it is told; None without a deadline.
    """

    def __init__(self, clock: Clock, steps: tuple[Callable[[], None], ...]) -> None:
        self.reason = ""
        self.told_s: float | None = None
        self._clock = clock
        self._steps = steps
        self._handles: list[Handle] = []

    def set_deadline(self, deadline_s: float, margin_s: float) -> None:
        """Arm it for Lambda's timeout, a wall-clock time."""
        left_s = max(0.0, deadline_s - self._clock.wall())
        margin_s = min(margin_s, left_s * REST_SHARE_MAX)
        self.told_s = deadline_s - margin_s
        self._arm("deadline", left_s - margin_s, margin_s)

    def shut_down(self, grace_s: float) -> None:
        """The process has to end: begin now, whatever was armed."""
        self.close()
        self._arm("shutdown", 0.0, grace_s)

    def close(self) -> None:
        """Forget what has not been called yet."""
        for handle in self._handles:
            handle.cancel()
        self._handles.clear()

    def _arm(self, reason: str, delay_s: float, margin_s: float) -> None:
        def tell() -> None:
            self.reason = reason
            self._steps[0]()

        for share, step in zip(_STEPS, (tell, *self._steps[1:]), strict=True):
            self._handles.append(self._clock.call_later(delay_s + margin_s * share, step))
