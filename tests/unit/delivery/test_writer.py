"""The writer that owns a stream's wire, on a `send` that the test opens and shuts."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from rillgate.delivery.writer import BUFFER_BYTES_HIGH, BUFFER_BYTES_LOW, SEND_BYTES_MAX, StreamWriter
from tests.fakes.clock import FakeClock

pytestmark = pytest.mark.anyio

HEARTBEAT = b": ping\n"


class Wire:
    """An ASGI `send` that can be blocked, and remembers what came through."""

    def __init__(self) -> None:
        self.messages: list[MutableMapping[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        await self.open.wait()
        self.messages.append(message)

    @property
    def bodies(self) -> list[bytes]:
        return [m["body"] for m in self.messages if m["type"] == "http.response.body"]


class Fixture:
    def __init__(self, *, heartbeat_s: float = 12, stall_s: float = 30, opening: bytes = b"") -> None:
        self.clock = FakeClock()
        self.wire = Wire()
        self.stalls = 0
        self.writer = StreamWriter(
            self.wire.send,
            clock=self.clock,
            headers=[(b"x", b"y")],
            opening=opening,
            heartbeat=HEARTBEAT,
            heartbeat_s=heartbeat_s,
            stall_s=stall_s,
            on_stall=self._stalled,
        )
        self.task = asyncio.get_running_loop().create_task(self.writer.run())

    def _stalled(self) -> None:
        self.stalls += 1

    async def begin(self) -> None:
        """Past the status line."""
        self.writer.put(b"begun")
        await wait_all_tasks_blocked()

    async def end(self) -> None:
        self.writer.close()
        await self.task
        assert self.clock.pending == 0


async def test_writer_client_keeps_up_sends_each_frame_by_itself() -> None:
    """Nothing waits for company while the client is fast."""
    f = Fixture()
    for text in (b"one", b"two", b"three"):
        f.writer.put(text)
        await wait_all_tasks_blocked()
    await f.end()
    assert f.wire.bodies == [b"one", b"two", b"three", b""]
    assert f.wire.messages[0] == {"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]}
    assert [m.get("more_body") for m in f.wire.messages[1:]] == [True, True, True, False]


async def test_writer_client_behind_merges_what_waits_in_order() -> None:
    """Frames are merged only while a send is blocked; bytes and order stay."""
    f = Fixture()
    f.wire.open.clear()
    frames = [b"%d;" % number for number in range(1000)]
    for frame in frames:
        f.writer.put(frame)
        await checkpoint()
    f.wire.open.set()
    await f.end()
    assert b"".join(f.wire.bodies) == b"".join(frames)
    assert len(f.wire.bodies) < 10


async def test_writer_send_never_passes_its_bound() -> None:
    """Small frames are merged and a large one is cut; the bytes stay what they are."""
    f = Fixture()
    f.wire.open.clear()
    frames = [b"a" * 600] * 9 + [b"h" * (3 * SEND_BYTES_MAX + 1)] + [b"b" * 600] * 9
    for frame in frames:
        f.writer.put(frame)
    f.wire.open.set()
    await f.end()
    assert max(map(len, f.wire.bodies)) <= SEND_BYTES_MAX
    assert b"".join(f.wire.bodies) == b"".join(frames)


async def test_writer_cut_frame_gets_no_heartbeat_inside() -> None:
    """A heartbeat stands between frames, also when a frame takes several sends and the client is slow."""
    f = Fixture(heartbeat_s=12, stall_s=0)
    await f.begin()
    frame = b"h" * (3 * SEND_BYTES_MAX)
    f.wire.open.clear()
    f.writer.put(frame)
    for _ in range(4):
        await wait_all_tasks_blocked()
        f.clock.advance(12)
        f.wire.open.set()
        await asyncio.sleep(0)
        f.wire.open.clear()
    f.wire.open.set()
    await wait_all_tasks_blocked()
    await f.end()
    assert frame in b"".join(f.wire.bodies)


async def test_writer_above_high_mark_waits_for_the_low_mark() -> None:
    """`writable` comes back when the client has taken the buffer down, not before."""
    f = Fixture()
    await f.begin()
    f.wire.open.clear()
    f.writer.put(b"second")  # is being sent
    await wait_all_tasks_blocked()
    size = len(b"second")  # what is being sent is held, so it counts
    while not f.writer.full:
        f.writer.put(b"x" * 1024)
        size += 1024
    assert BUFFER_BYTES_HIGH < size <= BUFFER_BYTES_HIGH + 1024
    waiting = asyncio.get_running_loop().create_task(f.writer.writable())
    await wait_all_tasks_blocked()
    assert not waiting.done()
    f.clock.advance(3)
    f.wire.open.set()
    await waiting
    await f.end()
    assert f.writer.stats.pause_s == pytest.approx(3)
    assert f.writer.stats.stall_s == pytest.approx(3)
    assert f.writer.stats.buffer_bytes_peak == size
    assert BUFFER_BYTES_LOW < BUFFER_BYTES_HIGH


async def test_writer_send_blocked_for_stall_s_reports_once() -> None:
    """The stall deadline counts the time of one blocked send."""
    f = Fixture(stall_s=30, heartbeat_s=0)
    f.wire.open.clear()
    f.writer.put(b"x")
    await wait_all_tasks_blocked()
    f.clock.advance(29)
    assert f.stalls == 0
    f.clock.advance(1)
    assert f.stalls == 1
    f.wire.open.set()
    await f.end()
    assert f.stalls == 1


async def test_writer_slow_but_moving_client_is_never_stalled() -> None:
    """A client that takes something before each deadline goes on for ever."""
    f = Fixture(stall_s=30, heartbeat_s=0)
    for _ in range(20):
        f.wire.open.clear()
        f.writer.put(b"x")
        await wait_all_tasks_blocked()
        f.clock.advance(29)
        f.wire.open.set()
        await wait_all_tasks_blocked()
    await f.end()
    assert f.stalls == 0


async def test_writer_nothing_sent_for_heartbeat_s_sends_heartbeats_between_frames() -> None:
    """Heartbeats come at frame boundaries, and the timer starts anew with every send."""
    f = Fixture(heartbeat_s=12)
    f.writer.put(b"frame\n\n")
    await wait_all_tasks_blocked()
    f.clock.advance(11)
    f.writer.put(b"frame\n\n")
    await wait_all_tasks_blocked()
    f.clock.advance(11)
    await wait_all_tasks_blocked()
    assert HEARTBEAT not in f.wire.bodies
    f.clock.advance(1)
    await wait_all_tasks_blocked()
    f.clock.advance(12)
    await wait_all_tasks_blocked()
    await f.end()
    assert f.wire.bodies == [b"frame\n\n", b"frame\n\n", HEARTBEAT, HEARTBEAT, b""]
    assert f.writer.stats.heartbeats == 2


async def test_writer_silence_from_the_start_commits_with_a_heartbeat() -> None:
    """After the first heartbeat interval the status line goes out, opening first."""
    f = Fixture(heartbeat_s=12, opening=b"id: r:0\n\n")
    f.writer.watch_silence()
    f.clock.advance(11)
    await wait_all_tasks_blocked()
    assert not f.writer.started
    f.clock.advance(1)
    await wait_all_tasks_blocked()
    await f.end()
    assert f.wire.bodies == [b"id: r:0\n\n" + HEARTBEAT, b""]


async def test_writer_blocked_send_gets_no_heartbeats_behind_it() -> None:
    """A client that reads nothing gets no more to read."""
    f = Fixture(heartbeat_s=12, stall_s=0)
    await f.begin()
    f.wire.open.clear()
    f.writer.put(b"x")
    await wait_all_tasks_blocked()
    f.clock.advance(120)
    f.wire.open.set()
    await wait_all_tasks_blocked()
    await f.end()
    assert f.wire.bodies == [b"begun", b"x", b""]


async def test_writer_closed_with_a_frame_waiting_ends_with_that_frame() -> None:
    """The last frame and the end of the body go in one message."""
    f = Fixture()
    f.writer.put(b"last")
    await f.end()
    assert f.wire.messages[-1] == {"type": "http.response.body", "body": b"last", "more_body": False}
    assert f.writer.finished


async def test_writer_closed_before_anything_came_sends_nothing() -> None:
    """The status line is still free for an error."""
    f = Fixture()
    await f.end()
    assert f.wire.messages == []
