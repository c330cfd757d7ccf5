"""`rillgate serve`: read the settings, open the socket, say what is there, run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rillgate.app.embedded import EmbeddedModel
from rillgate.app.gateway import Gateway
from rillgate.app.http_protocol import HttpLimits
from rillgate.app.listen import ListenError, listen, raise_open_files
from rillgate.app.server import run
from rillgate.app.settings.load import SettingsError, load_settings
from rillgate.app.stores import check_store
from rillgate.cli.banner import Banner
from rillgate.ledger.writes import StoreUnavailable
from rillgate.telemetry.logs import configure_logs

USAGE_ERROR = 2


def serve(
    *, config: Path | None, host: str | None, port: int | None, allow_unauthenticated: bool, grace_s: float
) -> int:
    """Run the gateway until a signal ends it.

    Returns:
        the exit code: 0 after SIGTERM or SIGINT, 2 after one line on stderr that says what to change.
    """
    try:
        settings = load_settings(
            config=config,
            flags=_flags(host, port, allow_unauthenticated),
            environ=os.environ,
            cwd=Path.cwd(),
        )
        check_store(settings.ledger, os.environ)
        stall_s = max(settings.timeouts.stall_s, *(r.timeouts.get("stall_s", 0) for r in settings.routes), 0)
        sock, notices = listen(
            settings.server.host,
            settings.server.port,
            stall_s=stall_s,
            unix_socket=_text(settings.server.unix_socket),
        )
    except (SettingsError, StoreUnavailable, ListenError) as error:
        print(f"rillgate: {error}", file=sys.stderr)
        return USAGE_ERROR
    raise_open_files()
    configure_logs()
    gateway = Gateway(settings)
    banner = Banner(settings, sock.getsockname(), [*settings.notices, *notices], say)
    gateway.on_started.append(banner.listening)
    gateway.catalog.on_listed.append(banner.listed)
    if gateway.embedded is not None:
        gateway.embedded.on_change.append(_model_changed)
    return run(
        gateway.asgi,
        sock,
        drain=gateway.streams,
        grace_s=grace_s,
        limits=HttpLimits(linger_s=stall_s),
        say=say,
    )


def say(line: str) -> None:
    """One line for the operator, at once even into a pipe. When its reader has gone, serving goes on without words."""
    try:
        print(line, flush=True)
    except OSError:
        # `rillgate serve | head -1`: what is left in the buffer would fail once more when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _model_changed(model: EmbeddedModel) -> None:
    say(model.reason or f"The embedded model {EmbeddedModel.ALIAS} is ready.")


def _flags(host: str | None, port: int | None, allow_unauthenticated: bool) -> Mapping[str, Any]:
    flags: dict[str, Any] = {}
    if host is not None:
        flags["server.host"] = host
    if port is not None:
        flags["server.port"] = port
    if allow_unauthenticated:
        flags["allow_unauthenticated"] = True
    return flags


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
