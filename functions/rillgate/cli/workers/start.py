"""What the process of a worker runs: see `worker.main`. By its path, so it finds the package by its own place.

python -P start.py CONTROL_FD CONNECTIONS_FD ORDERS
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[3]))  # at the end: nothing of it stands before anything else
    from rillgate.cli.workers.worker import main

    sys.exit(main(sys.argv[1:]))
