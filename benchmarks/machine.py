"""The machine that is measured on, and what one of its processes costs."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("uvloop", "uvicorn", "httptools", "httpx2", "starlette", "msgspec", "tiktoken")


def describe() -> dict[str, str]:
    """What a reader must know to compare figures: {"processor": "2 × …", "python": "3.13.0", …}."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "processor": f"{_cores()} × {_processor()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name))),
        # What else runs here takes its share: two cores with a load of 2 before the start give poor figures.
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, user and system; of its threads that still run, where that is finer."""
    exact = sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    if exact:
        return exact / 1e9
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():  # in steps of 10 ms
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    seconds = 0.0
    for part in _ps("time", pid).split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def rss_bytes(pid: int) -> int:
    """Memory of a process that is in RAM."""
    statm = Path(f"/proc/{pid}/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return int(_ps("rss", pid)) * 1024


def _ps(column: str, pid: int) -> str:
    return subprocess.run(["ps", "-o", f"{column}=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
