"""The collector of cycles of a process that serves."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import gc
from rillgate.app.collector import NEW_OBJECTS, calm_collector
frozen, (_, *older) = gc.get_freeze_count(), gc.get_threshold()
calm_collector()
assert gc.isenabled()
assert gc.get_threshold() == (NEW_OBJECTS, *older)
assert gc.get_freeze_count() > frozen
class Knot: ...
knot = Knot()
knot.self = knot
del knot
print(gc.collect() > 0)
"""


def test_what_stays_is_left_out_and_cycles_are_still_found() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
