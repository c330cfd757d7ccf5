"""What the commands of the control plane have in common: the world around them, and how they fail."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


class UsageError(Exception):
    """The command was asked wrongly, in a way that only its arguments together show."""


@dataclass(frozen=True, slots=True)
class Context:
    """The world around one command.

    Attributes:
        now_s: gives seconds since 1970.
        sleep: waits so many seconds.
        environ: the environment.
        cwd: the working directory.
        say: takes lines for standard output.
    """

    now_s: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    cwd: Path = field(default_factory=Path.cwd)
    say: Callable[[str], None] = print
