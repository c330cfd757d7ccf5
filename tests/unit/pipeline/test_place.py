"""A request's place: what can end it reaches whatever is being done for it."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from rillgate.domain.ends import End
from rillgate.domain.principal import Principal
from rillgate.pipeline.place import Place
from tests.fakes.clock import FakeClock
from tests.unit.pipeline.call_support import REQUEST_ID, make_call

pytestmark = pytest.mark.anyio


class Remembering:
    """A stage that remembers what it was stopped for."""

    queue_bytes = 0

    def __init__(self) -> None:
        self.stops: list[End] = []
        self.stopped = asyncio.Event()

    def stop(self, end: End) -> bool:
        """Remembered."""
        self.stops.append(end)
        self.stopped.set()
        return True


async def never() -> MutableMapping[str, Any]:
    """A client that stays."""
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


async def test_place_stops_the_stage_that_the_request_is_in() -> None:
    """The first stage until another one is set."""
    first, second = Remembering(), Remembering()
    place = Place(make_call(), FakeClock(), first)
    assert place.stop(End.CANCELLED)
    place.stage = second
    assert place.stop(End.SHUTDOWN)
    assert (first.stops, second.stops) == ([End.CANCELLED], [End.SHUTDOWN])


async def test_place_has_the_requests_names_and_its_owner() -> None:
    """By which it is found."""
    place = Place(make_call(principal=Principal(key_id="a1")), FakeClock(), Remembering())
    assert (place.request_id, place.client_request_id, place.owner) == (REQUEST_ID, None, "a1")


async def test_place_deadline_spans_all_stages() -> None:
    """Time that admission takes is the stream's; closed, nothing is left in the clock."""
    clock, first, second = FakeClock(), Remembering(), Remembering()
    place = Place(make_call(total_s=100), clock, first)
    place.open(never)
    clock.advance(60)
    place.stage = second
    clock.advance(39)
    assert second.stops == []
    clock.advance(1)
    assert (first.stops, second.stops) == ([], [End.DEADLINE])
    place.close()
    assert clock.pending == 0


async def test_place_client_that_leaves_ends_it() -> None:
    """Whatever else `receive` says is passed over."""
    messages = iter([{"type": "http.request"}, {"type": "http.disconnect"}])

    async def receive() -> MutableMapping[str, Any]:
        return next(messages)

    stage = Remembering()
    place = Place(make_call(), FakeClock(), stage)
    place.open(receive)
    await stage.stopped.wait()
    assert stage.stops == [End.CLIENT_GONE]
    place.close()


async def test_place_client_that_cannot_be_heard_any_more_has_left() -> None:
    """A server whose `receive` raises has lost the connection."""

    async def receive() -> MutableMapping[str, Any]:
        raise OSError("gone")

    stage = Remembering()
    place = Place(make_call(), FakeClock(), stage)
    place.open(receive)
    await stage.stopped.wait()
    assert stage.stops == [End.CLIENT_GONE]
    place.close()


async def test_place_closed_watches_no_client() -> None:
    """The next request of the connection has its own."""
    tasks = len(asyncio.all_tasks())
    place = Place(make_call(), FakeClock(), Remembering())
    place.open(never)
    place.close()
    while len(asyncio.all_tasks()) > tasks:
        await asyncio.sleep(0)
