"""What a case has around it, and what it must not let through."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

from tests.streaming.log_sites.sites import SOURCES, place_of

PROMPT: Final = "grandmother's maiden-name is Unwin-Featherstone"
COMPLETION: Final = ["Certainly", ", Featherstone", " rhymes", " with", " Kettlebone"]
CLIENT_KEY: Final = "sk-proj-kl1entkey-kl1entkey-0001"
PROVIDER_KEY: Final = "sk-fake-key-of-the-tests"
WORDS: Final = ("grandmother", "maiden", "Unwin", "Featherstone", "Certainly", "Kettlebone")
KEYS: Final = ("kl1entkey", PROVIDER_KEY)

_LOGGERS: Final = ("logging/__init__.py", "telemetry/logs.py", "lambda_asgi/logs.py", "log_sites/world.py")


@dataclass
class World:
    """Around one case.

    Attributes:
        log: every line of every logger, at debug level, in the program's own shape.
        reached: the sites that have written.
    """

    tmp_path: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    log: io.StringIO
    reached: set[str] = field(default_factory=set)

    def see_record(self, record: logging.LogRecord) -> bool:
        """A filter of loggers that remembers who wrote."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename.endswith(_LOGGERS):
            frame = frame.f_back
        if frame is not None:
            self._see(frame, str(record.msg).replace(" ", "_"))
        return True

    def see_print(self, name: str) -> Callable[..., Any]:
        """A stand-in for a function that prints, which remembers who did."""
        module, _, function = name.rpartition(".")
        real = getattr(sys.modules[module], function)

        def seen(*args: Any, **kwargs: Any) -> Any:
            self._see(sys._getframe(1), "print" if name == "builtins.print" else name)
            return real(*args, **kwargs)

        return seen

    def _see(self, frame: FrameType, what: str) -> None:
        path = Path(frame.f_code.co_filename)
        if not any(path.is_relative_to(source) for source in SOURCES):
            return
        self.reached.add(f"{place_of(path)} {frame.f_code.co_qualname.replace('.<locals>', '')} {what}")


Case = Callable[[World], Awaitable[None]]
CASES: dict[str, Case] = {}
"""By site."""


def case(*sites: str) -> Callable[[Case], Case]:
    """Declare which sites a case brings secrets to."""

    def declare(function: Case) -> Case:
        for site in sites:
            assert site not in CASES, f"{site} has two cases"
            CASES[site] = function
        return function

    return declare


def raises(*args: Any, **kwargs: Any) -> Any:
    """In the place of anything that may fail: an exception that says everything, in its cause and its notes too."""
    try:
        raise KeyError(PROMPT, CLIENT_KEY)
    except KeyError as cause:
        error = ExceptionGroup(f"{PROMPT} {PROVIDER_KEY}", [ValueError(PROMPT), OSError(5, CLIENT_KEY)])
        error.add_note(f"{PROMPT} {PROVIDER_KEY}")
        raise error from cause


def error_with_secrets() -> Exception:
    """What `raises` raises, with its traceback."""
    try:
        raises()
    except Exception as error:
        return error
    raise AssertionError
