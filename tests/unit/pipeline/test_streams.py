"""The registry of running requests: its bound, its drain, and how a request is found to be cancelled."""

from __future__ import annotations

import asyncio

import pytest

from rillgate.delivery.responses import error_headers
from rillgate.domain.ends import End
from rillgate.domain.errors import CapacityError
from rillgate.pipeline.streams import Streams


class FakeRun:
    """A request that remembers what it was stopped for; over after the first time, or from the start."""

    def __init__(
        self, request_id: str, client_request_id: str | None = None, *, owner: str = "", over: bool = False
    ) -> None:
        self.request_id = request_id
        self.client_request_id = client_request_id
        self.owner = owner
        self.queue_bytes = 100
        self.stops: list[End] = []
        self._over = over

    def stop(self, end: End) -> bool:
        """End it."""
        if self._over:
            return False
        self._over = True
        self.stops.append(end)
        return True


def filled(count: int) -> tuple[Streams, list[FakeRun]]:
    """A registry that is full with so many."""
    streams = Streams(count)
    runs = [FakeRun(f"r{number}") for number in range(count)]
    for run in runs:
        streams.add(run)
    return streams, runs


def test_streams_one_more_than_the_bound_is_refused_with_503_and_retry_after() -> None:
    """The bound itself fits; one more is told when to come back, and is not taken in."""
    streams, _ = filled(3)
    assert streams.running() == 3
    with pytest.raises(CapacityError) as caught:
        streams.add(FakeRun("r3"))
    assert (caught.value.status, caught.value.code) == (503, "overloaded")
    assert (b"retry-after", b"1") in error_headers(caught.value)
    assert "streams_max" in caught.value.message
    assert streams.running() == 3


def test_streams_place_of_one_that_is_over_is_free() -> None:
    """What is discarded makes room, and discarding twice makes no more."""
    streams, runs = filled(2)
    streams.discard(runs[0])
    streams.discard(runs[0])
    streams.add(FakeRun("r2"))
    with pytest.raises(CapacityError):
        streams.add(FakeRun("r3"))


def test_streams_two_requests_of_one_id_are_two() -> None:
    """Nothing that a client sends can make two requests count as one."""
    streams = Streams(2)
    streams.add(FakeRun("r", "same"))
    streams.add(FakeRun("r", "same"))
    assert streams.running() == 2


def test_streams_draining_takes_none_in_and_lets_the_running_go_on() -> None:
    """SIGTERM first only closes the door."""
    streams = Streams(5)
    run = FakeRun("r0")
    streams.add(run)
    before = streams.draining
    streams.begin()
    assert (before, streams.draining) == (False, True)
    with pytest.raises(CapacityError) as caught:
        streams.add(FakeRun("r1"))
    assert (caught.value.status, caught.value.code) == (503, "shutting_down")
    assert caught.value.retry_after_s is not None
    assert run.stops == []
    assert streams.running() == 1


def test_streams_end_all_ends_each_for_shutdown() -> None:
    """When the grace is over every one that still runs is ended, whatever the others did."""
    streams, runs = filled(3)
    over = FakeRun("over", over=True)
    streams.discard(runs[2])
    streams.add(over)
    streams.end_all()
    assert [run.stops for run in [*runs, over]] == [[End.SHUTDOWN], [End.SHUTDOWN], [], []]


def test_streams_cancel_by_our_id_ends_that_one_only() -> None:
    """The id of the answer's x-request-id."""
    streams, runs = filled(3)
    assert streams.cancel("r1", "")
    assert [run.stops for run in runs] == [[], [End.CANCELLED], []]


def test_streams_cancel_by_the_clients_own_id_ends_each_that_has_it() -> None:
    """Known to the client before headers have come. A client that used one id twice means both."""
    streams = Streams(5)
    runs = [FakeRun("r0", "mine"), FakeRun("r1", "mine"), FakeRun("r2", "other"), FakeRun("r3")]
    for run in runs:
        streams.add(run)
    assert streams.cancel("mine", "")
    assert [run.stops for run in runs] == [[End.CANCELLED], [End.CANCELLED], [], []]


@pytest.mark.parametrize("unknown", ["", "None", "r", "r00", "R0"])
def test_streams_cancel_of_an_unknown_id_ends_nothing(unknown: str) -> None:
    """No prefix, no other case, and nothing where a request has no id of the client's."""
    streams, runs = filled(2)
    assert not streams.cancel(unknown, "")
    assert [run.stops for run in runs] == [[], []]


def test_streams_cancel_of_one_that_is_over_says_so() -> None:
    """A request that has ended, or is ending, cannot be cancelled any more."""
    streams = Streams(5)
    streams.add(FakeRun("over", over=True))
    streams.add(FakeRun("gone"))
    assert not streams.cancel("over", "")
    assert streams.cancel("gone", "")
    assert not streams.cancel("gone", "")


def test_streams_cancel_is_for_the_owner_alone() -> None:
    """To others it does not exist; nobody in particular may cancel what nobody in particular began, and only that."""
    streams = Streams(5)
    runs = [FakeRun("r0", "mine", owner="a1"), FakeRun("r1", "mine", owner="b2"), FakeRun("r2")]
    for run in runs:
        streams.add(run)
    assert not streams.cancel("r0", "b2")
    assert not streams.cancel("r0", "")
    assert not streams.cancel("r2", "a1")
    assert streams.cancel("mine", "b2")
    assert streams.cancel("r2", "")
    assert [run.stops for run in runs] == [[], [End.CANCELLED], [End.CANCELLED]]


@pytest.mark.anyio
async def test_streams_settled_waits_for_all_that_outlives_its_request_and_what_that_begins() -> None:
    """A hold that is voided once its grant is known is two pieces of work, one after the other."""
    streams = Streams(5)
    gate = asyncio.Event()
    done: list[str] = []

    async def second() -> None:
        await asyncio.sleep(0)
        done.append("second")

    async def first() -> None:
        await gate.wait()
        done.append("first")
        streams.outlive(second())

    assert await streams.settled()
    streams.outlive(first())
    waiting = asyncio.ensure_future(streams.settled())
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.set()
    assert await waiting
    assert done == ["first", "second"]


@pytest.mark.anyio
async def test_streams_settled_gives_up_in_time_and_says_so() -> None:
    """A store that never answers does not hold the process."""
    streams = Streams(5)
    gate = asyncio.Event()

    async def stuck() -> None:
        await gate.wait()

    work = streams.outlive(stuck())
    assert not await streams.settled(0)
    gate.set()
    await work
    assert await streams.settled(0)


def test_streams_know_what_waits_for_their_clients() -> None:
    """Of all that run; what is over waits for nobody."""
    streams, runs = filled(3)
    assert streams.queue_bytes() == 300
    streams.discard(runs[0])
    assert streams.queue_bytes() == 200
