"""Less than a processor, as Lambda gives it: by the bandwidth control of a Linux control group, version 1 or 2.

Lambda gives processor time in proportion to memory, a whole one at 1,769 MB. The kernel's control is of the same kind:
so many microseconds in each period, then nothing until the next.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PERIOD_US = 20_000
ONE_PROCESSOR_MB = 1769
ROOT = Path("/sys/fs/cgroup")
V1 = ROOT / "cpu"


@contextmanager
def limited(memory_mb: int) -> Iterator[Path | None]:
    """A group with the processor time of that much memory: a process that writes its id to the file is limited.

    None where this machine does not let us make one.
    """
    quota_us = PERIOD_US * memory_mb // ONE_PROCESSOR_MB
    version_1 = (V1 / "cpu.cfs_quota_us").exists() or (V1 / "cgroup.procs").exists()
    group = (V1 if version_1 else ROOT) / f"rillgate-{os.getpid()}"
    try:
        group.mkdir()
        if version_1:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota_us))
        else:
            (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
    except OSError:
        with contextlib.suppress(OSError):
            group.rmdir()
        yield None
        return
    try:
        yield group / "cgroup.procs"
    finally:
        with contextlib.suppress(OSError):  # a process may take a moment to be gone; the group is empty and harmless
            group.rmdir()
