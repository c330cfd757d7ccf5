"""Logs of a function: the same lines of JSON as everywhere, on standard output, through Powertools' Logger.

Powertools brings the level (AWS_LAMBDA_LOG_LEVEL, POWERTOOLS_LOG_LEVEL), sampling, and keys that stand in every line;
shape and redaction are `logs`'s own. The keys of a request are in a context of its own, since one process may serve
several at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any, TextIO

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.logging.formatter import BasePowertoolsFormatter

from rillgate.telemetry.logs import LineFormatter, LineHandler, Value, configure_logs

LOGGER = "rillgate"

_request_keys: ContextVar[Mapping[str, Value]] = ContextVar("request_keys", default={})  # noqa: B039 (never changed)


class KeyedLines(BasePowertoolsFormatter):
    """Our lines behind Powertools' interface, so that keys which it appends stand in them."""

    def __init__(self) -> None:
        super().__init__()
        self._keys: dict[str, Value] = {}
        self._lines = LineFormatter(lambda: {**self._keys, **_request_keys.get()})

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

    Other libraries' lines go through the root logger, reduced as `logs` does.
    """
    stream = stream if stream is not None else sys.stdout
    configure_logs(stream=stream)
    return Logger(service=LOGGER, logger_handler=LineHandler(stream), logger_formatter=KeyedLines())


def tell_request(**keys: Value) -> None:
    """What stands in every line of the request that this task serves; None is left out."""
    _request_keys.set(keys)
