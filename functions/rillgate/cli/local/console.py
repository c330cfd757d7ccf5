"""The platform's own log lines, as CloudWatch shows them: START, END and REPORT, and why an invocation failed.

They go where the function's own lines go, standard error, so that all stand in one order.
Source: Lambda developer guide, "Working with Lambda function logs", read 2026-11-21.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from rillgate.cli.local.invocation import Failure

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Report:
    """One invocation, at its end.

    Attributes:
        duration_ms: from the event's delivery to the next question for work, or to the kill.
        init_ms: of this environment's INIT, in its first invocation; None in all others.
        memory_bytes_used: the largest resident set so far; None where the system does not say.
        status: "" for success, else `error` or `timeout`.
    """

    request_id: str
    duration_ms: float
    memory_mb: int
    memory_bytes_used: int | None = None
    init_ms: float | None = None
    status: str = ""
    error_type: str = ""

    def line(self) -> str:
        """The REPORT line. INIT is billed too."""
        billed_ms = math.ceil(self.duration_ms + (self.init_ms or 0))
        parts = [
            f"REPORT RequestId: {self.request_id}",
            f"Duration: {self.duration_ms:.2f} ms",
            f"Billed Duration: {billed_ms} ms",
            f"Memory Size: {self.memory_mb} MB",
        ]
        if self.memory_bytes_used is not None:
            parts.append(f"Max Memory Used: {math.ceil(self.memory_bytes_used / MIB)} MB")
        if self.init_ms is not None:
            parts.append(f"Init Duration: {self.init_ms:.2f} ms")
        if self.status:
            parts.append(f"Status: {self.status}")
        if self.error_type:
            parts.append(f"Error Type: {self.error_type}")
        return "\t".join(parts)


class Console:
    """Writes them.

    Args:
        say: takes lines.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    def start(self, request_id: str) -> None:
        """An invocation begins."""
        self.say(f"START RequestId: {request_id} Version: $LATEST")

    def end(self, report: Report) -> None:
        """It is over."""
        self.say(f"END RequestId: {report.request_id}")
        self.say(report.line())

    def failed(self, request_id: str, failure: Failure) -> None:
        """What the platform has to say of it."""
        self.say(f"RequestId: {request_id} Error: {failure.type}: {failure.message}")

    def init_failed(self, init_ms: float, failure: Failure) -> None:
        """An environment did not start."""
        self.say(f"INIT_REPORT Init Duration: {init_ms:.2f} ms\tPhase: init\tStatus: error\tError Type: {failure.type}")
        if failure.message:
            self.say(f"Error: {failure.message}")


def say_on_stderr(line: str) -> None:
    """One line, at once, whole among the lines of the child processes."""
    try:
        os.write(sys.stderr.fileno(), f"{line}\n".encode())
    except OSError:
        pass  # nobody reads it; serving goes on without words
