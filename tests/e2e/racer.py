"""One of the processes that race for a budget: `python -m tests.e2e.racer URL FIRST STREAMS SCOPE…`.

It says "ready", waits for a line, authorizes all of its streams at once, and says what became of them; it waits for
another line, settles all that were admitted, and says what that took. So whoever starts it decides when what happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from dataclasses import dataclass
from typing import Any

import msgspec

from rillgate.app.settings.types import LedgerSettings
from rillgate.app.stores import store_of
from rillgate.domain.errors import BudgetError
from rillgate.domain.limits import Amounts
from rillgate.domain.spending import Ask, Grant, Record
from rillgate.ledger.ledger import StoreLedger
from rillgate.telemetry.clock import LoopClock
from tests.e2e.ledgers import EMULATOR_TIMEOUT_MS

PROMPT_TOKENS = 12
CAP_MIN, CAP_MAX = 64, 2048


@dataclass
class Stream:
    """One request: what it asks for, what it was granted, and what it will have used."""

    ask: Ask
    share: float
    grant: Grant | None = None

    @property
    def held(self) -> int:
        """Tokens that the grant holds."""
        return 0 if self.grant is None else PROMPT_TOKENS + self.grant.output_tokens

    @property
    def used(self) -> int:
        """Tokens of the prompt, and of what a provider made that kept to its cap."""
        return 0 if self.grant is None else PROMPT_TOKENS + int(self.share * self.grant.output_tokens)


def streams(first: int, count: int, scopes: tuple[str, ...]) -> list[Stream]:
    """Streams of any size, the same in each run."""
    found = []
    for number in range(first, first + count):
        sizes = random.Random(number)
        cap = sizes.randint(CAP_MIN, CAP_MAX)
        ask = Ask(f"{number:016d}", scopes, PROMPT_TOKENS, cap, 1, None, lifetime_s=900)
        found.append(Stream(ask, sizes.random()))
    return found


async def authorize(ledger: StoreLedger, stream: Stream) -> None:
    """Ask once. A refusal for want of budget is an outcome; whatever else is raised ends the program."""
    with contextlib.suppress(BudgetError):
        stream.grant = await ledger.authorize(stream.ask)


async def settle(ledger: StoreLedger, stream: Stream) -> None:
    """Charge what was used."""
    if stream.grant is not None:
        actual = Amounts(stream.used, 0, 1)
        scopes = dict.fromkeys(stream.grant.holds, actual)
        record = Record(hold_id=stream.ask.hold_id, started_s=stream.grant.started_s, scopes=scopes, charged=actual)
        await ledger.settle(stream.grant, actual, record)


async def told_to() -> None:
    """Wait for a line."""
    if not await asyncio.to_thread(sys.stdin.readline):
        raise SystemExit("nobody is there any more")


def say(fields: Any) -> None:
    """One line of JSON."""
    sys.stdout.write(msgspec.json.encode(fields).decode() + "\n")
    sys.stdout.flush()


async def main(url: str, first: str, count: str, *scopes: str) -> None:
    """Race."""
    timeout_ms = EMULATOR_TIMEOUT_MS
    settings = LedgerSettings(url=url, connect_timeout_ms=timeout_ms, read_timeout_ms=timeout_ms)
    clock = LoopClock()
    own = streams(int(first), int(count), scopes)
    async with contextlib.aclosing(store_of(settings, clock, os.environ)) as store:
        store.open()
        ledger = StoreLedger(store, clock, grace_s=60, tell=lambda event, **fields: None)
        say("ready")
        await told_to()
        await asyncio.gather(*(authorize(ledger, stream) for stream in own))
        await ledger.aclose()  # what refused streams held elsewhere is given back
        admitted = [stream for stream in own if stream.grant is not None]
        say({"admitted": len(admitted), "held": sum(stream.held for stream in admitted)})
        await told_to()
        await asyncio.gather(*(settle(ledger, stream) for stream in own))
        await ledger.aclose()
        say({"used": sum(stream.used for stream in admitted)})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
