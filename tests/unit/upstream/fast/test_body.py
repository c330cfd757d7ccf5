"""A response's two ways to its consumer: pulled, pushed, and from one to the other."""

from __future__ import annotations

import asyncio
import random

import httpx2
import pytest

from rillgate.upstream.fast.body import HELD_BYTES_MAX
from tests.unit.upstream.fast.wires import HEAD, Sink, Wire

pytestmark = pytest.mark.anyio


async def test_body_pull_gives_all_that_has_come_at_once() -> None:
    """One wake-up, one chunk, however many pieces it came in."""
    wire = Wire()
    wire.feed(HEAD % 9 + b"one")
    wire.feed(b"two")
    assert await anext(wire.body) == b"onetwo"
    waiting = asyncio.ensure_future(anext(wire.body))
    await asyncio.sleep(0)
    wire.feed(b"end")
    assert await waiting == b"end"
    with pytest.raises(StopAsyncIteration):
        await anext(wire.body)
    assert wire.released == [True]


async def test_body_that_nobody_pulls_stops_reading_above_its_mark() -> None:
    """Below the mark nothing is paused, above it one read more may be held; taking it reads on."""
    wire = Wire()
    wire.feed(HEAD % 100_000)
    wire.feed(b"x" * HELD_BYTES_MAX)
    assert wire.transport.is_reading()
    wire.feed(b"y")
    assert not wire.transport.is_reading()
    assert await anext(wire.body) == b"x" * HELD_BYTES_MAX + b"y"
    assert wire.transport.is_reading()


async def test_body_puller_that_keeps_up_is_never_paused() -> None:
    """A read that somebody waits for pauses nothing, whatever its size."""
    wire = Wire()
    wire.feed(HEAD % 100_000)
    for _ in range(5):
        waiting = asyncio.ensure_future(anext(wire.body))
        await asyncio.sleep(0)
        wire.feed(b"x" * 4096)
        assert wire.transport.is_reading()
        assert len(await waiting) == 4096


async def test_body_push_calls_straight_from_the_read() -> None:
    """No turn of the loop lies between a read and its callback; the end comes once, after the connection is free."""
    wire, sink = Wire(), Sink()
    wire.feed(HEAD % 9 + b"one")
    wire.body.attach(sink.chunks.append, sink.ends.append)
    assert sink.chunks == [b"one"]
    wire.feed(b"two")
    assert (sink.chunks, sink.ends) == ([b"one", b"two"], [])
    wire.feed(b"end")
    assert (sink.chunks, sink.ends, wire.released) == ([b"one", b"two", b"end"], [None], [True])


async def test_body_push_that_is_paused_is_not_read_from() -> None:
    """What still comes is kept, and given before anything else."""
    wire, sink = Wire(), Sink()
    wire.feed(HEAD % 9)
    wire.body.attach(sink.chunks.append, sink.ends.append)
    wire.body.pause()
    assert not wire.transport.is_reading()
    wire.feed(b"onetwo", late=True)
    assert sink.chunks == []
    wire.body.resume()
    assert (sink.chunks, wire.transport.is_reading()) == ([b"onetwo"], True)
    wire.feed(b"end")
    assert sink.ends == [None]


async def test_body_push_paused_within_its_callback_stops_there() -> None:
    """Also where the end comes with the same read: it waits for `resume`."""
    wire, sink = Wire(), Sink()

    def take(data: bytes) -> None:
        sink.chunks.append(data)
        wire.body.pause()

    wire.feed(HEAD % 6)
    wire.body.attach(take, sink.ends.append)
    wire.feed(b"one")
    assert not wire.transport.is_reading()
    wire.body.resume()
    wire.feed(b"two")
    assert (sink.chunks, sink.ends) == ([b"one", b"two"], [])
    wire.body.resume()
    assert sink.ends == [None]


async def test_body_push_detached_while_it_is_paused_is_read_again() -> None:
    """Pull takes over, at once."""
    wire, sink = Wire(), Sink()
    wire.feed(HEAD % 6)
    wire.body.attach(sink.chunks.append, sink.ends.append)
    wire.body.pause()
    wire.body.detach()
    wire.feed(b"one")
    assert await anext(wire.body) == b"one"
    assert sink.chunks == []


