"""Logging of a function, for one test: afterwards it is as it was."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rillgate.telemetry.lambda_logs import LOGGER

OTHERS = ("uvicorn", "uvicorn.error", "uvicorn.asgi", "uvicorn.access", "httpx2", "httpcore2")
MARKS = ("init", "powertools_handler", "powertools_buffer_config", "powertools_buffer_cache")  # Powertools' own


@contextmanager
def logging_restored() -> Iterator[io.StringIO]:
    """Undo in the end whatever the block did to logging; gives a buffer to log to."""
    touched = [logging.getLogger(name) for name in (None, LOGGER, *OTHERS)]
    before = [(each, each.handlers[:], each.filters[:], each.level, each.propagate, each.disabled) for each in touched]
    ours = logging.getLogger(LOGGER)
    try:
        yield io.StringIO()
    finally:
        for each, handlers, filters, level, propagate, disabled in before:
            each.handlers[:], each.filters[:] = handlers, filters
            each.propagate, each.disabled = propagate, disabled
            each.setLevel(level)
        for mark in MARKS:
            ours.__dict__.pop(mark, None)
