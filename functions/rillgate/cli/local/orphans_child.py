"""The process behind `orphans.py`: remembers process groups, and kills them when its standard input closes.

+1234    watch this group       -1234    it has ended
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Read until the pipe closes, then kill what is left."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # the command ends first, in its own way
    os.write(1, b"ready\n")
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except OSError:
            pass  # it ended at the same time


if __name__ == "__main__":
    main()
