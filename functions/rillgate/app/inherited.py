"""Sockets that a supervisor opened and passed on, as systemd's socket units do.

Nothing is refused while the service starts anew, and the service needs no right to the port.
Source: sd_listen_fds(3), systemd 257.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from rillgate.app.listen import ListenError
from rillgate.app.settings.places import COUNT_VARIABLE, SUPERVISOR_VARIABLES

FIRST_FD = 3  # SD_LISTEN_FDS_START


def take_over(count: int, environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The sockets, which already listen.

    Args: environ: loses the variables that they came with, which no child process may believe.
    Raises: ListenError: one of them cannot be listened on.
    """
    for name in SUPERVISOR_VARIABLES:
        environ.pop(name, None)
    return [_taken_over(fd) for fd in range(FIRST_FD, FIRST_FD + count)]


def _taken_over(fd: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise ListenError(
            f"cannot listen on file descriptor {fd} of {COUNT_VARIABLE}: {error.strerror}; "
            "it should be a socket of the socket unit"
        ) from error
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise ListenError(
            f"cannot listen on file descriptor {fd} of {COUNT_VARIABLE}: it does not listen; "
            "the socket unit needs ListenStream= and Accept=no"
        )
    os.set_inheritable(fd, False)
    return sock
