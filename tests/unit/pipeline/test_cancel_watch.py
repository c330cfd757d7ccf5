"""A watch on cancel flags: seldom enough to cost little, often enough to be of use."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from anyio.lowlevel import checkpoint

from rillgate.domain.ends import End
from rillgate.domain.errors import BudgetUnavailable
from rillgate.domain.principal import Principal
from rillgate.pipeline.cancel_watch import LOOK_S, CancelWatch
from rillgate.pipeline.place import Place
from tests.fakes.clock import FakeClock
from tests.unit.pipeline.call_support import REQUEST_ID, make_call
from tests.unit.pipeline.test_place import Remembering, never

pytestmark = pytest.mark.anyio


class Flags:
    """Answers as a test says.

    Attributes:
        answers: of the next looks, the last one of all after it; an exception is raised.
        looks: what was looked for.
    """

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers = list(answers)
        self.looks: list[tuple[list[str], str]] = []

    async def put_up(self, request_id: str, owner: str) -> None:
        """Not here."""
        raise NotImplementedError

    async def is_up(self, request_ids: Sequence[str], owner: str) -> bool:
        """The next answer."""
        self.looks.append((list(request_ids), owner))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Watched:
    """A watch, its clock and how often it struck."""

    def __init__(self, flags: Flags) -> None:
        self.clock = FakeClock()
        self.cancelled = 0
        self.watch = CancelWatch(
            flags, self.clock, request_ids=[REQUEST_ID, "mine-1"], owner="a1", on_cancel=self._strike
        )

    def _strike(self) -> None:
        self.cancelled += 1

    async def pass_time(self, seconds: float) -> None:
        """Move the clock, and let what it started come to an end."""
        self.clock.advance(seconds)
        for _ in range(5):
            await checkpoint()


async def test_cancel_watch_looks_no_more_than_once_in_three_seconds() -> None:
    """Ten seconds are three looks, and a request of less than three seconds costs none."""
    flags = Flags(False)
    watched = Watched(flags)
    watched.watch.open()
    await watched.pass_time(LOOK_S - 0.1)
    assert flags.looks == []
    for _ in range(71):
        await watched.pass_time(0.1)
    assert flags.looks == [([REQUEST_ID, "mine-1"], "a1")] * 3
    watched.watch.close()
    assert watched.clock.pending == 0


async def test_cancel_watch_strikes_once_when_the_flag_is_up() -> None:
    """And looks no more."""
    flags = Flags(False, True)
    watched = Watched(flags)
    watched.watch.open()
    await watched.pass_time(LOOK_S)
    assert watched.cancelled == 0
    await watched.pass_time(LOOK_S)
    assert watched.cancelled == 1
    await watched.pass_time(10 * LOOK_S)
    assert (watched.cancelled, len(flags.looks)) == (1, 2)
    watched.watch.close()


@pytest.mark.parametrize("error", [BudgetUnavailable("no answer"), RuntimeError("a mistake")])
async def test_cancel_watch_goes_on_when_it_cannot_look(error: Exception) -> None:
    """A store that fails ends no stream, and the next look counts."""
    flags = Flags(error, True)
    watched = Watched(flags)
    watched.watch.open()
    await watched.pass_time(LOOK_S)
    assert watched.cancelled == 0
    await watched.pass_time(LOOK_S)
    assert watched.cancelled == 1
    watched.watch.close()


async def test_cancel_watch_closed_in_a_look_strikes_no_more() -> None:
    """The request is over: an answer that comes late means nothing."""
    release = asyncio.Event()

    class Late(Flags):
        async def is_up(self, request_ids: Sequence[str], owner: str) -> bool:
            await super().is_up(request_ids, owner)
            await release.wait()
            return True

    flags = Late(False)
    watched = Watched(flags)
    watched.watch.open()
    await watched.pass_time(LOOK_S)
    assert len(flags.looks) == 1
    watched.watch.close()
    release.set()
    await watched.pass_time(LOOK_S)
    assert watched.cancelled == 0


async def test_place_ends_the_request_whose_flag_is_up() -> None:
    """By our id and the client's own, in the name of whoever began it; closed, nothing is left in the clock."""
    clock, stage, flags = FakeClock(), Remembering(), Flags(True)
    place = Place(make_call(principal=Principal(key_id="a1")), clock, stage, flags)
    place.open(never)
    clock.advance(LOOK_S)
    await stage.stopped.wait()
    assert stage.stops == [End.CANCELLED]
    assert flags.looks == [([REQUEST_ID], "a1")]
    place.close()
    assert clock.pending == 0