async def test_body_push_gets_the_error_after_what_came_before_it() -> None:
    """A body that breaks off says so once."""
    wire, sink = Wire(), Sink()
    wire.body.attach(sink.chunks.append, sink.ends.append)
    wire.feed(HEAD % 6 + b"one")
    wire.connection.eof_received()
    wire.connection.connection_lost(None)
    assert sink.data == b"one"
    (error,) = sink.ends
    assert isinstance(error, httpx2.RemoteProtocolError)
    assert wire.released == [False]


async def test_body_push_whose_callback_fails_ends_the_stream_alone() -> None:
    """The error goes to its own end; the connection is closed and its slot free."""
    wire, sink = Wire(), Sink()
    wire.feed(HEAD % 6)

    def take(data: bytes) -> None:
        raise LookupError(data)

    wire.body.attach(take, sink.ends.append)
    wire.feed(b"one")
    assert [type(end) for end in sink.ends] == [LookupError]
    assert (wire.transport.aborted, wire.released) == (True, [False])


async def test_body_push_whose_last_callback_fails_hears_of_it() -> None:
    """Also when the body is complete."""
    wire, sink = Wire(), Sink()
    wire.feed(HEAD % 3)

    def take(data: bytes) -> None:
        raise LookupError(data)

    wire.body.attach(take, sink.ends.append)
    wire.feed(b"one")
    assert [type(end) for end in sink.ends] == [LookupError]
    assert wire.released == [True]


async def test_body_closed_calls_nobody() -> None:
    """Whoever leaves hears no more; the connection is closed, once."""
    wire, sink = Wire(), Sink()
    wire.body.attach(sink.chunks.append, sink.ends.append)
    wire.feed(HEAD % 6 + b"one")
    wire.body.close()
    wire.body.close()
    await asyncio.sleep(0)
    assert (sink.chunks, sink.ends, wire.released, wire.transport.aborted) == ([b"one"], [], [False], True)
    with pytest.raises(httpx2.StreamClosed):
        await anext(wire.body)


async def test_body_attached_while_somebody_pulls_is_refused() -> None:
    """Two consumers would get halves."""
    wire = Wire()
    wire.feed(HEAD % 3)
    waiting = asyncio.ensure_future(anext(wire.body))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        wire.body.attach(print, print)
    with pytest.raises(RuntimeError):
        await anext(wire.body)
    wire.feed(b"end")
    assert await waiting == b"end"


@pytest.mark.parametrize("seed", range(20))
async def test_body_handed_over_at_any_time_loses_nothing(seed: int) -> None:
    """Pull, push, pause, resume and detach in any order: every byte once, in order, and one end."""
    chance = random.Random(seed)
    sent = bytes(chance.randrange(256) for _ in range(20_000))
    wire, sink = Wire(), Sink()
    wire.feed(HEAD % len(sent))
    at, pushing = 0, False
    while at < len(sent) or not sink.ends:
        choice = chance.randrange(6)
        if choice == 0 and not pushing:
            wire.body.attach(sink.chunks.append, sink.ends.append)
            pushing = True
        elif choice == 1 and pushing and not sink.ends:
            wire.body.detach()
            pushing = False
        elif choice == 2 and pushing:
            wire.body.pause()
        elif choice == 3 and pushing:
            wire.body.resume()
        elif choice == 4 and not pushing and wire.body._parts:
            sink.chunks.append(await anext(wire.body))
        elif choice == 5 and wire.transport.is_reading() and at < len(sent):
            size = chance.randrange(1, 3000)
            wire.feed(sent[at : at + size])
            at += size
    assert sink.data == sent
    assert (sink.ends, wire.released) == ([None], [True])


@pytest.mark.parametrize("pushed", [False, True])
async def test_body_complete_while_it_is_paused_frees_a_connection_that_reads(pushed: bool) -> None:
    """An idle connection must hear of its end."""
    wire, sink = Wire(), Sink()
    wire.feed(HEAD % 4000)
    if pushed:
        wire.body.attach(sink.chunks.append, sink.ends.append)
        wire.body.pause()
    else:
        wire.feed(b"x" * 3000)
    assert not wire.transport.is_reading()
    wire.feed(b"x" * (4000 if pushed else 1000), late=True)
    assert (wire.transport.is_reading(), wire.released) == (True, [True])
