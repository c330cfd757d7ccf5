"""Everything that a provider can do wrong, in every API, for both dialects, streamed and whole."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from itertools import count, product
from typing import Final

import pytest

from tests.chaos.apis import APIS
from tests.chaos.client import Ask, Got
from tests.chaos.faults import FAULTS
from tests.chaos.gateway import InChaos, in_chaos
from tests.chaos.plan import MODEL, Plan

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

WORDS: Final = 12
AT_ONCE: Final = 64
SHORT: Final = {  # real seconds: what never comes is waited for, by many at once
    "TIMEOUTS__FIRST_TOKEN_S": "3",
    "TIMEOUTS__IDLE_S": "2",
    "TIMEOUTS__TOTAL_S": "8",
    "TIMEOUTS__HEARTBEAT_S": "1",
}
HARMLESS: Final = ("none", "hints", "until_close", "idle_reset", "idle_close", "no_usage", "zero_usage", "dead_kept")
"""After these the answer is whole, whatever the API; or late, on a machine that is busy with something else."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop of the container."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    """A line for each of thousands of requests would be kept, and shown to nobody."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


async def met(chaos: InChaos, fault: str, at: float, numbers: Iterator[int]) -> list[Got]:
    """One fault at some place of the answer, met in every way."""
    ways = product(APIS, ("chat", "messages"), (True, False))
    asks = [
        Ask(Plan(next(numbers), WORDS, fault, at), dialect, f"{api}/{MODEL}", stream) for api, dialect, stream in ways
    ]
    return await asyncio.gather(*map(chaos.ask, asks))


async def test_whatever_a_provider_does_no_answer_is_wrong_or_just_stops() -> None:
    """Every fault; and nothing is left of any: no hold, no task, no connection, no descriptor."""
    numbers = count(10_000)
    async with in_chaos(None, "memory:", **SHORT) as chaos:
        room = asyncio.Semaphore(AT_ONCE // 16)

        async def one(fault: str, at: float) -> None:
            async with room:
                for got in await met(chaos, fault, at, numbers):
                    if fault in HARMLESS:
                        assert got.outcome in ("stop", "end_turn", "whole") or "timeout" in got.outcome, got
                    assert got.outcome != "left"

        await asyncio.gather(*(one(fault, at) for fault in FAULTS for at in (0.2, 0.6)))
        chaos.got = [got for got in chaos.got if got.ask.plan.fault not in ("zero_usage", "wild_usage")]
        assert await chaos.charged() < 10_000_000


async def test_request_is_sent_twice_at_most_and_once_where_it_may_be_worked_on() -> None:
    """A kept connection that is dead at once is replaced by a new one; one that dies later is an error."""
    async with in_chaos(None, "memory:", **SHORT) as chaos:
        for number, (fault, arrivals) in enumerate((("dead_kept", 2), ("dead_kept_late", 1))):
            await chaos.ask(Ask(Plan(100 + number)))
            got = await chaos.ask(Ask(Plan(200 + number, WORDS, fault)))
            assert chaos.provider.arrived[200 + number] == arrivals
            assert (got.words == WORDS) == (arrivals == 2)
