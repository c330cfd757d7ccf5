"""A connection that is encrypted: the same protocol, with OpenSSL between the socket and it.

Both event loops have TLS of their own. With it a stopped stream costs 260 KB (uvloop) to 400 KB (asyncio), since each
of their connections keeps a buffer of 256 KiB; with this one it costs as much as OpenSSL itself (docs/adr/0022). What
is read goes through OpenSSL's memory in pieces of `READ_BYTES`.

Everything that TLS is about is the context's and OpenSSL's: certificates, names, versions. Renegotiation is off, so
writing never has to wait for reading.

Source: the standard library's `ssl`, "Memory BIO Support"; RFC 8446, 6.1.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from rillgate.upstream.fast.protocol import READ_BYTES, Connection


class SecureConnection(Connection):
    """A `Connection` over TLS.

    Args:
        context: checks the certificate against `host`, and sends that name.

    Attributes:
        secured: done when requests may be sent. Its exception, an `OSError`, says why they may not.
    """

    def __init__(self, buffer: memoryview, loop: asyncio.AbstractEventLoop, context: ssl.SSLContext, host: str) -> None:
        super().__init__(buffer, loop)
        self.secured: asyncio.Future[None] = loop.create_future()
        self.secured.add_done_callback(_heard)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._shake_hands()

    def buffer_updated(self, nbytes: int) -> None:
        self._incoming.write(self._buffer[:nbytes])
        if self.secured.done():
            self._decrypt()
        else:
            self._shake_hands()

    def _put(self, data: bytes | memoryview) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[self._tls.write(left) :]
        except ssl.SSLError as error:
            self._break(error)
        else:
            self._flush()

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._flush()  # the peer is told why
            self._break(error)
        else:
            self._flush()
            self.secured.set_result(None)
            self._decrypt()

    def _decrypt(self) -> None:
        """Hand on what has come: one read, and where it completes a record that record, 16 KiB at most."""
        try:
            while not self.gone:
                nbytes = cast(int, self._tls.read(READ_BYTES, self._buffer))  # bytes only where no buffer is given
                if not nbytes:
                    self.eof_received()
                    return
                super().buffer_updated(nbytes)
        except ssl.SSLWantReadError:
            self._flush()  # a key may have been changed
        except ssl.SSLZeroReturnError:
            self.eof_received()
        except ssl.SSLError as error:
            self._break(error)

    def _break(self, error: ssl.SSLError) -> None:
        self._over(error)
        self.transport.abort()

    def _flush(self) -> None:
        if self._outgoing.pending and not self.transport.is_closing():
            self.transport.write(self._outgoing.read())

    def _over(self, error: Exception | None) -> None:
        super()._over(error)
        if not self.secured.done():
            self.secured.set_exception(error or ConnectionResetError("The connection was closed during its handshake."))


def _heard(secured: asyncio.Future[None]) -> None:
    """Nobody waits for it any more where connecting was cancelled; then it is no news."""
    if not secured.cancelled():
        secured.exception()
