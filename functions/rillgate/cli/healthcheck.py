"""`rillgate healthcheck`: whether the gateway beside it would serve a request now, for a container's health check.

It asks `/readyz`, which waits for the encoder and the embedded model and is 503 again once the gateway drains; an image
gives it a start period for the former. `python -m rillgate.cli.healthcheck` is the same command without the rest of the
command line, whose imports take three times as long: it runs every few seconds, as long as the container does.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from rillgate.app.settings.sources import SettingsError, read_sources
from rillgate.app.settings.types import ServerSettings
from rillgate.cli.context import Context

PURPOSE = "ask the gateway of this machine whether it is ready"
DESCRIPTION = (
    "Ask the gateway that the configuration of this environment describes whether it is ready. "
    "Exit code 0 when it is, 1 when it is not or does not answer."
)
READY_PATH = "/readyz"
TIMEOUT_S = 4.0  # for each step; the image gives the whole command 5 s
ANSWER_BYTES_MAX = 16_384  # 100 times what /readyz says

FAILED = 1


def add_healthcheck(commands: Any) -> None:
    """Add `rillgate healthcheck` to the commands."""
    _prepare(commands.add_parser("healthcheck", help=PURPOSE, description=DESCRIPTION))


def healthcheck(options: argparse.Namespace, context: Context) -> int:
    """Ask once, and say in one line what came back."""
    try:
        where, connection = _gateway(options, context)
    except SettingsError as error:  # exit code 2 is not for health checks to use
        return _unhealthy(" ".join(str(error).split()))
    try:
        problem = _problem(connection, options.url.path if options.url else "")
    except (OSError, HTTPException) as error:
        problem = f"does not answer ({getattr(error, 'strerror', None) or str(error) or type(error).__name__})"
    finally:
        connection.close()
    if problem is not None:
        return _unhealthy(f"the gateway at {where} {problem}")
    context.say(f"The gateway at {where} is ready.")
    return 0


def _unhealthy(problem: str) -> int:
    print(f"rillgate: {problem}", file=sys.stderr)
    return FAILED


def _problem(connection: HTTPConnection, prefix: str) -> str | None:
    """What is wrong, as the end of a sentence; None where it is ready."""
    connection.request("GET", prefix + READY_PATH, headers={"Connection": "close"})
    response = connection.getresponse()
    if response.status == 200:
        return None
    waiting_for = _waiting_for(response)
    return f"is not ready: {', '.join(waiting_for)}" if waiting_for else f"answers {response.status} to {READY_PATH}"


def _waiting_for(response: HTTPResponse) -> list[str]:
    """The reasons that `/readyz` gives; none where something else answers."""
    try:
        answer = json.loads(response.read(ANSWER_BYTES_MAX))
    except ValueError:
        return []
    reasons = answer.get("waiting_for") if isinstance(answer, dict) else None
    return [str(reason) for reason in reasons] if isinstance(reasons, list) else []


def _gateway(options: argparse.Namespace, context: Context) -> tuple[str, HTTPConnection]:
    """The gateway's name for people and a connection that is opened at its first request.

    Raises: SettingsError: the configuration cannot be read.
    """
    if options.url is not None:
        return options.url.geturl(), _by_url(options.url)
    if options.unix_socket is not None:
        return f"unix:{options.unix_socket}", UnixConnection(str(options.unix_socket))
    server = configured(context)
    if server.unix_socket is not None:
        return f"unix:{server.unix_socket}", UnixConnection(str(server.unix_socket))
    host = reached_by(server)
    connection = HTTPConnection(host, server.port, timeout=TIMEOUT_S)
    return f"http://{f'[{host}]' if ':' in host else host}:{server.port}", connection


def configured(context: Context) -> ServerSettings:
    """Where the gateway of this environment listens, as `load_settings` finds it; of the rest nothing is read.

    Raises: SettingsError.
    """
    tree, _ = read_sources(config=None, flags={}, environ=context.environ, cwd=context.cwd)
    values = tree.values("server")
    path = values.pop("unix_socket", None)
    by_address = max(tree.rank("server", "host"), tree.rank("server", "port"))
    if path is None or by_address >= tree.rank("server", "unix_socket"):
        return ServerSettings(**values)
    return ServerSettings(unix_socket=(tree.file.parent if tree.file else context.cwd) / path, **values)


def _by_url(url: SplitResult) -> HTTPConnection:
    make = HTTPSConnection if url.scheme == "https" else HTTPConnection
    return make(url.hostname or "", url.port, timeout=TIMEOUT_S)


def reached_by(server: ServerSettings) -> str:
    """The address at which this machine reaches a server that may listen on all of them.

    Shape:  '0.0.0.0' → '127.0.0.1'; '::' → '::1'; every other host as it is
    """
    try:
        address = ip_address(server.host)
    except ValueError:  # a name
        return server.host
    if not address.is_unspecified:
        return server.host
    return "127.0.0.1" if address.version == 4 else "::1"


class UnixConnection(HTTPConnection):
    """HTTP over a unix socket.

    Args:
        path: of the socket's file.
    """

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """As `HTTPConnection.connect`, which `request` calls."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


def _prepare(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=healthcheck)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", type=_url, metavar="URL", help="of the gateway (default: as configured)")
    where.add_argument("--unix-socket", type=Path, metavar="PATH", help="on which the gateway listens")


def _url(text: str) -> SplitResult:
    """The address of a gateway; argparse says what is wrong with any other."""
    try:
        url = urlsplit(text.rstrip("/"))
        usable = url.scheme in ("http", "https") and bool(url.hostname) and not (url.query or url.fragment)
        _ = url.port
    except ValueError:
        usable = False
    if not usable:
        raise argparse.ArgumentTypeError(f"{text!r} is no address of a gateway; give one such as http://127.0.0.1:8000")
    return url


def main(arguments: Sequence[str] | None = None) -> int:
    """The command alone."""
    parser = argparse.ArgumentParser(prog="rillgate healthcheck", description=DESCRIPTION)
    _prepare(parser)
    return healthcheck(parser.parse_args(arguments), Context())


if __name__ == "__main__":
    sys.exit(main())
