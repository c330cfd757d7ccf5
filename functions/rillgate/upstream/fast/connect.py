"""Opens connections: every address of a name in turn, the handshake included."""

from __future__ import annotations

import asyncio
import socket
import ssl

import aiohappyeyeballs
import httpx2

from rillgate.upstream.fast.protocol import Connection
from rillgate.upstream.fast.secure import SecureConnection

HAPPY_EYEBALLS_S = 0.25  # RFC 8305: how long the preferred address may take before the next one is tried beside it


async def connect(
    buffer: memoryview, host: str, port: int, *, ssl_context: ssl.SSLContext | None, timeout_s: float | None
) -> Connection:
    """A connection to the first address of `host` that answers, encrypted where there is a context.

    Args:
        buffer: what it reads into; shared.
        ssl_context: the certificate is checked against `host`, by the context's rules.
        timeout_s: for name, address and handshake together.

    Raises:
        httpx2.ConnectTimeout, httpx2.ConnectError: no address answered; a certificate that does not hold.
    """
    loop = asyncio.get_running_loop()
    secure = SecureConnection(buffer, loop, ssl_context, host) if ssl_context else None
    connection = secure or Connection(buffer, loop)
    try:
        async with asyncio.timeout(timeout_s):
            await loop.create_connection(lambda: connection, sock=await _dial(host, port))
            if secure is not None:
                await secure.secured
    except BaseException as error:
        connection.abort()
        if isinstance(error, TimeoutError):
            raise httpx2.ConnectTimeout(f"No connection to {host!r} in time.") from error
        if isinstance(error, OSError):  # ssl.SSLError among them
            raise httpx2.ConnectError(str(error)) from error
        raise
    return connection


async def _dial(host: str, port: int) -> socket.socket:
    addresses = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
