"""The listening socket, and the number of sockets this process may hold: what has to be set before anything is served.

Accepted sockets inherit two options that only the listening socket can give them. `TCP_NOTSENT_LOWAT` keeps the
kernel from swallowing megabytes for a client that reads nothing: without it `send` blocks for the first time when a
usual answer is long over, and no slow client is ever noticed. `TCP_USER_TIMEOUT` frees the socket of a client that
has vanished; it is twice the stall deadline, so that the stream ends by our own deadline first.
Source: tcp(7), Linux man-pages 6.9; unix(7); getrlimit(2).
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import stat
from collections.abc import Iterator

NOTSENT_BYTES_MAX = 16_384  # unsent bytes in the kernel for each connection; it does not bound what is in flight
SOCKET_FILE_MODE = 0o660  # owner and group: the reverse proxy shares a group, nobody else needs the socket
OPEN_FILES_MAX = 1 << 20  # Linux's own default ceiling; where "unlimited" is allowed, some programs loop over it
OPEN_FILES_STEPS = (OPEN_FILES_MAX, 262_144, 65_536, 24_576, 10_240)  # tried in turn; macOS refuses above its own

_WITHOUT_NOTSENT = (
    "TCP_NOTSENT_LOWAT cannot be set here: the kernel buffers some megabytes for each client, "
    "so slow clients are noticed late."
)
_WITHOUT_USER_TIMEOUT = (
    "TCP_USER_TIMEOUT cannot be set here: the kernel decides when a client that vanished is given up, "
    "except after a stalled stream."
)


class ListenError(Exception):
    """The address cannot be listened on. The message is one line that names the address and the remedy."""


def listen(
    host: str, port: int, *, stall_s: float, unix_socket: str | None = None, backlog: int = 2048
) -> tuple[socket.socket, list[str]]:
    """A socket that already listens, so that a client that comes before the server is up waits instead of failing.

    Args:
        host: an address or name of this machine, IPv4 or IPv6. "localhost" is 127.0.0.1 where that exists.
        port: 0 takes a free one.
        stall_s: the largest stall deadline of any stream, in seconds.
        unix_socket: path to listen on instead of host and port. A socket file that nobody listens on is replaced.
        backlog: connections that may wait to be accepted.

    Returns:
        the socket, and one line for each option that this platform lacks.

    Raises:
        ListenError: port in use, no permission, or not an address of this machine.
    """
    if unix_socket is not None:
        return _listen_on_file(unix_socket, backlog), []
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    family, address = _resolve(host, port, where)
    # With its protocol named: asyncio turns Nagle's algorithm off only where accepted sockets say that they are TCP.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        notices = set_options(sock, stall_s)
        sock.bind(address)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on {where}: {_reason(error, port)}") from error
    return sock, notices


def _resolve(host: str, port: int, where: str) -> tuple[socket.AddressFamily, tuple[object, ...]]:
    if not 0 <= port <= 65_535:
        raise ListenError(f"cannot listen on {where}: a port is a number from 0 to 65535, such as --port 8000")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ListenError(
            f"cannot listen on {where}: {host!r} is not known here; "
            "name an address of this machine, such as --host 127.0.0.1 (make: HOST=127.0.0.1)"
        ) from error
    if host == "localhost":  # everything printed and documented says 127.0.0.1
        found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    family, _, _, _, address = found[0]
    return family, address


def _reason(error: OSError, port: int) -> str:
    other = port + 1 if 1024 <= port < 65_535 else 8000
    elsewhere = f"take another with --port {other} (make: PORT={other})"
    if error.errno == errno.EADDRINUSE:
        return f"the port is in use; {elsewhere}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission for this port; {elsewhere}"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address; name one that it has, such as --host 127.0.0.1 (make: HOST=127.0.0.1)"
    return f"{error.strerror or error}; see --host and --port (make: HOST=, PORT=)"


def set_options(sock: socket.socket, stall_s: float) -> list[str]:
    """What accepted sockets inherit from a listening one over TCP; see the head of this module.

    Returns: one line for each option that this platform lacks.
    """
    wanted = (
        ("TCP_NOTSENT_LOWAT", NOTSENT_BYTES_MAX, _WITHOUT_NOTSENT),
        ("TCP_USER_TIMEOUT", int(2 * stall_s * 1000), _WITHOUT_USER_TIMEOUT),
    )
    return [notice for name, value, notice in wanted if not _set_tcp_option(sock, name, value)]


def _set_tcp_option(sock: socket.socket, name: str, value: int) -> bool:
    option: int | None = getattr(socket, name, None)
    if option is None:
        return False
    try:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError:
        return False
    return True


def _listen_on_file(path: str, backlog: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        # By umask, not by chmod: there is no moment at which anybody else could connect.
        before = os.umask(0o777 & ~SOCKET_FILE_MODE)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise ListenError(
            f"cannot listen on {path!r}: {error.strerror or error}; name another with server.unix_socket"
        ) from error
    except ListenError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket file that nobody listens on; leave everything else as it is.

    Raises:
        ListenError: somebody listens on it, or it is no socket.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(
            f"cannot listen on {path!r}: it is there and is not a socket; name another with server.unix_socket"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # where the other's backlog is full, connect would wait
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise ListenError(
        f"cannot listen on {path!r}: another process listens there; end it, or name another with server.unix_socket"
    )


@contextlib.contextmanager
def socket_file_removed(sock: socket.socket) -> Iterator[None]:
    """Remove the file of a unix socket afterwards, unless another process has put its own there meanwhile."""
    path = sock.getsockname() if sock.family == socket.AF_UNIX else ""
    inode = os.stat(path).st_ino if path else 0
    try:
        yield
    finally:
        if path:
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_ino == inode:
                    os.unlink(path)


def raise_open_files() -> tuple[int, int]:
    """Raise the soft limit of open files to the hard one: a stream needs two, one on each side.

    Returns:
        the soft limit before and now. They are equal where it was high enough or nothing higher is allowed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return soft, soft
    ceiling = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX)
    for wanted in (ceiling, *(step for step in OPEN_FILES_STEPS if step < ceiling)):
        if wanted <= soft:
            break
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            continue  # macOS says "unlimited" and refuses more than kern.maxfilesperproc
        return soft, wanted
    return soft, soft
