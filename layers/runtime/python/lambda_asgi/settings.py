"""The layer's settings: variables LAMBDA_ASGI_…, read once at INIT."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "LAMBDA_ASGI_"
RESPONSE_MODES = ("auto", "stream", "buffered")
LIFESPANS = ("auto", "on", "off")
ERROR_DETAILS = ("message", "type")


class SettingsError(Exception):
    """A variable has a value that it cannot have; the message names it and what it takes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the layer may be told. Times in seconds.

    Attributes:
        response_mode: `stream` and `buffered` for every HTTP event; `auto` streams what came through a Function URL.
        lifespan: `on` = the app must support it, `off` = it is not asked, `auto` = whichever it does.
        base_path: where the app is mounted, without a slash at the end; becomes `root_path`.
        deadline_margin_s: this long before Lambda's own timeout the app is told to end; never more than a quarter of
            the time that the invocation began with.
        stall_s: a write that takes longer than this has failed; 0 = never.
        shutdown_grace_s: what a running request has after SIGTERM. Lambda kills 0.3 to 2 s later.
        error_details: `type` keeps exceptions' messages out of logs and error reports.
    """

    response_mode: str = "auto"
    lifespan: str = "auto"
    base_path: str = ""
    deadline_margin_s: float = 2.0
    stall_s: float = 60.0
    shutdown_grace_s: float = 0.2
    error_details: str = "message"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """The variables that are set and not empty, the defaults otherwise.

        Raises:
            SettingsError: a value is none of those that are possible.
        """
        usual = cls()
        return cls(
            response_mode=_choice(environ, "RESPONSE_MODE", usual.response_mode, RESPONSE_MODES),
            lifespan=_choice(environ, "LIFESPAN", usual.lifespan, LIFESPANS),
            base_path=_base_path(environ),
            deadline_margin_s=_seconds(environ, "DEADLINE_MARGIN_S", usual.deadline_margin_s),
            stall_s=_seconds(environ, "STALL_S", usual.stall_s),
            shutdown_grace_s=_seconds(environ, "SHUTDOWN_GRACE_S", usual.shutdown_grace_s),
            error_details=_choice(environ, "ERROR_DETAILS", usual.error_details, ERROR_DETAILS),
        )


def _choice(environ: Mapping[str, str], name: str, usual: str, choices: tuple[str, ...]) -> str:
    value = environ.get(PREFIX + name) or usual
    if value not in choices:
        raise SettingsError(f"{PREFIX}{name}={value!r}: must be one of {', '.join(choices)}.")
    return value


def _seconds(environ: Mapping[str, str], name: str, usual: float) -> float:
    text = environ.get(PREFIX + name)
    if not text:
        return usual
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise SettingsError(f"{PREFIX}{name}={text!r}: must be a number of seconds, 0 or more.")
    return value


def _base_path(environ: Mapping[str, str]) -> str:
    value = environ.get(PREFIX + "BASE_PATH", "").rstrip("/")
    if value and not value.startswith("/"):
        raise SettingsError(f"{PREFIX}BASE_PATH={value!r}: must begin with a slash.")
    return value
