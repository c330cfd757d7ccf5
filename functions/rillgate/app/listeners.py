"""Everything that one gateway listens on: what the configuration says, or what a supervisor hands over instead; and
what a platform asks for beside it.

AWS Lambda's Web Functions name the address of an HTTP server that they speak to (`AWS_LAMBDA_HTTP_ENDPOINT`).
Source: AWS Lambda developer guide, "Web Functions, environment variables", read 2026-11.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager

from rillgate.app.inherited import take_over
from rillgate.app.listen import listen, set_options, socket_file_removed
from rillgate.app.settings.types import ServerSettings


@contextmanager
def listening(
    server: ServerSettings, environ: MutableMapping[str, str], *, stall_s: float
) -> Iterator[tuple[list[socket.socket], list[str]]]:
    """Sockets that already listen, and one line for each that differs from what was configured, or that lacks
    something. At the end they are closed, and files of unix sockets made here are removed.

    Args:
        server: where to listen.
        environ: loses the variables that a supervisor's sockets came with: no child process has them.
        stall_s: as for `listen`.
    Raises: ListenError
    """
    sockets: list[socket.socket] = []
    notices: list[str] = []
    with ExitStack() as stack:
        for sock, told in _opened(server, environ, stall_s):
            stack.enter_context(sock)
            sockets.append(sock)
            notices += [line for line in told if line not in notices]
        if not server.inherited:
            for sock in sockets:
                stack.enter_context(socket_file_removed(sock))
        yield sockets, notices


def _opened(
    server: ServerSettings, environ: MutableMapping[str, str], stall_s: float
) -> Iterator[tuple[socket.socket, Sequence[str]]]:
    if server.inherited:
        for sock in take_over(server.inherited, environ):
            yield sock, [] if sock.family == socket.AF_UNIX else set_options(sock, stall_s)
    else:
        path = None if server.unix_socket is None else str(server.unix_socket)
        yield listen(server.host, server.port, stall_s=stall_s, unix_socket=path)
    if server.http_endpoint is not None and (server.inherited or server.http_endpoint != (server.host, server.port)):
        host, port = server.http_endpoint
        sock, notices = listen(host, port, stall_s=stall_s)
        yield sock, [*notices, f"It listens on {host}:{port} too (AWS_LAMBDA_HTTP_ENDPOINT)."]
