"""What Python itself costs here: a relay on uvloop that copies bytes both ways and looks at none of them.

Each client's connection has one to the provider for as long as it lives. Whatever a gateway in Python does beside, it
does on top of this.

Run:   python -m benchmarks.copying --port PORT --provider PORT
"""

from __future__ import annotations

import argparse
import asyncio
from typing import cast

BUFFER_BYTES = 64 * 1024


class Side(asyncio.BufferedProtocol):
    """One of the two connections; what comes on it goes out on the other one."""

    _buffer = memoryview(bytearray(BUFFER_BYTES))  # one for all: what is read is copied out before the next read

    def __init__(self) -> None:
        self.other: Side | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(bytes(self._buffer[:nbytes]))

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        other, self.other = self.other, None
        if other is not None and other.transport is not None:
            other.transport.close()


class Client(Side):
    """The client's side: keeps what comes until there is somebody to copy it to."""

    def __init__(self, provider_port: int) -> None:
        super().__init__()
        self._provider_port = provider_port
        self._early = bytearray()
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connecting = asyncio.ensure_future(self._connect())

    def buffer_updated(self, nbytes: int) -> None:
        if self.other is None:
            self._early += self._buffer[:nbytes]
        else:
            super().buffer_updated(nbytes)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        transport, other = await loop.create_connection(Side, "127.0.0.1", self._provider_port)
        if self.transport is None or self.transport.is_closing():
            transport.abort()
            return
        self.other, other.other = other, self
        transport.write(self._early)


async def serve(port: int, provider_port: int) -> None:
    """For ever."""
    server = await asyncio.get_running_loop().create_server(lambda: Client(provider_port), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """As the module's docstring says."""
    import uvloop  # noqa: PLC0415 (not made for every platform; nor is this needed there)

    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--provider", type=int, required=True)
    given = arguments.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(given.port, given.provider))


if __name__ == "__main__":
    main()
