"""`rillgate serve` with as many streams as it promises to carry, in a process of its own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from rillgate.app.listen import raise_open_files
from tests.e2e.process import Served, serving, variables_for
from tests.fakes.clients import RawClient, collect, open_chat
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Done, Finish, Head, Pause, Role, Stall, chat, flood

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SILENT_CLIENTS = 1000
ADDED_BYTES_MAX = 100_000_000
STREAMS_MAX = 2000  # the default of limits.streams_max


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop of this process is not the subject."""
    return "asyncio", {"use_uvloop": True}


def resident_bytes(served: Served) -> int:
    """Memory of the gateway's process, in RAM."""
    status = Path(f"/proc/{served.process.pid}/status")
    if not status.exists():
        pytest.skip("reads the gateway's memory from /proc, which only Linux has")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


async def one_answer(served: Served) -> None:
    """Everything that is made once is made."""
    async with await open_chat(served.port, model="small") as client:
        assert await client.response() == 200
        assert collect(await client.read_stream()).done


async def test_thousand_silent_clients_cost_less_than_a_hundred_megabytes() -> None:
    """Each stream has megabytes to come and a client that reads nothing: they do not pile up in the gateway."""
    raise_open_files()
    async with FakeProvider() as fake, AsyncExitStack() as stack:
        fake.by_model["small"] = chat()
        fake.by_model["flood"] = flood(8, frame_bytes=1024)
        served = await stack.enter_async_context(serving(RILLGATE_TIMEOUTS__STALL_S="600", **variables_for(fake)))
        await served.ready()
        await one_answer(served)
        idle = resident_bytes(served)
        for _ in range(SILENT_CLIENTS):
            client = await open_chat(served.port, model="flood", max_tokens=32768)
            stack.callback(client.abort)
            await fake.request(len(fake.chats))
        floods = [exchange for exchange in fake.chats if exchange.model == "flood"]
        assert len(floods) == SILENT_CLIENTS
        await asyncio.gather(*(exchange.stands_still() for exchange in floods))
        added = resident_bytes(served) - idle
        assert added < ADDED_BYTES_MAX, f"{added / 1e6:.1f} MB over the {idle / 1e6:.1f} MB of the idle process"


async def test_stream_past_streams_max_is_503_until_another_ends() -> None:
    """2,000 streams run by default; one more is told when to come again, and is served when one has ended."""
    raise_open_files()
    async with FakeProvider() as fake, AsyncExitStack() as stack:
        fake.by_model["open"] = [Head(), Role(), Chunk("one"), Stall()]
        fake.by_model["ends"] = [Head(), Role(), Chunk("one"), Pause(), Finish(), Done()]
        served = await stack.enter_async_context(serving(**variables_for(fake)))
        await served.ready()
        ends = await stack.enter_async_context(await open_chat(served.port, model="ends"))
        assert await ends.response() == 200
        clients: list[RawClient] = []
        for _ in range(STREAMS_MAX - 1):
            client = await open_chat(served.port, model="open")
            stack.callback(client.abort)
            clients.append(client)
        for client in clients:
            assert await client.response() == 200
        async with await open_chat(served.port, model="open") as one_more:
            assert await one_more.response() == 503
            assert int(one_more.headers["retry-after"]) > 0
            assert b'"overloaded"' in await one_more.read_body()
        fake.allow()
        assert collect(await ends.read_stream()).done
        await served.logs('"end":"finished"')
        async with await open_chat(served.port, model="open") as next_one:
            assert await next_one.response() == 200
            next_one.abort()
