"""Questions whose answers come later, or never."""

from __future__ import annotations

import asyncio

import pytest

from rillgate.cli.workers.questions import Questions
from tests.fakes.clock import FakeClock

pytestmark = pytest.mark.anyio


async def test_question_gets_the_answer_under_its_own_number() -> None:
    """Whichever comes first, and nothing stays pending."""
    clock, put = FakeClock(), list[int]()
    questions = Questions(clock, 2)
    first, second = questions.ask(put.append), questions.ask(put.append)
    assert len(set(put)) == 2
    questions.answer(put[1], "b")
    questions.answer(put[0], "a")
    questions.answer(99, "nobody asked")
    assert (await first, await second) == ("a", "b")
    await asyncio.sleep(0)
    assert clock.pending == 0


async def test_question_without_an_answer_in_time_gets_none() -> None:
    """And an answer that comes after that is nobody's."""
    clock, put = FakeClock(), list[int]()
    questions = Questions(clock, 2)
    answer = questions.ask(put.append)
    clock.advance(1.9)
    assert not answer.done()
    clock.advance(0.1)
    assert await answer is None
    questions.answer(put[0], "late")


async def test_question_to_somebody_who_has_gone_gets_none_at_once() -> None:
    """Those that were asked before, and those that are asked after."""
    clock, put = FakeClock(), list[int]()
    questions = Questions(clock, 2)
    before = questions.ask(put.append)
    questions.close()
    assert await before is None
    assert await questions.ask(put.append) is None
    assert len(put) == 1
    await asyncio.sleep(0)
    assert clock.pending == 0


async def test_question_that_is_given_up_is_forgotten() -> None:
    """A client that leaves cancels what waits; its answer disturbs nobody."""
    clock, put = FakeClock(), list[int]()
    questions = Questions(clock, 2)
    answer = questions.ask(put.append)
    answer.cancel()
    await asyncio.sleep(0)
    questions.answer(put[0], True)
    assert clock.pending == 0
