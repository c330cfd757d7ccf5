"""How much memory a process has: its resident set, which is what Lambda's limit and its REPORT mean.

A limit of the address space (RLIMIT_AS) would strike too early: each thread reserves some 70 MB that it never touches.
Source: proc(5), /proc/PID/status, Linux man-pages 6.9.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Resident:
    """Resident bytes: now, and the most there ever were."""

    now: int
    peak: int


def resident(pid: int) -> Resident | None:
    """Of one process; None where the system does not say, or the process has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = {name: value for name, _, value in (line.partition(":") for line in status.splitlines())}
    try:
        now, peak = (int(found[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    except (KeyError, ValueError, IndexError):
        return None  # a process that has ended and is not collected yet has no memory
    return Resident(now, peak)
