"""`rillgate serve`: read the settings, open the socket, say what is there, run."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rillgate.app.collector import calm_collector
from rillgate.app.embedded import EmbeddedModel
from rillgate.app.gateway import Gateway
from rillgate.app.http_protocol import HttpLimits
from rillgate.app.listen import ListenError, raise_open_files
from rillgate.app.listeners import listening
from rillgate.app.server import run
from rillgate.app.settings.load import Settings, SettingsError, load_settings
from rillgate.app.settings.rules import MEMORY
from rillgate.app.stores import check_store
from rillgate.cli.banner import Banner
from rillgate.cli.context import Context, UsageError
from rillgate.cli.first_key import first_key
from rillgate.cli.workers.command import Crew, keep
from rillgate.cli.workers.messages import Orders
from rillgate.ledger.admin_scopes import AdminError
from rillgate.ledger.writes import StoreUnavailable
from rillgate.telemetry.logs import configure_logs
from rillgate.telemetry.redaction import masked

USAGE_ERROR = 2


def serve(
    *,
    config: Path | None,
    host: str | None,
    port: int | None,
    allow_unauthenticated: bool,
    grace_s: float,
    workers: int = 1,
    make_first_key: bool = False,
    context: Context | None = None,
) -> int:
    """Run the gateway until a signal ends it.

    Args:
        workers: how many processes serve; with one it is this one.
        make_first_key: make and print one key where the ledger has none.
        context: the world around it; None for the real one.
    Returns:
        the exit code: 0 after SIGTERM or SIGINT, 2 after one line on stderr that says what to change.
    """
    try:
        settings = load_settings(
            config=config,
            flags=flags_of(host, port, allow_unauthenticated),
            environ=os.environ,
            cwd=Path.cwd(),
        )
        _check_workers(settings, workers)
        check_store(settings.ledger, os.environ)
        with listening(settings.server, os.environ, stall_s=longest_stall_s(settings)) as (sockets, notices):
            told = _first_key_told(settings, context or Context()) if make_first_key else []
            if workers == 1:
                return _run(settings, sockets, [*notices, *told], grace_s)
            orders = Orders(
                number=0,
                config=None if config is None else str(config),
                host=host,
                port=port,
                allow_unauthenticated=allow_unauthenticated,
                keys_required=settings.keys_required,
                grace_s=grace_s,
            )
            return _supervise(settings, sockets, [*notices, *told], workers, orders)
    except (SettingsError, StoreUnavailable, ListenError, UsageError, AdminError) as error:
        print(f"rillgate: {masked(str(error))}", file=sys.stderr)
        return USAGE_ERROR


def _run(settings: Settings, sockets: Sequence[socket.socket], notices: Sequence[str], grace_s: float) -> int:
    """Serve on these sockets."""
    raise_open_files()
    configure_logs()
    gateway = Gateway(settings, watches_loop=True)
    banner = Banner(settings, sockets[0].getsockname(), [*settings.notices, *notices], say)
    gateway.on_started.append(banner.listening)
    gateway.catalog.on_listed.append(banner.listed)
    if gateway.embedded is not None:
        gateway.embedded.on_change.append(_model_changed)
    calm_collector()
    return run(
        gateway.asgi,
        sockets,
        drain=gateway.streams,
        grace_s=grace_s,
        limits=HttpLimits(linger_s=longest_stall_s(settings), connections=gateway.connections),
        say=say,
    )


def _supervise(
    settings: Settings, sockets: Sequence[socket.socket], notices: Sequence[str], workers: int, orders: Orders
) -> int:
    """Have several processes serve on these sockets."""
    raise_open_files()  # for the workers, too
    configure_logs()
    lines = [f"{workers} workers share its connections.", *settings.notices, *notices]
    banner = Banner(settings, sockets[0].getsockname(), lines, say)
    crew = Crew(
        workers=workers,
        orders=orders,
        model=EmbeddedModel() if any(each.is_embedded for each in settings.providers.values()) else None,
        on_listening=banner.listening,
        on_model=_model_changed,
        say=say,
    )
    return keep(crew, sockets)


def _check_workers(settings: Settings, workers: int) -> None:
    """Refuse several workers that would each have books of their own.

    Raises: UsageError
    """
    if workers > 1 and settings.ledger.url == MEMORY:
        raise UsageError(
            "--workers: a ledger in memory is known to one process only; "
            "set ledger.url to sqlite:///PATH or dynamodb://TABLE?region=R, or take --workers out"
        )


def longest_stall_s(settings: Settings) -> float:
    """The largest stall deadline of any stream, in seconds."""
    return max(settings.timeouts.stall_s, *(route.timeouts.get("stall_s", 0) for route in settings.routes), 0)


def _first_key_told(settings: Settings, context: Context) -> list[str]:
    """Shown once: a key is kept nowhere in the clear."""
    key = first_key(settings.ledger, context)
    return [] if key is None else [f"First key, shown this once: {key}"]


def say(line: str) -> None:
    """One line for the operator, at once even into a pipe. When its reader has gone, serving goes on without words."""
    try:
        print(line, flush=True)
    except OSError:
        # `rillgate serve | head -1`: what is left in the buffer would fail once more when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _model_changed(model: EmbeddedModel) -> None:
    say(model.reason or f"The embedded model {EmbeddedModel.ALIAS} is ready.")


def flags_of(host: str | None, port: int | None, allow_unauthenticated: bool) -> Mapping[str, Any]:
    """The flags of the command as keys of the configuration."""
    flags: dict[str, Any] = {}
    if host is not None:
        flags["server.host"] = host
    if port is not None:
        flags["server.port"] = port
    if allow_unauthenticated:
        flags["allow_unauthenticated"] = True
    return flags
