"""X-Ray's daemon, as a function finds it: a UDP socket that segment documents are sent to.

Source: X-Ray developer guide, "Sending trace data to X-Ray"; read 2026-11-21.
"""

from __future__ import annotations

import asyncio
import json
import socket
from types import TracebackType
from typing import Any, Final, Self

TRACE_ID: Final = "1-5bef4de7-ad49b0e87f6ef6c87fc2e700"
PARENT_ID: Final = "53995c3f42cd8ad8"
SAMPLED: Final = f"Root={TRACE_ID};Parent={PARENT_ID};Sampled=1;Lineage=1:a87bd80c:0"

PREFIX: Final = b'{"format":"json","version":1}\n'  # before each document, by the protocol
BYTES_MAX: Final = 65_536
PATIENCE_S: Final = 30.0


class FakeDaemon:
    """A context manager. What was sent on this machine is there at once, so `documents` needs no patience.

    Attributes:
        address: as AWS_XRAY_DAEMON_ADDRESS has it.
    """

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        host, port = self._socket.getsockname()
        self.address = f"{host}:{port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def documents(self) -> list[dict[str, Any]]:
        """Those that have come since the last look."""
        found = []
        while True:
            try:
                found.append(_document(self._socket.recv(BYTES_MAX)))
            except BlockingIOError:
                return found

    async def document(self) -> dict[str, Any]:
        """The next one, waited for."""
        async with asyncio.timeout(PATIENCE_S):
            return _document(await asyncio.get_running_loop().sock_recv(self._socket, BYTES_MAX))


def _document(datagram: bytes) -> dict[str, Any]:
    assert datagram.startswith(PREFIX)
    document: dict[str, Any] = json.loads(datagram.removeprefix(PREFIX))
    return document
