"""Where the gateway can be reached beside what the configuration says, and whether others than this machine can.

Source: sd_listen_fds(3), systemd 257; AWS Lambda developer guide, "Web Functions, environment variables", read 2026-11.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from rillgate.app.settings.rules import is_loopback, shown, unbracketed
from rillgate.app.settings.sources import SettingsError
from rillgate.app.settings.types import ServerSettings

HTTP_ENDPOINT = "AWS_LAMBDA_HTTP_ENDPOINT"
PID_VARIABLE = "LISTEN_PID"
COUNT_VARIABLE = "LISTEN_FDS"
SUPERVISOR_VARIABLES = (PID_VARIABLE, COUNT_VARIABLE, "LISTEN_FDNAMES")


def inherited_sockets(environ: Mapping[str, str]) -> int:
    """How many sockets a supervisor passed to this process; variables that are meant for another process say none."""
    count = environ.get(COUNT_VARIABLE, "")
    return int(count) if environ.get(PID_VARIABLE) == str(os.getpid()) and count.isascii() and count.isdigit() else 0


def http_endpoint(environ: Mapping[str, str]) -> tuple[str, int] | None:
    """Where AWS Lambda's Web Functions expect an HTTP server.

    Raises: SettingsError: it is no address.
    """
    text = environ.get(HTTP_ENDPOINT, "")
    if not text:
        return None
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()):
        raise SettingsError(f"{HTTP_ENDPOINT}: {shown(text)} is no address; give HOST:PORT, such as 0.0.0.0:3000")
    return unbracketed(host), int(port)


def is_local(server: ServerSettings) -> bool:
    """Whether nobody but this machine can reach it, as far as addresses tell."""
    if server.inherited or server.unix_socket is not None:
        return False
    return is_loopback(server.host) and (server.http_endpoint is None or is_loopback(server.http_endpoint[0]))


def reachable_by(server: ServerSettings) -> str:
    """What makes it not local, in words."""
    if server.inherited:
        return "a socket of the supervisor's"
    if server.unix_socket is not None:
        return "a unix socket"
    if not is_loopback(server.host) or server.http_endpoint is None:
        return shown(server.host)
    return f"{shown(server.http_endpoint[0])} ({HTTP_ENDPOINT})"
