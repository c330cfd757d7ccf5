"""A provider that misbehaves as each request's own plan says: four APIs, each on a port of its own, one more over TLS.

`python -m tests.chaos.provider` runs it and prints its ports; it ends when its standard input is closed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import ssl
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tests.chaos.apis import APIS, OPENAI, Api
from tests.chaos.faults import FAULTS, Asked
from tests.chaos.plan import EVERYWHERE, plan_in
from tests.fakes import http
from tests.fakes.exchange import linger_none

READ_BYTES: Final = 65_536
WRITES_PER_TURN: Final = 16
SECURE: Final = "secure"
MODELS: Final = b'{"object":"list","data":[],"models":[]}'


class Connection:
    """One connection; a `faults.Wire`.

    Attributes:
        requests: how many came over it.
    """

    def __init__(self, api: Api, provider: ChaosProvider, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._api = api
        self._provider = provider
        self._reader = reader
        self._writer = writer
        self._over = False
        self._writes = 0
        self.requests = 0

    async def serve(self) -> None:
        """Request after request, until either side has had enough."""
        self._provider.open += 1
        try:
            while not self._over:
                await self._answer(*await self._request())
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, TimeoutError):
            pass  # the gateway has gone
        except Exception as error:  # a mistake of ours: whoever runs this must hear of it
            self._provider.errors.append(error)
            self.reset()
        finally:
            self._provider.open -= 1
            self._writer.close()

    async def send(self, data: bytes) -> None:
        if self._over or self._writer.is_closing():
            raise ConnectionResetError
        self._writer.write(data)
        await self._writer.drain()
        self._writes += 1
        if self._writes % WRITES_PER_TURN == 0:
            await asyncio.sleep(0)  # an answer that never waits must not hold up the others

    async def gone(self) -> None:
        await self._reader.read(1)
        raise ConnectionResetError

    def reset(self) -> None:
        self._over = True
        if not self._writer.is_closing():  # else the gateway was faster, and there is no socket any more
            with contextlib.suppress(OSError):
                linger_none(self._writer.get_extra_info("socket"))
        self._writer.transport.abort()

    def close(self) -> None:
        self._over = True
        self._writer.close()

    async def _request(self) -> tuple[str, bytes]:
        head = await self._reader.readuntil(b"\r\n\r\n")
        found = http.take_head(bytearray(head))
        assert found is not None
        first, headers = found
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return first.split(" ")[1], body

    async def _answer(self, path: str, body: bytes) -> None:
        self.requests += 1
        plan = plan_in(body)
        if plan is None:
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(MODELS)}\r\n\r\n"
            await self.send(head.encode() + MODELS)
            return
        provider = self._provider
        provider.arrived[plan.number] += 1
        if plan.where not in (EVERYWHERE, self._api.name) or (
            plan.times and provider.arrived[plan.number] > plan.times
        ):
            plan = replace(plan, fault="none")
        stream = path.endswith("/converse-stream") or (b'"stream":true' in body and not path.endswith("/converse"))
        provider.active += 1
        try:
            await FAULTS[plan.fault](Asked(plan, self._api, stream, self))
        finally:
            provider.active -= 1


@dataclass
class ChaosProvider:
    """All of it. `async with ChaosProvider() as provider:` in the running loop.

    Attributes:
        ports: by API's name, and `secure` for OpenAI's over TLS.
        arrived: how often each request came, by its number.
        open: connections; `active`: requests that are being answered.
        errors: mistakes of the provider itself; the first is raised at the end.
    """

    context: ssl.SSLContext | None = None
    ports: dict[str, int] = field(default_factory=dict)
    arrived: Counter[int] = field(default_factory=Counter)
    open: int = 0
    active: int = 0
    errors: list[Exception] = field(default_factory=list)
    _servers: list[asyncio.Server] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def variables(self) -> dict[str, str]:
        """See `variables_of`."""
        return variables_of(self.ports)

    async def __aenter__(self) -> ChaosProvider:
        listening: Sequence[tuple[str, Api, ssl.SSLContext | None]] = [
            *((name, api, None) for name, api in APIS.items()),
            *([(SECURE, OPENAI, self.context)] if self.context is not None else []),
        ]
        for name, api, context in listening:
            server = await asyncio.start_server(self._serving(api), "127.0.0.1", 0, ssl=context, backlog=4096)
            self._servers.append(server)
            self.ports[name] = server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.errors:
            raise self.errors[0]

    def _serving(self, api: Api) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await Connection(api, self, reader, writer).serve()

        return serve


def variables_of(ports: Mapping[str, int]) -> dict[str, str]:
    """What makes a gateway use these ports: a provider for each API, named after it."""
    found: dict[str, str] = {"CHAOS_KEY": "fake-key-of-the-chaos"}
    for name, port in ports.items():
        kind = OPENAI.name if name == SECURE else name
        scheme, host = ("https", "localhost") if name == SECURE else ("http", "127.0.0.1")
        path = "/v1" if kind == OPENAI.name else ""
        stem = f"RILLGATE_PROVIDERS__{name.upper()}"
        found |= {f"{stem}__KIND": kind, f"{stem}__BASE_URL": f"{scheme}://{host}:{port}{path}"}
        if kind == "bedrock":
            found[f"{stem}__REGION"] = "us-east-1"
        if kind != "ollama":
            found[f"{stem}__API_KEY"] = "env:CHAOS_KEY"
    return found


async def _run(certificate: str | None) -> None:
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    async with ChaosProvider(context) as provider:
        print(json.dumps(provider.ports), flush=True)  # noqa: T201
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():  # each line is a question: what is there now
            assert line
            found = {"open": provider.open, "active": provider.active, "arrived": sum(provider.arrived.values())}
            print(json.dumps(found), flush=True)  # noqa: T201


def main() -> None:
    """Run it until the standard input is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificate", help="for the port with TLS: a file with certificate and key")
    options = parser.parse_args()
    runner = asyncio.Runner(loop_factory=_loop)
    with runner:
        runner.run(_run(options.certificate))


def _loop() -> asyncio.AbstractEventLoop:
    import uvloop  # noqa: PLC0415 only where it runs by itself

    return uvloop.new_event_loop()


if __name__ == "__main__":
    main()
