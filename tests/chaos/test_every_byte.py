"""An answer that breaks off after any byte at all, by a close or by a reset, in every API and both dialects.

Each cut is tried, none is drawn: what the client gets is the beginning of the answer, and either the whole of it or an
error in its own dialect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from itertools import count, product

import pytest

from rillgate.ledger.items import number
from tests.chaos.apis import APIS
from tests.chaos.client import Ask, Got
from tests.chaos.faults import Asked
from tests.chaos.gateway import InChaos, in_chaos
from tests.chaos.plan import MODEL, Plan

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

WORDS = 2
AT_ONCE = 16


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """The loop of the container; one sweep runs on the other loop too."""
    return "asyncio", {"use_uvloop": getattr(request, "param", True)}


class _Nowhere:
    """A wire that no byte goes over."""

    requests = 1

    async def send(self, data: bytes) -> None: ...
    async def gone(self) -> None: ...
    def reset(self) -> None: ...
    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    """A line for each of thousands of requests would be kept, and shown to nobody."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def numbered(request: int) -> int:
    """A number whose first digits, and so the first words of its text, are other ones than its neighbours'."""
    return int(f"{10 + request % 90}{request:05d}")


def cuts(api: str, *, stream: bool) -> int:
    """How many bytes a response has."""
    plan = Plan(numbered(0), WORDS)
    return len(Asked(plan, APIS[api], stream, _Nowhere()).whole())


async def cut_at(chaos: InChaos, ask: Ask) -> Got:
    """One request; what it got is its text's beginning, and its end is said."""
    got = await chaos.ask(ask, kept=True)
    if ask.plan.at == 0.0 or got.outcome.startswith("5"):
        assert got.outcome == "502 upstream_truncated", (ask, got)
    else:
        assert got.outcome in ("stop", "end_turn", "whole", "error upstream_truncated"), (ask, got)
    return got


@pytest.mark.parametrize(
    ("anyio_backend", "api", "dialect", "stream"),
    [*product([True], APIS, ("chat", "messages"), (True, False)), (False, "openai", "chat", True)],
    indirect=["anyio_backend"],
)
async def test_answer_cut_after_any_byte_is_a_prefix_with_an_end(api: str, dialect: str, stream: bool) -> None:
    """From no byte to all of them: FIN and RST."""
    numbers = map(numbered, count())
    size = cuts(api, stream=stream)
    async with in_chaos() as chaos:
        room = asyncio.Semaphore(AT_ONCE)

        async def one(cut: int, how: str) -> Got:
            plan = Plan(next(numbers), WORDS, how, (cut + 0.5) / size)
            async with room:
                return await cut_at(chaos, Ask(plan, dialect, f"{api}/{MODEL}", stream))

        found = await asyncio.gather(*(one(cut, how) for cut in range(size + 1) for how in ("fin", "rst")))
        whole = [got for got in found if got.outcome in ("stop", "end_turn", "whole")]
        assert 0 < len(whole) < len(found)
        assert all(got.words == WORDS for got in whole)
        words = {got.words for got in found}
        assert words == ({*range(WORDS + 1)} if stream else {0, WORDS})
        assert len(chaos.provider.arrived) == 2 * (size + 1)
        assert number(await chaos.item("global"), "rT") <= 2 * (size + 1)
