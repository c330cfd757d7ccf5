"""Logs of a function: the same lines of JSON as everywhere, on standard output, through Powertools' Logger.

Powertools brings the level (AWS_LAMBDA_LOG_LEVEL, POWERTOOLS_LOG_LEVEL), sampling, and keys that stand in every line;
shape and redaction are `logs`'s own. The keys of a request are in a context of its own, since one process may serve
several at once.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.logging.formatter import BasePowertoolsFormatter

from rillgate.telemetry.logs import SERVICE, LineFormatter, LineHandler, Value, configure_logs, tell_request

__all__ = ["configure_lambda_logs", "tell_request"]

LOGGER = "rillgate"
LAYER = "lambda_asgi"


class KeyedLines(BasePowertoolsFormatter):
    """Our lines behind Powertools' interface, so that keys which it appends stand in them."""

    def __init__(self) -> None:
        super().__init__()
        self._keys: dict[str, Value] = {}
        self._lines = LineFormatter(lambda: self._keys)

    def format(self, record: Any) -> str:
        """One line."""
        return self._lines.format(record)

    def append_keys(self, **additional_keys: Any) -> None:
        """From now on these stand in every line."""
        self._keys |= additional_keys

    def get_current_keys(self) -> dict[str, Any]:
        """Those of the whole process."""
        return dict(self._keys)

    def remove_keys(self, keys: Iterable[str]) -> None:
        """These no more."""
        for key in keys:
            self._keys.pop(key, None)

    def clear_state(self) -> None:
        """None at all."""
        self._keys.clear()


def configure_lambda_logs(stream: TextIO | None = None) -> Logger:
    """Send all logging of this process to `stream` (standard output when None).

    Other libraries' lines, those of the layer under this function among them, are reduced as `logs` does.
    """
    stream = stream if stream is not None else sys.stdout
    configure_logs(stream=stream)
    handler = LineHandler(stream)
    handler.setFormatter(LineFormatter(_invocation))
    logging.getLogger(LAYER).handlers[:] = [handler]  # in the place of its own, which has a shape for any app
    return Logger(service=SERVICE, logger_handler=LineHandler(stream), logger_formatter=KeyedLines())


def _invocation() -> dict[str, Value]:
    """The invocation that a line of the layer is about: it logs beside the task that serves the request."""
    request_id = getattr(sys.modules.get(f"{LAYER}.logs"), "request_id", None)
    return {"service": SERVICE, "function_request_id": None if request_id is None else request_id.get() or None}
