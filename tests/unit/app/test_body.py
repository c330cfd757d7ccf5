"""A request's body within its bounds, with a clock that moves by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import anyio
import pytest
from starlette.requests import ClientDisconnect

from rillgate.app.body import GRACE_S, BodyLimits, read_body
from rillgate.domain.errors import ClientError
from tests.fakes.clock import FakeClock

pytestmark = pytest.mark.anyio
LIMITS = BodyLimits(bytes_max=10_000, timeout_s=60, rate_min=100)


class Client:
    """Sends parts of a body when the test says so, and remembers how often it was asked."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self.asked = 0

    async def receive(self) -> Any:
        self.asked += 1
        return await self._messages.get()

    def send(self, body: bytes, *, more: bool = True) -> None:
        self._messages.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})


async def refusal(reading: asyncio.Task[bytes]) -> ClientError:
    with pytest.raises(ClientError) as caught:
        await reading
    return caught.value


def reading(client: Client, clock: FakeClock, length: str = "") -> asyncio.Task[bytes]:
    return asyncio.create_task(read_body(client.receive, length, LIMITS, clock))


@pytest.mark.parametrize("parts", [[b""], [b"whole"], [b"in", b"", b"parts"], [b"x" * 5_000, b"y" * 5_000]])
async def test_body_within_bounds_is_read_whole(parts: list[bytes]) -> None:
    """However it is cut, up to exactly its bound; no timer is left."""
    client, clock = Client(), FakeClock()
    for number, part in enumerate(parts):
        client.send(part, more=number < len(parts) - 1)
    assert await reading(client, clock) == b"".join(parts)
    assert clock.pending == 0


@pytest.mark.parametrize("length", ["10001", "9" * 19])
async def test_body_whose_length_says_too_large_is_refused_unread(length: str) -> None:
    """413 before anything of it is asked for."""
    client = Client()
    error = await refusal(reading(client, FakeClock(), length))
    assert (error.status, error.code, client.asked) == (413, "request_too_large", 0)
    assert "10000 bytes (limits.body_bytes_max)" in error.message


@pytest.mark.parametrize("length", ["", "5", "²", "9" * 5_000, "-1"])
async def test_body_without_a_true_length_is_refused_when_it_passes_the_bound(length: str) -> None:
    """A body in chunks is counted, and no more of it is asked for than tells."""
    client, clock = Client(), FakeClock()
    task = reading(client, clock, length)
    for _ in range(3):
        client.send(b"x" * 5_000)
    assert (await refusal(task)).status == 413
    assert client.asked == 3
    assert clock.pending == 0


async def test_body_of_which_nothing_comes_is_refused_after_its_grace() -> None:
    """408, when nothing came for the whole grace, and not before."""
    client, clock = Client(), FakeClock()
    task = reading(client, clock)
    await anyio.wait_all_tasks_blocked()
    clock.advance(GRACE_S - 0.001)
    await anyio.wait_all_tasks_blocked()
    assert not task.done()
    clock.advance(0.001)
    error = await refusal(task)
    assert (error.status, error.code) == (408, "request_timeout")
    assert "0 bytes so far" in error.message


async def test_body_that_trickles_is_refused_by_its_rate() -> None:
    """A byte each second buys next to nothing: 20 s of grace, and a hundredth of a second for each byte."""
    client, clock = Client(), FakeClock()
    task = reading(client, clock)
    seconds = 0
    await anyio.wait_all_tasks_blocked()
    while not task.done():
        client.send(b"x")
        await anyio.wait_all_tasks_blocked()
        clock.advance(1)
        seconds += 1
        await anyio.wait_all_tasks_blocked()
    assert seconds == 21
    assert (await refusal(task)).status == 408


async def test_body_at_the_least_rate_is_read_until_its_whole_time_is_over() -> None:
    """Who keeps to the rate is served for as long as the whole body may take, and no longer."""
    client, clock = Client(), FakeClock()
    task = reading(client, clock)
    for _ in range(59):
        client.send(b"x" * 100)
        await anyio.wait_all_tasks_blocked()
        clock.advance(1)
    await anyio.wait_all_tasks_blocked()
    assert not task.done()
    clock.advance(1)
    assert (await refusal(task)).status == 408


async def test_body_whose_client_leaves_is_nobody_s_error() -> None:
    """Told apart from one that is late."""
    client, clock = Client(), FakeClock()
    task = reading(client, clock)
    client.send(b"x")
    client.leave()
    with pytest.raises(ClientDisconnect):
        await task
    assert clock.pending == 0


async def test_body_whose_reader_is_cancelled_is_cancelled() -> None:
    """A cancellation from outside is not taken for the deadline."""
    client, clock = Client(), FakeClock()
    task = reading(client, clock)
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert clock.pending == 0
