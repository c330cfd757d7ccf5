"""A real nginx in front changes nothing about how streams flow, stall and are left, over TCP and a unix socket."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from tests.e2e.nginx import need_nginx
from tests.e2e.process import serving, variables_for
from tests.e2e.proxied import WAYS, Proxied, proxied, stands_still
from tests.fakes.clients import RawClient, collect, open_chat
from tests.fakes.exchange import Exchange
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Role, Stall, chat, flood

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

STALLED_BYTES_MAX: Final = 1_000_000
"""What a provider may send for a client that reads nothing: 0.2 to 0.5 MB are measured, from the provider's socket to
nginx's; 4.5 MB without `sndbuf`, all there is with buffering."""
LEFT_S_MAX: Final = 10.0
"""From a client's close to the provider's: milliseconds are measured (benchmarks/nginx.py). After 12 s the first
heartbeat would find nobody there."""
SMALL_WINDOW_BYTES: Final = 4096


@pytest.fixture
def anyio_backend() -> str:
    """nginx and the gateway are processes of their own."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _nginx_is_there() -> None:
    need_nginx()


async def in_lockstep(through: Proxied, *, chunks: int = 100) -> RawClient:
    """Read a stream whose next chunk leaves the provider only after the client has the last one."""
    texts = [f"word{number} " for number in range(chunks)]
    through.fake.script = chat(texts, lockstep_after=0)
    async with await through.nginx.client() as client:
        fields = {"model": "fake-model", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        # As browsers and SDKs ask: nothing may compress a stream, for that is buffering too.
        await client.request("POST", "/v1/chat/completions", json=fields, headers={"accept-encoding": "gzip, br"})
        assert await client.response() == 200
        assert await client.next_frame()  # the role
        for text in texts:
            through.fake.allow()
            frame = await client.next_frame()
            assert frame is not None
            assert f'"content":"{text}"' in frame
        assert collect(await client.read_stream()).done
        return client


@pytest.mark.parametrize("way", WAYS)
async def test_stream_behind_nginx_delivers_each_chunk_before_the_next_is_sent(way: str) -> None:
    """Nothing waits for company, and nothing is compressed."""
    async with proxied(way) as through:
        client = await in_lockstep(through)
        assert "content-encoding" not in client.headers
        assert "x-accel-buffering" not in client.headers  # nginx has acted on it
        assert through.nginx.files() == []


async def test_stream_behind_a_nginx_that_buffers_is_not_buffered() -> None:
    """Where an operator has forgotten to switch buffering off, the gateway's own header does it."""
    async with proxied("unix", changed={"proxy_buffering off;": "proxy_buffering on;"}) as through:
        await in_lockstep(through)
    async with (
        FakeProvider() as fake,
        serving(**variables_for(fake)) as served,
        await open_chat(served.port) as client,
    ):
        assert await client.response() == 200
        assert client.headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize("way", WAYS)
async def test_client_behind_nginx_that_stops_reading_stops_the_provider_and_loses_nothing(way: str) -> None:
    """The provider is read up to a bound, nginx keeps nothing on a disk, and who goes on reading gets all in order."""
    texts = [f"<{number}>{'x' * 1000}" for number in range(6000)]
    async with proxied(way) as through:
        through.fake.script = chat(texts)
        async with await through.chat() as client:
            assert await client.response() == 200
            exchange = await through.fake.request()
            assert await through.taken(exchange) < STALLED_BYTES_MAX
            assert through.nginx.files() == []
            answer = collect(await client.read_stream())
        assert answer.text == "".join(texts)
        assert answer.done


async def test_client_behind_nginx_without_the_bound_shows_what_the_bound_is_for() -> None:
    """The same client makes the kernels take megabytes where `sndbuf` is missing: the bound above can be broken."""
    async with proxied("unix", changed={" sndbuf=16k": ""}) as through:
        through.fake.script = flood(32, frame_bytes=1024)
        async with await through.chat() as client:
            assert await client.response() == 200
            assert await through.taken(await through.fake.request()) > STALLED_BYTES_MAX


async def before_the_first_byte(through: Proxied) -> tuple[RawClient, Exchange]:
    """The request has arrived at the provider, and nothing has come back."""
    through.fake.script = [Stall()]
    client = await through.chat()
    return client, await through.fake.request()


async def in_midstream(through: Proxied) -> tuple[RawClient, Exchange]:
    """A chunk has come, and the next one is waited for."""
    through.fake.script = [Role(), Chunk("one"), Stall()]
    client = await through.chat()
    assert await client.response() == 200
    for _ in range(2):
        assert await client.next_frame()
    return client, await through.fake.request()


async def while_blocked(through: Proxied) -> tuple[RawClient, Exchange]:
    """The client has stopped reading, and the provider's bytes stand still."""
    through.fake.script = flood(32, frame_bytes=1024)
    client = await through.chat(rcvbuf=SMALL_WINDOW_BYTES)
    assert await client.response() == 200
    exchange = await through.fake.request()
    await stands_still(exchange)
    return client, exchange


STATES: Final[list[Callable[[Proxied], Awaitable[tuple[RawClient, Exchange]]]]] = [
    before_the_first_byte,
    in_midstream,
    while_blocked,
]
LEAVES: Final[list[Callable[[RawClient], None]]] = [RawClient.close, RawClient.abort]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
async def test_closed_tab_behind_nginx_closes_the_providers_connection(
    way: str, state: Callable[[Proxied], Awaitable[tuple[RawClient, Exchange]]]
) -> None:
    """A FIN and a RST alike, before the first byte, in mid-stream and while a send is blocked."""
    for leave in LEAVES:
        async with proxied(way) as through:
            client, exchange = await state(through)
            left_at = time.monotonic()
            leave(client)
            await exchange.closed.wait()
            assert exchange.connection.how in ("fin", "rst")
            assert exchange.connection.closed_at is not None
            assert exchange.connection.closed_at - left_at < LEFT_S_MAX
            client.close()
