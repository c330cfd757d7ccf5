"""Python's collector of cycles, as a process that serves wants it.

What is there when serving begins stays to the end, so there is no sense in looking through it again and again. What a
request makes goes away by itself, by counting references; what of it hangs together in cycles is little, and may wait
until there is more of it: looking after every 700 or 2,000 new objects costs a short request 5 % of its time.
"""

from __future__ import annotations

import gc

NEW_OBJECTS = 20_000  # between two looks at the youngest; some 20 requests, 2 MB at most


def calm_collector() -> None:
    """Call once, when everything that lives as long as the process has been made."""
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
