"""JSON lines on standard output: Lambda cuts records at line ends and filters by the field `level`.

The layer's own logger is `lambda_asgi`. The root logger gets the same handler before the app is imported; an app that
sets up its own logging replaces it.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, TextIO

from lambda_asgi.failures import FRAMES_MAX

log = logging.getLogger("lambda_asgi")
request_id: ContextVar[str] = ContextVar("lambda_asgi_request_id", default="")
"""The invocation that the running task belongs to."""

_LEVELS = {
    "TRACE": logging.DEBUG,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
}
_AWS_NAMES = {"WARNING": "WARN", "CRITICAL": "FATAL"}


def configure_logs(environ: Mapping[str, str], stream: TextIO | None = None, *, details: str = "message") -> None:
    """Send logging to `stream` (standard output when None) as JSON lines; level AWS_LAMBDA_LOG_LEVEL, else WARN.

    Args:
        details: `type` leaves the messages and tracebacks of exceptions out.
    """
    level = _LEVELS.get(environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper(), logging.WARNING)
    handler = logging.StreamHandler(stream if stream is not None else sys.stdout)
    handler.setFormatter(JsonLines(details))
    for logger in (logging.getLogger(), log):
        logger.handlers[:] = [handler]
        logger.setLevel(level)
    log.propagate = False


def log_event(level: int, message: str, *, error: BaseException | None = None, **fields: Any) -> None:
    """One line of the layer's own: `message` is a constant, what varies goes into `fields`."""
    if log.isEnabledFor(level):
        log.log(level, message, exc_info=error, extra={"lambda_asgi": fields})


class JsonLines(logging.Formatter):
    """A record as one line of JSON, with the field names that Lambda's own runtime uses."""

    def __init__(self, details: str = "message") -> None:
        super().__init__()
        self._details = details

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": _rfc3339(record.created),
            "level": _AWS_NAMES.get(record.levelname, record.levelname),
            "message": record.getMessage(),
            "logger": record.name,
            "requestId": request_id.get(),
            **getattr(record, "lambda_asgi", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line |= self._describe(record.exc_info[1])
        return json.dumps({name: value for name, value in line.items() if value not in ("", None)}, default=str)

    def _describe(self, error: BaseException) -> dict[str, Any]:
        described: dict[str, Any] = {"errorType": type(error).__name__}
        if self._details == "message":
            described["errorMessage"] = str(error)
        frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
        described["stackTrace"] = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
        return described


def _rfc3339(seconds: float) -> str:
    """UTC with milliseconds: 2026-11-21T11:16:00.123Z."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03d}Z"
