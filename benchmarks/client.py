"""A blocking client: nothing runs beside it in its process, so its clock is read when the bytes are there."""

from __future__ import annotations

import json
import socket
import time

from tests.fakes.exchange import linger_none

TIMEOUT_S = 30.0
READ_BYTES = 65_536
END_OF_BODY = b"0\r\n\r\n"
CONTENT = b'"content":"'


class Stream:
    """One connection to 127.0.0.1 that asks for streams.

    Args:
        port: where.
        receive_bytes: SO_RCVBUF; a small one is full soon.
        key: what every request shows; "" for none.

    Attributes:
        read_at: when the last read came back, in `time.monotonic()`.
    """

    def __init__(self, port: int, *, receive_bytes: int | None = None, key: str = "") -> None:
        self._authorization = f"authorization: Bearer {key}\r\n" if key else ""
        self.read_at = 0.0
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_bytes is not None:  # before connecting, since the window is agreed on then
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.sock.connect(("127.0.0.1", port))

    def ask(self, model: str) -> float:
        """Send a streaming request; the moment before."""
        message = {"role": "user", "content": "Tell me about rivers."}
        body = json.dumps({"model": model, "messages": [message], "stream": True, "max_tokens": 4096}).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"{self._authorization}content-length: {len(body)}\r\n\r\n"
        )
        began = time.monotonic()
        self.sock.sendall(head.encode() + body)
        return began

    def read_until(self, marker: bytes, *, times: int = 1) -> bytes:
        """Bytes up to a read that has brought `marker` for the n-th time.

        Raises:
            EOFError: the connection ended before.
        """
        found = b""
        while found.count(marker) < times:
            data = self.sock.recv(READ_BYTES)
            self.read_at = time.monotonic()
            if not data:
                raise EOFError(f"no {marker!r} in {found[-300:]!r}")
            found += data
        return found

    def read_to_end(self, found: bytes) -> None:
        """The rest of a body in chunks, so that the connection can serve again."""
        while not found.endswith(END_OF_BODY):
            data = self.sock.recv(READ_BYTES)
            if not data:
                raise EOFError(f"the body ended after {found[-300:]!r}")
            found = (found + data)[-300:]

    def close(self) -> float:
        """FIN (the kernel makes it RST where bytes were left unread); the moment before."""
        at = time.monotonic()
        self.sock.close()
        return at

    def reset(self) -> float:
        """RST; the moment before."""
        linger_none(self.sock)
        return self.close()
