"""A gateway as its users start it, nginx in front of it, and a fake provider behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import trustme

from tests.e2e.nginx import Changes, Nginx, nginx, shared_folder
from tests.e2e.process import PATIENCE_S, Served, serving, variables_for
from tests.fakes.clients import RawClient, open_chat
from tests.fakes.exchange import Exchange
from tests.fakes.provider import FakeProvider

WAYS: Final = ("tcp", "unix")  # from nginx to the gateway
STILL_S: Final = 2.0  # without a byte: whoever reads has stopped; on a busy machine streams pause for 0.3 s and go on
LOOK_S: Final = 0.02
TOKENS: Final = 100_000_000  # a cap that no stream of a test comes near


@dataclass
class Proxied:
    """All three. `upstream` is where nginx finds the gateway."""

    fake: FakeProvider
    served: Served
    nginx: Nginx
    upstream: str

    async def chat(self, *, rcvbuf: int | None = None, **fields: Any) -> RawClient:
        """A new connection through nginx, with a streaming request sent and nothing read."""
        return await open_chat(self.nginx.port, rcvbuf=rcvbuf, max_tokens=TOKENS, **fields)

    async def get(self, path: str) -> tuple[int, bytes]:
        """One request through nginx on a connection of its own: status and body."""
        async with await self.nginx.client() as client:
            await client.request("GET", path)
            return await client.response(), await client.read_body()

    async def taken(self, exchange: Exchange) -> int:
        """Wait until nothing moves; the bytes that gateway and nginx have taken from the provider for a client.

        Without those in the client's own kernel: a receive window grows by what a client once read and when, up to
        megabytes, and no server has a say in it.
        """
        return await stands_still(exchange) - self.nginx.unread()


@asynccontextmanager
async def proxied(
    way: str,
    *arguments: str,
    keys: bool = False,
    changed: Changes | None = None,
    certificate: trustme.LeafCert | None = None,
    **settings: Any,
) -> AsyncIterator[Proxied]:
    """Start all three.

    Args:
        way: one of `WAYS`.
        arguments: more words for `rillgate serve`.
        keys: whether requests need one.
        changed, certificate: for `nginx`.
        settings: of the gateway, such as `timeouts__idle_s=180`.
    """
    variables: dict[str, Any] = {f"RILLGATE_{name.upper()}": str(value) for name, value in settings.items()}
    variables["RILLGATE_LIMITS__OUTPUT_TOKENS_MAX"] = str(TOKENS)
    words = list(arguments) if keys else ["--allow-unauthenticated", *arguments]
    with shared_folder() as folder:
        path = folder / "run" / "gateway.sock"
        if way == "unix":
            variables["RILLGATE_SERVER__UNIX_SOCKET"] = str(path)
        async with (
            FakeProvider() as fake,
            serving(*words, port=0 if way == "tcp" else None, **variables, **variables_for(fake)) as served,
        ):
            upstream = f"127.0.0.1:{served.port}" if way == "tcp" else f"unix:{path}"
            async with nginx(upstream, folder, changed=changed, certificate=certificate) as running:
                yield Proxied(fake, served, running, upstream)


async def stands_still(exchange: Exchange) -> int:
    """Wait until the gateway, another process, takes nothing more from the provider; the bytes that went out.

    In real time, since nothing tells of what does not happen.
    """
    last, since = -1, time.monotonic()
    async with asyncio.timeout(PATIENCE_S):
        while time.monotonic() - since < STILL_S:
            if exchange.bytes_sent != last:
                last, since = exchange.bytes_sent, time.monotonic()
            await asyncio.sleep(LOOK_S)
    return last
